import math
from urllib.parse import unquote

import pytest

from traptor.simulator.v2_clauses import parse
from traptor.sources.v2 import rules
from traptor.sources.v2.rules import Attribution, ServerRule
from traptor.tweets.matching import Box
from traptor.tweets.rule import Match


def rule(rule_id: str, value: str) -> dict[str, str]:
    return {"rule_id": rule_id, "value": value}


@pytest.mark.parametrize(
    "traptor_type, value, clauses",
    [
        ("track", "storm", ["storm"]),
        ("track", "flood warning,storm", ["flood warning", "storm"]),
        ("track", "#rocket @nasa $abc", ["#rocket @nasa $abc"]),
        ("track", "coca-cola", ['"coca-cola"']),
        ("track", "this or that", ['this "or" that']),
        ("track", 'say "hi"', ['say "\\"hi\\""']),
        ("track", "back\\slash", ['"back\\\\slash"']),
        ("track", "-storm from:ana", ['"-storm" "from:ana"']),
        ("track", "(storm", ['"(storm"']),
        ("track", "example.com", ['("example.com" OR url:"example.com")']),
        ("track", "node.js v1.0", ['("node.js" OR url:"node.js") ("v1.0" OR url:"v1.0")']),
        ("track", "example.com/a-b?c=d", ['("example.com/a-b?c=d" OR url:"example.com/a-b?c=d")']),
        ("track", "台風 ночь", ["台風 ночь"]),
        ("follow", " 12 ", ["from:12", "retweets_of:12", "to:12"]),
        ("locations", "-122.5,37.5,-122.3,37.7", ["bounding_box:[-122.5 37.5 -122.3 37.7]"]),
        ("locations", "2.5,48.5,2.5,48.6", ["bounding_box:[2.5 48.5 2.5 48.6]"]),
        ("locations", "2.5,48.5,2.6,48.5", ["bounding_box:[2.5 48.5 2.6 48.5]"]),
        ("locations", "2.5,48.5,2.5,48.5", ["point_radius:[2.5 48.5 1mi]"]),
    ],
)
def test_a_rule_in_v2s_words(traptor_type: str, value: str, clauses: list[str]) -> None:
    assert rules.clauses(traptor_type, rule("1", value)) == clauses
    assert len(list(parse(" OR ".join(clauses)))) == len(clauses)


@pytest.mark.parametrize(
    "traptor_type, value, reason",
    [
        ("track", " , ", "has no phrase"),
        ("follow", "@ana", "is not a user id"),
        ("locations", "1,2,3", "four"),
        ("locations", "-180,-90,180,90", "boxes of 24 miles; allowed are 2000"),
    ],
)
def test_a_rule_that_v2_cannot_have(traptor_type: str, value: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rules.clauses(traptor_type, rule("1", value))


@pytest.mark.parametrize(
    "box",
    [
        Box(-122.75, 36.8, -121.75, 37.8),
        Box(-0.5, -0.5, 0.5, 0.5),
        Box(10, 69, 12, 70),
        Box(10, -70, 12, -69),
        Box(7, 50, 7.1, 50.1),
    ],
)
def test_a_large_box_becomes_small_ones_that_cover_it(box: Box) -> None:
    pieces = list(rules.split(box))
    assert min(piece.west for piece in pieces) == box.west
    assert math.isclose(max(piece.north for piece in pieces), box.north)
    for west, south, east, north in pieces:
        least = 0 if south <= 0 <= north else min(abs(south), abs(north))
        assert (north - south) * 69.172 < 25
        assert (east - west) * 69.172 * math.cos(math.radians(least)) < 25
    areas = [(piece.east - piece.west) * (piece.north - piece.south) for piece in pieces]
    assert math.isclose(sum(areas), (box.east - box.west) * (box.north - box.south))


def packed(*pairs: tuple[str, str], length: int = 30, limit: int = 10) -> list[tuple[str, list[str]]]:
    """The server rules, each with the ids of the rules inside."""
    found, problems = rules.pack("track", 0, [rule(*pair) for pair in pairs], length, limit)
    assert problems == []
    return [(one.value, ids(one.tag)) for one in found]


def ids(tag: str) -> list[str]:
    return [unquote(label.partition("=")[0]) for label in rules.labels(tag, "traptor:track:0:")]


@pytest.mark.parametrize(
    "pairs, expected",
    [
        ([], []),
        ([("1", "storm")], [("storm", ["1"])]),
        ([("1", "storm"), ("2", "rain,snow")], [("storm OR rain OR snow", ["1", "2"])]),
        (
            [("1", "a storm"), ("2", "heavy rain,snow at night"), ("3", "ice")],
            [("a storm OR heavy rain", ["1", "2"]), ("snow at night OR ice", ["2", "3"])],
        ),
        ([("a,b:c=d", "ice"), ("e", "fog")], [("ice OR fog", ["a,b:c=d", "e"])]),
    ],
)
def test_rules_share_a_server_rule_as_far_as_it_is_long(
    pairs: list[tuple[str, str]], expected: list[tuple[str, list[str]]]
) -> None:
    assert packed(*pairs, limit=len(expected)) == expected


@pytest.mark.parametrize("missing, is_shared", [(0, True), (1, False)])
@pytest.mark.parametrize("what", ["length", "tag"])
def test_what_just_fits_is_shared(what: str, missing: int, is_shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    value = "storm OR rain OR ice"
    tag = ",".join([f"traptor:track:0:{rules.label(rule('1', 'storm,rain'))}", rules.label(rule("2", "ice"))])
    if what == "tag":
        monkeypatch.setattr(rules, "MAX_TAG_CHARACTERS", len(tag) - missing)
    length = len(value) - (missing if what == "length" else 0)
    found, problems = rules.pack("track", 0, [rule("1", "storm,rain"), rule("2", "ice")], length, 1)
    assert ([one.value for one in found] == [value], problems == []) == (is_shared, is_shared)


@pytest.mark.parametrize("boxes, is_taken", [(2, True), (3, False)])
def test_a_rule_has_so_many_boxes_and_no_more(boxes: int, is_taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_BOXES", 2)
    value = ",".join(f"{number},1,{number}.1,1.1" for number in range(boxes))
    found, problems = rules.pack("locations", 0, [rule("1", value)], 1024, 10)
    assert (bool(found), problems == []) == (is_taken, is_taken)


def test_rules_stay_apart_where_there_is_room() -> None:
    assert packed(("1", "storm,rain"), ("2", "ice"), limit=2) == [("storm OR rain", ["1"]), ("ice", ["2"])]


def test_rules_of_one_value_are_one_on_the_server() -> None:
    """Or what one begins with, where it takes several."""
    assert packed(("1", "ice"), ("2", "fog"), ("3", "ice"), ("4", "ice,a long phrase"), length=13) == [
        ("ice", ["1", "3", "4"]),
        ("fog", ["2"]),
        ("a long phrase", ["4"]),
    ]


@pytest.mark.parametrize("other", [rule("2", "ice"), rule("1", "fog")])
def test_a_label_is_of_one_rule_and_one_value(other: dict[str, str]) -> None:
    assert rules.label(rule("1", "ice")) == rules.label({**rule("1", "ice"), "tag": "weather"})
    assert rules.label(rule("1", "ice")) != rules.label(other)


@pytest.mark.parametrize("tag", ["traptor:track:01:1=f4f1", "mine", ""])
def test_tags_of_others_name_none_of_ours(tag: str) -> None:
    assert rules.labels(tag, "traptor:track:0:") == []


def test_many_rules_keep_to_length_tag_and_limit() -> None:
    wanted = [rule(str(number), f"phrase number {number}") for number in range(5000)]
    found, problems = rules.pack("track", 0, wanted, 1024, 100)
    assert len(found) == 100
    assert max(len(one.value) for one in found) <= 1024
    assert max(len(one.tag) for one in found) <= rules.MAX_TAG_CHARACTERS
    kept = [rule_id for one in found for rule_id in ids(one.tag)]
    assert kept + [problem.rule_id for problem in problems] == [one["rule_id"] for one in wanted]
    assert problems[0].reason == "over the limit of 100 rules on the server"


def test_a_rule_that_is_too_long_is_left_out_whole() -> None:
    found, problems = rules.pack("track", 0, [rule("1", "ice,a very long phrase"), rule("2", "fog")], 10, 10)
    assert [one.value for one in found] == ["fog"]
    assert problems == [("1", "ice,a very long phrase", "has 18 characters for v2; allowed are 10")]


OURS, OLD, OTHERS = "traptor:track:0:1=a", "traptor:track:0:2=b", "traptor:track:1:1=a"


@pytest.mark.parametrize(
    "held, wanted, expected",
    [
        ([], [("a", OURS)], ([], ["a"], [])),
        ([("a", OURS)], [("a", OURS)], ([], [], [])),
        ([("a", OLD)], [("b", OURS)], ([], ["b"], ["a"])),
        # The value stays, the tag does not: there cannot be two of one value.
        ([("a", OLD), ("b", OLD)], [("a", OURS), ("c", OURS)], (["a"], ["a", "c"], ["b"])),
        # No room for both.
        ([("a", OLD), ("b", OLD), ("c", OURS)], [("c", OURS), ("d", OURS), ("e", OURS)], (["a", "b"], ["d", "e"], [])),
        ([("a", OTHERS), ("b", ""), ("c", "their own")], [], ([], [], [])),
        ([("a", OTHERS), ("b", "")], [("a", OURS), ("b", OURS), ("c", OURS)], ([], ["c"], [])),
    ],
)
def test_only_what_differs_is_changed_and_only_ours(
    held: list[tuple[str, str]], wanted: list[tuple[str, str]], expected: tuple[list[str], ...]
) -> None:
    there = [ServerRule(*one, str(number)) for number, one in enumerate(held)]
    change = rules.change(there, [ServerRule(*one) for one in wanted], "traptor:track:0:", 4)
    assert tuple([one.value for one in step] for step in change) == expected
    assert all(one.id for one in change.delete + change.delete_after)


def text(position: int) -> Match:
    return Match(position, ("text",))


@pytest.mark.parametrize(
    "local, groups, expected",
    [
        ([text(0)], [["a"]], Attribution([text(0)], True)),
        ([text(1)], [["a", "b"]], Attribution([text(1)], True)),
        ([], [["a"]], Attribution([Match(0, ())], False)),
        ([], [["a", "b"]], Attribution([], False)),
        ([text(0), text(2)], [["a", "b"]], Attribution([text(0)], False)),
        ([text(0)], [["a"], ["c"]], Attribution([text(0), Match(2, ())], False)),
        ([text(0)], [], Attribution([text(0)], False)),
        ([text(0)], [["gone"]], Attribution([text(0)], False)),
        ([], [], Attribution([], True)),
    ],
)
def test_which_rules_hold(local: list[Match], groups: list[list[str]], expected: Attribution) -> None:
    assert rules.attribute(local, groups, {"a": 0, "b": 1, "c": 2}) == expected
