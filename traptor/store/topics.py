"""Messages from Kafka's topics, from where the database has got to.

As many stores as there are partitions share the work, as a consumer group. How far each partition is stored stands in
the database; what is committed to Kafka beside is for the tools that look at a group's lag.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from traptor import kafka_options
from traptor.delivery import reasons
from traptor.printable import counted
from traptor.store.batch import ends
from traptor.store.destination import MOST_MESSAGES, Message, Partition

BEGINNING, NOW = "beginning", "now"
CONSUMER = {
    "max_poll_records": MOST_MESSAGES,
    "fetch_max_bytes": 16 << 20,
    "max_partition_fetch_bytes": 8 << 20,
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "allow_auto_create_topics": False,
    "bootstrap_timeout_ms": 5_000,
    "request_timeout_ms": 5_000,
    "reconnect_backoff_max_ms": 2_000,
    "session_timeout_ms": 10_000,
    "metrics_enabled": False,
}
LOOK_SECONDS = 5.0
"""How often Kafka is asked how much there is, which is also how its silence is noticed."""
CLOSING_MS = 2_000

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Where messages come from."""

    name: str

    def read(self, wait_seconds: float) -> list[Message]:
        """The next ones; none where none comes in this time. Raises Away, KafkaError."""

    def hold(self) -> None:
        """Called once a second while nothing is read: stay in the group."""

    def stored(self, messages: Sequence[Message]) -> None:
        """These are safe."""

    def is_finished(self) -> bool:
        """Is there nothing more to come?"""

    def behind(self) -> int:
        """How many messages wait there, as far as is known."""

    def is_connected(self) -> bool: ...

    def close(self) -> None: ...


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]
    """Only notes it: what is assigned is placed when the poll is over."""

    def __init__(self, waiting: set[Any]) -> None:
        self._waiting = waiting

    def on_partitions_revoked(self, revoked: Sequence[Any]) -> None:
        self._waiting.difference_update(revoked)

    def on_partitions_assigned(self, assigned: Sequence[Any]) -> None:
        self._waiting.update(assigned)


class Topics:
    """A Reader. ``progress`` asks the database how far it is. ``begin`` says where a partition that the database does
    not know begins: ``beginning``, ``now``, or seconds since 1970. ``once``: finished where the topic ended at first.
    """

    def __init__(
        self,
        hosts: str,
        topics: Sequence[str],
        options: dict[str, Any],
        group: str,
        progress: Callable[[], dict[Partition, int]],
        *,
        begin: str | float = BEGINNING,
        once: bool = False,
    ) -> None:
        self.name = f"Kafka topic {', '.join(topics)}"
        self._hosts = hosts
        self._topics = topics
        self._options = kafka_options.shared(options, KafkaConsumer.DEFAULT_CONFIG)
        self._group = group
        self._progress = progress
        self._begin = begin
        self._once = once
        self._consumer: Any = None
        self._unplaced: set[Any] = set()
        self._ends: dict[Any, int] = {}
        self._looked_at = 0.0
        self._is_connected = False

    def read(self, wait_seconds: float) -> list[Message]:
        consumer = self._consumer = self._consumer or self._connect()
        self._place()
        polled = consumer.poll(timeout_ms=int(wait_seconds * 1000))
        self._look(is_quiet=not polled)
        # A partition that has only now been assigned was read from anywhere.
        return [
            Message(partition.topic, partition.partition, record.offset, record.value or b"")
            for partition, records in polled.items()
            if partition not in self._unplaced
            for record in records
        ]

    def _connect(self) -> Any:
        options = {**CONSUMER, **self._options}
        with reasons.told():
            consumer = KafkaConsumer(bootstrap_servers=self._hosts.split(","), group_id=self._group, **options)
        try:
            for topic in self._topics if self._once else ():
                if not consumer.partitions_for_topic(topic):
                    raise LookupError(f"there is no topic {topic}")
            consumer.subscribe(list(self._topics), listener=_Assigned(self._unplaced))
        except BaseException:
            consumer.close(autocommit=False, timeout_ms=CLOSING_MS)
            raise
        return consumer

    def _place(self) -> None:
        """Begin what has been assigned where the database is, or where we were told to."""
        if not self._unplaced:
            return
        partitions = sorted(self._unplaced & self._consumer.assignment())
        known, first = self._progress(), self._consumer.beginning_offsets(partitions)
        self._ends.update(self._consumer.end_offsets(partitions))
        for partition in partitions:
            offset = known.get((partition.topic, partition.partition))
            if offset is not None and offset > self._ends[partition]:
                raise LookupError(
                    f"{partition.topic}, partition {partition.partition}, has"
                    f" {counted(self._ends[partition], 'message')}, the database has"
                    f" {offset} of them: the topic was made anew. To begin it again:"
                    f" DELETE FROM progress WHERE topic = '{partition.topic}', or the documents of a search server's"
                    " index of that name"
                )
            if offset is not None and offset < first[partition]:
                facts = {
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "messages": first[partition] - offset,
                }
                log.error("Kafka has deleted messages before they were stored", extra=facts)
            self._consumer.seek(partition, self._start(partition) if offset is None else max(offset, first[partition]))
        self._unplaced.clear()

    def _start(self, partition: Any) -> int:
        if self._begin == BEGINNING:
            return int(self._consumer.beginning_offsets([partition])[partition])
        if self._begin != NOW:
            found = self._consumer.offsets_for_times({partition: int(float(self._begin) * 1000)})
            if found.get(partition):
                return int(found[partition].offset)
        return self._ends[partition]

    def _look(self, *, is_quiet: bool) -> None:
        """Ask how much there is; without an answer, Kafka is away: raises KafkaError where it is to be read once."""
        self._is_connected |= not is_quiet
        now, mine = time.monotonic(), list(self._consumer.assignment())
        if (self._once and not is_quiet) or now - self._looked_at < LOOK_SECONDS or not mine:
            return
        try:
            ends = self._consumer.end_offsets(mine)
        except KafkaError:
            if self._once:
                raise
            self._is_connected = False
        else:
            self._is_connected = True
            if not self._once:
                self._ends.update(ends)
        self._looked_at = now

    def hold(self) -> None:
        if self._consumer:
            self._consumer.pause(*self._consumer.assignment())
            self._consumer.poll(timeout_ms=0)
            self._consumer.resume(*self._consumer.paused())

    def stored(self, messages: Sequence[Message]) -> None:
        offsets = {
            TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in ends(messages).items()
        }
        mine = self._consumer.assignment()
        self._consumer.commit_async({one: offset for one, offset in offsets.items() if one in mine})

    def is_finished(self) -> bool:
        if not self._once or self._consumer is None or self._unplaced:
            return False
        mine = self._consumer.assignment()
        return bool(mine) and all(self._consumer.position(one) >= self._ends[one] for one in mine)

    def behind(self) -> int:
        if self._consumer is None:
            return 0
        mine = self._consumer.assignment() - self._unplaced
        return sum(max(0, self._ends.get(one, 0) - self._consumer.position(one)) for one in mine)

    def is_connected(self) -> bool:
        return self._is_connected

    def close(self) -> None:
        if self._consumer:
            self._consumer.close(autocommit=False, timeout_ms=CLOSING_MS)
            self._consumer = None
