"""Tweets from files through the same rules, enrichment and delivery as from the stream, and reports of what came.

Begin with ``reading`` (files to lines), then ``workers`` (lines to enriched tweets) and ``replay`` (one run). It must
not know a running Traptor.
"""
