"""What the door waits for, and how long: for room in a lane, and at the end."""

import logging
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from kafka.errors import IllegalStateError, KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from tests.delivery.rig import Producer, Rig
from tests.servers import wait_until
from traptor.delivery import backlog, broker, kafka_door, route
from traptor.delivery.kafka_door import CLOSING_SECONDS, RETRY_SECONDS, ROOM_SECONDS, Kafka
from traptor.delivery.lane import SLOW_SECONDS
from traptor.delivery.message import Message
from traptor.delivery.spool import Spool

SIZE = Message(b"1", b"coffee", "traptor").size_bytes()


pytestmark = pytest.mark.usefixtures("hurry")


def on_way(rig: Rig) -> list[bytes | None]:
    return [answer.key for answer in rig.producer.pending]


# Producers


def test_each_topic_has_a_producer_of_its_own(rig: Rig) -> None:
    first = rig.producer
    rig.door.send([Message(b"1", b"{}", "notices")])
    rig.counts["received:tweet"] += 1
    wait_until(lambda: len(rig.producers) == 2, "another producer", 10)
    assert (list(first.pending), first.closed) == ([], False)


@pytest.mark.parametrize("is_given", [True, False])
def test_nobody_is_looked_for_before_the_door_is_open_nor_beside_one_that_is_given(
    tmp_path: Path, is_given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker.Broker, "look", lambda self: looked_for.append(self.topic))
    looked_for: list[str] = []
    door = Kafka(Mock(), Spool(tmp_path / "track-0.spool", 1000), Counter())
    if is_given:
        door.producer = Producer([])
        door.open()
    door.send([Message(b"1", b"{}", "notices")])
    assert looked_for == (["traptor"] if is_given else [])
    door.close(CLOSING_SECONDS)


def test_what_nobody_waits_for_is_not_down(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_up=False)
    assert not rig.door.is_down()
    rig.send("1")
    assert rig.door.is_down()
    rig.passes(backlog.GATHER_SECONDS)
    rig.door.forget(b"1")
    rig.door._backlog.tidy()
    assert (rig.door.waiting(), rig.door.is_down()) == (0, False)
    rig.close()


# Room


def test_a_portion_waits_for_room_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "FIRST_BYTES", 1)
    rig = Rig(tmp_path)
    before = rig.clock.now
    rig.door.send([Message(b"%d" % number, b"coffee", "traptor") for number in range(4)])
    assert (on_way(rig), rig.clock.now - before) == ([b"0"], pytest.approx(ROOM_SECONDS))
    assert rig.door.waiting() == 4
    rig.close()


def test_a_lane_in_which_nothing_moves_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "FIRST_BYTES", 1)
    rig = Rig(tmp_path)
    rig.send("1")
    rig.clock.passes(60.0)
    before = rig.clock.now
    rig.send("2")
    assert (on_way(rig), rig.clock.now) == ([b"1"], before)
    rig.close()


def test_where_an_answer_has_made_room_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "FIRST_BYTES", SIZE + 1)
    rig = Rig(tmp_path)
    rig.send("1", "2")
    rig.producer.acknowledge(1)
    before = rig.clock.now
    rig.send("3")
    assert (on_way(rig), rig.clock.now) == ([b"2", b"3"], before)
    rig.close()


def test_what_is_waited_for_is_not_what_has_been_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "FIRST_BYTES", SIZE + 1)
    rig = Rig(tmp_path)
    rig.send("1")
    rig.send("2", text="x" * 999)
    monkeypatch.setattr(rig.producer.pending[1], "get", lambda timeout: rig.producer.acknowledge())
    rig.producer.acknowledge(1)
    rig.send("3")
    assert (on_way(rig), rig.arrived) == ([b"3"], [b"1", b"2"])
    rig.close()


# What waits, turn by turn


def test_a_turn_sends_a_share_of_each_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_door, "TURN_MESSAGES", 1)
    rig = Rig(tmp_path, is_up=False)
    rig.send("1", "2", "3")
    rig.door.tick()
    rig.is_up.set()
    rig.wait_for_producer()
    for sent in ([b"1"], [b"1", b"2"], [b"1", b"2", b"3"]):
        rig.door.tick()
        assert on_way(rig) == sent
    rig.close()


def test_what_waits_gets_less_however_much_comes_between_two_turns(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_up=False)
    rig.send("1", "2", "3")
    rig.is_up.set()
    rig.wait_for_producer()
    for came, sent in (("4", 2), ("5", 4), ("6", 6), ("7", 7)):
        rig.send(came)
        assert on_way(rig) == [str(number).encode() for number in range(1, sent + 1)]
    rig.close()


@pytest.mark.parametrize("came, sent", [(0, 3), (1, 2), (2, 0), (3, 0)])
def test_a_turn_sends_less_the_more_has_come_since_the_last_one(
    came: int, sent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream would be read too slowly, and Twitter end it."""
    monkeypatch.setattr(kafka_door, "TURN_MESSAGES", 7)
    monkeypatch.setattr(kafka_door, "SENT_PER_LATE", 0)
    rig = Rig(tmp_path, is_up=False)
    rig.send("1", "2", "3")
    rig.door.tick()
    rig.is_up.set()
    rig.wait_for_producer()
    rig.send(*map(str, range(4, 4 + came)))
    rig.door.tick()
    assert len(on_way(rig)) == sent
    rig.door.tick()
    assert len(on_way(rig)) == min(sent + 7, 3 + came)
    rig.close()


def test_a_producer_that_takes_nothing_rests(rig: Rig) -> None:
    rig.producer.raises = KafkaTimeoutError("no metadata")
    rig.send("1")
    rig.producer.raises = None
    rig.door.send([Message(None, b"{}", "traptor")])
    rig.counts["received:tweet"] += 1
    assert not rig.door.is_down()
    rig.passes(RETRY_SECONDS - 0.25)
    assert on_way(rig) == []
    rig.passes(0.25)
    assert on_way(rig) == [b"1", None]


def test_only_what_has_been_on_its_way_for_long_is_kept_too(rig: Rig) -> None:
    rig.send("1")
    rig.passes(SLOW_SECONDS)
    assert rig.spool.count == 0
    rig.send("2")
    rig.passes(SLOW_SECONDS / 2)
    assert rig.waiting_keys() == [b"1"]
    rig.passes(0.1)
    assert rig.waiting_keys() == [b"1", b"2"]


# Answers


def test_in_a_slow_lane_what_is_answered_behind_the_first_is_taken(rig: Rig) -> None:
    rig.send("1", "2")
    rig.passes(60.0)
    rig.producer.pending[1].is_done = True
    rig.passes(0.1)
    assert (rig.counts["delivered"], rig.door.waiting()) == (1, 1)


def test_of_two_errors_the_one_that_does_not_pass_counts(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    first = rig.producer
    rig.send("1", "2")
    first.fail(KafkaTimeoutError("no answer"), 1)
    first.fail(IllegalStateError("closed"), 1)
    rig.passes(0.1)
    rig.wait_for_producer()
    assert (first.closed, told(caplog)[0]) == (True, "Kafka fails: its producer is replaced")


def test_what_is_acknowledged_or_expires_sets_the_pace(rig: Rig) -> None:
    limits = []
    for answer in (rig.producer.acknowledge, lambda: rig.producer.fail(KafkaTimeoutError("no answer"))):
        rig.send("1")
        answer()
        rig.passes(0.1)
        limits.append(rig.door._main.limit_bytes)
    assert limits == [route.FIRST_BYTES + SIZE, route.LEAST_BYTES]


def test_a_producer_is_cautious_until_every_suspect_is_answered_for(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Also those that were still on their way when others were refused, and those that fail for another reason."""
    rig.send("1", "2", "3")
    rig.producer.fail(MessageSizeTooLargeError("too large"), 2)
    rig.passes(0.1)
    rig.wait_for_producer()
    cautious = rig.producer
    rig.passes(0.1)
    assert (cautious.is_cautious, on_way(rig)) == (True, [b"1", b"2", b"3"])
    cautious.acknowledge(1)
    cautious.fail(KafkaTimeoutError("no answer"), 1)
    rig.passes(0.1)
    assert rig.door.producer is cautious
    cautious.fail(MessageSizeTooLargeError("too large"), 1)
    rig.passes(0.1)
    assert (rig.door.producer, rig.counts["apart"]) == (cautious, 1)
    rig.passes(RETRY_SECONDS)
    assert on_way(rig) == [b"2"]
    caplog.clear()
    cautious.acknowledge()
    rig.passes(0.1)
    rig.wait_for_producer()
    assert (rig.producer.is_cautious, rig.counts["delivered"]) == (False, 2)
    assert "Kafka fails: its producer is replaced" not in told(caplog)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of Kafka, but for who has connected."""
    said = [record.message for record in caplog.records if record.message != "Kafka connected"]
    return [message for message in said if message.startswith("Kafka")]


def test_that_kafka_is_silent_is_told_once_and_so_is_its_return(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then the sockets that kafka-python left behind are collected."""
    caplog.set_level(logging.INFO)
    collected: list[int] = []
    monkeypatch.setattr(kafka_door, "gc", SimpleNamespace(collect=lambda: collected.append(1)))
    silent, again = "Kafka does not acknowledge: tweets wait in the spool", "Kafka acknowledges again"
    for said in ([silent, again], [silent, again, silent, again]):
        rig.send("1")
        for seconds in (0.1, 60.0, 0.1, 0.1):
            rig.passes(seconds)
        rig.producer.acknowledge()
        for _ in range(3):
            rig.passes(0.1)
        assert told(caplog) == said
    assert len(collected) == 2


# The end


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is called whenever the door sleeps."""
    called: list[Any] = []
    clock = SimpleNamespace(sleep=lambda seconds: [one(seconds) for one in called], time=time.time)
    monkeypatch.setattr(kafka_door, "time", clock)
    return called


def test_where_there_is_a_spool_and_no_kafka_the_end_waits_for_nothing(tmp_path: Path, sleeps: list[Any]) -> None:
    sleeps.append(lambda seconds: pytest.fail("it waits"))
    rig = Rig(tmp_path, is_up=False)
    rig.send("1")
    rig.door.close(5.0)
    assert (rig.counts["spooled"], rig.door.waiting()) == (1, 1)
    rig.is_up.set()


def test_where_the_spool_fails_kafka_is_waited_for_to_the_end(tmp_path: Path, sleeps: list[Any]) -> None:
    rig = Rig(tmp_path, is_up=False)
    rig.spool.path = Path("/dev/null/spool")
    rig.send("1")
    rig.passes(backlog.GATHER_SECONDS)

    def comes_back(seconds: float) -> None:
        rig.clock.passes(seconds)
        rig.is_up.set()
        rig.wait_for_producer()
        rig.producer.takes_when_waited_for = True

    sleeps.append(comes_back)
    rig.door.close(5.0)
    assert (rig.arrived, rig.counts["dropped:unsaved"]) == ([b"1"], 0)


def test_the_end_has_as_long_as_it_is_given(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.send("1")
    before = rig.clock.now
    rig.door.close(CLOSING_SECONDS + 2.5 * ROOM_SECONDS)
    assert rig.clock.now - before == pytest.approx(2.5 * ROOM_SECONDS)
    assert rig.counts["spooled"] == 1


def test_what_is_acknowledged_at_the_last_moment_does_not_go_to_the_spool(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.send("1")
    rig.producer.takes_when_waited_for = True
    rig.door.close(CLOSING_SECONDS + ROOM_SECONDS)
    assert (rig.counts["delivered"], rig.counts["spooled"]) == (1, 0)


def test_nobody_is_looked_for_any_more_while_the_spool_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    door = Kafka(Mock(side_effect=KafkaError("nobody there")), Spool(tmp_path / "track-0.spool", 1000), Counter())
    door.open()
    door.send([Message(b"1", b"{}", "traptor")])
    save_all = door._backlog.save_all

    def saved() -> None:
        wait_until(lambda: threading.active_count() <= before, "the end of the thread", 10)
        save_all()

    monkeypatch.setattr(door._backlog, "save_all", saved)
    door.close(CLOSING_SECONDS)
    assert door.waiting() == 1
