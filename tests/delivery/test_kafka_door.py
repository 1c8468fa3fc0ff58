"""The door: whatever Kafka and the disk do, every message is delivered or accounted for by name."""

import contextlib
import io
import logging
import shutil
import socket
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from kafka.errors import (
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    TopicAuthorizationFailedError,
)

from tests.servers import wait_until
from traptor.delivery import backlog, kafka_door, producers
from traptor.delivery.broker import Broker
from traptor.delivery.kafka_door import Kafka
from traptor.delivery.spool import Message, Spool, SpoolError
from traptor.delivery.standard_output import StandardOutput
from traptor.settings import SettingError

SLOW, GIVE_UP, GATHER = kafka_door.SLOW_SECONDS, kafka_door.GIVE_UP_SECONDS, backlog.GATHER_SECONDS


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


class Answer:
    """A future as kafka-python's."""

    def __init__(self, key: bytes | None) -> None:
        self.key = key
        self.is_done = False
        self.exception: BaseException | None = None

    def failed(self) -> bool:
        return self.exception is not None

    def get(self, timeout: float) -> None:
        raise KafkaTimeoutError("not in time")


class Producer:
    """One that is told what to answer. ``arrived`` is the broker's log, which outlives it."""

    def __init__(self, arrived: list[bytes | None]) -> None:
        self.arrived = arrived
        self.pending: deque[Answer] = deque()
        self.raises: Exception | None = None
        self.takes_at_flush = False
        self.is_cautious = False
        self.closed = False

    def send(self, topic: str, value: bytes, key: bytes | None) -> Answer:
        if self.raises:
            raise self.raises
        if len(value) > 1000:
            raise MessageSizeTooLargeError("too large")
        self.pending.append(Answer(key))
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

    def flush(self, timeout: float) -> None:
        if not self.takes_at_flush:
            raise KafkaTimeoutError("not in time")
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
        self.producers.append(Producer(self.arrived))
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
        return [message.key for _, message in self.spool.after(0, 10_000)]

    def close(self) -> None:
        self.is_up.set()
        self.door.close(kafka_door.CLOSING_SECONDS)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traptor.delivery.broker.RECONNECT_SECONDS", 0.0)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.assert_balanced()
    made.close()


def test_nothing_is_written_to_disk_while_all_is_well(rig: Rig) -> None:
    for number in range(100):
        rig.send(str(number))
        rig.passes(0.1)
        rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.counts["delivered"], rig.counts["spooled"], rig.door.waiting()) == (100, 0, 0)
    assert not rig.path.exists()


def test_each_acknowledged_message_is_told_once(tmp_path: Path) -> None:
    told: list[bytes | None] = []
    producer = Producer([])
    spool = Spool(tmp_path / "track-0.spool", 1000)
    door = Kafka(lambda: producer, spool, Counter(), lambda messages, now: told.extend(one.key for one in messages))
    door.producer = producer
    door.send([Message(b"1", b"", "traptor")])
    door.tick()
    assert told == []
    producer.acknowledge()
    door.tick()
    door.tick()
    assert told == [b"1"]
    door.close(1)


@pytest.mark.parametrize("is_answered, on_their_way, delivered", [(True, [b"2"], 1), (False, [b"1"], 0)])
def test_a_kafka_a_little_behind_is_waited_for(
    rig: Rig, is_answered: bool, on_their_way: list[bytes], delivered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_door, "WINDOW_BYTES", 1)
    rig.send("1")
    if is_answered:
        monkeypatch.setattr(rig.producer.pending[0], "get", lambda timeout: rig.producer.acknowledge())
    rig.send("2")
    assert ([answer.key for answer in rig.producer.pending], rig.counts["delivered"]) == (on_their_way, delivered)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_missing_checksum_extension_is_told(
    is_there: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(producers, "find_spec", lambda name: is_there or None)
    monkeypatch.setattr(producers, "KafkaProducer", lambda **options: MagicMock())
    producers.connect("localhost:9092", "traptor", {})
    assert ("crc32c is missing" in caplog.text) is not is_there


def test_before_there_is_a_broker_messages_wait_on_disk_in_order(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_up=False)
    rig.send("1", "2", "3")
    assert rig.door.is_down()
    rig.passes(GATHER)
    assert rig.waiting_keys() == [b"1", b"2", b"3"]
    rig.is_up.set()
    rig.wait_for_producer()
    rig.send("4")
    rig.passes(0.1)
    rig.passes(GATHER)
    rig.producer.acknowledge()
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert rig.arrived == [b"1", b"2", b"3", b"4"]
    assert not rig.path.exists()
    rig.assert_balanced()
    rig.close()


def test_options_that_make_no_producer_are_a_refusal(monkeypatch: Any) -> None:
    """But not once there has been a producer with them: then it is not their fault."""
    monkeypatch.setattr("traptor.delivery.broker.RECONNECT_SECONDS", 0.01)
    answers: list[Any] = [SettingError("lz9"), Producer([]), SettingError("lz9"), Producer([])]

    def connect() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    refused = Broker(connect, connect)
    refused.look()
    wait_until(lambda: refused.refusal is not None, "a refusal")
    other = Broker(connect, connect)
    other.look()
    wait_until(lambda: other.producer is not None, "a producer")
    other.give_up(cautiously=False)
    wait_until(lambda: other.producer is not None, "another producer")
    assert (other.refusal, answers) == (None, [])


def test_a_second_outage_is_as_good_as_the_first(rig: Rig) -> None:
    """The spool's file has gone in between, and a new one counts its rows anew."""
    for keys in (["1", "2", "3", "4"], ["5", "6"]):
        rig.send(keys[0])
        rig.passes(SLOW + 1)
        rig.send(*keys[1:])
        rig.passes(GATHER)
        for _ in range(3):
            rig.producer.acknowledge()
            rig.passes(0.1)
        assert rig.door.waiting() == 0
        assert not rig.path.exists()
    assert rig.arrived == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_what_is_not_acknowledged_in_time_is_on_disk_as_well(rig: Rig) -> None:
    rig.send("1", "2")
    rig.passes(SLOW / 2)
    assert rig.spool.count == 0
    rig.passes(SLOW)
    assert (rig.door.is_down(), rig.waiting_keys(), rig.door.waiting()) == (True, [b"1", b"2"], 2)
    rig.send("3")
    rig.passes(GATHER)
    assert rig.waiting_keys() == [b"1", b"2", b"3"]
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert not rig.door.is_down()
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.arrived, rig.door.waiting()) == ([b"1", b"2", b"3"], 0)


@pytest.mark.parametrize(
    "error", [KafkaTimeoutError("no answer"), NotEnoughReplicasError(), TopicAuthorizationFailedError()]
)
@pytest.mark.parametrize("seconds", [0.1, SLOW + 1])
def test_what_kafka_fails_to_take_is_sent_again_by_a_new_producer(rig: Rig, error: Exception, seconds: float) -> None:
    first = rig.producer
    rig.send("1", "2", "3")
    rig.passes(seconds)
    first.acknowledge(1)
    first.fail(error, 1)
    rig.passes(0.1)
    rig.assert_balanced()
    rig.wait_for_producer()
    assert first.closed
    for _ in range(3):
        rig.passes(0.1)
        rig.producer.acknowledge()
    rig.passes(0.1)
    assert rig.arrived == [b"1", b"2", b"3"]
    assert rig.counts["delivered"] == 3


@pytest.mark.parametrize("error", [IllegalStateError("closed"), KafkaTimeoutError("no metadata")])
def test_a_producer_that_takes_nothing_is_replaced(rig: Rig, error: Exception) -> None:
    rig.send("1")
    rig.producer.raises = error
    rig.send("2", "3")
    rig.assert_balanced()
    rig.wait_for_producer()
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert rig.arrived == [b"1", b"2", b"3"]


def test_a_producer_that_never_answers_is_replaced(rig: Rig) -> None:
    dead = rig.producer
    rig.send("1")
    rig.passes(GIVE_UP - 1)
    assert rig.door.producer is dead
    rig.passes(2)
    rig.wait_for_producer()
    assert rig.producer is not dead
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.arrived, rig.counts["delivered"]) == ([b"1"], 1)


@pytest.mark.parametrize("from_disk", [False, True])
def test_what_kafka_refuses_for_good_is_set_apart_and_blocks_nothing(tmp_path: Path, from_disk: bool) -> None:
    rig = Rig(tmp_path, is_up=not from_disk)
    rig.send("1")
    rig.send("2", text="x" * 2000)
    rig.send("3")
    rig.passes(GATHER)
    rig.is_up.set()
    rig.wait_for_producer()
    for _ in range(3):
        rig.passes(0.1)
        rig.producer.acknowledge()
    rig.passes(0.1)
    assert rig.arrived == [b"1", b"3"]
    assert (rig.counts["apart"], rig.door.waiting()) == (1, 0)
    (kept,) = rig.spool.kept()
    assert kept.message.key == b"2"
    assert kept.reason
    assert kept.reason.startswith("MessageSizeTooLargeError: ")
    rig.assert_balanced()
    rig.close()


def refused_alone(rig: Rig, *keys: str) -> None:
    """The broker refuses these; an idempotent producer then fails all that it has, a cautious one those alone."""
    for _ in range(5):
        rig.wait_for_producer()
        rig.passes(0.1)
        if rig.producer.is_cautious:
            for answer in rig.producer.pending:
                answer.exception = MessageSizeTooLargeError("too large") if answer.key.decode() in keys else None
        rig.producer.acknowledge()
        rig.passes(0.1)


@pytest.mark.parametrize("is_spooled", [False, True])
def test_what_the_broker_refuses_for_good_is_set_apart_alone(rig: Rig, is_spooled: bool) -> None:
    rig.send("1", "2", "3")
    if is_spooled:
        rig.passes(SLOW + 1)
    idempotent = rig.producer
    idempotent.acknowledge(1)
    idempotent.fail(MessageSizeTooLargeError("too large"))
    rig.passes(0.1)
    rig.wait_for_producer()
    assert rig.producer.is_cautious
    refused_alone(rig, "2")
    assert (rig.counts["delivered"], rig.counts["apart"], rig.door.waiting()) == (2, 1, 0)
    assert [kept.message.key for kept in rig.spool.kept()] == [b"2"]
    assert not rig.producer.is_cautious
    rig.send("4")
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert rig.counts["delivered"] == 3


def test_what_was_put_back_is_sent_again(rig: Rig) -> None:
    rig.send("1", text="x" * 2000)
    rig.passes(0.1)
    other = Spool(rig.path, 1 << 20)
    other.put_back()
    other.close()
    rig.passes(0.1)
    assert (rig.counts["apart"], rig.counts["taken_up"], rig.spool.apart) == (2, 1, 1)


def test_a_full_spool_drops_the_newest_and_says_so(tmp_path: Path) -> None:
    size_bytes = Message(b"1", b"coffee", "traptor").size_bytes()
    rig = Rig(tmp_path, max_bytes=3 * size_bytes, is_up=False)
    rig.send("1", "2", "3", "4", "5")
    rig.passes(GATHER)
    assert (rig.waiting_keys(), rig.counts["dropped:spool_full"]) == ([b"1", b"2", b"3"], 2)
    assert rig.door.is_full()
    rig.assert_balanced()
    rig.clock.passes(backlog.FULL_SECONDS + 1)
    assert not rig.door.is_full()
    rig.close()


def test_where_the_spool_cannot_be_written_messages_wait_in_memory(tmp_path: Path, monkeypatch: Any) -> None:
    size_bytes = Message(b"1", b"coffee", "traptor").size_bytes()
    monkeypatch.setattr(backlog, "MEMORY_BYTES", 3 * size_bytes)
    rig = Rig(tmp_path, is_up=False)
    rig.spool.path = Path("/dev/null/spool")
    rig.send("1", "2", "3", "4")
    rig.passes(GATHER)
    assert (rig.door.waiting(), rig.counts["dropped:memory_full"]) == (3, 1)
    rig.assert_balanced()
    rig.is_up.set()
    rig.wait_for_producer()
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert rig.arrived == [b"1", b"2", b"3"]
    rig.assert_balanced()
    rig.close()


def test_what_nobody_takes_at_the_end_is_told_as_lost(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.send("1")
    rig.spool.path = Path("/dev/null/spool")
    rig.door.close(kafka_door.CLOSING_SECONDS + 0.1)
    assert rig.counts["dropped:unsaved"] == 1
    rig.assert_balanced()


def test_a_damaged_spool_is_counted_and_always_told(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Also right after another failure."""
    rig.door._backlog._failed(SpoolError("disk full"))
    rig.path.write_bytes(b"no database at all")
    rig.door.take_up()
    assert rig.counts["spool_damaged_files"] == 1
    told = [record.error for record in caplog.records if record.message == "spool fails"]  # type: ignore[attr-defined]
    assert ["set aside" in text for text in told] == [False, True]


def test_rows_that_cannot_be_taken_out_hold_nothing_up(rig: Rig, monkeypatch: Any) -> None:
    """A full disk refuses deletions too."""
    rig.send("1")
    rig.passes(SLOW + 1)
    removing, failures = rig.spool.remove, []

    def refuse(stored: Any) -> None:
        failures.append(stored)
        raise SpoolError("disk full")

    monkeypatch.setattr(rig.spool, "remove", refuse)
    rig.producer.acknowledge()
    rig.passes(0.1)
    rig.send("2")
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.arrived, rig.door.waiting()) == ([b"1", b"2"], 0)
    assert failures
    monkeypatch.setattr(rig.spool, "remove", removing)
    rig.passes(0.1)
    assert not rig.path.exists()


@pytest.mark.parametrize("is_spooled", [False, True])
def test_a_deleted_tweet_is_not_sent_again(rig: Rig, is_spooled: bool) -> None:
    rig.send("1", "2")
    if is_spooled:
        rig.passes(SLOW + 1)
    rig.door.forget(b"1")
    rig.producer.fail(KafkaTimeoutError())
    rig.passes(0.1)
    rig.wait_for_producer()
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.arrived, rig.counts["dropped:deleted"]) == ([b"2"], 1)


def test_a_deleted_tweet_that_waits_is_dropped(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_up=False)
    rig.send("1", "2")
    rig.passes(GATHER)
    rig.send("3", "1")
    rig.door.forget(b"1")
    rig.door.forget(b"7")
    rig.passes(GATHER)
    assert (rig.waiting_keys(), rig.counts["dropped:deleted"]) == ([b"2", b"3"], 2)
    rig.assert_balanced()
    rig.close()


LOCATED = '{"id_str":"1","user":{"id_str":"9"},"geo":1}'


@pytest.mark.parametrize("seconds", [0.0, GATHER, SLOW + 1])
def test_a_location_taken_back_is_not_sent(tmp_path: Path, seconds: float) -> None:
    rig = Rig(tmp_path, is_up=seconds > SLOW)
    rig.send("1", text=LOCATED)
    rig.passes(seconds)
    rig.door.scrub("9", 5)
    if rig.producers:
        rig.producer.fail(KafkaTimeoutError())
    rig.passes(GATHER)
    ((_, message),) = rig.spool.after(0, 9)
    assert b'"geo":null' in message.value
    rig.assert_balanced()
    rig.close()


def test_closing_delivers_what_kafka_takes(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_up=False)
    rig.send(*map(str, range(1200)))
    rig.passes(GATHER)
    rig.is_up.set()
    rig.wait_for_producer()
    rig.producer.takes_at_flush = True
    rig.door.close(8)
    assert (len(rig.arrived), rig.door.waiting(), rig.producer.closed) == (1200, 0, True)
    assert not rig.path.exists()


def test_closing_keeps_what_kafka_does_not_take(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.send("1", "2")
    rig.door.close(1.5)
    assert (rig.door.waiting(), rig.counts["spooled"]) == (2, 2)
    rig.reopen()
    assert rig.counts["taken_up"] == 2
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert rig.arrived == [b"1", b"2"]
    rig.close()


def test_what_is_told_may_be_read_by_another_thread(rig: Rig) -> None:
    """The status is written while the main loop changes what it speaks of."""
    done = threading.Event()
    errors: list[Exception] = []

    def read() -> None:
        while not done.is_set():
            try:
                assert rig.door.waiting() >= 0
                assert rig.door.ack_lag_seconds() >= 0
                rig.door.is_down()
            except Exception as error:
                errors.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(3000):
        rig.send(str(number))
        rig.producer.acknowledge()
        rig.passes(0.001)
    done.set()
    reader.join()
    assert errors == []


@pytest.mark.parametrize("is_listening", [False, True])
def test_a_broker_that_is_away_leaves_no_sockets_behind(is_listening: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For hours, be it gone or frozen. A record of the log, which pytest keeps, would hold on to them."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    open_files: list[int] = []

    def connect() -> Any:
        open_files.append(len(list(Path("/proc/self/fd").iterdir())))
        return producers.connect("{}:{}".format(*listener.getsockname()), "traptor", {"bootstrap_timeout_ms": 50})

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if is_listening:
            listener.listen(1000)
        looking = Broker(connect, connect)
        looking.look()
        wait_until(lambda: len(open_files) >= 20, "20 tries", 30)
        looking.close(0)
    assert max(open_files[2:]) <= open_files[1] + 2


def test_standard_output_is_one_line_for_a_message() -> None:
    out, counts = io.BytesIO(), Counter[str]()
    door = StandardOutput(counts, out)
    for number in (b"1", b"2"):
        door.send([Message(number, b'{"id":' + number + b"}", "traptor")])
    door.forget(b"1")
    door.scrub("1", 2)
    door.tick()
    door.close(1)
    assert out.getvalue() == b'{"id":1}\n{"id":2}\n'
    assert (counts["delivered"], door.waiting()) == (2, 0)


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Whatever happens in whatever order, nothing is lost, and the account balances."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.number = 0
        self.in_memory_at_kill: set[bytes | None] = set()
        self.deleted_apart: set[bytes | None] = set()

    @initialize(is_up=st.booleans(), room=st.sampled_from([0, 500, 1 << 20]))
    def begin(self, is_up: bool, room: int) -> None:
        self.rig = Rig(self.folder, max_bytes=room, is_up=is_up)

    @rule(count=st.integers(1, 20), is_large=st.booleans())
    def send(self, count: int, is_large: bool) -> None:
        for _ in range(count):
            self.number += 1
            self.rig.send(str(self.number), text="x" * 2000 if is_large else "coffee")

    @rule(seconds=st.sampled_from([0.0, 0.1, GATHER, SLOW + 0.1, GIVE_UP + 1]))
    def time_passes(self, seconds: float) -> None:
        self.rig.passes(seconds)

    @property
    def producer(self) -> Producer:
        """One that nobody uses where there is none; a precondition would depend on how fast a thread is."""
        return self.rig.door.producer or Producer([])

    @rule(most=st.integers(1, 10))
    def acknowledge(self, most: int) -> None:
        self.producer.acknowledge(most)

    @rule(most=st.integers(1, 10), error=st.sampled_from([KafkaTimeoutError(), MessageSizeTooLargeError()]))
    def fail(self, most: int, error: Exception) -> None:
        self.producer.fail(error, most)

    @rule()
    def die(self) -> None:
        self.producer.raises = IllegalStateError("closed")

    @rule()
    def broker_goes(self) -> None:
        self.rig.is_up.clear()

    @rule()
    def broker_comes(self) -> None:
        self.rig.is_up.set()
        self.rig.wait_for_producer()

    @rule(is_failing=st.booleans())
    def disk(self, is_failing: bool) -> None:
        self.rig.spool.close()
        self.rig.spool.path = Path("/dev/null/spool") if is_failing else self.rig.path

    @rule()
    def put_back(self) -> None:
        if self.rig.path.exists():
            with contextlib.closing(Spool(self.rig.path, 1 << 20)) as other:
                other.put_back()
            self.rig.door.tick()

    @rule()
    def all_goes_well(self) -> None:
        for _ in range(4):
            self.rig.passes(0.1)
            self.producer.acknowledge()

    @rule(back=st.integers(0, 30))
    def forget(self, back: int) -> None:
        key = str(self.number - back).encode()
        self.deleted_apart |= {key} & self.apart()
        self.rig.door.forget(key)

    def apart(self) -> set[bytes | None]:
        """What can be seen of it: nothing while the disk fails, when nothing of it can be deleted either."""
        with contextlib.suppress(SpoolError):
            return {kept.message.key for kept in self.rig.spool.kept()} if self.rig.path.exists() else set()
        return set()

    @rule()
    def end_and_start_again(self) -> None:
        self.rig.door.close(kafka_door.CLOSING_SECONDS)
        self.rig.assert_balanced()
        self.start_again()

    @rule()
    def killed(self) -> None:
        """Only what was in memory alone may be missing."""
        door = self.rig.door
        self.in_memory_at_kill |= {sent.message.key for sent in door._window if sent.row is None}
        self.in_memory_at_kill |= {message.key for message in door._backlog._gathered}
        door._broker.stop_looking()
        self.rig.spool.close()
        self.start_again()

    def start_again(self) -> None:
        self.lost = getattr(self, "lost", Counter()) + self.rig.counts
        self.rig.reopen()

    @invariant()
    def balanced(self) -> None:
        if hasattr(self, "rig"):
            self.rig.assert_balanced()

    def teardown(self) -> None:
        """The broker is there again and takes everything: what is missing has a name."""
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        self.disk(is_failing=False)
        self.broker_comes()
        for _ in range(1000):
            rig.passes(backlog.FULL_SECONDS)
            rig.wait_for_producer()
            rig.producer.raises = None
            rig.producer.acknowledge()
            rig.door.tick()
            if not rig.door.waiting():
                break
        counts = rig.counts + getattr(self, "lost", Counter())
        told = self.apart() | self.deleted_apart | self.in_memory_at_kill
        missing = {message.key for message in rig.sent} - set(rig.arrived) - told
        named = sum(count for name, count in counts.items() if name.startswith("dropped:"))
        assert rig.door.waiting() == 0
        assert len(missing) <= named
        rig.close()
        shutil.rmtree(self.folder)


AnyOrderOfEvents.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfEvents: Callable[..., Any] = AnyOrderOfEvents.TestCase
