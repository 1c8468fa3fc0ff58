"""Out by one door: Kafka, with a spool behind it, or standard output.

Both doors have ``take_up``, ``send``, which waits a moment for the other side at most, ``tick``, which is called
often, and ``close``.
"""

import contextlib
import gc
import logging
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any, BinaryIO, Protocol

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.net.compat import KafkaNetClient
from kafka.partitioner import DefaultPartitioner

from traptor import broker
from traptor.backlog import Backlog
from traptor.broker import Broker
from traptor.settings import KAFKA_PYTHON, SettingError
from traptor.spool import Message, Spool
from traptor.window import Sent, Window


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


PRODUCER = {
    "partitioner": KeyPartitioner(),
    # Waits and batches as measured for load and for quiet: see bench/.
    "linger_ms": 15,
    "batch_size": 896 * 1024,
    "max_request_size": 2 * 1024 * 1024,
    "acks": "all",
    "bootstrap_timeout_ms": 5_000,
    "max_block_ms": 1_000,
    "request_timeout_ms": 10_000,
    "delivery_timeout_ms": 30_000,
    "reconnect_backoff_max_ms": 2_000,
    "metrics_enabled": False,
}
WINDOW_BYTES = 8 << 20
"""What may be on its way to Kafka without an acknowledgement."""
SLOW_SECONDS = 1.0
"""A message without acknowledgement for so long goes to the spool as well, so that a killed process keeps it."""
GIVE_UP_SECONDS = 60.0
"""A producer that leaves a message unanswered for so long, twice its own time-out, is broken."""
ROOM_SECONDS = 0.1
"""How long to wait for Kafka to acknowledge something when it is a little behind."""
CLOSING_SECONDS = 1.0
"""What writing the spool and closing the producer may take of the time to stop."""

NEVER_TAKEN = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidRecordError,
    InvalidTimestampError,
    ValueError,
    TypeError,
)
"""What is wrong with the message itself, not with Kafka."""
CAUTIOUS = {"enable_idempotence": False, "batch_size": 1, "linger_ms": 0}
"""For a producer that answers for each message by itself.

An idempotent one of kafka-python refuses everything, for the same reason, from the first message on that a broker
refuses; and of a batch it does not say which message is to blame.
"""

log = logging.getLogger(__name__)


class Door(Protocol):
    """Where messages go."""

    def take_up(self) -> None: ...

    def send(self, messages: Sequence[Message]) -> None: ...

    def waiting(self) -> int: ...

    def forget(self, key: bytes) -> None: ...

    def scrub(self, user_id: str, up_to_id: int) -> None: ...

    def tick(self) -> None: ...

    def close(self, timeout_seconds: float) -> None: ...


class OutputError(Exception):
    """Standard output takes no more, though somebody may still read it: its disk is full, say."""


class StandardOutput:
    """One message per line. Raises BrokenPipeError when the reader has gone, or OutputError."""

    def __init__(self, counts: Counter[str], out: BinaryIO | None = None) -> None:
        self.counts = counts
        self._out = out

    def take_up(self) -> None:
        """Nothing waits here."""

    def send(self, messages: Sequence[Message]) -> None:
        """Write and flush them. Of those that are not all written, none counts as delivered."""
        out = self._out or sys.stdout.buffer
        # A line feed inside JSON is white space; a line is a message.
        lines = [message.value.replace(b"\n", b" ") + b"\n" for message in messages]
        try:
            out.writelines(lines)
            out.flush()
        except OSError as error:
            self.counts["dropped:not_written"] += len(lines)
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(f"standard output cannot be written: {error.strerror}") from None
        self.counts["delivered"] += len(lines)

    def waiting(self) -> int:
        """Nothing waits here."""
        return 0

    def forget(self, key: bytes) -> None:
        """What is out is out."""

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """What is out is out."""

    def tick(self) -> None:
        """Nothing waits here."""

    def close(self, timeout_seconds: float) -> None:
        """Nothing waits here."""


class Kafka:
    """Kafka, and the spool for what it does not take or acknowledge.

    ``connect`` makes a producer or raises KafkaError; it is called by a thread of its own until it succeeds, so the
    caller never waits for a broker that is away. ``connect_cautiously`` makes one that answers for each message by
    itself: see CAUTIOUS. ``counts`` gets delivered, and what a Backlog counts. ``acknowledged`` is called with the
    messages that Kafka has acknowledged, and the time.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        spool: Spool,
        counts: Counter[str],
        acknowledged: Callable[[Sequence[Message], float], None] | None = None,
        *,
        connect_cautiously: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spool = spool
        self.counts = counts
        self._acknowledged = acknowledged
        self._clock = clock
        self._broker = Broker(connect, connect_cautiously or connect)
        self._window = Window()
        self._backlog = Backlog(spool, self._window, counts, clock)
        self._suspects = 0
        """Messages that were refused together, and are to be answered for one by one."""
        self._is_slow = False
        """Kafka does not acknowledge what it was told."""

    @property
    def producer(self) -> Any:
        """None while there is none."""
        return self._broker.producer

    @producer.setter
    def producer(self, producer: Any) -> None:
        self._broker.producer = producer

    def open(self) -> None:
        """Start to look for the broker."""
        self._broker.look()

    def take_up(self) -> None:
        """Take up what an earlier run has left in the spool, once no other process uses it."""
        self._backlog.open()

    def waiting(self) -> int:
        """Messages that Kafka has not acknowledged, in memory and on disk."""
        return self._window.unspooled + self._backlog.waiting()

    def ack_lag_seconds(self) -> float:
        """The age of the oldest message on its way."""
        return max(0.0, self._window.oldest_seconds(self._clock()))

    def is_down(self) -> bool:
        """Does Kafka not take or not acknowledge what it is given?"""
        return self._is_slow or (self.producer is None and self.waiting() > 0)

    def is_full(self) -> bool:
        """Are messages being dropped, for want of room?"""
        return self._backlog.is_full()

    def send(self, messages: Sequence[Message]) -> None:
        """Take messages. They go to Kafka at once if nothing older waits, or else after what does."""
        if self._window.size_bytes >= WINDOW_BYTES and not self._is_slow:
            self._wait_for_room()
        waiting = iter(messages)
        if not self._backlog and self._can_send():
            for message in waiting:
                if not self._produce(message):
                    self._backlog.add(message)
                    break
        for message in waiting:
            self._backlog.add(message)

    def _wait_for_room(self) -> None:
        """The stream is read by a thread of its own meanwhile."""
        with contextlib.suppress(KafkaError):
            next(iter(self._window)).future.get(timeout=ROOM_SECONDS)
        self._settle()

    def forget(self, key: bytes) -> None:
        """Its author deleted it: what still waits is dropped, and what is on its way is not sent again."""
        for sent in self._window:
            sent.is_deleted |= sent.message.key == key
        self._backlog.forget(key)

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Its author took the location back: what still waits, or may be sent again, loses it."""
        for sent in self._window:
            sent.message = sent.message.without_location(user_id, up_to_id)
        self._backlog.scrub(user_id, up_to_id)

    def tick(self) -> None:
        """Settle what Kafka has answered, and move what waits. Called several times a second.

        Raises SettingError where there will never be a producer.
        """
        if self._broker.refusal:
            raise self._broker.refusal
        self._settle()
        self._keep_slow()
        self._backlog.take_up()
        self._send_what_waits()
        self._backlog.save_old()

    def close(self, timeout_seconds: float) -> None:
        """Deliver what can be delivered in this time; the rest is in the spool."""
        deadline = self._clock() + timeout_seconds - CLOSING_SECONDS
        self._broker.stop_looking()
        self._deliver_until(deadline)
        self._backlog.keep_too([sent for sent in self._window if sent.row is None])
        self._backlog.save()
        self._broker.close(CLOSING_SECONDS / 2)
        self._backlog.close([sent.message for sent in self._window.take_all() if sent.row is None])

    def _deliver_until(self, deadline: float) -> None:
        """Flush what is on its way and what waits, for as long as Kafka takes it."""
        before = -1
        while self.producer is not None and self.waiting() not in {0, before} and self._clock() < deadline:
            before = self.waiting()
            self._send_what_waits()
            try:
                self.producer.flush(timeout=deadline - self._clock())
            except KafkaError as error:
                log.warning("Kafka did not take everything in time", extra={"error": str(error)})
            self._settle()

    # To Kafka

    def _can_send(self) -> bool:
        is_taking = self.producer is not None and not self._is_trial_over()
        return is_taking and not self._is_slow and self._window.size_bytes < WINDOW_BYTES

    def _is_trial_over(self) -> bool:
        """Has every suspect been answered for? Then it is time for a fast producer again."""
        return self._broker.is_cautious and not self._suspects

    def _send_what_waits(self) -> None:
        if not self._can_send():
            return
        for row, message in self._backlog.oldest():
            if not self._can_send() or not self._produce(message, row):
                return
            self._backlog.pass_on(row)

    def _produce(self, message: Message, row: int | None = None) -> bool:
        """Hand a message to the producer. False: Kafka takes nothing now, and the caller keeps the message."""
        try:
            future = self.producer.send(message.topic, value=message.value, key=message.key)
        except NEVER_TAKEN as error:
            self._backlog.set_apart(message, error, row)
        except KafkaError as error:
            self._give_up([], error)
            return False
        else:
            self._window.add(Sent(message, future, self._clock(), row))
        return True

    def _keep_slow(self) -> None:
        """What has been on its way for long goes to disk too, in case this process is killed."""
        if self._is_slow:
            oldest = self._clock() - SLOW_SECONDS / 2
            self._backlog.keep_too([sent for sent in self._window if sent.row is None and sent.since < oldest])

    # What Kafka answers

    def _settle(self) -> None:
        """Look at the oldest messages on their way, for as long as they are answered."""
        answered = self._window.take_answered()
        self._delivered([sent for sent in answered if not sent.future.failed()])
        failed = [sent for sent in answered if sent.future.failed() and not self._is_set_apart(sent)]
        self._suspects -= min(self._suspects, len(answered) - len(failed))
        if failed:
            errors = [sent.future.exception for sent in failed]
            self._give_up(failed, next((error for error in errors if isinstance(error, NEVER_TAKEN)), errors[0]))
        elif self.ack_lag_seconds() > GIVE_UP_SECONDS:
            self._give_up([], TimeoutError(f"no answer for {GIVE_UP_SECONDS:g} s"))
        elif self._is_trial_over() and not self._window:
            self._give_up([], None)
        self._backlog.take_out_finished()
        self._tell_if_slow()

    def _delivered(self, delivered: Sequence[Sent]) -> None:
        self.counts["delivered"] += len(delivered)
        for sent in delivered:
            self._backlog.finish(sent)
        if self._acknowledged:
            self._acknowledged([sent.message for sent in delivered], time.time())

    def _is_set_apart(self, sent: Sent) -> bool:
        """Of a message that was refused: was it alone, and to blame?"""
        error = sent.future.exception
        if not (self._broker.is_cautious and isinstance(error, NEVER_TAKEN)):
            return False
        self._backlog.set_apart(sent.message, error, sent.row)
        return True

    def _give_up(self, failed: Sequence[Sent], error: BaseException | None) -> None:
        """Take back what was on its way, to be sent again by a new producer; None where nothing is wrong any more."""
        if error is not None:
            log.warning("Kafka fails: its producer is replaced", extra={"error": f"{type(error).__name__}: {error}"})
        again = [*failed, *self._window.take_all()]
        if isinstance(error, NEVER_TAKEN):
            self._suspects = len(again)
        self._is_slow = False
        self._backlog.put_back(again)
        self._broker.give_up(cautiously=self._suspects > 0)

    def _tell_if_slow(self) -> None:
        is_slow = self.ack_lag_seconds() > SLOW_SECONDS
        if is_slow and not self._is_slow:
            log.warning("Kafka does not acknowledge: tweets wait in the spool", extra={"waiting": self.waiting()})
        if self._is_slow and not is_slow:
            log.info("Kafka acknowledges again", extra={"waiting": self.waiting()})
            # kafka-python leaves the sockets of refused connections in cycles: after months they would be too many.
            gc.collect()
        self._is_slow = is_slow


def connect(hosts: str, topic: str, options: dict[str, Any], *more_topics: str, client: str = KAFKA_PYTHON) -> Any:
    """A producer that knows the topics, with Traptor's waits and batches and the user's options on top.

    Raises KafkaError where the broker does not answer or does not have a topic; SettingError where the client is not
    there or makes no producer with such options, which kafka-python finds out when a broker has answered.
    """
    wanted = {**PRODUCER, **options}
    if client == KAFKA_PYTHON:
        return _connect_kafka_python(hosts, (topic, *more_topics), wanted)
    return _confluent().connect(hosts, (topic, *more_topics), wanted)


def _connect_kafka_python(hosts: str, topics: Sequence[str], options: dict[str, Any]) -> KafkaProducer:
    if find_spec("crc32c") is None:
        log.warning(
            "crc32c is missing: each tweet costs several times the CPU time; pip install 'kafka-python[crc32c]' helps"
        )
    clients: list[KafkaNetClient] = []

    def make_client(**arguments: Any) -> KafkaNetClient:
        clients.append(KafkaNetClient(**arguments))
        return clients[-1]

    try:
        producer = KafkaProducer(bootstrap_servers=hosts.split(","), kafka_client=make_client, **options)
    except BaseException as error:
        # kafka-python does not close its own where no broker answers.
        for client in clients:
            client.close()
        if isinstance(error, KafkaConfigurationError | ValueError | TypeError | RuntimeError):
            raise SettingError(f"KAFKA_OPTIONS: kafka-python makes no producer with them: {error}") from error
        raise
    try:
        for topic in topics:
            producer.partitions_for(topic)
    except BaseException:
        broker.close(producer, 0.0)
        raise
    return producer


def _confluent() -> ModuleType:
    """Raises SettingError where it is not installed."""
    if find_spec("confluent_kafka") is None:
        raise SettingError("KAFKA_CLIENT: confluent is not installed; pip install 'traptor[fast]' brings it")
    from traptor import confluent

    return confluent


_OUR_OWN = {"bootstrap_servers", "kafka_client"}


def give_up_writing(*_: object) -> None:
    """For SIGALRM: end a write to standard output that nobody reads."""
    raise BrokenPipeError("nobody reads our standard output")


def unknown_options(options: dict[str, Any], client: str = KAFKA_PYTHON) -> list[str]:
    """The names among these that the producer does not know. Raises SettingError where its client is not there."""
    known = set(KafkaProducer.DEFAULT_CONFIG) - _OUR_OWN
    if client != KAFKA_PYTHON:
        known -= _confluent().WITHOUT_COUNTERPART
    return sorted(set(options) - known)
