"""Which partition a key belongs to."""

import zlib
from typing import Any

from kafka.partitioner import DefaultPartitioner


class KeyPartitioner(DefaultPartitioner):  # type: ignore[misc]
    """The same key, the same partition, by CRC-32 as librdkafka's clients choose it.

    kafka-python's own way hashes in Python, which takes longer than all that Traptor does to deliver a message.
    """

    def partition(  # noqa: PLR0917 - kafka-python calls it so
        self, topic: str, key: object, key_bytes: bytes | None, value: object, value_bytes: object, cluster: Any
    ) -> int:
        if not key_bytes:
            return int(super().partition(topic, key, key_bytes, value, value_bytes, cluster))
        return zlib.crc32(key_bytes) % len(cluster.partitions_for_topic(topic))
