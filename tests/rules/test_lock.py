"""One changes rules at a time: who waits for how long, and what becomes of a lock that ran out."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import fakeredis
import pytest
import redis

from traptor import keys
from traptor.rules import lock
from traptor.rules.lock import TTL_SECONDS, WAIT_SECONDS, Locked, RulesLock


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
def conn(request: pytest.FixtureRequest) -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(decode_responses=request.param) as made:
        yield made


def moved_clock(monkeypatch: pytest.MonkeyPatch, each_look: Callable[[float], None]) -> SimpleNamespace:
    """A clock that a wait moves, and what happens at each look that follows."""
    clock = SimpleNamespace(now=1000.0)

    def wait(seconds: float) -> None:
        clock.now += seconds
        each_look(clock.now - 1000.0)

    monkeypatch.setattr(lock, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(lock, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=wait)))
    return clock


def test_only_one_changes_rules(conn: fakeredis.FakeRedis) -> None:
    with RulesLock(conn), pytest.raises(Locked, match=r"by .+ pid \d+"), RulesLock(conn, wait_seconds=0):
        pytest.fail("two locks")
    with RulesLock(conn, wait_seconds=0):
        assert 0 < conn.ttl(keys.RULES_LOCK) <= TTL_SECONDS
    assert not conn.exists(keys.RULES_LOCK)


def test_whoever_comes_second_waits_until_the_first_has_ended(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn.set(keys.RULES_LOCK, "ant pid 7")
    clock = moved_clock(monkeypatch, lambda waited: waited >= 3 and conn.delete(keys.RULES_LOCK))
    with RulesLock(conn):
        assert clock.now - 1000 == pytest.approx(3, abs=0.2)


def test_whoever_has_waited_longer_than_a_lock_lasts_is_told_of_the_holder(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn.set(keys.RULES_LOCK, "ant pid 7")
    clock = moved_clock(monkeypatch, lambda waited: None)
    with pytest.raises(Locked, match="being changed by ant pid 7"), RulesLock(conn):
        pytest.fail("two locks")
    assert clock.now - 1000 == pytest.approx(WAIT_SECONDS, abs=0.2)
    assert WAIT_SECONDS > TTL_SECONDS


def test_a_holder_that_ended_while_it_was_looked_for_has_no_name(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conn, "set", lambda *_, **__: None)
    clock = moved_clock(monkeypatch, lambda waited: None)
    with pytest.raises(Locked, match="by somebody who has just ended"), RulesLock(conn, wait_seconds=0):
        pytest.fail("a lock that was refused")
    assert clock.now == 1000


@pytest.mark.parametrize("other", [None, "somebody else"])
def test_a_lock_that_was_lost_writes_nothing_and_is_left_to_who_has_it(
    conn: fakeredis.FakeRedis, other: str | None
) -> None:
    with RulesLock(conn) as rules_lock:
        conn.delete(keys.RULES_LOCK)
        if other:
            conn.set(keys.RULES_LOCK, other)
        with conn.pipeline() as pipe, pytest.raises(Locked, match="nothing was written"):
            rules_lock.fence(pipe)
    found = conn.get(keys.RULES_LOCK)
    assert (found.decode() if isinstance(found, bytes) else found) == other


def test_a_lock_lost_while_writing_undoes_the_writing(conn: fakeredis.FakeRedis) -> None:
    with RulesLock(conn) as rules_lock, conn.pipeline() as pipe:
        rules_lock.fence(pipe)
        pipe.hset("traptor-track:0:1", mapping={"value": "cat"})
        conn.set(keys.RULES_LOCK, "somebody else")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert not conn.exists("traptor-track:0:1")
