"""Tweets from files through the same rules, enrichment and delivery as from the stream, and reports of what came.

Begin with ``reading`` (files and archives to messages, by way of ``packing`` and ``forms``), then ``workers`` (messages
to enriched tweets, by way of ``shapes``) and ``replay`` (one run). It must not know a running Traptor.
"""
