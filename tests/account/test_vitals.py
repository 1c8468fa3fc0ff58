"""What is told of a Traptor: its state, its status, and that it is alive only while its main loop makes progress."""

import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import fakeredis
import pytest

from traptor import settings
from traptor.account.gaps import Gaps
from traptor.account.ledger import Account
from traptor.account.state import State
from traptor.account.vitals import STUCK_SECONDS, Vitals
from traptor.delivery.backlog import FULL_SECONDS, GATHER_SECONDS
from traptor.delivery.kafka_door import SLOW_SECONDS, Kafka
from traptor.delivery.spool import Message, Spool
from traptor.rules.checked import Facts
from traptor.rules.watch import Watch
from traptor.sources.credential import Credential
from traptor.sources.stream import FilterStream
from traptor.sources.turn import Turn
from traptor.sources.v1 import V1Source
from traptor.traptor import Traptor

APIKEYS = dict.fromkeys(settings.APIKEY_NAMES, "k3y")


@pytest.fixture
def conn() -> Any:
    return fakeredis.FakeRedis(decode_responses=True)


@pytest.fixture
def vitals(conn: Any) -> Vitals:
    made = Vitals(
        "track",
        0,
        V1Source(settings.load(APIKEYS, {}, {})),
        account=Account(),
        gaps=Gaps("track", 0, lambda gap: None),
        turn=Turn(Credential(conn, APIKEYS, "track", 0)),
        watch=Watch(300, 5, 60),
    )
    made.rules = Facts("f00d", 3, 4)
    return made


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Silent:
    """A producer that never answers."""

    is_done = False

    def send(self, topic: str, value: bytes, key: bytes | None) -> "Silent":
        return self


def test_kafka_and_the_spool_come_before_the_stream(vitals: Vitals, tmp_path: Path) -> None:
    clock = Clock()
    message = Message(b"1", b"{}", "traptor")
    spool = Spool(tmp_path / "track-0.spool", 2 * message.size_bytes())
    door = Kafka(Silent, spool, Counter(), clock=clock)
    vitals.door, vitals.phase = door, State.STREAMING
    door.producer = Silent()
    assert vitals.state() is State.STREAMING
    door.send([message])
    clock.now += SLOW_SECONDS + 1
    door.tick()
    assert vitals.state() is State.KAFKA_DOWN
    door.send([message])
    door.send([message])
    clock.now += GATHER_SECONDS
    door.tick()
    assert vitals.state() is State.SPOOL_FULL
    clock.now += FULL_SECONDS
    assert vitals.state() is State.KAFKA_DOWN
    vitals.enter(State.REFUSED, "403")
    assert vitals.state() is State.REFUSED
    spool.close()


def test_a_wait_says_why_and_until_when(vitals: Vitals) -> None:
    vitals._turn.credential.not_before = time.monotonic() + 60
    vitals.enter(State.BACKING_OFF, "http-420")
    told = vitals.status()
    assert (told["state"], told["reason"]) == ("backing-off", "http-420")
    assert told["until"] > told["since"]
    vitals.enter(State.STREAMING)
    assert (vitals.status()["until"], vitals.status()["reason"]) == (None, "")


@pytest.mark.parametrize("silent_seconds,missed_seconds", [(0, 0), (29, 0), (31, 31), (80, 80)])
def test_a_stream_that_owes_a_keep_alive_has_brought_nothing_since(
    vitals: Vitals, silent_seconds: float, missed_seconds: float
) -> None:
    vitals.stream = Mock(spec=FilterStream, last_byte=time.monotonic() - silent_seconds)
    missed = datetime.now(UTC) - vitals.collected_until()
    assert missed.total_seconds() == pytest.approx(missed_seconds, abs=0.5)


def test_a_state_is_told_once_with_its_beginning(vitals: Vitals, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    vitals.enter(State.CONNECTING)
    since = {vitals.status()["since"] for _ in range(3)}
    assert len(since) == 1
    assert [record.message for record in caplog.records if record.name == vitals._log.name] == ["state"]


def test_the_status_has_the_whole_account_and_no_secret(vitals: Vitals) -> None:
    vitals.account.counts.update({"received:tweet": 9, "taken_up": 1, "delivered": 5, "apart": 2, "dropped:deleted": 3})
    told = vitals.status()
    assert told["received"] + told["taken_up"] == (
        told["delivered"] + told["waiting"] + told["apart"] + told["dropped"]
    )
    assert "k3y" not in json.dumps(told)


@pytest.mark.parametrize("stuck_seconds,beats", [(0, 1), (STUCK_SECONDS - 1, 1), (STUCK_SECONDS + 1, 0)])
def test_a_main_loop_that_is_stuck_has_no_heartbeat(
    conn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck_seconds: float, beats: int
) -> None:
    traptor = Traptor(conn, conn, conn, apikeys=APIKEYS, log_dir=str(tmp_path))
    traptor._vitals.progress_at = time.monotonic() - stuck_seconds
    beaten = []
    monkeypatch.setattr(traptor, "_add_heartbeat_message_to_redis", beaten.append)
    monkeypatch.setattr(traptor._side_roads.stopped, "wait", lambda seconds: traptor._side_roads.stopped.set())
    traptor._send_heartbeat_message()
    assert beaten == [conn] * beats


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """A clock that stands."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    return 1000.0


@pytest.mark.parametrize(
    "byte_seconds,message_seconds,state",
    [(0, 0, State.STREAMING), (29, 61, State.QUIET), (46, 61, State.STALLED), (46, 0, State.STALLED)],
)
def test_an_open_stream_is_judged_by_its_last_byte_and_message(
    vitals: Vitals, now: float, byte_seconds: float, message_seconds: float, state: State
) -> None:
    vitals.stream = Mock(spec=FilterStream, last_byte=now - byte_seconds)
    vitals.last_message_at = now - message_seconds
    vitals.enter(State.STREAMING)
    assert vitals.state() is state
    vitals.enter(State.STOPPING)
    assert vitals.state() is State.STOPPING


def test_the_gauges_tell_ages_only_of_what_has_been(vitals: Vitals, now: float) -> None:
    ages = {"seconds_since_last_byte", "seconds_since_last_tweet", "stall_percent_full"}
    assert ages.isdisjoint(vitals.gauges())
    vitals.stream = Mock(spec=FilterStream, last_byte=now - 3)
    vitals.last_tweet_at, vitals.percent_full = now - 5, 60
    told = vitals.gauges()
    assert [told[name] for name in sorted(ages)] == [3, 5, 60]


def test_the_bytes_of_the_open_stream_are_counted_and_stay_its_own(vitals: Vitals) -> None:
    vitals.account.counts["received_bytes"] = 100
    vitals.stream = Mock(received_bytes=20)
    assert [vitals.counts()["received_bytes"] for _ in range(2)] == [120, 120]
    vitals.stream = None
    assert vitals.counts()["received_bytes"] == 100


@pytest.mark.parametrize("since_seconds,is_alive", [(0, True), (STUCK_SECONDS, False), (STUCK_SECONDS + 1, False)])
def test_it_is_alive_while_it_makes_progress(vitals: Vitals, now: float, since_seconds: float, is_alive: bool) -> None:
    vitals.progress_at = now - since_seconds
    assert vitals.is_alive() is is_alive
