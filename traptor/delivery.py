"""Out by one door: Kafka, with a spool behind it, or standard output.

Both doors have ``send``, which never waits for the other side, ``tick``, which is called often, and ``close``.
"""

import logging
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Protocol

from kafka import KafkaProducer
from kafka.errors import (
    IllegalStateError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from traptor.spool import Message, Spool, SpoolError

PRODUCER = {
    # Waits and batches as measured for load and for quiet: see bench/.
    "linger_ms": 25,
    "batch_size": 256 * 1024,
    "max_request_size": 2 * 1024 * 1024,
    "acks": "all",
    "bootstrap_timeout_ms": 5_000,
    "max_block_ms": 1_000,
    "request_timeout_ms": 10_000,
    "delivery_timeout_ms": 30_000,
    "reconnect_backoff_max_ms": 2_000,
    "metrics_enabled": False,
}
RECONNECT_SECONDS = 2.0
"""Between tries to reach a broker that is away."""
WINDOW_BYTES = 64 << 20
"""What may be on its way to Kafka without an acknowledgement."""
SLOW_SECONDS = 1.0
"""A message without acknowledgement for so long goes to the spool as well, so that a killed process keeps it."""
GATHER_SECONDS = 0.5
"""How long messages that Kafka does not take may wait in memory before they are written to the spool."""
MEMORY_BYTES = 64 << 20
"""What may wait in memory where the spool cannot be written."""
CLOSING_SECONDS = 1.0
"""What writing the spool and closing the producer may take of the time to stop."""
FULL_SECONDS = 10.0
"""Told at most so often that messages are dropped, and told for so long after the last one."""
REFILL = 500
"""Messages taken from the spool at a time."""

NEVER_TAKEN = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTimestampError, ValueError, TypeError)
"""What is wrong with the message itself, not with Kafka."""

log = logging.getLogger(__name__)


class Door(Protocol):
    """Where messages go."""

    def send(self, message: Message) -> None: ...

    def waiting(self) -> int: ...

    def forget(self, key: bytes) -> None: ...

    def scrub(self, user_id: str, up_to_id: int) -> None: ...

    def tick(self) -> None: ...

    def close(self, timeout_seconds: float) -> None: ...


class StandardOutput:
    """One message per line, flushed one by one. Raises BrokenPipeError when the reader has gone."""

    def __init__(self, counts: Counter[str], out: BinaryIO | None = None) -> None:
        self.counts = counts
        self._out = out or sys.stdout.buffer

    def send(self, message: Message) -> None:
        self._out.write(message.value + b"\n")
        self._out.flush()
        self.counts["delivered"] += 1

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


class _Sent:
    """A message on its way to Kafka."""

    __slots__ = ("future", "message", "row", "since")

    def __init__(self, message: Message, future: Any, since: float, row: int | None) -> None:
        self.message = message
        self.future = future
        self.since = since
        self.row = row


class Kafka:
    """Kafka, and the spool for what it does not take or acknowledge.

    ``connect`` makes a producer or raises KafkaError; it is called by a thread of its own until it succeeds.
    Only that thread and the caller's are involved, so the caller never waits for a broker that is away.
    ``counts`` gets taken_up, delivered, spooled, apart and dropped:REASON. ``acknowledged`` is called with each
    message that Kafka has acknowledged, and the time.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        spool: Spool,
        counts: Counter[str],
        acknowledged: Callable[[Message, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.producer: Any = None
        self.spool = spool
        self.counts = counts
        self.down = False
        """Kafka has been told more than it acknowledges."""
        self._acknowledged = acknowledged
        self._connect = connect
        self._clock = clock
        self._closing = threading.Event()
        self._connecting: threading.Thread | None = None
        self._window: deque[_Sent] = deque()
        self._window_bytes = 0
        self._gathered: deque[Message] = deque()
        self._gathered_bytes = 0
        self._gathered_since = 0.0
        self._cursor = 0
        """Up to this row, everything in the spool is on its way."""
        self._rows_on_their_way: set[int] = set()
        self._not_before = 0.0
        self._dropped_at = -FULL_SECONDS

    def open(self) -> None:
        """Take up the spool and start to look for the broker."""
        try:
            self.spool.open_if_there()
        except SpoolError as error:
            log.error("spool cannot be read", extra={"error": str(error)})
        self.counts["taken_up"] += self.spool.count
        if self.spool.count:
            log.info("spool taken up", extra={"messages": self.spool.count, "bytes": self.spool.size_bytes})
        self._look_for_broker()

    def waiting(self) -> int:
        """Messages that Kafka has not acknowledged, in memory and on disk."""
        unspooled = sum(sent.row is None for sent in self._window)
        return unspooled + len(self._gathered) + self.spool.count

    def ack_lag_seconds(self) -> float:
        """The age of the oldest message on its way."""
        return self._clock() - self._window[0].since if self._window else 0.0

    def is_down(self) -> bool:
        """Does Kafka not take or not acknowledge what it is given?"""
        return self.down or (self.producer is None and self.waiting() > 0)

    def is_full(self) -> bool:
        """Are messages being dropped, for want of room?"""
        return self._clock() - self._dropped_at < FULL_SECONDS

    def forget(self, key: bytes) -> None:
        """Its author deleted it: a message that still waits is dropped."""
        kept = deque(message for message in self._gathered if message.key != key)
        dropped = len(self._gathered) - len(kept)
        self._gathered = kept
        self._gathered_bytes = sum(message.size_bytes() for message in kept)
        try:
            dropped += self.spool.forget(key, self._rows_on_their_way)
        except SpoolError as error:
            self._tell_spool_fails(error)
        self.counts["dropped:deleted"] += dropped

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Its author took the location back: what still waits loses it."""
        self._gathered = deque(message.without_location(user_id, up_to_id) for message in self._gathered)
        try:
            self.spool.scrub(user_id, up_to_id)
        except SpoolError as error:
            self._tell_spool_fails(error)

    def send(self, message: Message) -> None:
        """Take a message. It goes to Kafka at once if nothing older waits, or else after what does."""
        if self._gathered or self._disk_waits() or not self._can_send() or not self._produce(message):
            self._gather(message)

    def tick(self) -> None:
        """Settle what Kafka has answered, and move what waits. Called several times a second."""
        self._settle()
        self._spool_slow()
        self._refill()
        self._pass_gathered_on()

    def close(self, timeout_seconds: float) -> None:
        """Deliver what can be delivered in this time; the rest is in the spool."""
        deadline = self._clock() + timeout_seconds - CLOSING_SECONDS
        self._closing.set()
        self._deliver_until(deadline)
        self._to_spool([sent for sent in self._window if sent.row is None])
        self._write_gathered()
        if self.producer is not None:
            self.producer.close(timeout=CLOSING_SECONDS / 2)
        self.spool.close()

    def _deliver_until(self, deadline: float) -> None:
        """Flush what is on its way and what waits, for as long as Kafka takes it."""
        before = -1
        while self.producer is not None and self.waiting() not in {0, before} and self._clock() < deadline:
            before = self.waiting()
            self._refill()
            self._pass_gathered_on()
            try:
                self.producer.flush(timeout=deadline - self._clock())
            except KafkaError as error:
                log.warning("Kafka did not take everything in time", extra={"error": str(error)})
            self._settle()

    # The broker

    def _look_for_broker(self) -> None:
        self._connecting = threading.Thread(target=self._connect_until_there, name="traptor-kafka", daemon=True)
        self._connecting.start()

    def _connect_until_there(self) -> None:
        while not self._closing.is_set():
            try:
                self.producer = self._connect()
            except (KafkaError, OSError) as error:
                log.warning(
                    "Kafka cannot be reached: trying again; tweets wait in the spool meanwhile",
                    extra={"error": f"{type(error).__name__}: {error}"},
                )
                self._closing.wait(RECONNECT_SECONDS)
            else:
                log.info("Kafka connected")
                return

    def _can_send(self) -> bool:
        return (
            self.producer is not None
            and not self.down
            and self._window_bytes < WINDOW_BYTES
            and self._clock() >= self._not_before
        )

    def _produce(self, message: Message, row: int | None = None) -> bool:
        """Hand a message to the producer. False: Kafka takes nothing now, and the caller keeps the message."""
        try:
            future = self.producer.send(message.topic, value=message.value, key=message.key)
        except NEVER_TAKEN as error:
            self._set_apart(message, error, row)
        except KafkaError as error:
            self._not_before = self._clock() + SLOW_SECONDS
            if isinstance(error, IllegalStateError):
                self.producer = None
                self._look_for_broker()
            return False
        else:
            self._window.append(_Sent(message, future, self._clock(), row))
            self._window_bytes += message.size_bytes()
            if row is not None:
                self._rows_on_their_way.add(row)
        return True

    def _settle(self) -> None:
        """Look at the oldest messages on their way, for as long as they are answered."""
        delivered: list[tuple[int, Message]] = []
        now = time.time()
        while self._window and self._window[0].future.is_done:
            sent = self._window.popleft()
            self._window_bytes -= sent.message.size_bytes()
            if sent.row is not None:
                self._rows_on_their_way.discard(sent.row)
            if not sent.future.failed():
                self.counts["delivered"] += 1
                if self._acknowledged:
                    self._acknowledged(sent.message, now)
                if sent.row is not None:
                    delivered.append((sent.row, sent.message))
            elif isinstance(sent.future.exception, NEVER_TAKEN):
                self._set_apart(sent.message, sent.future.exception, sent.row)
            else:
                self._send_again(sent)
        if delivered:
            self._remove(delivered)
        self._tell_if_down()

    def _send_again(self, sent: _Sent) -> None:
        if sent.row is None:
            self._gather(sent.message)
        else:
            self._cursor = min(self._cursor, sent.row - 1)

    def _tell_if_down(self) -> None:
        slow = bool(self._window) and self._clock() - self._window[0].since > SLOW_SECONDS
        if slow and not self.down:
            log.warning("Kafka does not acknowledge: tweets wait in the spool", extra={"waiting": self.waiting()})
        if self.down and not slow:
            log.info("Kafka acknowledges again", extra={"waiting": self.waiting()})
        self.down = slow

    # The spool

    def _spool_slow(self) -> None:
        """What has been on its way for long goes to disk too, in case this process is killed."""
        if self.down:
            oldest = self._clock() - SLOW_SECONDS / 2
            self._to_spool([sent for sent in self._window if sent.row is None and sent.since < oldest])

    def _to_spool(self, slow: Sequence[_Sent]) -> None:
        if not slow:
            return
        try:
            rows = self.spool.append([sent.message for sent in slow])
        except SpoolError as error:
            self._tell_spool_fails(error)
            return
        for sent, row in zip(slow, rows, strict=False):
            sent.row = row
            self._rows_on_their_way.add(row)
        self.counts["spooled"] += len(rows)

    def _gather(self, message: Message) -> None:
        if not self._gathered:
            self._gathered_since = self._clock()
        if self._gathered_bytes + message.size_bytes() > MEMORY_BYTES:
            self._drop([message], "memory_full")
            return
        self._gathered.append(message)
        self._gathered_bytes += message.size_bytes()

    def _pass_gathered_on(self) -> None:
        """To Kafka if nothing older waits on disk; else, or if that takes too long, to the spool."""
        while self._gathered and not self._disk_waits() and self._can_send() and self._produce(self._gathered[0]):
            self._gathered_bytes -= self._gathered.popleft().size_bytes()
        if self._gathered and self._clock() - self._gathered_since >= GATHER_SECONDS:
            self._write_gathered()

    def _write_gathered(self) -> None:
        if not self._gathered:
            return
        messages = list(self._gathered)
        try:
            rows = self.spool.append(messages)
        except SpoolError as error:
            self._tell_spool_fails(error)
            self._gathered_since = self._clock()
            return
        self.counts["spooled"] += len(rows)
        self._gathered.clear()
        self._gathered_bytes = 0
        self._drop(messages[len(rows) :], "spool_full")

    def _disk_waits(self) -> bool:
        """Is there something in the spool that is not on its way?"""
        return self.spool.count > len(self._rows_on_their_way)

    def _refill(self) -> None:
        """Send on what waits on disk, oldest first."""
        if not self._disk_waits() or not self._can_send():
            return
        try:
            stored = self.spool.after(self._cursor, REFILL)
        except SpoolError as error:
            self._tell_spool_fails(error)
            return
        for row, message in stored:
            if row not in self._rows_on_their_way and not self._produce(message, row):
                return
            self._cursor = row

    def _remove(self, delivered: Sequence[tuple[int, Message]]) -> None:
        try:
            self.spool.remove(delivered)
        except SpoolError as error:
            # They stay on disk and are sent a second time: at least once, as promised.
            self._tell_spool_fails(error)

    def _set_apart(self, message: Message, error: Exception, row: int | None) -> None:
        reason = f"{type(error).__name__}: {error}"
        log.error(
            "Kafka will never take a message: set apart",
            extra={"key": message.key, "bytes": len(message.value), "error": reason},
        )
        try:
            self.spool.set_apart(message, reason)
        except SpoolError as spool_error:
            self._tell_spool_fails(spool_error)
            self._drop([message], "refused_by_kafka")
        else:
            self.counts["apart"] += 1
        if row is not None:
            self._remove([(row, message)])

    def _drop(self, messages: Sequence[Message], reason: str) -> None:
        if messages:
            if self._clock() - self._dropped_at >= FULL_SECONDS:
                log.error("messages are dropped", extra={"reason": reason, "count": len(messages)})
            self._dropped_at = self._clock()
            self.counts[f"dropped:{reason}"] += len(messages)

    def _tell_spool_fails(self, error: SpoolError) -> None:
        log.error("spool fails: messages wait in memory", extra={"error": str(error), "waiting": len(self._gathered)})


def connect(hosts: str, topic: str, options: dict[str, Any]) -> KafkaProducer:
    """A producer that knows the topic, with Traptor's waits and batches and the user's options on top.

    Raises KafkaError where the broker does not answer.
    """
    producer = KafkaProducer(bootstrap_servers=hosts.split(","), **{**PRODUCER, **options})
    try:
        producer.partitions_for(topic)
    except KafkaError:
        producer.close(timeout=0)
        raise
    return producer


def unknown_options(options: dict[str, Any]) -> list[str]:
    """The names among these that the producer does not know."""
    return sorted(set(options) - set(KafkaProducer.DEFAULT_CONFIG))
