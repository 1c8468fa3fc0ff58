"""The lease on a credential: one holder at a time."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest

from traptor.sources import lease
from traptor.sources.lease import TTL_SECONDS, Lease, credential_hash

KEY = "traptor:lease:x"
APIKEYS = {"CONSUMER_KEY": "ck", "CONSUMER_SECRET": "cs", "ACCESS_TOKEN": "at", "ACCESS_TOKEN_SECRET": "ats"}


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
def conn(request: pytest.FixtureRequest) -> Any:
    return fakeredis.FakeRedis(decode_responses=request.param)


def test_nothing_is_written_before_redis_has_compared(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MULTI: what another has written meanwhile is the end of it."""
    one = Lease(conn, [KEY], "track", 0)
    for change in (one.take, one.release):
        before = conn.get(KEY)
        with conn.pipeline() as pipe, monkeypatch.context() as patch:
            pipe.watch(KEY)
            patch.setattr(conn, "transaction", lambda func, *_, **__: func(pipe))
            change()
            assert conn.get(KEY) == before
            pipe.execute()
        assert conn.get(KEY) != before


def test_the_first_has_it_and_the_second_is_told_who(conn: Any) -> None:
    first, second = Lease(conn, [KEY], "track", 0), Lease(conn, [KEY], "follow", 7)
    assert first.take() is None
    holder = second.take()
    assert holder
    assert (holder["type"], holder["id"]) == ("track", 0)
    assert holder.keys() == {"host", "pid", "place", "type", "id", "credential", "nonce"}
    assert first.take() is None


def test_two_processes_of_one_name_are_two(conn: Any) -> None:
    assert Lease(conn, [KEY], "track", 0).take() is None
    assert Lease(conn, [KEY], "track", 0).take() is not None


@pytest.fixture
def meanwhile(conn: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody else writes the key once, just after it has been looked at."""
    look = lease._text
    written: list[str] = []

    def looked_at(value: Any) -> str:
        if written:
            conn.set(KEY, written.pop())
        return look(value)

    monkeypatch.setattr(lease, "_text", looked_at)
    return written.append


def test_of_two_at_the_same_moment_one_has_it(conn: Any, meanwhile: Callable[[str], None]) -> None:
    conn.set(KEY, lease.FREE)
    meanwhile('{"host":"other"}')
    assert Lease(conn, [KEY], "track", 0).take() == {"host": "other"}


def test_what_another_has_taken_at_the_same_moment_is_not_handed_over(
    conn: Any, meanwhile: Callable[[str], None]
) -> None:
    first = Lease(conn, [KEY], "track", 0)
    first.take()
    meanwhile('{"host":"other"}')
    first.release()
    assert Lease(conn, [KEY], "track", 1).take() == {"host": "other"}


def test_it_ends_by_itself_and_is_renewed(conn: Any) -> None:
    one = Lease(conn, [KEY], "track", 0)
    one.take()
    conn.expire(KEY, 3)
    one.take()
    assert conn.ttl(KEY) == TTL_SECONDS


def test_what_is_handed_over_is_free_at_once(conn: Any) -> None:
    first, second = Lease(conn, [KEY], "track", 0), Lease(conn, [KEY], "track", 1)
    first.take()
    second.release()
    assert second.take() is not None
    first.release()
    assert second.take() is None


def test_what_redis_has_lost_is_its_holders_until_its_time_is_up(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that comes back empty: whoever waits looks more often than the holder renews."""
    first, second = Lease(conn, [KEY], "track", 0), Lease(conn, [KEY], "track", 1)
    first.take()
    assert second.take() is not None
    conn.flushall()
    assert (second.take() or {})["id"] == 0
    assert first.take() is None
    conn.flushall()
    later = time.monotonic() + TTL_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert second.take() is None


def test_what_a_dead_process_held_and_redis_lost_is_free(conn: Any) -> None:
    first, second = Lease(conn, [KEY], "track", 0), Lease(conn, [KEY], "track", 1)
    first.take()
    second.take()
    second._others[KEY].holder["pid"] = ended_process()
    conn.flushall()
    assert second.take() is None


def ended_process() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


@pytest.mark.parametrize(
    "change,is_free",
    [
        (lambda: {"pid": ended_process()}, True),
        (lambda: {"pid": os.getppid()}, False),
        (lambda: {"pid": ended_process(), "place": "another boot pid:[4026531836]"}, False),
        (lambda: {"pid": ended_process(), "place": ""}, False),
        (lambda: {"pid": "../.."}, False),
        (lambda: {"pid": -1}, False),
        (lambda: {"pid": 0}, False),
    ],
)
def test_who_is_seen_to_be_dead_holds_nothing(conn: Any, change: Callable[[], Any], is_free: bool) -> None:
    Lease(conn, [KEY], "track", 0).take()
    conn.set(KEY, json.dumps({**json.loads(conn.get(KEY)), **change()}))
    assert (Lease(conn, [KEY], "track", 0).take() is None) == is_free


DEEP = "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    "held",
    [
        *["", "garbage", "[]", "\xff\x00", "x" * 10_000, DEEP],
        *[f'{{"pid":{pid}}}' for pid in ("9" * 400, "Infinity", DEEP)],
    ],
    ids=lambda held: held[:10],
)
def test_a_key_that_means_nothing_is_somebody_while_it_lasts(conn: Any, held: str) -> None:
    conn.set(KEY, held, ex=TTL_SECONDS)
    holder = Lease(conn, [KEY], "track", 0).take()
    assert (holder is None) == (held == "")
    assert len(json.dumps(holder)) < 1000


@pytest.mark.parametrize("held", ["garbage", DEEP, "[]"], ids=lambda held: held[:10])
def test_one_that_would_stay_for_ever_is_nobody(conn: Any, held: str) -> None:
    conn.set(KEY, held)
    lease = Lease(conn, [KEY], "track", 0)
    assert lease.take() is None
    assert (conn.get(KEY) in {lease.own, lease.own.encode()}, conn.ttl(KEY)) == (True, TTL_SECONDS)


@pytest.mark.parametrize(
    "change,is_same",
    [
        (lambda keys: keys, True),
        (lambda keys: {**keys, "CONSUMER_SECRET": "other", "ACCESS_TOKEN_SECRET": "other"}, True),
        (lambda keys: {**keys, "CONSUMER_KEY": "other"}, False),
        (lambda keys: {**keys, "ACCESS_TOKEN": "other"}, False),
        (lambda keys: {**keys, "CONSUMER_KEY": "cka", "ACCESS_TOKEN": "t"}, False),
    ],
)
def test_a_credential_is_named_by_its_public_parts(change: Callable[[Any], Any], is_same: bool) -> None:
    assert (credential_hash(change(APIKEYS)) == credential_hash(APIKEYS)) == is_same
    assert not any(part in credential_hash(APIKEYS) for part in APIKEYS.values())


def test_of_several_keys_it_takes_all_or_none(conn: Any) -> None:
    first, second = Lease(conn, ["a", "x"], "track", 0), Lease(conn, ["b", "x"], "track", 1)
    assert first.take() is None
    assert (second.take() or {})["id"] == 0
    assert conn.get("b") is None
    first.release()
    assert second.take() is None
    assert first.take() is not None
    first.release()
    assert conn.get("b") == conn.get("x") != conn.get("a")


class Meddled(fakeredis.FakeRedis):
    """Somebody else writes the key, once, after it was looked at and before ours is written."""

    meddle: Callable[[], Any] | None = None

    def transaction(self, func: Any, *watches: Any, **options: Any) -> Any:
        def meddled(pipe: Any) -> Any:
            look = pipe.get
            pipe.get = lambda key: self._meddling(look(key))
            return func(pipe)

        return super().transaction(meddled, *watches, **options)

    def _meddling(self, found: Any) -> Any:
        meddle, self.meddle = self.meddle, None
        if meddle:
            meddle()
        return found


def test_of_two_that_look_at_once_one_has_it() -> None:
    server = fakeredis.FakeServer()
    meddled = Meddled(server=server)
    first, second = Lease(fakeredis.FakeRedis(server=server), [KEY], "track", 0), Lease(meddled, [KEY], "track", 1)
    meddled.meddle = first.take
    assert (second.take() or {})["id"] == 0
    assert first.take() is None


def test_what_another_took_meanwhile_is_not_freed() -> None:
    server = fakeredis.FakeServer()
    conn, meddled = fakeredis.FakeRedis(server=server), Meddled(server=server)
    one = Lease(meddled, [KEY], "track", 1)
    one.take()
    meddled.meddle = lambda: conn.set(KEY, '{"host": "another"}')
    one.release()
    assert conn.get(KEY) == b'{"host": "another"}'


NAME = "traptor:name:track:0"


def test_one_key_is_handed_over_before_the_others(conn: Any) -> None:
    """Whoever takes it has it, knows whom to wait for, and gets the rest when that has left."""
    first, second, third = (Lease(conn, [KEY, NAME], "track", 0) for _ in range(3))
    assert first.take() is None
    assert second.take()
    first.hand_over(KEY)
    assert first.take() is None
    assert second.take() is None
    assert (second.predecessor() or {})["leaves"] is True
    assert third.take() == json.loads(second.own)
    first.release()
    assert second.take() is None
    assert second.predecessor() is None
    assert conn.ttl(NAME) == TTL_SECONDS
    first.release()
    assert third.take() == json.loads(second.own)


def test_who_dies_while_it_leaves_is_waited_for_until_its_lease_ends(
    conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By our own clock, where Redis cannot be asked either."""
    first, second = (Lease(conn, [KEY, NAME], "track", 0) for _ in range(2))
    first.take()
    first.hand_over(KEY)
    second.take()
    later = time.monotonic() + TTL_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert second.predecessor() is None


def test_another_thread_may_look_whom_to_wait_for_while_the_rest_is_renewed(
    conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Lease(conn, [KEY, NAME], "track", 0) for _ in range(2))
    first.take()
    first.hand_over(KEY)
    second.take()
    first.release()
    now = time.monotonic()

    def meanwhile() -> float:
        monkeypatch.setattr(time, "monotonic", lambda: now)
        second.take()
        return now

    monkeypatch.setattr(time, "monotonic", meanwhile)
    assert second.predecessor()
    assert second.predecessor() is None


def test_what_another_has_taken_is_not_handed_over(conn: Any) -> None:
    first, second = (Lease(conn, [KEY, NAME], "track", 0) for _ in range(2))
    first.take()
    conn.set(KEY, second.own)
    first.hand_over(KEY)
    assert second.take() is None
    assert second.predecessor()
