"""Out by one door: Kafka, with a spool on disk behind it, or standard output.

Begin with ``door``, then ``kafka_door``, and the ``route``, ``lane`` and ``backlog`` that it moves messages through.
What it takes are keys, bytes and topics: it never looks into a tweet but to honour a deletion, and knows neither rules
nor streams.
"""
