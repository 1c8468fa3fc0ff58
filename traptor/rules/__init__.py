"""Rules: read from Redis, checked against Twitter's limits, loaded from elsewhere, spread over Traptors, and locked.

Begin with ``stored`` and ``checked``; ``loading`` brings rules from files and databases, ``shards`` says on which
Traptor each stands. Knows Redis and what a rule is, but no stream, no Kafka, and no Traptor that is running.
"""
