"""Where tweets come from, and when and who may connect.

Begin with ``stream``, which makes messages of bytes; ``v1`` opens Twitter's v1.1 stream, ``v2`` X API v2's, and
whatever comes of either has v1.1's shape. Knows nothing of where messages go, nor of what is told about them.
"""
