"""The right to connect: whose turn it is, and when, also after a restart and without Redis."""

import json
import time
from typing import Any

import fakeredis
import pytest
import redis

from traptor import keys
from traptor.sources.backoff import Kind
from traptor.sources.credential import Credential
from traptor.sources.lease import TTL_SECONDS

APIKEYS = {
    "CONSUMER_KEY": "the-key",
    "CONSUMER_SECRET": "hush",
    "ACCESS_TOKEN": "the-token",
    "ACCESS_TOKEN_SECRET": "hush-hush",
}


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


def credential(server: fakeredis.FakeServer, traptor_id: int = 0, **apikeys: str) -> Credential:
    conn = fakeredis.FakeRedis(server=server, decode_responses=True)
    return Credential(conn, {**APIKEYS, **apikeys}, "track", traptor_id)


def kept(server: fakeredis.FakeServer) -> dict[str, Any]:
    conn = fakeredis.FakeRedis(server=server, decode_responses=True)
    return {key: conn.get(key) for key in map(str, conn.keys())}


@pytest.mark.parametrize(
    "kind,may_connect_early,least,most",
    [
        (Kind.DROPPED, True, 0, 0),
        (Kind.NETWORK, True, 0.25, 0.275),
        (Kind.HTTP, False, 5, 5.5),
        (Kind.RATE_LIMITED, False, 60, 66),
        (Kind.STILL_COUNTED, True, 0.5, 0.55),
    ],
)
def test_a_failure_sets_the_time_of_the_next_try(
    server: fakeredis.FakeServer, kind: Kind, may_connect_early: bool, least: float, most: float
) -> None:
    one = credential(server)
    assert one.take() is None
    assert least <= one.failed(kind) <= most
    assert least - 0.1 <= one.wait_seconds() <= most
    assert one.may_connect_early == may_connect_early


def test_a_420_is_remembered_by_the_next_process(server: fakeredis.FakeServer) -> None:
    first = credential(server)
    first.take()
    first.failed(Kind.RATE_LIMITED)
    first.release()
    second = credential(server, traptor_id=1)
    assert second.take() is None
    assert 55 < second.wait_seconds() <= 66
    assert 120 <= second.failed(Kind.RATE_LIMITED) <= 132


def test_a_good_stretch_forgets_it(server: fakeredis.FakeServer) -> None:
    first = credential(server)
    first.take()
    first.failed(Kind.RATE_LIMITED)
    first.succeeded()
    first.release()
    second = credential(server)
    second.take()
    assert second.wait_seconds() == 0
    assert 60 <= second.failed(Kind.RATE_LIMITED) <= 66


def test_a_good_stretch_begins_the_waits_anew(server: fakeredis.FakeServer) -> None:
    one = credential(server)
    one.take()
    assert [one.failed(Kind.HTTP) // 5 for _ in range(3)] == [1, 2, 4]
    one.succeeded()
    assert one.failed(Kind.HTTP) <= 5.5
    assert json.loads(kept(server)[keys.backoff(one.name)])["failures"] == {"http": 1}


def test_every_key_has_a_ttl_and_no_secret(server: fakeredis.FakeServer) -> None:
    one = credential(server)
    one.take()
    one.failed(Kind.RATE_LIMITED, 1000)
    conn = fakeredis.FakeRedis(server=server)
    assert {keys.lease(one.name), keys.name("track", 0), keys.backoff(one.name)} == kept(server).keys()
    assert all(0 < conn.ttl(key) <= 1000 * 1.1 + 3600 for key in conn.scan_iter())
    assert not any(secret in str(kept(server)) for secret in APIKEYS.values())


@pytest.mark.parametrize(
    "stored",
    [
        "", "null", "[]", "{}", "nonsense", "\x00",
        '{"failures": {"http": 2}}',
        '{"failures": {"colour": 2}, "not_before": 9e9}',
        '{"failures": [], "not_before": 9e9}',
        '{"failures": {"http": "x"}, "not_before": 9e9}',
        '{"failures": {"http": 1}, "not_before": null}',
        '{"failures": {"http": 1}, "not_before": Infinity}',
        '{"failures": {"http": 1e999}, "not_before": 9e9}',
        '{"failures": {"http": 1}, "not_before": ' + "9" * 400 + "}",
        '{"failures": {"http": ' + "9" * 400 + '}, "not_before": 9e9}',
        '{"failures": {"http": -5}, "not_before": 0}',
        "[" * 10_000 + "]" * 10_000,
        '{"failures": ' + "[" * 10_000 + "]" * 10_000 + "}",
    ],
)  # fmt: skip
def test_a_memory_that_cannot_be_read_is_no_wait(server: fakeredis.FakeServer, stored: str) -> None:
    one = credential(server)
    fakeredis.FakeRedis(server=server).set(keys.backoff(one.name), stored)
    assert one.take() is None
    assert one.wait_seconds() == 0
    assert 5 <= one.failed(Kind.HTTP) <= 5.5


@pytest.mark.parametrize("not_before", ["1e99", str(1 << 62)])
def test_no_clock_of_another_host_holds_us_for_ever(server: fakeredis.FakeServer, not_before: str) -> None:
    one = credential(server)
    state = f'{{"failures": {{"http": 1}}, "not_before": {not_before}}}'
    fakeredis.FakeRedis(server=server).set(keys.backoff(one.name), state)
    one.take()
    assert one.wait_seconds() <= 86_400


def test_what_another_waits_for_is_recalled_when_it_is_our_turn(server: fakeredis.FakeServer) -> None:
    first, second = credential(server), credential(server, traptor_id=1)
    first.take()
    first.failed(Kind.RATE_LIMITED)
    assert second.take() is not None
    assert second.wait_seconds() == 0
    first.release()
    assert second.take() is None
    assert second.wait_seconds() > 55


def test_a_time_long_past_is_no_wait(server: fakeredis.FakeServer) -> None:
    one = credential(server)
    state = {"failures": {"http": 3}, "not_before": time.time() - 100}
    fakeredis.FakeRedis(server=server).set(keys.backoff(one.name), json.dumps(state))
    one.take()
    assert one.wait_seconds() == 0
    assert 40 <= one.failed(Kind.HTTP) <= 44


def test_without_redis_it_goes_on_and_remembers_for_itself(server: fakeredis.FakeServer) -> None:
    one = credential(server)
    server.connected = False
    assert one.take() is None
    assert one.failed(Kind.HTTP) >= 5
    assert one.failed(Kind.HTTP) >= 10
    one.succeeded()
    one.release()


def test_who_went_on_without_redis_gives_way_when_it_is_back(server: fakeredis.FakeServer) -> None:
    first, second = credential(server), credential(server, traptor_id=1)
    server.connected = False
    assert second.take() is None
    server.connected = True
    assert first.take() is None
    second.renew()
    assert second.lost
    assert second.take() is not None
    assert not second.lost


def test_who_went_on_without_redis_has_the_lease_when_it_is_back(server: fakeredis.FakeServer) -> None:
    first = credential(server)
    server.connected = False
    assert first.take() is None
    server.connected = True
    first.renew()
    assert not first.lost
    assert credential(server, traptor_id=1).take() is not None


def test_who_waits_for_another_gives_it_time_when_redis_is_back(
    server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that took: the other one streams on without Redis as well; to connect would throw it out."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    first, second = credential(server), credential(server, traptor_id=1)
    first.take()
    assert second.take() is not None
    now += 2 * TTL_SECONDS
    server.connected = False
    assert second.take() is not None
    now += 2 * TTL_SECONDS
    server.connected = True
    fakeredis.FakeRedis(server=server).flushall()
    assert second.take() is not None
    now += TTL_SECONDS - 1
    assert second.take() is not None
    now += 2
    assert second.take() is None


def test_who_has_left_long_ago_is_not_remembered_when_redis_was_away(server: fakeredis.FakeServer) -> None:
    first, second = credential(server), credential(server, traptor_id=1)
    first.take()
    assert second.take() is not None
    first.release()
    assert second.take() is None
    server.connected = False
    with pytest.raises(redis.RedisError):
        second.renew()
    server.connected = True
    fakeredis.FakeRedis(server=server).flushall()
    second.renew()
    assert not second.lost


def test_a_lease_that_was_lost_is_noticed(server: fakeredis.FakeServer) -> None:
    """As after a freeze for longer than its TTL."""
    first, second = credential(server), credential(server, traptor_id=1)
    first.take()
    fakeredis.FakeRedis(server=server).delete(keys.lease(first.name))
    second.take()
    first.renew()
    assert first.lost
    second.renew()
    assert not second.lost


def test_who_took_our_name_and_credential_is_known_at_once(server: fakeredis.FakeServer) -> None:
    """It writes under our name from then on, and keeps its stream though Redis goes away."""
    first, second = credential(server), credential(server)
    first.take()
    fakeredis.FakeRedis(server=server).flushall()
    second.take()
    first.renew()
    assert first.has_namesake()
    server.connected = False
    assert first.take() is not None


def test_what_was_not_taken_is_not_renewed(server: fakeredis.FakeServer) -> None:
    credential(server).renew()
    credential(server).release()
    assert kept(server) == {}


def test_one_traptor_does_not_run_twice_and_both_are_told(
    server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = credential(server), credential(server, ACCESS_TOKEN="another-token")
    assert first.take() is None
    for _ in range(3):
        holder = second.take()
        assert holder
        assert second.is_rival(holder)
        first.renew()
    assert (first.rival["type"], first.rival["id"], first.rival["credential"]) == ("track", 0, second.name)
    assert [record.getMessage() for record in caplog.records] == [
        "this Traptor runs already, with another credential: not twice",
        "a second process would run as this Traptor, with another credential",
    ]
    first.release()
    assert second.take() is None
    second.renew()
    assert second.rival == {}


@pytest.mark.parametrize("traptor_id,apikeys", [(0, {}), (1, {}), (1, {"ACCESS_TOKEN": "another-token"})])
def test_nobody_else_is_a_rival(server: fakeredis.FakeServer, traptor_id: int, apikeys: dict[str, str]) -> None:
    """Who stands by, who shares a credential, and who shares nothing."""
    first, second = credential(server), credential(server, traptor_id, **apikeys)
    first.take()
    assert (second.take() is None) == bool(apikeys)
    first.renew()
    assert (first.rival, kept(server).get(keys.rival("track", 0))) == ({}, None)


def test_a_rival_waits_though_no_word_can_be_left(
    server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = credential(server), credential(server, ACCESS_TOKEN="another-token")
    first.take()
    monkeypatch.setattr(second._conn, "set", lambda *_, **__: second._conn.execute_command("NONSENSE"))
    assert second.take() is not None
    assert not second._held


def test_a_good_stretch_forgets_every_failure(server: fakeredis.FakeServer) -> None:
    one = credential(server)
    one.failed(Kind.RATE_LIMITED)
    one.succeeded()
    assert 60 <= one.failed(Kind.RATE_LIMITED) <= 66


def test_what_is_remembered_is_recalled_once_for_each_time_that_it_is_ours(server: fakeredis.FakeServer) -> None:
    one = credential(server)
    one.take()
    state = {"failures": {"http": 3}, "not_before": time.time() + 100}
    fakeredis.FakeRedis(server=server).set(keys.backoff(one.name), json.dumps(state))
    one.take()
    assert one.wait_seconds() == 0
    one.release()
    one.take()
    assert 99 <= one.wait_seconds() <= 100


def test_a_wait_that_is_longer_than_what_is_remembered_stays(server: fakeredis.FakeServer) -> None:
    one = credential(server)
    one.failed(Kind.HTTP, 500)
    state = {"failures": {"http": 3}, "not_before": time.time() + 100}
    fakeredis.FakeRedis(server=server).set(keys.backoff(one.name), json.dumps(state))
    one.take()
    assert one.wait_seconds() > 490


def test_patience_with_another_ends_without_redis_coming_back_any_later(
    server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = credential(server), credential(server, traptor_id=1)
    first.take()
    second.take()
    server.connected = False
    second.take()
    server.connected = True
    first.release()
    for after_seconds, is_free in ((TTL_SECONDS - 1, False), (TTL_SECONDS + 1, True)):
        now = time.monotonic() + after_seconds
        with monkeypatch.context() as moved:
            moved.setattr(time, "monotonic", lambda now=now: now)
            assert (second.take() is None) is is_free


def test_a_stream_is_handed_over_before_what_it_brought_is_delivered(server: fakeredis.FakeServer) -> None:
    """Whoever waits is told at once, and again when our name is free."""
    first, second = credential(server), credential(server)
    first.take()
    assert second.take()
    assert second.predecessor() is None
    first.hand_over()
    assert second.is_told()
    assert second.take() is None
    assert second.predecessor()
    assert (second.has_name(), second.has_namesake()) == (False, True)
    first.renew()
    second.renew()
    assert (first.lost, second.lost) == (False, False)
    first.release()
    assert second.is_told()
    second.renew()
    assert second.predecessor() is None
    assert (second.has_name(), second.has_namesake()) == (True, False)
    assert credential(server).take()


def test_another_traptor_with_the_credential_waits_for_nothing_else(server: fakeredis.FakeServer) -> None:
    first, second = credential(server), credential(server, traptor_id=1)
    first.take()
    first.hand_over()
    assert second.take() is None
    assert second.predecessor() is None


@pytest.mark.parametrize(
    "holds,traptor_id,token,has_name,has_namesake",
    [
        (False, 0, "the-token", True, False),
        (True, 0, "the-token", False, True),
        (True, 0, "another-token", False, True),
        (True, 1, "the-token", False, False),
        (True, 1, "another-token", True, False),
    ],
)
def test_who_writes_under_our_name_and_who_takes_up_what_it_left(
    server: fakeredis.FakeServer, *, holds: bool, traptor_id: int, token: str, has_name: bool, has_namesake: bool
) -> None:
    other, one = credential(server, traptor_id=traptor_id, ACCESS_TOKEN=token), credential(server)
    if holds:
        other.take()
    assert (one.has_name(), one.has_namesake()) == (False, False)
    one.take()
    assert (one.has_name(), one.has_namesake()) == (has_name, has_namesake)


def test_a_name_that_another_has_taken_instead_is_lost(server: fakeredis.FakeServer) -> None:
    first, second, rival = credential(server), credential(server), credential(server, ACCESS_TOKEN="another-token")
    first.take()
    first.hand_over()
    assert second.take() is None
    first.release()
    assert rival.take() is None
    second.renew()
    assert second.lost


def test_without_redis_nobody_is_told(server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    one = credential(server)
    one.hand_over()
    one.take()
    server.connected = False
    one.hand_over()
    assert not one.is_told()
    assert [record.getMessage() for record in caplog.records] == ["lease not released: it ends by itself"]
