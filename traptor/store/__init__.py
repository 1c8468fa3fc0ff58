"""From Kafka into a database: rows of tables, exactly once, with what was deleted gone and the gaps beside.

Begin with ``loop`` (read, write, wait for a database that is away), then ``sql``, which tells what becomes of a batch;
``rows`` makes rows of a tweet. A database is a ``destination``. It must not know a running Traptor.
"""
