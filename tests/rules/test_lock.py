"""The lock on the rules: renewed while its holder gets on, and waited for by name."""

import threading
import time
from collections.abc import Iterator

import fakeredis
import pytest
import redis

from tests.servers import wait_until
from traptor import keys
from traptor.rules import lock
from traptor.rules.lock import LOOK_SECONDS, TTL_SECONDS, Locked, RulesLock
from traptor.rules.progress import Progress


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
def either(request: pytest.FixtureRequest) -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(decode_responses=request.param) as made:
        yield made


@pytest.fixture
def conn() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(decode_responses=True) as made:
        yield made


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """Counts how often the renewer has looked at the holder, which it does all the time."""
    found = threading.Semaphore(0)
    clock_gettime = time.clock_gettime

    def counted(clock: int) -> float:
        found.release()
        return clock_gettime(clock)

    monkeypatch.setattr(lock, "RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(lock.time, "clock_gettime", counted)
    return found


def ttl_is_whole(conn: fakeredis.FakeRedis) -> bool:
    """Does the holder get on until the lock is renewed?"""
    return conn.ttl(keys.RULES_LOCK) > 1


def test_it_is_renewed_while_its_holder_gets_on(conn: fakeredis.FakeRedis, looks: threading.Semaphore) -> None:
    with RulesLock(conn):
        conn.expire(keys.RULES_LOCK, 1)
        wait_until(lambda: sum(range(100_000)) > 0 and ttl_is_whole(conn), "a renewal")
    assert not conn.exists(keys.RULES_LOCK)


def test_it_is_not_renewed_while_its_holder_hangs(
    conn: fakeredis.FakeRedis, looks: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEAST_CPU_SECONDS", 1000.0)
    with RulesLock(conn):
        conn.expire(keys.RULES_LOCK, 10)
        for _ in range(5):
            assert looks.acquire(timeout=10)
        assert conn.ttl(keys.RULES_LOCK) <= 10


@pytest.mark.parametrize("used_seconds, is_renewed", [(0.0, False), (0.25, True)])
def test_who_uses_no_time_of_the_processor_does_not_get_on(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, used_seconds: float, is_renewed: bool
) -> None:
    """At the first look of the renewer the holder has worked for a second, at all others for this much more."""
    looks, go_on, done = iter([1.0, 1.0 + used_seconds]), threading.Event(), threading.Event()

    def used(clock: int) -> float:
        go_on.wait(10)
        if (found := next(looks, None)) is None:
            done.set()
            return 1.0 + used_seconds
        return found

    monkeypatch.setattr(lock, "RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(lock.time, "clock_gettime", used)
    monkeypatch.setattr(lock, "LEAST_CPU_SECONDS", 0.25)
    with RulesLock(conn):
        conn.expire(keys.RULES_LOCK, 10)
        go_on.set()
        assert done.wait(10)
        assert (conn.ttl(keys.RULES_LOCK) > 10) == is_renewed


def test_a_renewal_that_is_under_way_is_waited_for_by_the_fence(
    conn: fakeredis.FakeRedis, looks: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would change the key between WATCH and EXEC."""
    monkeypatch.setattr(lock, "LEAST_CPU_SECONDS", 0.0)
    renewed, renew, begun = [], RulesLock._renew, threading.Event()

    def slowly(rules_lock: RulesLock) -> None:
        is_beside = threading.current_thread() is rules_lock._renewer
        if is_beside:
            begun.set()
            rules_lock._fenced.wait(10)
            threading.Event().wait(0.05)
        renew(rules_lock)
        renewed.append(is_beside)

    monkeypatch.setattr(RulesLock, "_renew", slowly)
    with RulesLock(conn):
        assert begun.wait(10)
    assert renewed == [True, False]


def test_a_lock_that_another_takes_while_we_renew_is_not_renewed(
    either: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = RulesLock._text

    def taken(value: str | bytes | None) -> str:
        either.set(keys.RULES_LOCK, "somebody else", ex=10)
        return text(value)

    with RulesLock(either) as rules_lock:
        monkeypatch.setattr(RulesLock, "_text", staticmethod(taken))
        rules_lock._renew()
        monkeypatch.setattr(RulesLock, "_text", staticmethod(text))
        assert either.ttl(keys.RULES_LOCK) <= 10


def test_another_lock_is_never_renewed(conn: fakeredis.FakeRedis, looks: threading.Semaphore) -> None:
    with RulesLock(conn):
        conn.set(keys.RULES_LOCK, "somebody else", ex=10)
        for _ in range(5):
            sum(range(100_000))
            assert looks.acquire(timeout=10)
    assert (conn.get(keys.RULES_LOCK), conn.ttl(keys.RULES_LOCK) <= 10) == ("somebody else", True)


def test_the_fence_renews_it(conn: fakeredis.FakeRedis) -> None:
    with RulesLock(conn) as rules_lock, conn.pipeline() as pipe:
        for _ in range(2):
            conn.expire(keys.RULES_LOCK, 1)
            rules_lock.fence(pipe)
            assert conn.ttl(keys.RULES_LOCK) > TTL_SECONDS - 5
            pipe.execute()


def test_who_waits_says_once_for_whom(conn: fakeredis.FakeRedis) -> None:
    said: list[str] = []

    def waits(text: str) -> None:
        said.append(text)
        conn.set(keys.RULES_LOCK, "ant pid 2") if len(said) == 1 else conn.delete(keys.RULES_LOCK)

    conn.set(keys.RULES_LOCK, "ant pid 1")
    with RulesLock(conn, progress=Progress(waits=waits)):
        assert said == ["waits for ant pid 1, who changes rules", "waits for ant pid 2, who changes rules"]


def test_who_waits_looks_again_after_a_moment_and_is_not_told_of_the_same_one_twice(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    waited: list[float] = []

    class Moment(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout != LOOK_SECONDS:
                return super().wait(timeout)
            waited.append(timeout)
            return len(waited) < 4 or bool(conn.delete(keys.RULES_LOCK))

    monkeypatch.setattr(lock.threading, "Event", Moment)
    conn.set(keys.RULES_LOCK, "ant pid 1")
    with RulesLock(conn, progress=Progress(waits=said.append)):
        assert (said, waited) == (["waits for ant pid 1, who changes rules"], [LOOK_SECONDS] * 4)


def test_only_one_changes_rules(either: fakeredis.FakeRedis) -> None:
    with RulesLock(either), pytest.raises(Locked, match=r"by .+ pid \d+"), RulesLock(either, wait_seconds=0):
        pytest.fail("two locks")
    with RulesLock(either, wait_seconds=0):
        assert 0 < either.ttl(keys.RULES_LOCK) <= TTL_SECONDS
    assert not either.exists(keys.RULES_LOCK)


def test_a_holder_that_ended_while_it_was_looked_for_has_no_name(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conn, "set", lambda *_, **__: None)
    with pytest.raises(Locked, match="by somebody who has just ended"), RulesLock(conn, wait_seconds=0):
        pytest.fail("a lock that was refused")


@pytest.mark.parametrize("other", [None, "somebody else"])
def test_a_lock_that_was_lost_writes_nothing_and_is_left_to_who_has_it(
    either: fakeredis.FakeRedis, other: str | None
) -> None:
    with RulesLock(either) as rules_lock:
        either.delete(keys.RULES_LOCK)
        if other:
            either.set(keys.RULES_LOCK, other)
        with either.pipeline() as pipe, pytest.raises(Locked, match="nothing more was written"):
            rules_lock.fence(pipe)
    found = either.get(keys.RULES_LOCK)
    assert (found.decode() if isinstance(found, bytes) else found) == other


def test_a_lock_lost_while_writing_undoes_the_writing(either: fakeredis.FakeRedis) -> None:
    with RulesLock(either) as rules_lock, either.pipeline() as pipe:
        rules_lock.fence(pipe)
        pipe.hset("traptor-track:0:1", mapping={"value": "cat"})
        either.set(keys.RULES_LOCK, "somebody else")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert not either.exists("traptor-track:0:1")
