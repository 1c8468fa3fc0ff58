"""Out by one door: Kafka, with a spool behind it, or standard output.

Both doors have ``take_up``, ``send``, which waits a moment for the other side at most, ``tick``, which is called
often, and ``close``.
"""

import contextlib
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from typing import Any, BinaryIO, Protocol

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.net.compat import KafkaNetClient

from traptor import broker
from traptor.broker import Broker
from traptor.spool import Message, Spool, SpoolDamagedError, SpoolError
from traptor.window import Sent, Window

PRODUCER = {
    # Waits and batches as measured for load and for quiet: see bench/.
    "linger_ms": 25,
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
WINDOW_BYTES = 16 << 20
"""What may be on its way to Kafka without an acknowledgement."""
SLOW_SECONDS = 1.0
"""A message without acknowledgement for so long goes to the spool as well, so that a killed process keeps it."""
GIVE_UP_SECONDS = 60.0
"""A producer that leaves a message unanswered for so long, twice its own time-out, is broken."""
ROOM_SECONDS = 0.1
"""How long to wait for Kafka to acknowledge something when it is a little behind."""
GATHER_SECONDS = 0.5
"""How long messages that Kafka does not take may wait in memory before they are written to the spool."""
MEMORY_BYTES = 64 << 20
"""What may wait in memory where the spool cannot be written."""
CLOSING_SECONDS = 1.0
"""What writing the spool and closing the producer may take of the time to stop."""
FULL_SECONDS = 10.0
"""Told at most so often that messages are dropped or that the spool fails, and for so long after the last drop."""
BATCH = 500
"""Messages written to the spool or read from it at a time."""

NEVER_TAKEN = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidRecordError,
    InvalidTimestampError,
    ValueError,
    TypeError,
)
"""What is wrong with the message itself, not with Kafka."""
CAUTIOUS = {"enable_idempotence": False, "batch_size": 0, "linger_ms": 0}
"""For a producer that answers for each message by itself.

An idempotent one of kafka-python refuses everything, for the same reason, from the first message on that a broker
refuses; and of a batch it does not say which message is to blame.
"""

log = logging.getLogger(__name__)


class Door(Protocol):
    """Where messages go."""

    def take_up(self) -> None: ...

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
        self._out = out

    def take_up(self) -> None:
        """Nothing waits here."""

    def send(self, message: Message) -> None:
        out = self._out or sys.stdout.buffer
        # A line feed inside JSON is white space; a line is a message.
        try:
            out.write(message.value.replace(b"\n", b" ") + b"\n")
            out.flush()
        except OSError:
            self.counts["dropped:not_written"] += 1
            raise
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


class Kafka:
    """Kafka, and the spool for what it does not take or acknowledge.

    ``connect`` makes a producer or raises KafkaError; it is called by a thread of its own until it succeeds, so the
    caller never waits for a broker that is away. ``counts`` gets taken_up, delivered, spooled, apart and
    dropped:REASON. ``acknowledged`` is called with each message that Kafka has acknowledged, and the time.
    ``connect_cautiously`` makes a producer that answers for each message by itself: see CAUTIOUS.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        spool: Spool,
        counts: Counter[str],
        acknowledged: Callable[[Message, float], None] | None = None,
        *,
        connect_cautiously: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spool = spool
        self.counts = counts
        self._acknowledged = acknowledged
        self._clock = clock
        self._broker = Broker(connect, connect_cautiously or connect)
        self._suspects = 0
        """Messages that were refused together, and are to be answered for one by one."""
        self._is_slow = False
        """Kafka does not acknowledge what it was told."""
        self._window = Window()
        self._gathered: deque[Message] = deque()
        """What Kafka does not take now and the spool does not have yet."""
        self._gathered_bytes = 0
        self._gathered_since = 0.0
        self._cursor = 0
        """Up to this row, everything in the spool is on its way or finished."""
        self._finished: dict[int, Message] = {}
        """Rows of the spool that need not wait any more, and are still to be taken out."""
        self._dropped_at = self._spool_failed_at = -FULL_SECONDS

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
        with self._spool_may_fail():
            self.spool.open_if_there()
            self._take_up_what_is_found()

    def waiting(self) -> int:
        """Messages that Kafka has not acknowledged, in memory and on disk."""
        return self._window.unspooled + len(self._gathered) + self.spool.count - len(self._finished)

    def ack_lag_seconds(self) -> float:
        """The age of the oldest message on its way."""
        return max(0.0, self._window.oldest_seconds(self._clock()))

    def is_down(self) -> bool:
        """Does Kafka not take or not acknowledge what it is given?"""
        return self._is_slow or (self.producer is None and self.waiting() > 0)

    def is_full(self) -> bool:
        """Are messages being dropped, for want of room?"""
        return self._clock() - self._dropped_at < FULL_SECONDS

    def send(self, message: Message) -> None:
        """Take a message. It goes to Kafka at once if nothing older waits, or else after what does."""
        if self._window.size_bytes >= WINDOW_BYTES and not self._is_slow:
            self._wait_for_room()
        if self._gathered or self._disk_waits() or not self._can_send() or not self._produce(message):
            self._gather(message)

    def _wait_for_room(self) -> None:
        """The stream is read by a thread of its own meanwhile."""
        with contextlib.suppress(KafkaError):
            next(iter(self._window)).future.get(timeout=ROOM_SECONDS)
        self._settle()

    def forget(self, key: bytes) -> None:
        """Its author deleted it: what still waits is dropped, and what is on its way is not sent again."""
        self._gathered, before = deque(message for message in self._gathered if message.key != key), self._gathered
        self._gathered_bytes = sum(message.size_bytes() for message in self._gathered)
        dropped = len(before) - len(self._gathered)
        for sent in self._window:
            sent.is_deleted |= sent.message.key == key
        with self._spool_may_fail():
            dropped += self.spool.forget(key, self._window.rows | self._finished.keys())
        self.counts["dropped:deleted"] += dropped

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Its author took the location back: what still waits, or may be sent again, loses it."""
        self._gathered = deque(message.without_location(user_id, up_to_id) for message in self._gathered)
        self._gathered_bytes = sum(message.size_bytes() for message in self._gathered)
        for sent in self._window:
            sent.message = sent.message.without_location(user_id, up_to_id)
        with self._spool_may_fail():
            self.spool.scrub(user_id, up_to_id)

    def tick(self) -> None:
        """Settle what Kafka has answered, and move what waits. Called several times a second."""
        self._settle()
        self._spool_slow()
        self._take_up_what_is_found()
        self._refill()
        self._pass_gathered_on()

    def close(self, timeout_seconds: float) -> None:
        """Deliver what can be delivered in this time; the rest is in the spool."""
        deadline = self._clock() + timeout_seconds - CLOSING_SECONDS
        self._broker.stop_looking()
        self._deliver_until(deadline)
        self._to_spool([sent for sent in self._window if sent.row is None])
        self._write_gathered()
        self._drop_unsaved()
        self._broker.close(CLOSING_SECONDS / 2)
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

    def _drop_unsaved(self) -> None:
        """What neither Kafka nor the spool has taken ends with the process."""
        unsaved = [*(sent.message for sent in self._window.take_all() if sent.row is None), *self._gathered]
        self._gathered.clear()
        self._drop(unsaved, "unsaved")

    # To Kafka and back

    def _can_send(self) -> bool:
        is_taking = self.producer is not None and not self._is_trial_over()
        return is_taking and not self._is_slow and self._window.size_bytes < WINDOW_BYTES

    def _is_trial_over(self) -> bool:
        """Has every suspect been answered for? Then it is time for a fast producer again."""
        return self._broker.is_cautious and not self._suspects

    def _produce(self, message: Message, row: int | None = None) -> bool:
        """Hand a message to the producer. False: Kafka takes nothing now, and the caller keeps the message."""
        try:
            future = self.producer.send(message.topic, value=message.value, key=message.key)
        except NEVER_TAKEN as error:
            self._set_apart(message, error, row)
        except KafkaError as error:
            self._give_up([], error)
            return False
        else:
            self._window.add(Sent(message, future, self._clock(), row))
        return True

    def _settle(self) -> None:
        """Look at the oldest messages on their way, for as long as they are answered."""
        failed: list[Sent] = []
        now = time.time()
        for sent in self._window.take_answered():
            if not sent.future.failed():
                self._delivered(sent, now)
            elif self._broker.is_cautious and isinstance(sent.future.exception, NEVER_TAKEN):
                self._set_apart(sent.message, sent.future.exception, sent.row)
            else:
                failed.append(sent)
                continue
            self._suspects -= self._suspects > 0
        if failed:
            errors = [sent.future.exception for sent in failed]
            self._give_up(failed, next((error for error in errors if isinstance(error, NEVER_TAKEN)), errors[0]))
        elif self.ack_lag_seconds() > GIVE_UP_SECONDS:
            self._give_up([], TimeoutError(f"no answer for {GIVE_UP_SECONDS:g} s"))
        elif self._is_trial_over() and not self._window:
            self._give_up([], None)
        self._take_out_finished()
        self._tell_if_slow()

    def _delivered(self, sent: Sent, now: float) -> None:
        self.counts["delivered"] += 1
        if sent.row is not None:
            self._finished[sent.row] = sent.message
        if self._acknowledged:
            self._acknowledged(sent.message, now)

    def _give_up(self, failed: Sequence[Sent], error: BaseException | None) -> None:
        """Take back what was on its way, to be sent again by a new producer; None where nothing is wrong any more."""
        if error is not None:
            log.warning("Kafka fails: its producer is replaced", extra={"error": f"{type(error).__name__}: {error}"})
        again = [*failed, *self._window.take_all()]
        if isinstance(error, NEVER_TAKEN):
            self._suspects = len(again)
        self._cursor = 0
        self._is_slow = False
        for sent in again:
            if sent.is_deleted:
                self._drop_deleted(sent)
        self._gather_in_front([sent.message for sent in again if sent.row is None and not sent.is_deleted])
        self._broker.give_up(cautiously=self._suspects > 0)

    def _drop_deleted(self, sent: Sent) -> None:
        self.counts["dropped:deleted"] += 1
        if sent.row is not None:
            self._finished[sent.row] = sent.message

    def _set_apart(self, message: Message, error: Exception, row: int | None) -> None:
        reason = f"{type(error).__name__}: {error}"
        log.error(
            "Kafka will never take a message: set apart",
            extra={"key": message.key, "bytes": len(message.value), "error": reason},
        )
        try:
            self.spool.set_apart(message, reason, row)
        except SpoolError as spool_error:
            if row is not None:
                self._finished[row] = message
            self._spool_failed(spool_error)
            self._drop([message], "refused_by_kafka")
        else:
            self.counts["apart"] += 1

    def _tell_if_slow(self) -> None:
        is_slow = self.ack_lag_seconds() > SLOW_SECONDS
        if is_slow and not self._is_slow:
            log.warning("Kafka does not acknowledge: tweets wait in the spool", extra={"waiting": self.waiting()})
        if self._is_slow and not is_slow:
            log.info("Kafka acknowledges again", extra={"waiting": self.waiting()})
        self._is_slow = is_slow

    # What waits

    def _gather(self, message: Message) -> None:
        if not self._gathered:
            self._gathered_since = self._clock()
        if self._gathered_bytes + message.size_bytes() > MEMORY_BYTES:
            self._drop([message], "memory_full")
            return
        self._gathered.append(message)
        self._gathered_bytes += message.size_bytes()

    def _gather_in_front(self, messages: Sequence[Message]) -> None:
        """These are older than what has been gathered since."""
        self._gathered.extendleft(reversed(messages))
        self._gathered_bytes += sum(message.size_bytes() for message in messages)
        self._gathered_since = -GATHER_SECONDS  # they have waited long enough

    def _pass_gathered_on(self) -> None:
        """To Kafka if nothing older waits on disk; else, or if that takes too long, to the spool."""
        while self._gathered and not self._disk_waits() and self._can_send() and self._produce(self._gathered[0]):
            self._gathered_bytes -= self._gathered.popleft().size_bytes()
        if self._gathered and self._clock() - self._gathered_since >= GATHER_SECONDS:
            self._write_gathered()

    def _write_gathered(self) -> None:
        self._gathered_since = self._clock()
        with self._spool_may_fail():
            while self._gathered:
                batch = list(islice(self._gathered, BATCH))
                rows = self.spool.append(batch)
                self.counts["spooled"] += len(rows)
                self._drop(batch[len(rows) :], "spool_full")
                for message in batch:
                    self._gathered.popleft()
                    self._gathered_bytes -= message.size_bytes()

    def _spool_slow(self) -> None:
        """What has been on its way for long goes to disk too, in case this process is killed."""
        if self._is_slow:
            oldest = self._clock() - SLOW_SECONDS / 2
            self._to_spool([sent for sent in self._window if sent.row is None and sent.since < oldest])

    def _to_spool(self, slow: Sequence[Sent]) -> None:
        with self._spool_may_fail():
            rows = self.spool.append([sent.message for sent in slow])
            for sent, row in zip(slow, rows, strict=False):
                self._window.spooled(sent, row)
            self.counts["spooled"] += len(rows)

    def _disk_waits(self) -> bool:
        """Is there something in the spool that is neither on its way nor finished?"""
        return self.spool.count > len(self._window.rows) + len(self._finished)

    def _refill(self) -> None:
        """Send on what waits on disk, oldest first."""
        if not self._disk_waits() or not self._can_send():
            return
        stored: Iterable[tuple[int, Message]] = ()
        with self._spool_may_fail():
            stored = self.spool.after(self._cursor, BATCH)
        for row, message in stored:
            is_new = row not in self._window.rows and row not in self._finished
            if is_new and not self._produce(message, row):
                return
            self._cursor = row

    def _take_up_what_is_found(self) -> None:
        """An earlier run has left messages, or a person has let some wait again that were set apart."""
        with self._spool_may_fail():
            if found := self.spool.found():
                self.counts["taken_up"] += found
                log.info("spool taken up", extra={"messages": found, "bytes": self.spool.size_bytes})

    def _take_out_finished(self) -> None:
        if self._finished:
            # Where that fails they stay, are not sent again by this run, and are tried the next time.
            with self._spool_may_fail():
                self.spool.remove(self._finished)
                self._finished.clear()

    @contextlib.contextmanager
    def _spool_may_fail(self) -> Iterator[None]:
        try:
            yield
        except SpoolError as error:
            self._spool_failed(error)

    def _spool_failed(self, error: SpoolError) -> None:
        if isinstance(error, SpoolDamagedError):
            self.counts["dropped:spool_damaged"] += error.lost - len(self._window.rows) - len(self._finished)
            self._window.unspool()
            self._finished.clear()
            self._cursor = 0
        if self._clock() - self._spool_failed_at >= FULL_SECONDS:
            self._spool_failed_at = self._clock()
            log.error("spool fails", extra={"error": str(error), "waiting_in_memory": len(self._gathered)})

    def _drop(self, messages: Sequence[Message], reason: str) -> None:
        if messages:
            if not self.is_full():
                log.error("messages are dropped", extra={"reason": reason, "count": len(messages)})
            self._dropped_at = self._clock()
            self.counts[f"dropped:{reason}"] += len(messages)


def connect(hosts: str, topic: str, options: dict[str, Any], *more_topics: str) -> KafkaProducer:
    """A producer that knows the topics, with Traptor's waits and batches and the user's options on top.

    Raises KafkaError where the broker does not answer or does not have a topic.
    """
    if find_spec("crc32c") is None:
        log.warning(
            "crc32c is missing: each tweet costs several times the CPU time; pip install 'kafka-python[crc32c]' helps"
        )
    clients: list[KafkaNetClient] = []

    def make_client(**arguments: Any) -> KafkaNetClient:
        clients.append(KafkaNetClient(**arguments))
        return clients[-1]

    try:
        producer = KafkaProducer(
            bootstrap_servers=hosts.split(","), kafka_client=make_client, **{**PRODUCER, **options}
        )
    except BaseException:
        # kafka-python does not close its own where no broker answers.
        for client in clients:
            client.close()
        raise
    try:
        for name in (topic, *more_topics):
            producer.partitions_for(name)
    except BaseException:
        broker.close(producer, 0.0)
        raise
    return producer


_OUR_OWN = {"bootstrap_servers", "kafka_client"}


def give_up_writing(*_: object) -> None:
    """For SIGALRM: end a write to standard output that nobody reads."""
    raise BrokenPipeError("nobody reads our standard output")


def unknown_options(options: dict[str, Any]) -> list[str]:
    """The names among these that the producer does not know."""
    return sorted(set(options) - (set(KafkaProducer.DEFAULT_CONFIG) - _OUR_OWN))
