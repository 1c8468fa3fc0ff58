"""Rules of silent Traptors move to living ones, and nothing else does."""

import json
import logging
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

from tests.servers import wait_until
from traptor import keys
from traptor.fleet import rebalance, roster
from traptor.fleet.rebalance import Balance, Policy
from traptor.fleet.roster import Name
from traptor.rules import checked, stored
from traptor.rules.loading import content_id
from traptor.rules.lock import RulesLock
from traptor.rules.shards import Place, Shards

CHANNEL = "traptor-notify"
AT_ONCE = Policy(after_seconds=0, bring_back=False)


@pytest.fixture
def conn() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(decode_responses=True) as made:
        yield made


def hold(conn: fakeredis.FakeRedis, traptor_id: int, *rule_ids: int) -> None:
    stored.write(conn, "track", traptor_id, [{"rule_id": str(n), "value": f"word{n}"} for n in rule_ids])


def live(conn: fakeredis.FakeRedis, *traptor_ids: int) -> None:
    """These have a heartbeat, and no others."""
    for key in list(conn.scan_iter("track:*")):
        conn.delete(key)
    for traptor_id in traptor_ids:
        conn.set(keys.heartbeat("track", traptor_id, datetime.now(UTC)), "alive")


def where(conn: fakeredis.FakeRedis) -> dict[int, list[str]]:
    return {i: list(some) for i, some in stored.read_all(conn, "track").items()}


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


def test_one_that_was_added_gets_rules_when_it_is_asked_for(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, 1, 2, 3, 4)
    live(conn, 0, 1)
    assert look(conn).moves == {}
    spreading = AT_ONCE._replace(spread=True)
    assert look(conn, spreading._replace(dry_run=True)).told == []
    assert [str(name) for name in look(conn, spreading).told] == ["track:0", "track:1"]
    assert [len(rules) for rules in where(conn).values()] == [2, 2]
    assert not any(look(conn, spreading).moves.values())


def test_what_rules_wait_for_is_told(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, 1, 2)
    live(conn, 1)
    returning = Policy(after_seconds=0, bring_back=True)
    assert look(conn, returning).away == {Name("track", 0): (2, "to live again")}
    live(conn, 0, 1)
    assert look(conn, returning).away == {}
    assert where(conn) == {0: ["1", "2"]}


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


@pytest.mark.parametrize(
    "state,busy,at",
    [
        ("backing-off", 0, 2),
        ("stalled", 0, 2),
        ("spool-full", 0, 2),
        ("kafka-down", 0, 1),
        ("connecting", 0, 1),
        ("backing-off", 400, 1),
    ],
)
def test_rules_go_to_traptors_that_collect(conn: fakeredis.FakeRedis, state: str, busy: int, at: int) -> None:
    """track:1 has fewer rules, and is in this state; track:2 has one rule, or is full."""
    hold(conn, 0, 1)
    hold(conn, 2, *range(100, 101 + max(0, busy - 1)))
    live(conn, 1, 2)
    conn.set(keys.status("track", 1), json.dumps({"state": state}))
    [move] = look(conn).moves["track"]
    assert move.at.traptor_id == at


def test_rules_do_not_go_home_to_one_that_backs_off(conn: fakeredis.FakeRedis) -> None:
    policy = Policy(0, bring_back=True)
    hold(conn, 0, 1)
    live(conn, 1)
    look(conn, policy)
    live(conn, 0, 1)
    for state, home in (("backing-off", {1: ["1"]}), ("streaming", {0: ["1"]})):
        conn.set(keys.status("track", 0), json.dumps({"state": state}))
        look(conn, policy)
        assert where(conn) == home


@pytest.mark.parametrize("limit,orphans", [(None, 200), (1000, 0)])
def test_a_traptor_says_how_much_it_takes(conn: fakeredis.FakeRedis, limit: int | None, orphans: int) -> None:
    hold(conn, 0, *range(300))
    hold(conn, 1, *range(300, 600))
    live(conn, 1)
    conn.set(keys.status("track", 1), json.dumps({"state": "streaming", "predicate_limit": limit}))
    assert look(conn).orphans["track"] == orphans


def test_a_dry_run_moves_nothing(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, 1)
    live(conn, 1)
    [move] = look(conn, Policy(0, bring_back=False, dry_run=True)).moves["track"]
    assert (move.was, move.at) == (Place(0, "1"), Place(1, "1"))
    assert where(conn) == {0: ["1"]}
    assert not conn.exists(keys.silent("track", 0))


def test_a_rule_moves_once_whatever_its_hash_calls_itself(conn: fakeredis.FakeRedis) -> None:
    conn.hset("traptor-track:0:7", mapping={"rule_id": "abc", "value": "storm"})
    conn.hset("traptor-track:0:8", mapping={"rule_id": "abc", "value": "hail"})
    live(conn, 1)
    assert len(look(conn).moves["track"]) == 2
    assert where(conn) == {1: ["7", "8"]}
    assert look(conn).moves == {}


def test_rules_of_one_id_find_a_place_and_their_way_home(conn: fakeredis.FakeRedis) -> None:
    """Each Traptor may have its own ids, as in the original's scheme."""
    policy = Policy(0, bring_back=True)
    stored.write(conn, "track", 0, [{"rule_id": "1", "value": "cat"}])
    stored.write(conn, "track", 1, [{"rule_id": "1", "value": "dog"}])
    for living, expected in (([1], {1: ["1", content_id("cat")]}), ([0, 1], {0: ["1"], 1: ["1"]})):
        live(conn, *living)
        assert look(conn, policy).orphans.get("track", 0) == 0
        assert {i: sorted(some) for i, some in where(conn).items()} == expected
    assert conn.hget("traptor-track:0:1", "value") == "cat"


def test_what_is_over_a_limit_moves(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, *range(401))
    live(conn, 0, 1)
    look(conn)
    assert where(conn)[1] == ["400"]


@pytest.mark.parametrize(
    "traptor_type,status,reads",
    [
        ("follow", {"predicates": 10, "left_out": 1}, False),
        ("follow", {"predicates": 5000, "left_out": 1}, True),
        ("track", {"predicates": 10, "left_out": 1}, True),
        ("track", {"predicates": 10, "left_out": 0}, False),
    ],
    ids=["what Twitter would refuse", "too many", "phrases for which there is no room", "all well"],
)
def test_a_look_at_rest_reads_no_rules(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, traptor_type: str, status: dict[str, int], reads: bool
) -> None:
    stored.write(conn, traptor_type, 0, [{"rule_id": "1", "value": "12"}])
    conn.set(f"{traptor_type}:0:20260101000000", "alive")
    conn.set(keys.status(traptor_type, 0), json.dumps({"state": "streaming", **status}))
    conn.hset(keys.homes(traptor_type), "0:1", "7:1")  # of a Traptor that is still away
    read: list[str] = []
    monkeypatch.setattr(stored, "read_all", lambda _, name, *__, **___: read.append(name) or {})
    look(conn, Policy(0, bring_back=True))
    assert read == [traptor_type] * reads


@pytest.mark.parametrize(
    "said,home,reads",
    [
        ({"rules": 2, "predicates": 400}, "", False),
        ({"rules": 2, "predicates": 399}, "", True),
        ({"rules": 1, "predicates": 400}, "", True),
        ({"rules": 2, "predicates": 400, "left_out": 1}, "", True),
        ({"rules": 2, "predicates": 400}, "0:1", True),
    ],
    ids=["is full", "has room", "says what does not hold any more", "is over its limit", "has a guest"],
)
def test_rules_that_neither_leave_nor_make_room_are_not_read(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, said: dict[str, int], home: str, reads: bool
) -> None:
    hold(conn, 0, 1, 2)
    hold(conn, 1, 3)
    live(conn, 0, 2)
    conn.set(keys.status("track", 0), json.dumps({"state": "streaming", **said}))
    if home:
        conn.hset(keys.homes("track"), home, "7:1")
    read: set[int] = set()
    read_all = stored.read_all
    monkeypatch.setattr(
        stored, "read_all", lambda conn, name, listed, *rest: read.update(listed) or read_all(conn, name, listed, *rest)
    )
    look(conn, Policy(0, bring_back=True))
    assert read == {1, 2} | ({0} if reads else set())
    assert conn.exists(keys.rule("track", 2, "3"))


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


def own(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Not what the threads of other tests still have to say."""
    return [record for record in caplog.records if record.name == rebalance.log.name]


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
    assert [record.getMessage() for record in own(caplog)] == [*["Redis fails: trying again"] * 2, "rules moved"]


def test_orphans_are_told_once_and_once_more_when_they_are_gone(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rebalance, "WATCH_SECONDS", 0.01)
    hold(conn, 0, 1, 2)
    hold(conn, 1, *range(100, 500))
    live(conn, 1)
    watch = Watch(looks=3)

    def take_up(balance: Balance) -> None:
        watch.take_up(balance)
        if len(watch.balances) == 2:
            live(conn, 0, 1)

    rebalance.watch(conn, CHANNEL, AT_ONCE, watch.stop, take_up)
    said = [(record.levelname, record.getMessage()) for record in own(caplog)]
    assert said == [("ERROR", "orphans: no living Traptor has room"), ("WARNING", "no orphans any more")]


def test_a_look_is_skipped_while_somebody_else_changes_rules_and_told_once_if_that_lasts(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rebalance, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(rebalance, "REST", 0)
    monkeypatch.setattr(rebalance, "MANY_SKIPPED", 3)
    watch = Watch(looks=1)

    def told() -> list[str]:
        return [vars(record)["reason"] for record in own(caplog) if record.levelname == "WARNING"]

    with RulesLock(conn):
        thread = threading.Thread(target=rebalance.watch, args=(conn, CHANNEL, AT_ONCE, watch.stop, watch.take_up))
        thread.start()
        wait_until(lambda: bool(told()), "what is skipped to be told")
        assert watch.balances == []
    thread.join(120)
    assert len(watch.balances) == 1
    [reason] = told()
    assert "rules are being changed by" in reason


@pytest.mark.parametrize("look_seconds,rest_seconds", [(0.0, 2.0), (1.0, 25.0), (10.0, rebalance.MOST_REST_SECONDS)])
def test_a_long_look_is_followed_by_a_longer_rest(
    monkeypatch: pytest.MonkeyPatch, look_seconds: float, rest_seconds: float
) -> None:
    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            self.set()
            return True

    waits: list[float | None] = []
    moments = iter([0.0, look_seconds])
    monkeypatch.setattr(rebalance, "rebalance", lambda *_, **__: Balance({}, {}, [], {}))
    monkeypatch.setattr(rebalance.time, "process_time", lambda: next(moments))
    rebalance.watch(fakeredis.FakeRedis(), CHANNEL, AT_ONCE, Stop())
    assert waits == [rest_seconds]


# Any sequence of loads, deaths, returns and looks, in Redis

NUMBERS = st.integers(0, 40)
RULES = st.dictionaries(NUMBERS, st.lists(NUMBERS, min_size=1, max_size=3, unique=True), max_size=40)
"""Boxes by rule_id; the numbers of other hashes are written as redis-cli would, on a Traptor of their own."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["load", "prune"]), RULES),
        st.tuples(st.just("write"), st.tuples(st.integers(0, 2), NUMBERS, NUMBERS)),
        st.tuples(st.just("live"), st.sets(st.integers(0, 2))),
        st.tuples(st.just("look"), st.booleans()),
    ),
    max_size=10,
)


def of_boxes(rule_id: int | str, *west: int) -> dict[str, str]:
    return {"rule_id": str(rule_id), "value": ",".join(f"{w},1,{w + 1},2" for w in sorted(west))}


def stands(conn: fakeredis.FakeRedis) -> Counter[str]:
    """On how many Traptors each value is."""
    return Counter(rule["value"] for some in stored.read_all(conn, "locations").values() for rule in some.values())


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_every_rule_is_on_exactly_one_traptor_and_no_limit_is_exceeded(steps: list[tuple[str, Any]]) -> None:
    living: set[int] = set()
    with fakeredis.FakeRedis(decode_responses=True) as conn:
        for step, argument in steps:
            before = stands(conn)
            if step == "live":
                living = argument
                for key in list(conn.scan_iter("locations:*")):
                    conn.delete(key)
                for traptor_id in living:
                    conn.set(keys.heartbeat("locations", traptor_id, datetime.now(UTC)), "alive")
            elif step == "write":
                traptor_id, number, west = argument
                # Its hash calls itself as another one may.
                conn.hset(f"traptor-locations:{traptor_id}:{number}", mapping=of_boxes(number // 2, west))
            elif step == "look":
                orphans = look(conn, Policy(0, bool(argument))).orphans.get("locations", 0)
                held = stored.read_all(conn, "locations")
                assert stands(conn) == before
                shards = Shards("locations", held, living)
                left = [rule for place, rule in shards.held() if place.traptor_id not in living]
                if living:
                    assert len(left) == orphans
                    least_used = min(shards.by_id[one].used for one in living)
                    assert all(least_used + len(checked.predicates("locations", rule)) > 25 for rule in left)
            else:
                wanted = list({tuple(sorted(west)): of_boxes(n, *west) for n, west in argument.items()}.values())

                def plan(
                    shards: Shards, wanted: list[dict[str, str]] = wanted, step: str = step
                ) -> list[roster.Change]:
                    return shards.load(wanted, prune=step == "prune")

                roster.change(conn, CHANNEL, ["locations"], plan)
                values = Counter(rule["value"] for rule in wanted)
                assert stands(conn) == values if step == "prune" else values.keys() <= stands(conn).keys()
