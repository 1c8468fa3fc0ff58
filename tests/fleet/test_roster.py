"""The fleet as Redis shows it, and changes to its rules."""

import json
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis

from traptor import keys
from traptor.fleet import roster
from traptor.fleet.roster import Name
from traptor.rules import stored
from traptor.rules.lock import Locked, RulesLock
from traptor.rules.progress import Progress
from traptor.rules.shards import Change, Place, Shards

CHANNEL = "traptor-notify"
CAT = {"rule_id": "1", "value": "cat", "tag": "a"}
AT_0, AT_1 = Place(0, "1"), Place(1, "1")


@pytest.fixture
def conn() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(decode_responses=True) as made:
        yield made


@pytest.fixture
def notices(conn: fakeredis.FakeRedis) -> Any:
    """Calling it gives the notices published since the last call."""
    pubsub = conn.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(CHANNEL)
    pubsub.get_message()

    def since() -> list[str]:
        found = []
        while message := pubsub.get_message():
            found.append(message["data"])
        return found

    yield since
    pubsub.close()


def hold(conn: fakeredis.FakeRedis, traptor_id: int, *held: dict[str, str]) -> None:
    stored.write(conn, "track", traptor_id, held)


def held(conn: fakeredis.FakeRedis) -> dict[str, dict[str, str]]:
    return {key: conn.hgetall(key) for key in sorted(conn.scan_iter("traptor-*"))}


def apply(conn: fakeredis.FakeRedis, *changes: Change, **more: Any) -> tuple[list[Change], list[str]]:
    """The changes that were made, and who was told."""
    with RulesLock(conn) as rules_lock:
        made, told = roster.apply(conn, rules_lock, CHANNEL, {"track": changes}, **more)
    return list(made["track"]), list(map(str, told))


@pytest.mark.parametrize(
    "key,value,seen",
    [
        ("traptor:status:track:0", '{"state": "streaming"}', {"status": {"state": "streaming"}}),
        ("traptor:life:track:0", '{"at": "2026-01-01T00:00:00+00:00"}', {"life": {"at": "2026-01-01T00:00:00+00:00"}}),
        ("track:0:20260101000000", "alive", {"beats": True}),
        ("traptor:status:track:0", "garbage", {"status": {}}),
        ("traptor:status:track:0", "[1]", {"status": {}}),
        ("traptor:silent:track:0", "garbage", {"silent_since": None}),
    ],
)
def test_what_a_key_says_of_a_traptor(conn: fakeredis.FakeRedis, key: str, value: str, seen: dict[str, Any]) -> None:
    conn.set(key, value)
    [member] = roster.look(conn).values()
    assert member.name == Name("track", 0)
    assert {name: getattr(member, name) for name in seen} == seen


@pytest.mark.parametrize(
    "key",
    [
        "tracks:0:1",
        "traptor-track:x:1",
        "limit:track:0",
        "stats:track:0:1",
        "other",
        "traptor-tweets:0:1",
        "traptor-track:0",
        "traptor-track:00:1",
        "track:007:20260101000000",
    ],
)
def test_other_keys_say_nothing(conn: fakeredis.FakeRedis, key: str) -> None:
    conn.set(key, "1")
    assert roster.look(conn) == {}


@pytest.mark.parametrize(
    "beats,state,living",
    [
        (True, "streaming", True),
        (True, "backing-off", True),
        (True, None, True),
        (False, "streaming", False),
        (False, None, False),
        (True, "refused", False),
        (True, "stopping", False),
    ],
)
def test_who_lives(beats: bool, state: str | None, living: bool) -> None:
    member = roster.Member(Name("track", 0), beats=beats, status={"state": state} if state else {})
    assert member.is_living is living


def test_members_come_in_order_with_their_rules(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 10, CAT)
    hold(conn, 9, CAT, {"rule_id": "x:y", "value": "dog"})
    conn.set("follow:0:20260101000000", "alive")
    assert [(str(name), member.rules) for name, member in roster.look(conn).items()] == [
        ("follow:0", 0),
        ("track:9", 2),
        ("track:10", 1),
    ]


MOVED = Change("moved", AT_1, CAT, AT_0)


@pytest.mark.parametrize(
    "before,changes,after,made,told",
    [
        ({}, [Change("added", AT_0, CAT)], {"traptor-track:0:1": CAT}, 1, ["track:0"]),
        ({0: CAT}, [Change("removed", AT_0, CAT)], {}, 1, ["track:0"]),
        (
            {0: {**CAT, "note": "goes"}},
            [Change("changed", AT_0, {**CAT, "tag": "b"})],
            {"traptor-track:0:1": {**CAT, "tag": "b"}},
            1,
            ["track:0"],
        ),
        (
            {0: CAT},
            [Change("changed", Place(2, "1"), CAT, AT_0)],
            {"traptor-track:2:1": CAT},
            1,
            ["track:0", "track:2"],
        ),
        (
            {0: CAT},
            [Change("added", AT_0, {**CAT, "value": "dog"}), Change("changed", Place(0, "2"), CAT, AT_0)],
            {"traptor-track:0:1": {**CAT, "value": "dog"}, "traptor-track:0:2": CAT},
            2,
            ["track:0"],
        ),
        (
            {0: {**CAT, "note": "stays"}},
            [MOVED],
            {"traptor-track:1:1": {**CAT, "note": "stays"}},
            1,
            ["track:0", "track:1"],
        ),
        ({}, [MOVED], {}, 0, ["track:0", "track:1"]),
        (
            {0: CAT, 1: {**CAT, "value": "dog"}},
            [MOVED],
            {"traptor-track:0:1": CAT, "traptor-track:1:1": {**CAT, "value": "dog"}},
            0,
            ["track:0", "track:1"],
        ),
        ({0: CAT}, [], {"traptor-track:0:1": CAT}, 0, []),
    ],
    ids=[
        "added",
        "removed",
        "changed",
        "changed and moved",
        "another id, and its own taken over",
        "moved",
        "removed meanwhile",
        "taken meanwhile",
        "nothing",
    ],
)
def test_changes_are_written_and_told_to_those_they_concern(
    *,
    conn: fakeredis.FakeRedis,
    notices: Any,
    before: dict[int, dict[str, str]],
    changes: list[Change],
    after: dict[str, dict[str, str]],
    made: int,
    told: list[str],
) -> None:
    for traptor_id, rule in before.items():
        hold(conn, traptor_id, rule)
    assert apply(conn, *changes) == (changes[:made], told)
    assert held(conn) == after
    assert notices() == told


def test_many_changes_are_written_in_portions_of_which_each_is_whole(
    conn: fakeredis.FakeRedis, notices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "CHANGES_AT_ONCE", 2)
    stored.write(conn, "track", 0, [{"rule_id": "1", "value": "a"}, {"rule_id": "2", "value": "b"}])
    one, two = {"rule_id": "2", "value": "a"}, {"rule_id": "3", "value": "b"}
    renamed = [
        Change("changed", Place(0, "2"), one, Place(0, "1")),
        Change("changed", Place(0, "3"), two, Place(0, "2")),
    ]
    added = [Change("added", Place(i, str(n)), {"rule_id": str(n), "value": str(n)}) for n in (5, 6, 7) for i in (1, 2)]
    portions = roster._portions([("track", change) for change in (added[0], *renamed, *added[1:])])
    assert [len(some) for some in portions] == [2, 2, 2, 2]
    assert [change for _, change in portions[0]] == renamed
    made, told = apply(conn, added[0], *renamed, *added[1:])
    assert made == [added[0], *renamed, *added[1:]]
    assert told == ["track:0", "track:1", "track:2"]
    assert {*notices()} == {*told}
    assert held(conn) == {
        "traptor-track:0:2": one,
        "traptor-track:0:3": two,
        **{keys.rule("track", *change.at): change.rule for change in added},
    }


def test_homes_are_remembered_with_the_moves_for_a_while(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, CAT)
    homes = {Place(1, "a:b"): Place(0, "1")}
    apply(conn, MOVED, homes={"track": homes})
    conn.hset(keys.homes("track"), mapping={"x": "y", "1:2": "y", "x:1": "1:2"})
    assert roster.homes_of(conn, "track") == homes
    assert 0 < conn.ttl(keys.homes("track")) <= roster.HOMES_SECONDS


def test_of_homes_only_what_changes_is_written_each_with_its_move(
    conn: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "CHANGES_AT_ONCE", 2)
    hold(conn, 0, *({"rule_id": str(n), "value": str(n)} for n in range(5)))
    kept, gone = {Place(2, "9"): Place(0, "9")}, {Place(2, str(n)): Place(0, str(n)) for n in range(10, 15)}
    apply(conn, homes={"track": kept | gone})
    moves = [
        Change("moved", Place(1, str(n)), {"rule_id": str(n), "value": str(n)}, Place(0, str(n))) for n in range(5)
    ]
    new: dict[Place, Place | None] = {move.at: move.was for move in moves}
    seen: list[int] = []

    def between(_: str) -> None:
        seen.append(len(roster.homes_of(conn, "track")))

    apply(conn, *moves, homes={"track": new | dict.fromkeys(gone)}, progress=Progress(between))
    assert seen == [8, 10, 11]
    assert roster.homes_of(conn, "track") == kept | new


def test_all_types_are_written_or_none(conn: fakeredis.FakeRedis) -> None:
    def plan(shards: Shards) -> list[Change]:
        if shards.traptor_type == "track":
            conn.set(keys.RULES_LOCK, "somebody else")
        return shards.load([{"rule_id": "1", "value": "12"}])

    with pytest.raises(Locked, match="lost to somebody else"):
        roster.change(conn, CHANNEL, ["follow", "track"], plan)
    assert held(conn) == {}


def test_counts_are_of_the_traptor_and_the_rule_id_in_the_hash(conn: fakeredis.FakeRedis) -> None:
    conn.hset("traptor-track:0:7", mapping={"rule_id": "abc", "value": "storm"})
    hold(conn, 1, CAT)
    hold(conn, 2, CAT)
    conn.mset({"stats:track:0:abc": 5, "stats:track:1:1": 3, "stats:track:2:1": 4})
    shards = roster.shards(conn, "track", roster.look(conn))
    shards.count_matches(shards.by_id)
    assert {traptor_id: shard.matches for traptor_id, shard in shards.by_id.items()} == {0: 5, 1: 3, 2: 4}
    members = roster.look(conn).values()
    assert [rule["matches"] for rule in roster.all_rules(conn, members)] == [5, 3, 4]
    conn.set("stats:track:1:1", "garbage")
    assert [rule["matches"] for rule in roster.all_rules(conn, members)] == [5, 0, 4]


def test_of_a_change_to_some_rules_only_these_are_read(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, CAT, {"rule_id": "2", "value": "dog"})
    hold(conn, 1, CAT, {"rule_id": "3", "value": "bird"})
    seen = []

    def plan(shards: Shards) -> list[Change]:
        seen.extend(place for place, _ in shards.held())
        return shards.remove([AT_1])

    made, told = roster.change(conn, CHANNEL, ["track"], plan, rule_ids={"1", "7"})
    assert (seen, made, told) == ([AT_0, AT_1], {"track": [Change("removed", AT_1, CAT)]}, [Name("track", 1)])
    assert len(held(conn)) == 3


def test_fields_of_a_rules_own_do_not_hide_where_it_is(conn: fakeredis.FakeRedis) -> None:
    hold(conn, 0, {**CAT, "type": "keyword", "traptor_id": "9", "matches": "many"})
    [rule] = roster.all_rules(conn, roster.look(conn).values())
    assert rule == {**CAT, "traptor": "track:0", "type": "track", "traptor_id": 0, "matches": 0}


def test_another_error_of_redis_is_raised(conn: fakeredis.FakeRedis) -> None:
    conn.set("traptor-track:0:1", "no hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        apply(conn, Change("added", AT_0, CAT))


@pytest.mark.parametrize("other", [None, "somebody else"])
def test_whoever_lost_the_lock_writes_nothing_and_leaves_it(conn: fakeredis.FakeRedis, other: str | None) -> None:
    with RulesLock(conn) as rules_lock:
        conn.delete(keys.RULES_LOCK)
        if other:
            conn.set(keys.RULES_LOCK, other)
        with pytest.raises(Locked, match="lost to somebody else"):
            roster.apply(conn, rules_lock, CHANNEL, {"track": [Change("added", AT_0, CAT)]})
    assert held(conn) == {}
    assert conn.get(keys.RULES_LOCK) == other


def test_gaps_are_read_oldest_first(conn: fakeredis.FakeRedis) -> None:
    for cause in ("stalled", "reset"):
        conn.rpush(keys.gaps("track", 0), json.dumps({"cause": cause}))
    assert [gap["cause"] for gap in roster.gaps(conn, Name("track", 0))] == ["stalled", "reset"]
