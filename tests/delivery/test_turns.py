"""What the door waits for, and how long: for room in a lane, and at the end."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from tests.delivery.test_kafka_door import Producer, Rig
from tests.servers import wait_until
from traptor.delivery import backlog, broker, kafka_door, route
from traptor.delivery.kafka_door import CLOSING_SECONDS, ROOM_SECONDS, Kafka
from traptor.delivery.message import Message
from traptor.delivery.spool import Spool

SIZE = Message(b"1", b"coffee", "traptor").size_bytes()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "RECONNECT_SECONDS", 0.0)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.assert_balanced()
    made.close()


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
