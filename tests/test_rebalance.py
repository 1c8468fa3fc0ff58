"""Rules of silent Traptors move to living ones, and nothing else does."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from traptor import fleet, keys, rebalance, rules
from traptor.fleet import Name
from traptor.rebalance import Balance, Policy
from traptor.rules_lock import RulesLock
from traptor.shards import Shards

CHANNEL = "traptor-notify"
AT_ONCE = Policy(after_seconds=0, bring_back=False)


@pytest.fixture
def conn() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(decode_responses=True) as made:
        yield made


def hold(conn: fakeredis.FakeRedis, traptor_id: int, *rule_ids: int) -> None:
    rules.write(conn, "track", traptor_id, [{"rule_id": str(n), "value": f"word{n}"} for n in rule_ids])


def live(conn: fakeredis.FakeRedis, *traptor_ids: int) -> None:
    """These have a heartbeat, and no others."""
    for key in list(conn.scan_iter("track:*")):
        conn.delete(key)
    for traptor_id in traptor_ids:
        conn.set(keys.heartbeat("track", traptor_id, datetime.now(UTC)), "alive")


def where(conn: fakeredis.FakeRedis) -> dict[int, list[str]]:
    return {i: [rule["rule_id"] for rule in some] for i, some in rules.read_all(conn, "track").items()}


def silent_for(conn: fakeredis.FakeRedis, traptor_id: int, seconds: float) -> None:
    conn.set(keys.silent("track", traptor_id), (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat())


def look(conn: fakeredis.FakeRedis, policy: Policy = AT_ONCE) -> Balance:
    return rebalance.rebalance(conn, CHANNEL, policy)


def test_rules_of_the_silent_move_and_both_are_told(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, 1, 2)
    hold(conn, 1, 3)
    hold(conn, 2, 4)
    live(conn, 1, 2)
    balance = look(conn)
    assert where(conn) == {1: ["1", "3"], 2: ["2", "4"]}
    assert [str(name) for name in balance.told] == ["track:0", "track:1", "track:2"]
    assert look(conn).moves == {}


@pytest.mark.parametrize("silent_seconds,moves", [(0, False), (50, False), (61, True)])
def test_silence_has_to_last(conn: fakeredis.FakeRedis, silent_seconds: float, moves: bool) -> None:
    hold(conn, 0, 1)
    live(conn, 1)
    if silent_seconds:
        silent_for(conn, 0, silent_seconds)
    balance = look(conn, Policy(60, bring_back=False))
    assert where(conn) == {1 if moves else 0: ["1"]}
    assert balance.silent[Name("track", 0)] == pytest.approx(0 if moves else 60 - silent_seconds, abs=1)
    assert 0 < conn.ttl(keys.silent("track", 0)) <= rebalance.SILENT_SECONDS or silent_seconds


def test_a_sign_of_life_ends_the_silence(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, 1)
    silent_for(conn, 0, 100)
    live(conn, 0, 1)
    assert look(conn).silent == {}
    assert not conn.exists(keys.silent("track", 0))


def test_silence_does_not_count_while_nobody_lives(conn: fakeredis.FakeRedis) -> None:
    """A fleet that is started again, one after the other, finds its rules as they were."""
    hold(conn, 0, 1)
    hold(conn, 1, 2)
    silent_for(conn, 0, 1000)
    live(conn)
    assert look(conn, Policy(60, bring_back=False)).silent == {}
    live(conn, 1)
    assert look(conn, Policy(60, bring_back=False)).silent[Name("track", 0)] == pytest.approx(60, abs=1)
    assert where(conn) == {0: ["1"], 1: ["2"]}


def test_what_nobody_has_room_for_are_orphans_that_stay(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, 1, 2)
    hold(conn, 1, *range(100, 499))
    live(conn, 1)
    assert look(conn).orphans == {"track": 1}
    assert where(conn)[0] == ["2"]


def test_while_nobody_lives_all_rules_are_orphans(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, 1, 2)
    hold(conn, 1, 3)
    assert look(conn).orphans["track"] == 3


@pytest.mark.parametrize("bring_back,home", [(True, {0: ["1", "2"], 1: ["3"]}), (False, {1: ["1", "2", "3"]})])
def test_rules_go_home_or_stay(conn: fakeredis.FakeRedis, bring_back: bool, home: dict[int, list[str]]) -> None:
    policy = Policy(0, bring_back)
    hold(conn, 0, 1, 2)
    hold(conn, 1, 3)
    live(conn, 1)
    look(conn, policy)
    assert where(conn) == {1: ["1", "2", "3"]}
    live(conn, 0, 1)
    look(conn, policy)
    assert where(conn) == home
    assert not conn.exists(keys.homes("track"))


def test_a_rule_that_moved_twice_goes_to_its_first_home(conn: fakeredis.FakeRedis) -> None:
    policy = Policy(0, bring_back=True)
    hold(conn, 0, 1)
    for living in ([1], [2], [0, 2]):
        live(conn, *living)
        look(conn, policy)
    assert where(conn) == {0: ["1"]}


def test_a_dry_run_moves_nothing(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, 1)
    live(conn, 1)
    [move] = look(conn, Policy(0, bring_back=False, dry_run=True)).moves["track"]
    assert (move.was_at, move.traptor_id) == (0, 1)
    assert where(conn) == {0: ["1"]}


def test_what_is_over_a_limit_moves(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, *range(401))
    live(conn, 0, 1)
    look(conn)
    assert where(conn)[1] == ["400"]


class Watch:
    """Stops after so many looks."""

    def __init__(self, looks: int) -> None:
        self.stop = threading.Event()
        self.balances: list[Balance] = []
        self._looks = looks

    def take_up(self, balance: Balance) -> None:
        self.balances.append(balance)
        if len(self.balances) == self._looks:
            self.stop.set()


def test_watching_goes_on_after_errors(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hold(conn, 0, 1)
    live(conn, 1)
    watch = Watch(looks=1)
    errors: list[Exception] = [redis.ConnectionError("away"), redis.WatchError("lost")]
    genuine = rebalance.rebalance

    def failing(*args: Any, **options: Any) -> Balance:
        if errors:
            raise errors.pop(0)
        return genuine(*args, **options)

    monkeypatch.setattr(rebalance, "rebalance", failing)
    monkeypatch.setattr(rebalance, "WATCH_SECONDS", 0.01)
    rebalance.watch(conn, CHANNEL, AT_ONCE, watch.stop, watch.take_up)
    assert where(conn) == {1: ["1"]}
    assert [record.getMessage() for record in caplog.records] == [*["Redis fails: trying again"] * 2, "rules moved"]


def test_a_look_is_skipped_while_somebody_else_changes_rules(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebalance, "WATCH_SECONDS", 0.01)
    watch = Watch(looks=1)
    with RulesLock(conn):
        thread = threading.Thread(target=rebalance.watch, args=(conn, CHANNEL, AT_ONCE, watch.stop, watch.take_up))
        thread.start()
        thread.join(0.1)
        assert watch.balances == []
    thread.join(10)
    assert len(watch.balances) == 1


# Any sequence of loads, deaths, returns and looks, in Redis

STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["load", "prune"]), st.sets(st.integers(0, 70), max_size=70)),
        st.tuples(st.just("live"), st.sets(st.integers(0, 2))),
        st.tuples(st.just("look"), st.booleans()),
    ),
    max_size=10,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_every_rule_is_on_exactly_one_traptor_and_no_limit_is_exceeded(steps: list[tuple[str, object]]) -> None:
    expected: set[str] = set()
    living: set[int] = set()
    with fakeredis.FakeRedis(decode_responses=True) as conn:
        for step, argument in steps:
            if step == "live":
                assert isinstance(argument, set)
                living = argument
                for key in list(conn.scan_iter("locations:*")):
                    conn.delete(key)
                for traptor_id in living:
                    conn.set(keys.heartbeat("locations", traptor_id, datetime.now(UTC)), "alive")
            elif step == "look":
                balance = look(conn, Policy(0, bool(argument)))
                held = rules.read_all(conn, "locations")
                full = all(len(held.get(traptor_id, ())) == 25 for traptor_id in living)
                left = sum(len(some) for traptor_id, some in held.items() if traptor_id not in living)
                if living:
                    assert left == balance.orphans.get("locations", 0)
                    assert left == 0 or full
            else:
                assert isinstance(argument, set)
                boxes = [{"rule_id": str(n), "value": f"{n},1,{n + 1},2"} for n in sorted(argument)]

                def plan(shards: Shards, boxes: list[dict[str, str]] = boxes, step: str = step) -> list[fleet.Change]:
                    return shards.load(boxes, prune=step == "prune")

                fleet.change(conn, CHANNEL, ["locations"], plan)
                expected = (expected if step == "load" else set()) | {str(n) for n in argument}
            held = rules.read_all(conn, "locations")
            assert Counter(rule["rule_id"] for some in held.values() for rule in some) == Counter(expected)
            assert all(len(some) <= 25 for some in held.values())
