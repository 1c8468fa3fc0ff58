"""Which Traptor has which rule: loading, moving, and what always holds."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traptor.rules import loading
from traptor.rules.checked import LIMITS, predicates
from traptor.rules.shards import Change, Place, Shards, is_valid, needed
from traptor.tweets.rule import Rule


def rule(rule_id: str, value: str = "", **fields: str) -> Rule:
    return {"rule_id": rule_id, "value": value or f"word{rule_id}", **fields}


def words(*numbers: int) -> list[Rule]:
    return [rule(str(number)) for number in numbers]


def shards_of(
    traptor_type: str,
    held: Mapping[int, list[Rule]],
    living: Iterable[int] = (),
    matches: Mapping[Place, float] | None = None,
) -> Shards:
    """Each rule under the rule_id that its hash names."""
    by_id = {traptor_id: {one["rule_id"]: one for one in some} for traptor_id, some in held.items()}
    counts = matches or {}
    return Shards(traptor_type, by_id, living, lambda ids: {at: counts[at] for at in counts if at.traptor_id in ids})


def loads(shards: Shards, *rules: Rule, prune: bool = False) -> list[tuple[str, int, str, int | None]]:
    return [brief(change) for change in shards.load(rules, prune=prune)]


def brief(change: Change) -> tuple[str, int, str, int | None]:
    return change.kind, *change.at, change.was.traptor_id if change.was else None


def where(shards: Shards) -> dict[int, list[str]]:
    return {traptor_id: sorted(shard.rules) for traptor_id, shard in shards.by_id.items() if shard.rules}


@pytest.mark.parametrize(
    "held,living,matches,moves,used",
    [
        pytest.param({0: words(1, 2, 3, 4)}, [0, 1], {}, 2, [2, 2], id="one was added"),
        pytest.param({0: words(1, 2, 3), 1: words(4, 5, 6)}, [0, 1, 2], {}, 2, [2, 2, 2], id="a third was added"),
        pytest.param({0: words(1, 2), 1: words(3)}, [0, 1], {}, 0, [2, 1], id="even already"),
        pytest.param({0: words(1, 2, 3, 4)}, [0], {}, 0, [4], id="alone"),
        pytest.param({0: words(1, 2, 3, 4), 1: []}, [0], {}, 0, [4, 0], id="to none that is dead"),
        pytest.param({0: [rule("1", "a,b,c,d")], 1: []}, [0, 1], {}, 0, [4, 0], id="what makes it no better stays"),
        pytest.param({0: [rule("1", "a,b,c"), *words(2)]}, [0, 1], {}, 1, [1, 3], id="the one that helps"),
        pytest.param({0: [rule("1", "x" * 61), rule("2", "x" * 61)]}, [0, 1], {}, 0, [0, 0], id="none that is refused"),
    ],
)
def test_rules_are_spread_with_the_fewest_moves(
    held: dict[int, list[Rule]], living: list[int], matches: dict[Place, float], moves: int, used: list[int]
) -> None:
    shards = shards_of("track", held, living, matches)
    made = shards.spread()
    assert (len(made), [shard.used for shard in shards.by_id.values()]) == (moves, used)
    assert shards.spread() == []


def test_spread_takes_from_the_busy_what_is_hot() -> None:
    shards = shards_of(
        "track", {0: words(1, 2, 3, 4)}, [0, 1], {Place(0, "1"): 10, Place(0, "2"): 90, Place(0, "3"): 80}
    )
    shards.spread()
    assert where(shards) == {0: ["3", "4"], 1: ["1", "2"]}


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
        pytest.param({0: [CAT]}, [rule("5", "Cat")], False, [("changed", 0, "5", 0)], id="another id"),
        pytest.param(
            {0: [rule(loading.content_id("dog"), "bird")]},
            [rule("", "dog")],
            False,
            [("added", 0, loading.content_id("dog") + "-2", None)],
            id="an id from the value that is taken",
        ),
    ],
)
def test_loading_is_a_difference(
    held: Mapping[int, list[Rule]], loaded: list[Rule], prune: bool, changes: list[tuple[str, int, str, int | None]]
) -> None:
    assert loads(shards_of("track", held), *loaded, prune=prune) == changes


def test_rules_fill_one_traptor_after_the_other_where_none_lives() -> None:
    shards = shards_of("locations", {})
    shards.load([rule(str(n), f"{n},1,{n + 1},2") for n in range(60)])
    assert {traptor_id: shard.used for traptor_id, shard in shards.by_id.items()} == {0: 25, 1: 25, 2: 10}


def test_rules_spread_evenly_over_the_living() -> None:
    shards = shards_of("track", {}, living=[0, 2, 5])
    shards.load(words(*range(90)))
    assert {traptor_id: shard.used for traptor_id, shard in shards.by_id.items()} == {0: 30, 2: 30, 5: 30}


def test_what_the_living_cannot_take_goes_beyond_them() -> None:
    shards = shards_of("track", {1: words(1000)}, living=[0])
    shards.load(words(*range(810)))
    assert {traptor_id: shard.used for traptor_id, shard in shards.by_id.items()} == {0: 400, 1: 400, 2: 11}


def test_a_rule_that_outgrows_its_traptor_moves_alone() -> None:
    shards = shards_of("track", {0: words(*range(400))}, living=[0, 1])
    assert loads(shards, rule("7", "one,two")) == [("changed", 1, "7", 0)]


def test_a_rule_whose_id_is_taken_moves_under_another_and_comes_home_to_its_own() -> None:
    held = {0: [CAT], 1: [rule("1", "dog")]}
    shards = shards_of("track", held, living=[1])
    at = Place(1, loading.content_id("cat"))
    assert shards.rebalance(gone=[0]) == ([Change("moved", at, CAT, Place(0, "1"))], [])
    assert shards.by_id[1].rules == {"1": rule("1", "dog"), at.rule_id: CAT}

    shards = Shards("track", {1: shards.by_id[1].rules}, living=[0, 1])
    assert shards.bring_home({at: Place(0, "1")}) == [Change("moved", Place(0, "1"), CAT, at)]


def test_a_rule_is_known_by_its_key_whatever_its_hash_says() -> None:
    twins = {"7": rule("abc", "storm"), "8": rule("abc", "hail")}
    shards = Shards("track", {0: twins}, living=[1])
    assert loads(shards, rule("", "storm"), rule("8", "hail"), prune=True) == []
    assert [brief(change) for change in shards.load([rule("7", "storm", tag="a")])] == [("changed", 0, "7", None)]
    assert shards.by_id[0].rules == {**twins, "7": rule("abc", "storm", tag="a")}
    moves, _ = shards.rebalance(gone=[0])
    assert sorted(map(brief, moves)) == [("moved", 1, "7", 0), ("moved", 1, "8", 0)]


def test_a_rule_under_an_empty_rule_id_is_another_than_one_without() -> None:
    shards = Shards("track", {0: {"": rule("", "cat")}})
    assert loads(shards, rule("", "dog")) == [("added", 0, loading.content_id("dog"), None)]
    assert loads(shards, rule("", "cat", tag="pets")) == [("changed", 0, "", None)]


@pytest.mark.parametrize("reverse", [False, True])
def test_no_rule_takes_the_place_of_another(reverse: bool) -> None:
    """The rule of a given id keeps its place; the other is new, though its value stood there."""
    held = {0: [rule("1", "a")]}
    wanted = [rule("1", "b"), rule("", "a")]
    for changes in ({("changed", 0, "1", None), ("added", 0, loading.content_id("a"), None)}, set()):
        shards = shards_of("track", held)
        assert set(loads(shards, *(reversed(wanted) if reverse else wanted))) == changes
        held = {0: list(shards.by_id[0].rules.values())}


def test_fields_that_are_not_named_can_stay() -> None:
    shards = shards_of("track", {0: [rule("1", "cat", tag="a", note="b")]})
    [change] = shards.load([rule("", "cat", tag="c")], keep_fields=True)
    assert change == Change("changed", Place(0, "1"), rule("1", "cat", tag="c", note="b"))


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
    shards = shards_of("track", held, living)
    before = values(shards)
    found, left = shards.rebalance(gone)
    assert [brief(change) for change in found] == moves
    assert len(left) == orphans
    assert values(shards) == before


def test_hot_rules_are_spread() -> None:
    matches = {Place(0, "1"): 1000, Place(0, "2"): 900, Place(0, "3"): 10, Place(0, "4"): 5, Place(1, "8"): 300}
    matches[Place(2, "9")] = 0
    shards = shards_of("track", {0: words(1, 2, 3, 4), 1: words(8), 2: words(9)}, living=[1, 2], matches=matches)
    shards.rebalance(gone=[0])
    assert where(shards) == {1: ["2", "8"], 2: ["1", "3", "4", "9"]}


def test_the_hottest_is_placed_first() -> None:
    matches = {Place(0, "1"): 1, Place(0, "2"): 1000, Place(0, "3"): 10}
    shards = shards_of("track", {0: words(1, 2, 3)}, living=[1, 2], matches=matches)
    shards.rebalance(gone=[0])
    assert where(shards) == {1: ["2"], 2: ["1", "3"]}


def test_the_matches_of_a_rule_go_with_it() -> None:
    matches = {Place(0, "1"): 100, Place(1, "8"): 1000, Place(1, "9"): 1}
    shards = shards_of("track", {0: words(1), 1: words(8, 9)}, living=[0, 1], matches=matches)
    shards.remove([Place(1, "8")])
    shards.load(words(2))
    assert where(shards) == {0: ["1"], 1: ["2", "9"]}


def test_matches_of_rules_that_are_gone_count_for_nothing() -> None:
    shards = Shards("track", {}, [0, 1], lambda _: {Place(0, "1"): 1000.0})
    shards.load(words(1, 2))
    assert where(shards) == {0: ["1"], 1: ["2"]}


def test_a_rule_without_an_id_is_stored_with_the_one_that_was_made() -> None:
    [change] = shards_of("track", {}).load([rule("", "dog", tag="t")])
    assert change.rule == {"rule_id": loading.content_id("dog"), "value": "dog", "tag": "t"}


def test_a_traptor_that_is_full_gets_nothing_though_it_asks_for_it_already() -> None:
    held = {0: words(*range(400)), 1: words(1000)}
    shards = shards_of("track", held, living=[0, 1], matches={Place(1, "1000"): 1_000_000})
    assert loads(shards, rule("x", "word1,word2")) == [("added", 1, "x", None)]


def test_who_has_no_room_for_a_large_rule_gets_the_next_small_one() -> None:
    held = {0: words(*range(399)), 1: words(1000)}
    shards = shards_of("track", held, living=[0, 1], matches={Place(1, "1000"): 100})
    wanted = [rule("a", "x,y"), rule("b", "z")]
    assert loads(shards, *wanted) == [("added", 1, "a", None), ("added", 0, "b", None)]


def test_rules_go_home_when_there_is_room() -> None:
    held = {0: [], 1: words(1, 2, 3), 2: words(*range(100, 500))}
    shards = shards_of("track", held, living=[0, 1, 2])
    homes = {Place(1, "1"): Place(0, "1"), Place(1, "2"): Place(2, "2"), Place(1, "3"): Place(4, "3")}
    homes |= {Place(1, "77"): Place(0, "77"), Place(9, "1"): Place(0, "1")}
    assert [brief(change) for change in shards.bring_home(homes)] == [("moved", 0, "1", 1)]
    assert (sorted(shards.by_id[0].rules), sorted(shards.by_id[1].rules)) == (["1"], ["2", "3"])


def test_phrases_that_rules_share_count_once() -> None:
    shards = shards_of("track", {0: [rule("1", "a,b"), rule("2", "b,c")]})
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
    value = {"follow": "1{}", "track": "word{}", "locations": "{0},1,150,3"}[traptor_type]
    rules = [rule(str(n), value.format(n)) for n in range(count)]
    assert needed(traptor_type, rules) == (count, traptors)


def test_rules_of_many_phrases_need_as_many_traptors_as_loading_them_fills() -> None:
    rules = [rule(str(n), ",".join(f"word{n}x{m}" for m in range(250))) for n in range(3)]
    too_many = rule("3", ",".join(f"other{m}" for m in range(401)))
    assert needed("track", [*rules, too_many]) == (750, 3)


@given(st.lists(st.lists(st.integers(0, 12), max_size=30), max_size=20))
def test_traptors_are_counted_as_loading_fills_them(rows: list[list[int]]) -> None:
    rules = [
        rule(str(n), ",".join(f"{w},1,{w + 1},2" for w in some) + f",{n},3,{n + 1},4") for n, some in enumerate(rows)
    ]
    valid = [one for one in rules if is_valid("locations", one)]
    shards = Shards("locations", {})
    shards.load([{**one, "value": one["value"]} for one in valid])
    asked = {one for some in valid for one in predicates("locations", some)}
    assert needed("locations", rules) == (len(asked), len(shards.by_id))


# Any sequence of loads, deaths and returns

NUMBERS = st.integers(0, 29)
ROWS = st.lists(
    st.tuples(st.none() | NUMBERS, st.lists(NUMBERS, min_size=1, max_size=4, unique=True)),
    max_size=30,
    unique_by=(lambda row: row[0] or object(), lambda row: tuple(row[1])),
)
"""A rule_id or none, and the boxes of the value; rule_ids and values are other ones in the next load."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["load", "prune"]), ROWS),
        st.tuples(st.sampled_from(["kill", "start"]), st.integers(0, 3)),
        st.tuples(st.just("return"), st.none()),
    ),
    max_size=12,
)


def of_row(row: tuple[int | None, list[int]]) -> Rule:
    number, west = row
    return rule("" if number is None else str(number), ",".join(f"{w},1,{w + 1},2" for w in west))


def boxes(held: Rule) -> int:
    return len(predicates("locations", held))


def values(shards: Shards) -> Counter[str]:
    return Counter(held["value"] for _, held in shards.held())


@given(STEPS)
def test_every_rule_is_on_one_traptor_while_capacity_lasts(steps: list[tuple[str, Any]]) -> None:
    held: dict[int, dict[str, Rule]] = {}
    living: set[int] = {0, 1}
    homes: dict[Place, Place] = {}
    for name, argument in steps:
        if name in {"kill", "start"}:
            (living.discard if name == "kill" else living.add)(argument)
        shards = Shards("locations", held, living)
        before, before_values = dict(shards.held()), values(shards)
        if name in {"load", "prune"}:
            wanted = [of_row(row) for row in argument]
            shards.load(wanted, prune=name == "prune")
            loaded = values(shards)
            assert {one["value"] for one in wanted} <= set(loaded)
            assert name == "load" or loaded == Counter(one["value"] for one in wanted)
            again = Shards("locations", {i: shard.rules for i, shard in shards.by_id.items()}, living)
            assert again.load(wanted, prune=name == "prune") == []
        elif name == "return":
            shards.bring_home(homes)
            assert values(shards) == before_values
        else:
            gone = held.keys() - living
            moves, orphans = shards.rebalance(gone)
            # No more moves than needed, and no orphan while there is room for all that it asks.
            assert all(move.was and move.was.traptor_id in gone for move in moves)
            least_used = min((shards.by_id[one].used for one in living), default=LIMITS["locations"])
            assert all(least_used + boxes(before[place]) > LIMITS["locations"] for place in orphans)
            assert {place for place in before if place.traptor_id in gone} == {move.was for move in moves} | {*orphans}
            assert values(shards) == before_values
            homes |= {move.at: move.was for move in moves if move.was}
        assert all(shard.used <= LIMITS["locations"] for shard in shards.by_id.values())
        held = {traptor_id: dict(shard.rules) for traptor_id, shard in shards.by_id.items() if shard.rules}


def test_a_phrase_that_rules_share_is_asked_for_until_the_last_of_them_goes() -> None:
    shard = shards_of("track", {0: [rule("1", "cat,dog"), rule("2", "cat")]}).by_id[0]
    shard.remove("1")
    assert shard.used == 1
    assert shard.takes(rule("3", ",".join(["cat", *(f"word{n}" for n in range(399))])))
    assert not shard.takes(rule("3", ",".join(f"word{n}" for n in range(400))))
    shard.remove("2")
    assert shard.used == 0


def test_a_rule_id_is_found_wherever_it_is() -> None:
    shards = shards_of("track", {0: [CAT], 1: [DOG], 2: [rule("1", "bird")]})
    assert shards.places("1") == [Place(0, "1"), Place(2, "1")]
    assert shards.places("3") == []


def test_the_hampered_get_what_the_others_do_not_take() -> None:
    """New rules and those of a dead Traptor; their own stay."""
    shards = Shards("track", {0: {"1": CAT}, 7: {"2": DOG}}, living=[0, 1], hampered=[0])
    moves, orphans = shards.rebalance([7])
    assert ([brief(move) for move in moves], orphans) == ([("moved", 1, "2", 7)], [])
    shards.load(words(*range(10, 410)))
    assert {traptor_id: shard.used for traptor_id, shard in shards.by_id.items()} == {0: 2, 1: 400, 7: 0}


@pytest.mark.parametrize("hampered, homes", [([], [("moved", 0, "1", 1)]), ([0], [])])
def test_rules_stay_away_while_their_traptor_is_hampered(hampered: list[int], homes: list[tuple[Any, ...]]) -> None:
    shards = Shards("track", {1: {"1": CAT}}, living=[0, 1], hampered=hampered)
    assert [brief(move) for move in shards.bring_home({Place(1, "1"): Place(0, "1")})] == homes


WORDS = st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)
HELD = st.dictionaries(
    st.integers(0, 3), st.dictionaries(st.integers(0, 9), st.tuples(WORDS, st.integers(0, 5)), max_size=4), max_size=4
)
"""By Traptor and rule_id the words of a rule, and its matches."""


@given(HELD, st.sets(st.integers(0, 4)), st.sets(st.integers(0, 3)), st.none() | st.integers(0, 9), WORDS)
def test_who_counts_only_where_there_is_room_adds_a_rule_to_the_same_traptor(
    some: dict[int, dict[int, tuple[list[int], int]]],
    living: set[int],
    hampered: set[int],
    rule_id: int | None,
    value: list[int],
) -> None:
    held = {i: {str(n): rule(str(n), of_words(words)) for n, (words, _) in rules.items()} for i, rules in some.items()}
    counts = {Place(i, str(n)): float(matches) for i, rules in some.items() for n, (_, matches) in rules.items()}
    asked: list[int] = []

    def matches(traptor_ids: Collection[int]) -> dict[Place, float]:
        asked.extend(traptor_ids)
        return {place: count for place, count in counts.items() if place.traptor_id in traptor_ids}

    one = rule("" if rule_id is None else str(rule_id), of_words(value))
    lean, whole = (
        Shards("track", held, living, matches, hampered=hampered, limits=dict.fromkeys(range(5), 5)) for _ in range(2)
    )
    full = {i for i, shard in lean.by_id.items() if shard.is_full}
    known = {at.traptor_id for at, rule in lean.held() if at.rule_id == one["rule_id"] or rule["value"] == one["value"]}
    changes = lean.load([one], keep_fields=True)
    assert {*asked} & full <= known
    assert bool(asked) <= any(change.kind == "added" or change.was for change in changes)
    whole.count_matches(whole.by_id)
    assert whole.load([one], keep_fields=True) == changes


def of_words(numbers: list[int]) -> str:
    return ",".join(f"word{n}" for n in numbers)
