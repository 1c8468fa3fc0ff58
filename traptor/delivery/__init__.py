"""Out by one door: Kafka, with a spool on disk behind it, or standard output.

Begin with ``door``, then ``kafka_door``. What it takes are keys, bytes and topics: it never looks into a tweet but to
honour a deletion, and knows neither rules nor streams.
"""
