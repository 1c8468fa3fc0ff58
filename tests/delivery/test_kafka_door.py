"""The door: whatever Kafka and the disk do, every message is delivered or accounted for by name."""

import contextlib
import gc
import io
import logging
import socket
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from kafka.errors import (
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    TopicAuthorizationFailedError,
)

from tests.delivery.rig import Producer, Rig
from tests.servers import wait_until
from traptor.delivery import backlog, kafka_door, lane, producers, route
from traptor.delivery.broker import Broker
from traptor.delivery.door import Trouble
from traptor.delivery.kafka_door import Kafka
from traptor.delivery.spool import Message, Spool, SpoolError
from traptor.delivery.standard_output import StandardOutput
from traptor.settings import SettingError

SLOW, GIVE_UP, GATHER = lane.SLOW_SECONDS, route.GIVE_UP_SECONDS, backlog.GATHER_SECONDS
RETRY = kafka_door.RETRY_SECONDS

pytestmark = pytest.mark.usefixtures("hurry")


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
    tmp_path: Path, is_answered: bool, on_their_way: list[bytes], delivered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "FIRST_BYTES", 1)
    rig = Rig(tmp_path)
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

    refused = Broker("traptor", connect, connect)
    refused.look()
    wait_until(lambda: refused.refusal is not None, "a refusal")
    other = Broker("traptor", connect, connect)
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


@pytest.mark.parametrize("seconds", [0.1, SLOW + 1])
@pytest.mark.parametrize(
    "error, is_replaced, arrived",
    [
        (KafkaTimeoutError("no answer"), False, [b"1", b"3", b"2"]),
        (NotEnoughReplicasError(), False, [b"1", b"3", b"2"]),
        (TopicAuthorizationFailedError(), True, [b"1", b"2", b"3"]),
        (IllegalStateError("closed"), True, [b"1", b"2", b"3"]),
    ],
)
def test_what_kafka_fails_to_take_is_sent_again(
    rig: Rig, error: Exception, is_replaced: bool, arrived: list[bytes], seconds: float
) -> None:
    """By the same producer, where that may pass; what it still has on its way is not taken from it."""
    first = rig.producer
    rig.send("1", "2", "3")
    rig.passes(seconds)
    first.acknowledge(1)
    first.fail(error, 1)
    rig.passes(0.1)
    rig.assert_balanced()
    rig.wait_for_producer()
    assert first.closed == is_replaced
    for _ in range(3):
        rig.producer.acknowledge()
        rig.passes(RETRY)
    assert (rig.arrived, rig.counts["delivered"]) == (arrived, 3)


def test_a_younger_message_of_the_same_key_does_not_overtake_one_that_came_back(rig: Rig) -> None:
    rig.send("1", text="older")
    rig.producer.fail(KafkaTimeoutError("no answer"))
    rig.passes(0.1)
    rig.send("1", text="younger")
    assert not rig.producer.pending
    rig.passes(RETRY)
    assert [answer.value for answer in rig.producer.pending] == [b"older", b"younger"]


@pytest.mark.parametrize(
    "error, is_replaced", [(IllegalStateError("closed"), True), (KafkaTimeoutError("no metadata"), False)]
)
def test_a_producer_that_takes_nothing_is_asked_again_or_replaced(
    rig: Rig, error: Exception, is_replaced: bool
) -> None:
    first = rig.producer
    rig.send("1")
    rig.producer.raises = error
    rig.send("2", "3")
    rig.assert_balanced()
    rig.wait_for_producer()
    first.raises = None
    for _ in range(3):
        rig.passes(RETRY)
        rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.arrived, first.closed) == ([b"1", b"2", b"3"], is_replaced)


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
@pytest.mark.parametrize(
    "error", [MessageSizeTooLargeError("too large"), KafkaError("another of its batch is invalid")]
)
def test_what_the_broker_refuses_for_good_is_set_apart_alone(rig: Rig, error: KafkaError, is_spooled: bool) -> None:
    rig.send("1", "2", "3")
    if is_spooled:
        rig.passes(SLOW + 1)
    idempotent = rig.producer
    idempotent.acknowledge(1)
    idempotent.fail(error)
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


def test_what_is_put_back_just_before_others_are_written_is_sent(rig: Rig) -> None:
    rig.send("1", text="x" * 2000)
    rig.passes(0.1)
    rig.producer.raises = KafkaTimeoutError("no metadata")
    rig.send("2", "3")
    rig.clock.passes(GATHER)
    with contextlib.closing(Spool(rig.path, 1 << 20)) as other:
        other.put_back()
    rig.door._backlog.save_old()
    assert rig.counts["spooled"] == 1
    rig.producer.raises = None
    rig.passes(RETRY)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.arrived, rig.counts["apart"], rig.door.waiting()) == ([b"2", b"3"], 2, 0)


def test_a_full_spool_drops_the_newest_and_says_so(tmp_path: Path) -> None:
    size_bytes = Message(b"1", b"coffee", "traptor").size_bytes()
    rig = Rig(tmp_path, max_bytes=3 * size_bytes, is_up=False)
    rig.send("1", "2", "3", "4", "5")
    rig.passes(GATHER)
    assert (rig.waiting_keys(), rig.counts["dropped:spool_full"]) == ([b"1", b"2", b"3"], 2)
    assert Trouble.SPOOL_FULL in rig.door.troubles()
    rig.assert_balanced()
    rig.clock.passes(backlog.FULL_SECONDS + 1)
    assert Trouble.SPOOL_FULL not in rig.door.troubles()
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


def test_what_nobody_takes_at_the_end_is_told_as_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(tmp_path)
    rig.send("1")
    rig.spool.path = Path("/dev/null/spool")
    rig.door.close(kafka_door.CLOSING_SECONDS + 0.1)
    assert rig.counts["dropped:unsaved"] == 1
    told = caplog.records[-1]
    assert (told.message, told.count, told.see_to) == ("messages are dropped", 1, "SPOOL_DIR")
    assert told.spool == "/dev/null/spool"
    rig.assert_balanced()


def test_a_damaged_spool_is_counted_and_always_told(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Also right after another failure."""
    rig.door._backlog._failed(SpoolError("disk full"))
    rig.path.write_bytes(b"no database at all")
    rig.door.take_up()
    assert rig.counts["spool_damaged_files"] == 1
    told = [record.error for record in caplog.records if record.message == "spool fails"]  # type: ignore[attr-defined]
    assert ["set aside" in text for text in told] == [False, True]


def test_rows_that_cannot_be_taken_out_hold_nothing_up(rig: Rig) -> None:
    """A full disk, or another program, refuses deletions too; what is there can be read and goes out."""
    rig.is_up.clear()
    rig.producer.raises = IllegalStateError("closed")
    rig.send(*map(str, range(20)))
    rig.passes(GATHER)
    other = sqlite3.connect(rig.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    rig.is_up.set()
    rig.wait_for_producer()
    for number in range(15):
        rig.passes(0.1)
        rig.producer.acknowledge(10)
        if number == 1:
            rig.send("20")
    assert (len(rig.arrived), rig.door.waiting()) == (21, 0)
    assert "locked" in rig.door.troubles()[Trouble.SPOOL_FAILS]
    other.execute("ROLLBACK")
    other.close()
    rig.passes(0.1)
    assert not rig.path.exists()
    rig.passes(backlog.FULL_SECONDS)
    assert Trouble.SPOOL_FAILS not in rig.door.troubles()


@pytest.mark.parametrize("is_spooled", [False, True])
def test_a_deleted_tweet_is_not_sent_again(rig: Rig, is_spooled: bool) -> None:
    rig.send("1", "2")
    if is_spooled:
        rig.passes(SLOW + 1)
    rig.door.forget(b"1")
    rig.producer.fail(KafkaTimeoutError())
    rig.passes(0.1)
    rig.passes(RETRY)
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
    (kept,) = rig.spool.kept()
    assert b'"geo":null' in kept.message.value
    rig.assert_balanced()
    rig.close()


INSIDE = '{"id_str":"3","user":{"id_str":"8"},"%s":{"id_str":"1","user":{"id_str":"9"},"geo":1}}'


@pytest.mark.parametrize("seconds", [0.0, GATHER, SLOW + 1])
@pytest.mark.parametrize(
    "how, is_deleted, left",
    [
        ("retweeted_status", True, None),
        ("quoted_status", True, '{"id_str":"3","user":{"id_str":"8"}}'),
        ("retweeted_status", False, INSIDE.replace('"geo":1', '"geo":null,"coordinates":null,"place":null')),
        ("quoted_status", False, INSIDE.replace('"geo":1', '"geo":null,"coordinates":null,"place":null')),
    ],
)
def test_what_is_taken_back_goes_out_in_no_other_tweet(
    tmp_path: Path, how: str, is_deleted: bool, left: str | None, seconds: float
) -> None:
    """Be it in memory, on disk, or on its way and sent again."""
    rig = Rig(tmp_path, is_up=seconds > SLOW)
    rig.send("3", text=INSIDE % how)
    rig.passes(seconds)
    if is_deleted:
        rig.door.forget(b"1")
    else:
        rig.door.scrub("9", 5)
    rig.is_up.set()
    rig.wait_for_producer()
    if rig.producer.pending:
        rig.producer.fail(KafkaTimeoutError())
    rig.passes(RETRY)
    rig.passes(RETRY)
    sent = [answer.value.decode() for answer in rig.producer.pending]
    assert sent == ([left % how if "%s" in left else left] if left else [])
    assert rig.counts["dropped:deleted"] == (left is None)
    rig.assert_balanced()
    rig.close()


def test_what_is_set_apart_is_taken_back_too(rig: Rig) -> None:
    rig.send("3", text=INSIDE % "quoted_status" + " " * 2000)
    rig.send("1", text="x" * 2000)
    rig.passes(0.1)
    rig.door.forget(b"1")
    rig.passes(0.1)
    (kept,) = rig.spool.kept()
    assert kept.message.value == b'{"id_str":"3","user":{"id_str":"8"}}'


def test_a_file_taken_from_under_us_is_told_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_up=False)
    rig.send("1", "2", "3")
    rig.passes(GATHER)
    rig.path.unlink()
    rig.passes(0.1)
    assert (rig.counts["dropped:spool_lost"], rig.door.waiting()) == (3, 0)
    assert "deleted by another program" in rig.door.troubles()[Trouble.SPOOL_FAILS]
    rig.send("4")
    rig.passes(GATHER)
    assert rig.waiting_keys() == [b"4"]
    rig.assert_balanced()
    rig.close()


def test_an_older_state_of_the_file_sends_nothing_twice_that_is_on_its_way(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.send("1", "2")
    rig.passes(SLOW + 1)
    older = tmp_path / "older"
    with contextlib.closing(sqlite3.connect(rig.path)) as db, contextlib.closing(sqlite3.connect(older)) as copy:
        db.backup(copy)
    rig.send("3")
    rig.passes(GATHER)
    assert rig.spool.count == 3
    older.replace(rig.path)
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.arrived, rig.door.waiting()) == ([b"1", b"2"], 0)
    assert (rig.counts["dropped:spool_lost"], rig.counts["taken_up"]) == (3, 2)
    rig.assert_balanced()
    rig.close()


@pytest.mark.parametrize("seconds", [0.0, SLOW + 1])
def test_what_is_taken_back_at_the_very_end_is_not_in_the_spool(rig: Rig, seconds: float) -> None:
    rig.send("1", "2")
    rig.passes(seconds)
    rig.door.forget(b"1")
    rig.door.close(kafka_door.CLOSING_SECONDS)
    assert (rig.waiting_keys(), rig.counts["dropped:deleted"]) == ([b"2"], 1)
    rig.assert_balanced()


def test_closing_delivers_what_kafka_takes(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_up=False)
    rig.send(*map(str, range(1200)))
    rig.passes(GATHER)
    rig.is_up.set()
    rig.wait_for_producer()
    rig.producer.takes_when_waited_for = True
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


@pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
@pytest.mark.parametrize("is_listening", [False, True])
def test_a_broker_that_is_away_leaves_no_sockets_behind(is_listening: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For hours, be it gone or frozen. A record of the log, which pytest keeps, would hold on to them."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    before, open_files = threading.active_count(), list[int]()

    def connect() -> Any:
        open_files.append(len(list(Path("/proc/self/fd").iterdir())))
        return producers.connect("{}:{}".format(*listener.getsockname()), "traptor", {"bootstrap_timeout_ms": 50})

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if is_listening:
            listener.listen(1000)
        looking = Broker("traptor", connect, connect)
        looking.look()
        wait_until(lambda: len(open_files) >= 10, "10 tries")
        looking.close(0)
        wait_until(lambda: threading.active_count() <= before, "the end of the thread")
    gc.collect()
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
