"""A door on a fake Kafka, with a clock that is moved by hand."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from tests.servers import wait_until
from traptor.delivery import kafka_door
from traptor.delivery.kafka_door import Kafka
from traptor.delivery.spool import Message, Spool


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


class Answer:
    """A future as kafka-python's."""

    def __init__(self, key: bytes | None, value: bytes, wait: Callable[[float], None]) -> None:
        self.key = key
        self.value = value
        self.wait = wait
        self.is_done = False
        self.exception: BaseException | None = None

    def failed(self) -> bool:
        return self.exception is not None

    def get(self, timeout: float) -> None:
        self.wait(timeout)
        if not self.is_done:
            raise KafkaTimeoutError("not in time")


class Producer:
    """One that is told what to answer. ``arrived`` is the broker's log, which outlives it."""

    def __init__(self, arrived: list[bytes | None], clock: Clock | None = None) -> None:
        self.arrived = arrived
        self.clock = clock or Clock()
        self.pending: deque[Answer] = deque()
        self.raises: Exception | None = None
        self.takes_when_waited_for = False
        self.is_cautious = False
        self.closed = False

    def send(self, topic: str, value: bytes, key: bytes | None) -> Answer:
        if self.raises:
            raise self.raises
        if len(value) > 1000:
            raise MessageSizeTooLargeError("too large")
        self.pending.append(Answer(key, value, self.wait))
        return self.pending[-1]

    def acknowledge(self, most: int = 1 << 30) -> None:
        for _ in range(min(most, len(self.pending))):
            answer = self.pending.popleft()
            self.arrived.append(answer.key)
            answer.is_done = True

    def fail(self, error: Exception, most: int = 1 << 30) -> None:
        for _ in range(min(most, len(self.pending))):
            answer = self.pending.popleft()
            answer.exception, answer.is_done = error, True

    def wait(self, seconds: float) -> None:
        self.clock.passes(seconds)
        if self.takes_when_waited_for:
            self.acknowledge()

    def close(self, timeout: float) -> None:
        self.closed = True


class Rig:
    """A door on a fake broker, and what is known about both."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 20, is_up: bool = True) -> None:
        self.clock = Clock()
        self.arrived: list[bytes | None] = []
        self.producers: list[Producer] = []
        self.is_up = threading.Event()
        self.sent: list[Message] = []
        self.path = folder / "track-0.spool"
        self.max_bytes = max_bytes
        if is_up:
            self.is_up.set()
        self.reopen()

    def reopen(self) -> None:
        """A new process: what an earlier one had in memory is gone, its spool is not."""
        self.counts: Counter[str] = Counter()
        self.spool = Spool(self.path, self.max_bytes)
        self.door = Kafka(
            self.connect, self.spool, self.counts, connect_cautiously=self.connect_cautiously, clock=self.clock
        )
        self.door.open()
        self.door.take_up()
        self.wait_for_producer()

    def connect(self) -> Producer:
        if not self.is_up.wait(10):
            raise KafkaError("nobody there")
        self.producers.append(Producer(self.arrived, self.clock))
        return self.producers[-1]

    def connect_cautiously(self) -> Producer:
        self.connect().is_cautious = True
        return self.producer

    def wait_for_producer(self) -> None:
        if self.is_up.is_set():
            wait_until(lambda: self.door.producer is not None, "a producer", 10)

    @property
    def producer(self) -> Producer:
        return self.producers[-1]

    def send(self, *keys: str, text: str = "coffee") -> None:
        for key in keys:
            message = Message(key.encode(), text.encode(), "traptor")
            self.sent.append(message)
            self.counts["received:tweet"] += 1
            self.door.send([message])

    def passes(self, seconds: float) -> None:
        self.clock.passes(seconds)
        self.door.tick()

    def assert_balanced(self) -> None:
        counts = self.counts
        came = counts["received:tweet"] + counts["taken_up"]
        dropped = sum(count for name, count in counts.items() if name.startswith("dropped:"))
        left = counts["delivered"] + self.door.waiting() + counts["apart"] + dropped
        assert came == left, (counts, self.door.waiting())

    def waiting_keys(self) -> list[bytes | None]:
        return [kept.message.key for kept in self.spool.kept() if kept.reason is None]

    def close(self) -> None:
        self.is_up.set()
        self.door.close(kafka_door.CLOSING_SECONDS)
