"""Messages: what they are, what is read of them, and what is added. Bytes and dicts tell the same."""

import json
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from traptor.rules import checked
from traptor.traptor import Traptor
from traptor.tweets import fields, kinds, times
from traptor.tweets.blocks import Blocks
from traptor.tweets.fields import Hashtag, Tweet
from traptor.tweets.matching import compile_rules
from traptor.tweets.rule import Match

CREATED_AT = "Mon Feb 22 01:34:53 +0000 2016"


@pytest.mark.parametrize(
    "created_at,iso",
    [
        (CREATED_AT, "2016-02-22T01:34:53+00:00"),
        ("Thu Dec 31 23:59:60 +0000 2020", "2020-12-31T23:59:60+00:00"),
        ("Tue Mar 21 20:50:14 -0500 2006", "2006-03-21T20:50:14-05:00"),
        ("2016-02-22 01:34:53", "2016-02-22T01:34:53+00:00"),
        ("2016-02-22T01:34:53.000Z", "2016-02-22T01:34:53+00:00"),
        ("", None),
        ("yesterday", None),
        ("Mon Feb 99 01:34:53 +0000 2016 and more", None),
        ("9" * 30, None),
        (None, None),
        (1456104893, None),
        ({}, None),
    ],
)
def test_times(created_at: Any, iso: str | None) -> None:
    assert times.iso_time_or_none(created_at) == iso
    if isinstance(created_at, str) and iso is None:
        with pytest.raises(ValueError):  # noqa: PT011 - dateutil's own words
            times.iso_time(created_at)


@pytest.mark.parametrize(
    "message,kind",
    [
        ({"id_str": "1"}, "tweet"),
        ({"id_str": None}, "tweet"),
        ({"id_str": "1", "delete": {}}, "tweet"),
        ({"delete": {"status": {"id_str": "1"}}}, "delete"),
        ({"limit": {"track": 5, "timestamp_ms": "1456104893000"}}, "limit"),
        ({"warning": {"code": "FALLING_BEHIND", "percent_full": 60}}, "warning"),
        ({"disconnect": {"code": 4, "stream_name": "", "reason": ""}}, "disconnect"),
        ({"scrub_geo": {}}, "scrub_geo"),
        ({"status_withheld": {}}, "status_withheld"),
        ({"user_withheld": {}}, "user_withheld"),
        ({}, "unknown"),
        ({"id": 1, "text": "no id_str"}, "unknown"),
        ([], "unknown"),
        ("id_str", "unknown"),
        (7, "unknown"),
        (None, "unknown"),
    ],
)
def test_kinds(message: Any, kind: str) -> None:
    assert kinds.kind(message) == kind


@pytest.mark.parametrize(
    "limit,count",
    [
        ({"track": 5}, 5),
        ({"track": 0, "timestamp_ms": "1"}, 0),
        ({"track": -1}, None),
        ({"track": "5"}, None),
        ({"track": None}, None),
        ({"follow": 5}, None),
        ({}, None),
        (5, None),
        (None, None),
    ],
)
def test_limit_counts(limit: Any, count: int | None) -> None:
    assert kinds.limit_count({"limit": limit}) == count


@pytest.mark.parametrize(
    "given,expected",
    [
        ({"text": "happy"}, Tweet(text="happy")),
        ({"text": None, "entities": None}, Tweet()),
        ({"text": 7, "id_str": "1"}, Tweet(id_str="1")),
        ({"entities": [], "text": "happy"}, Tweet(text="happy")),
        (
            {"entities": {"hashtags": [{"text": "a"}, {"text": 5}, "b", None], "urls": {}}},
            Tweet(entities=fields.Entities(hashtags=[Hashtag("a"), Hashtag(None)])),
        ),
        ({"place": {"bounding_box": {"coordinates": [[[None, 1]]]}}}, Tweet(place=fields.Place(fields.Polygon()))),
        ({"coordinates": {"coordinates": ["here"]}}, Tweet(coordinates=fields.Point())),
        ({"user": {"id": 10**30, "id_str": 5}}, Tweet(user=fields.User(id=10**30))),
        ({"retweeted_status": {"text": "happy", "user": 7}}, Tweet(retweeted_status=Tweet(text="happy"))),
        ({"retweeted_status": "x", "traptor": {"id": 1}}, Tweet(traptor={"id": 1})),
    ],
)
def test_a_field_of_the_wrong_shape_counts_as_absent(given: dict[str, Any], expected: Tweet) -> None:
    assert fields.view(given) == expected


@pytest.mark.parametrize(
    "notice,subject",
    [
        ({"delete": {"status": {"id": 12, "id_str": "12", "user_id": 3}}}, "12"),
        ({"delete": {"status": {"id": 12}}}, "12"),
        ({"delete": {"direct_message": {"id": 12, "user_id": 3}}}, None),
        ({"delete": "12"}, None),
        ({"scrub_geo": {"user_id": 3, "user_id_str": "3", "up_to_status_id": 12, "up_to_status_id_str": "12"}}, "3"),
        ({"status_withheld": {"id": 12, "user_id": 3, "withheld_in_countries": ["DE"]}}, "12"),
        ({"user_withheld": {"id": 3, "withheld_in_countries": ["DE"]}}, "3"),
        ({"limit": {"track": 5}}, None),
        ({"user_withheld": {"id": [3]}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_a_notice_speaks_of(notice: Any, subject: str | None) -> None:
    assert kinds.subject_id(notice) == subject


@pytest.mark.parametrize(
    "inside,scrubbed",
    [
        ({"user_id": 3, "user_id_str": "3", "up_to_status_id": 12, "up_to_status_id_str": "12"}, ("3", 12)),
        ({"user_id": 3, "up_to_status_id": 12}, ("3", 12)),
        ({"user_id": 3}, None),
        ({"user_id": 3, "up_to_status_id_str": "twelve"}, None),
        ({"user_id": 3, "up_to_status_id_str": "²"}, None),
        ({"user_id": 3, "up_to_status_id_str": "9" * 19}, ("3", int("9" * 19))),
        ({"user_id": 3, "up_to_status_id_str": "9" * 20}, None),
        (None, None),
    ],
)
def test_what_scrub_geo_asks_for(inside: Any, scrubbed: tuple[str, int] | None) -> None:
    assert kinds.scrubbed({"scrub_geo": inside}) == scrubbed


RULES = [
    {"rule_id": "1", "tag": "weather", "value": "storm,flood warning"},
    {"rule_id": "2", "tag": "été", "value": "happy", "id": "not ours", "rule_tag": "nor this", "note": 'a "quote"'},
    {"rule_id": "3", "value": "#日本"},
]
IDENTITY = {"id": 4, "id_str": "4", "rule_type": "track", "rule_set": "abc"}


@pytest.mark.parametrize(
    "matches,added",
    [
        ([], {"rule_tag": "Not Found", "rule_value": "Not Found", "rules": []}),
        (
            [Match(0, ("text", "urls"))],
            {
                "rule_tag": "weather", "rule_value": "storm,flood warning", **RULES[0],
                "rules": [{**RULES[0], "matched_in": ["text", "urls"]}],
            },
        ),
        (
            [Match(0, ("text",)), Match(1, ("hashtags",))],
            {
                "rule_tag": "été", "rule_value": "happy", "rule_id": "2", "tag": "été", "value": "happy",
                "note": 'a "quote"',
                "rules": [{**RULES[0], "matched_in": ["text"]}, {**RULES[1], "matched_in": ["hashtags"]}],
            },
        ),
        (
            [Match(2, ("text",))],
            {"rule_tag": "", "rule_value": "#日本", **RULES[2], "rules": [{**RULES[2], "matched_in": ["text"]}]},
        ),
    ],
)  # fmt: skip
def test_the_traptor_object(matches: list[Match], added: dict[str, Any]) -> None:
    raw = b'{ "id_str": "7",\n "text" : "caf\\u00e9" }'
    appended = Blocks("track", 4, RULES, "abc").append(raw, CREATED_AT, matches)
    assert appended.startswith(raw[:-1] + b',"traptor":{')
    assert appended.isascii()
    tweet = json.loads(appended)
    assert tweet.pop("traptor") == {**IDENTITY, "created_at_iso": "2016-02-22T01:34:53+00:00", **added}
    assert tweet == json.loads(raw)


def test_a_tweet_without_a_time_has_none_in_iso() -> None:
    appended = Blocks("track", 0, [], "abc").append(b'{"id_str":"7"}', "soon", [])
    assert json.loads(appended)["traptor"]["created_at_iso"] is None


ODD: list[bytes] = [
    b'{"id_str":"1","text":"happy","traptor":{"id":9,"other":1}}',
    b'{"id_str":"1","text":"happy","traptor":null}',
    b'{"id_str":"1","text":"happy \\ud83d"}',
    b'{"id_str":"1","text":"happy \\ud83d\\ude00"}',
    b'{"id_str":"1","other":"\\udc00","text":"happy"}',
    b'{"id_str":"1","id_str":"2","text":"storm","text":"happy"}',
    b'{"id_str":"1","text":"happy"} ',
    b' {"id_str":"1","text":"happy"}',
    b'{"id_str":"1","text":"happy",\n"id":1}',
    b'{"id_str":"1","id":123456789012345678901234567890,"text":"happy"}',
    b'{"id_str":"1","user":{"id":123456789012345678901234567890}}',
    b'{"id_str":"1","text":"happy","score":1e999}',
    b'{"id_str":"1","text":"happy","deep":' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"id_str":1,"text":"happy"}',
    b'{"id_str":null,"text":"happy"}',
    b'{"id_str":{},"text":["happy"]}',
    b'{"id_str":"1","text":"caf\xc3\xa9 happy"}',
    b'{"id_str":"1","text":"happy","entities":7,"created_at":8}',
    b'{"id_str":"1","entities":{"hashtags":[{"text":"\\u65e5\\u672c"},5]}}',
    b'{"id_str":"1"}',
    b'{"delete":{"status":{"id_str":"1"}}}',
    b'{"limit":{"track":"many"}}',
    b'{"limit":7}',
    b"{}",
    b"[]",
    b"null",
    b'"id_str"',
    b'["id_str"]',
    b"7",
]

WORDS = st.sampled_from(["happy", "storm", "flood", "warning", "#日本", "日本", "été", "http://x/happy", "nothing"])
TEXT = st.lists(WORDS | st.text(st.characters(exclude_categories=()), max_size=5), max_size=4).map(" ".join)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
NAMED = st.fixed_dictionaries({}, optional={"text": TEXT | ANYTHING, "indices": ANYTHING})
LINK = st.fixed_dictionaries({}, optional={"expanded_url": TEXT, "display_url": TEXT | ANYTHING})
ENTITIES = st.fixed_dictionaries(
    {},
    optional={
        "hashtags": st.lists(NAMED | ANYTHING, max_size=3),
        "symbols": ANYTHING,
        "urls": st.lists(LINK, max_size=2),
        "media": st.lists(LINK, max_size=2) | ANYTHING,
    },
)


def tweet_fields(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    """Fields of a tweet, most of them of the right type."""
    return st.one_of(
        st.tuples(st.sampled_from(["text", "full_text"]), TEXT),
        st.tuples(st.sampled_from(["entities", "extended_entities"]), ENTITIES),
        st.tuples(st.sampled_from(["retweeted_status", "quoted_status", "extended_tweet", "user", "place"]), inner),
        st.tuples(st.just("created_at"), st.just(CREATED_AT) | TEXT),
        st.tuples(st.sampled_from(["id", "text", "entities", "user", "coordinates", "lang", "traptor"]), ANYTHING),
    )


INNER = st.lists(tweet_fields(ANYTHING), max_size=4).map(dict)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A tweet on the wire: fields in any order, some twice, escaped or not, with or without blanks."""
    members = draw(st.lists(tweet_fields(INNER | ANYTHING), max_size=6))
    members.insert(draw(st.integers(0, len(members))), ("id_str", draw(st.just("701") | ANYTHING)))
    blank = draw(st.sampled_from(["", " ", "\n"]))
    ascii_only = draw(st.booleans())
    parts = [f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=ascii_only)}" for name, value in members]
    body = f",{blank}".join(parts)
    return f"{{{body}{blank}}}".encode("utf-8", "replace") + draw(st.sampled_from([b"", b"", b" "]))


TRAPTOR = Traptor(MagicMock(), MagicMock(), MagicMock(), traptor_id=4)
TRAPTOR._make_twitter_rules(RULES)
MATCHER = compile_rules("track", RULES)
BLOCKS = Blocks("track", 4, RULES, checked.version(RULES))


def check_both_ways(raw: bytes) -> None:
    enriched = TRAPTOR._enrich_tweet(json.loads(raw))
    message = fields.decode(raw)
    if isinstance(message, Tweet):
        appended = BLOCKS.append(raw, message.created_at, MATCHER.match(message))
        assert appended.startswith(raw[:-1])
        # Compared as text, for NaN equals nothing.
        assert fields.dump(json.loads(appended)) == fields.dump(enriched)
    else:
        assert fields.dump(message) == fields.dump(json.loads(raw))


@pytest.mark.parametrize("raw", ODD)
def test_bytes_and_dicts_tell_the_same_of_odd_messages(raw: bytes) -> None:
    check_both_ways(raw)


@settings(deadline=None)
@given(lines())
@example(b'{"id_str":"701","text":"happy storm","created_at":"Mon Feb 22 01:34:53 +0000 2016"}')
def test_bytes_and_dicts_tell_the_same(raw: bytes) -> None:
    check_both_ways(raw)


@pytest.mark.parametrize(
    "raw,is_short",
    [
        (b'{"id_str":"1","text":"happy"}', True),
        (b'{"id_str":"1","id":12345678901234567890123,"new":[{"a":1.50}]}', True),
        (b'{"id_str":"1","text":"caf\xc3\xa9","id_str":"2"}', True),
        (b'{"id_str":"1","traptor":1}', False),
        (b'{"id_str":"1","text":"\\ud83d"}', False),
        (b'{"id_str":"1"} ', False),
        (b'{"id_str":1}', False),
        (b'{"delete":{}}', False),
    ],
)
def test_which_bytes_are_kept(raw: bytes, is_short: bool) -> None:
    assert isinstance(fields.decode(raw), Tweet) is is_short


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b'{"id_str":"1"', b'{"id_str":"1"}}', b'{"id_str":"1",}', b'{"id_str":"1","a":"\t"}',
        b'{"id_str":"1","a":"\\q"}', b'{"id_str":"1","a":01}', b"Exceeded connection limit for user", b"\xff\xfe\xfd",
        b'{"id_str":"1","a":"\xff"}', b'{"id_str":"1","a":"\xed\xa0\x80"}', b"\x00", b"[" * 100_000,
        b'{"id_str":"1","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"id_str":"1","a":NaN}',
        b'{"id_str":"1","a":-Infinity}', b'{"a":1e999}',
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several makers
        fields.decode(raw)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode) | ANYTHING.map(fields.dump))
def test_any_bytes_are_a_message_or_a_value_error(raw: bytes) -> None:
    try:
        message = fields.decode(raw)
    except ValueError:
        return
    kind = "tweet" if isinstance(message, Tweet) else kinds.kind(message)
    assert kind in ("tweet", "unknown", *kinds.KINDS)
    kinds.subject_id(message)


@pytest.mark.parametrize(
    "rule",
    [{"rule_id": "1", "matched_in": "mine", "tag": "t", "value": "happy"}, {"matched_in": "", "value": "happy"}],
)
def test_a_rule_may_have_any_field_even_ours(rule: dict[str, str]) -> None:
    blocks = Blocks("track", 0, [rule], "abc")
    (listed,) = json.loads(blocks.matched([Match(0, ("text", "hashtags"))]))["rules"]
    assert listed == {**rule, "matched_in": ["text", "hashtags"]}


@pytest.mark.parametrize(
    "notice,said",
    [
        ({"limit": {"track": 7}}, 7),
        ({"limit": {"track": True}}, None),
        ({"limit": {"track": 10**30}}, None),
        ({"limit": {"track": -1}}, None),
        ({"limit": "7"}, None),
    ],
)
def test_what_a_limit_notice_says(notice: dict[str, Any], said: int | None) -> None:
    assert kinds.limit_count(notice) == said


@pytest.mark.parametrize("up_to", ["9" * 5000, "x", "²", None, 1.5])
def test_a_scrub_geo_notice_of_nonsense_says_nothing(up_to: Any) -> None:
    assert kinds.scrubbed({"scrub_geo": {"user_id_str": "1", "up_to_status_id_str": up_to}}) is None
