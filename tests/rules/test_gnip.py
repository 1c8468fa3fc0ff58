"""PowerTrack rules in the words of statuses/filter."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traptor.rules import gnip
from traptor.tweets import matching

TRANSLATED = {
    "cat": [("track", "cat")],
    "cat dog": [("track", "cat dog")],
    "cat OR dog": [("track", "cat,dog")],
    "cat OR cat": [("track", "cat")],
    "cat dog OR fish": [("track", "cat dog,fish")],
    "(cat OR dog) food": [("track", "cat food,dog food")],
    "((a OR b)) (c OR d)": [("track", "a c,a d,b c,b d")],
    '"exact phrase" cat': [("track", "exact phrase cat")],
    '"one, two"': [("track", "one two")],
    "#tag OR @name OR $aapl": [("track", "#tag,@name,$aapl")],
    "coca-cola": [("track", "coca-cola")],
    'url_contains:"example.com"': [("track", "example.com")],
    'url_contains: "example.com" cat': [("track", "example.com cat")],
    "from:17919972": [("follow", "17919972")],
    "from:1 OR from:2": [("follow", "1"), ("follow", "2")],
    "from:1 OR from:1": [("follow", "1")],
    "from:1 OR cat": [("track", "cat"), ("follow", "1")],
    "bounding_box:[-122.75 36.8 -121.75 37.8]": [("locations", "-122.75,36.8,-121.75,37.8")],
    "bounding_box:[-122.75, 36.8, -121.75, 37.8]": [("locations", "-122.75,36.8,-121.75,37.8")],
}
REFUSED = {
    "": "empty",
    "cat OR": "empty",
    "()": "empty",
    "-cat dog": "excludes 'cat'",
    "cat -is:retweet": "excludes is:retweet",
    "-(a OR b) c": "excludes a group",
    "from:jack": "screen name",
    "from:1 cat": "at once",
    "cat from:1": "at once",
    "from:1 from:2": "at once",
    "bounding_box:[1 2 3 4] cat": "at once",
    "lang:en cat": "lang: has no counterpart",
    "contains:cat": "contains: has no counterpart",
    "http://example.com": "http: has no counterpart",
    "(cat": "( without its )",
    "cat)": ") without its (",
    'cat "dog': "cannot be read from '\"dog' on",
    'cat "storm bay"~5': "wants the words of 'storm bay' near each other",
    "point_radius:[1 2]": "longitude, latitude and a radius",
    "point_radius:[1 2 3]": "longitude, latitude and a radius",
    "point_radius:[1..2 2 3mi]": "longitude, latitude and a radius",
    "point_radius:[0 89.9 25mi]": "pole",
    "point_radius:[0 90 0mi]": "pole",
    " ".join(["(a OR b OR c OR d)"] * 5): "more than 400",
    "(" * 10_000: "nested too deeply",
}


@pytest.mark.parametrize("value", TRANSLATED)
def test_what_can_be_said_is_said(value: str) -> None:
    assert gnip.translate(value) == TRANSLATED[value]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: value[:30])
def test_what_cannot_be_said_is_refused_with_the_reason(value: str) -> None:
    with pytest.raises(gnip.Untranslatable) as refused:
        gnip.translate(value)
    assert REFUSED[value] in str(refused.value)


@pytest.mark.parametrize("radius,km", [("25mi", 40.2336), ("40.2336km", 40.2336), ("1 km", 1.0)])
def test_a_circle_becomes_the_box_around_it(radius: str, km: float) -> None:
    [(traptor_type, value)] = gnip.translate(f"point_radius:[-105.27 40.01 {radius}]")
    assert traptor_type == "locations"
    box = matching.parse_box(value)
    assert (box.north - box.south) / 2 == pytest.approx(km / 111.32, rel=1e-3)
    assert (box.east - box.west) / 2 == pytest.approx(km / (111.32 * 0.76594), rel=1e-3)
    assert (box.north + box.south) / 2 == pytest.approx(40.01, rel=1e-6)


def test_every_rule_of_a_set_comes_with_its_number_and_tag() -> None:
    ruleset = [
        {"value": "from:1 OR cat", "tag": "a", "id": 7},
        {"value": "dog", "id_str": "8"},
        {"value": "-dog", "id": 9},
        {"tag": "no value"},
        "dog",
        {"value": 5},
    ]
    found = list(gnip.rules(ruleset))
    assert [(number, fields) for number, _, fields in found if isinstance(fields, dict)] == [
        (1, {"type": "track", "value": "cat", "tag": "a"}),
        (1, {"type": "follow", "value": "1", "tag": "a"}),
        (2, {"type": "track", "value": "dog", "tag": None, "rule_id": "8"}),
    ]
    refused = [(number, given, why.rule_id) for number, given, why in found if isinstance(why, gnip.Untranslatable)]
    assert refused == [
        (3, "-dog", 9),
        (4, '{"tag": "no value"}', None),
        (5, '"dog"', None),
        (6, '{"value": 5}', None),
    ]


@given(st.text(st.sampled_from('ab:"[]()- ORfrom1.,\u00e9\u2603'), max_size=60))
def test_whatever_stands_there_is_translated_or_refused(value: str) -> None:
    with contextlib.suppress(gnip.Untranslatable):
        assert gnip.translate(value)


@pytest.mark.parametrize("words, is_translated", [((20, 20), True), ((20, 21), False)])
def test_alternatives_are_written_out_up_to_what_one_connection_takes(
    words: tuple[int, int], is_translated: bool
) -> None:
    rule = " ".join(
        f"({' OR '.join(f'{place}{n}' for n in range(count))})" for place, count in zip("ab", words, strict=True)
    )
    [(_, _, found)] = gnip.rules([{"value": rule}])
    assert isinstance(found, gnip.Untranslatable) != is_translated
