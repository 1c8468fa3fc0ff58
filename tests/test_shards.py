"""Which Traptor has which rule: loading, moving, and what always holds."""

from collections import Counter
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traptor import loading
from traptor.messages import Rule
from traptor.rules import LIMITS
from traptor.shards import Change, Shards, needed


def rule(rule_id: str, value: str = "", **fields: str) -> Rule:
    return {"rule_id": rule_id, "value": value or f"word{rule_id}", **fields}


def words(*numbers: int) -> list[Rule]:
    return [rule(str(number)) for number in numbers]


def loads(shards: Shards, *rules: Rule, prune: bool = False) -> list[tuple[str, int, str, int | None]]:
    return [brief(change) for change in shards.load(rules, prune=prune)]


def brief(change: Change) -> tuple[str, int, str, int | None]:
    return change.kind, change.traptor_id, change.rule["rule_id"], change.was_at


def where(shards: Shards) -> dict[int, list[str]]:
    return {traptor_id: sorted(shard.rules) for traptor_id, shard in shards.by_id.items() if shard.rules}


CAT, DOG = rule("1", "cat", tag="a"), rule("2", "dog")


@pytest.mark.parametrize(
    "held,loaded,prune,changes",
    [
        pytest.param({}, [CAT], False, [("added", 0, "1", None)], id="new"),
        pytest.param({0: [CAT]}, [CAT], False, [], id="the same"),
        pytest.param({0: [CAT]}, [{**CAT, "rule_id": ""}], False, [], id="the same, without its id"),
        pytest.param({0: [CAT]}, [{**CAT, "tag": "b"}], False, [("changed", 0, "1", None)], id="another tag"),
        pytest.param({0: [CAT]}, [rule("", "cat")], False, [("changed", 0, "1", None)], id="without its tag"),
        pytest.param({3: [CAT]}, [rule("1", "bird")], False, [("changed", 3, "1", None)], id="another value"),
        pytest.param({0: [CAT]}, [DOG], False, [("added", 0, "2", None)], id="nothing goes"),
        pytest.param({0: [CAT]}, [DOG], True, [("removed", 0, "1", None), ("added", 0, "2", None)], id="pruned"),
        pytest.param({0: [CAT], 1: [DOG]}, [DOG], True, [("removed", 0, "1", None)], id="pruned elsewhere"),
        pytest.param({0: [CAT, rule("9", "CAT")]}, [CAT], True, [("removed", 0, "9", None)], id="pruned twin"),
        pytest.param({1: [CAT]}, [DOG], False, [("added", 0, "2", None)], id="into the first shard with room"),
        pytest.param(
            {0: [rule("2", "bird")]},
            [{**DOG, "rule_id": ""}],
            False,
            [("added", 0, loading.content_id("dog"), None)],
            id="an id from the value",
        ),
    ],
)
def test_loading_is_a_difference(
    held: Mapping[int, list[Rule]], loaded: list[Rule], prune: bool, changes: list[tuple[str, int, str, int | None]]
) -> None:
    assert loads(Shards("track", held), *loaded, prune=prune) == changes


def test_rules_fill_one_traptor_after_the_other_where_none_lives() -> None:
    shards = Shards("locations", {})
    shards.load([rule(str(n), f"{n},1,{n + 1},2") for n in range(60)])
    assert {traptor_id: shard.used for traptor_id, shard in shards.by_id.items()} == {0: 25, 1: 25, 2: 10}


def test_rules_spread_evenly_over_the_living() -> None:
    shards = Shards("track", {}, living=[0, 2, 5])
    shards.load(words(*range(90)))
    assert {traptor_id: shard.used for traptor_id, shard in shards.by_id.items()} == {0: 30, 2: 30, 5: 30}


def test_what_the_living_cannot_take_goes_beyond_them() -> None:
    shards = Shards("track", {1: words(1000)}, living=[0])
    shards.load(words(*range(810)))
    assert {traptor_id: shard.used for traptor_id, shard in shards.by_id.items()} == {0: 400, 1: 400, 2: 11}


def test_a_rule_that_outgrows_its_traptor_moves_alone() -> None:
    shards = Shards("track", {0: words(*range(400))}, living=[0, 1])
    assert loads(shards, rule("7", "one,two")) == [("changed", 1, "7", 0)]


def test_rules_of_one_id_never_meet() -> None:
    shards = Shards("track", {0: [CAT], 1: [rule("1", "dog")]}, living=[1])
    moves, orphans = shards.rebalance(gone=[0])
    assert (moves, orphans) == ([], [CAT])
    assert where(shards) == {0: ["1"], 1: ["1"]}


@pytest.mark.parametrize(
    "held,living,gone,moves,orphans",
    [
        pytest.param({0: words(1), 1: words(2)}, [0, 1], [], [], 0, id="all live"),
        pytest.param({0: words(1), 1: words(2)}, [1], [], [], 0, id="silent, but not for long enough"),
        pytest.param({0: words(1), 1: words(2)}, [1], [0], [("moved", 1, "1", 0)], 0, id="one gone"),
        pytest.param({0: words(1), 1: words(2)}, [], [0, 1], [], 2, id="all gone"),
        pytest.param({0: words(1), 1: words(*range(2, 402))}, [1], [0], [], 1, id="no room"),
        pytest.param({0: words(1, 2), 1: words(*range(3, 402))}, [1], [0], [("moved", 1, "1", 0)], 1, id="room for 1"),
        pytest.param({0: words(1)}, [0, 2], [], [], 0, id="an empty one gets nothing"),
        pytest.param({0: words(*range(401))}, [0, 2], [], [("moved", 2, "400", 0)], 0, id="over the limit"),
        pytest.param({0: words(*range(401))}, [0], [], [], 1, id="over the limit, and alone"),
        pytest.param({0: [rule("1", "x" * 61)]}, [1], [0], [], 0, id="what Twitter would refuse stays"),
    ],
)  # fmt: skip
def test_rebalancing_moves_only_what_must_move(
    held: Mapping[int, list[Rule]],
    living: list[int],
    gone: list[int],
    moves: list[tuple[str, int, str, int]],
    orphans: int,
) -> None:
    shards = Shards("track", held, living)
    found, left = shards.rebalance(gone)
    assert [brief(change) for change in found] == moves
    assert len(left) == orphans


def test_hot_rules_are_spread() -> None:
    matches = {"1": 1000, "2": 900, "3": 10, "4": 5, "8": 300, "9": 0}
    shards = Shards("track", {0: words(1, 2, 3, 4), 1: words(8), 2: words(9)}, living=[1, 2], matches=matches)
    shards.rebalance(gone=[0])
    assert where(shards) == {1: ["2", "8"], 2: ["1", "3", "4", "9"]}


def test_rules_go_home_when_there_is_room() -> None:
    held = {0: [], 1: words(1, 2, 3), 2: words(*range(100, 500))}
    shards = Shards("track", held, living=[0, 1, 2])
    assert [brief(change) for change in shards.bring_home({"1": 0, "2": 2, "3": 4, "77": 0})] == [("moved", 0, "1", 1)]


def test_phrases_that_rules_share_count_once() -> None:
    shards = Shards("track", {0: [rule("1", "a,b"), rule("2", "b,c")]})
    assert shards.by_id[0].used == 3
    shards.by_id[0].remove("1")
    assert shards.by_id[0].used == 2


@pytest.mark.parametrize(
    "traptor_type,count,traptors",
    [
        ("follow", 5500, 2),
        ("track", 352, 1),
        ("track", 400, 1),
        ("track", 401, 2),
        ("locations", 26, 2),
        ("track", 0, 0),
    ],
)
def test_how_many_traptors_rules_need(traptor_type: str, count: int, traptors: int) -> None:
    value = {"follow": "{}", "track": "word{}", "locations": "{0},1,150,3"}[traptor_type]
    rules = [rule(str(n), value.format(n)) for n in range(count)]
    assert needed(traptor_type, rules) == (count, traptors)


# Any sequence of loads, deaths and returns

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("load"), st.sets(st.integers(0, 99), max_size=60)),
        st.tuples(st.just("prune"), st.sets(st.integers(0, 99), max_size=60)),
        st.tuples(st.just("kill"), st.integers(0, 3)),
        st.tuples(st.just("start"), st.integers(0, 3)),
        st.tuples(st.just("return"), st.none()),
    ),
    max_size=12,
)


def boxes(numbers: Iterable[int]) -> list[Rule]:
    return [rule(str(number), f"{number},1,{number + 1},2") for number in sorted(numbers)]


@given(STEPS)
def test_every_rule_is_on_one_traptor_while_capacity_lasts(steps: list[tuple[str, object]]) -> None:
    held: dict[int, list[Rule]] = {}
    living: set[int] = {0, 1}
    homes: dict[str, int] = {}
    expected: set[str] = set()
    for name, argument in steps:
        if name in {"kill", "start"}:
            assert isinstance(argument, int)
            (living.discard if name == "kill" else living.add)(argument)
        shards = Shards("locations", held, living)
        before = {rule_id: traptor_id for traptor_id, ids in where(shards).items() for rule_id in ids}
        if name in {"load", "prune"}:
            assert isinstance(argument, set)
            changes = shards.load(boxes(argument), prune=name == "prune")
            expected = (set() if name == "prune" else expected) | {str(number) for number in argument}
            assert all(change.kind != "moved" for change in changes)
        elif name == "return":
            shards.bring_home(homes)
        else:
            gone = held.keys() - living
            moves, orphans = shards.rebalance(gone)
            room = sum(LIMITS["locations"] - len(held.get(one, ())) for one in living)
            homeless = [each["rule_id"] for one in gone for each in held[one]]
            # No more moves than needed, and no orphan while there is room.
            assert {change.rule["rule_id"] for change in moves} <= set(homeless)
            assert len(orphans) == max(0, len(homeless) - room)
            homes |= {change.rule["rule_id"]: change.was_at for change in moves if change.was_at is not None}
        after = Counter(rule_id for ids in where(shards).values() for rule_id in ids)
        assert after == Counter(expected)
        assert all(shard.used <= LIMITS["locations"] for shard in shards.by_id.values())
        if name == "start":
            assert all(where(shards)[at].count(rule_id) for rule_id, at in before.items() if at in living)
        held = {traptor_id: list(shard.rules.values()) for traptor_id, shard in shards.by_id.items() if shard.rules}
