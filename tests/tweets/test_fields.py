"""What is read of a message: whole or not at all, and the same from bytes and from dicts."""

import json
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from traptor.rules import checked
from traptor.traptor import Traptor
from traptor.tweets import fields, kinds
from traptor.tweets.blocks import Blocks
from traptor.tweets.fields import Hashtag, Tweet
from traptor.tweets.matching import compile_rules

CREATED_AT = "Mon Feb 22 01:34:53 +0000 2016"


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


RULES = [
    {"rule_id": "1", "tag": "weather", "value": "storm,flood warning"},
    {"rule_id": "2", "tag": "été", "value": "happy", "id": "not ours", "rule_tag": "nor this", "note": 'a "quote"'},
    {"rule_id": "3", "value": "#日本"},
]


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
    "raw,id_str",
    [
        (b'{"id":20,"text":"just setting up my twttr","user":{"id":12}}', "20"),
        (b'{"id":20,"text":"","user":{}}', "20"),
        (b'{"id":20,"id_str":null,"text":"","user":{}}', "20"),
        (b'{"id":20,"id_str":"21","text":"","user":{}}', "21"),
        (b'{"id":0,"text":"","user":{}}', "0"),
    ],
)
def test_a_tweet_from_before_2010_has_its_number_for_an_id(raw: bytes, id_str: str) -> None:
    tweet = fields.decode(raw)
    assert isinstance(tweet, Tweet)
    assert tweet.id_str == id_str
    assert Blocks("track", 0, [], "abc").append(raw, None, []).startswith(raw[:-1])


@pytest.mark.parametrize("number", ["-1", "1.5", '"20"', "true", "null", str(1 << 64), "9" * 400])
def test_what_is_no_id_is_no_tweet_without_an_id_str(number: str) -> None:
    message = fields.decode(f'{{"id":{number},"text":"","user":{{}}}}'.encode())
    assert not isinstance(message, Tweet)


@pytest.mark.parametrize(
    "given,expected",
    [
        ({"id_str": "7", "id": 8}, "7"),
        ({"id_str": 7}, "7"),
        ({"id": 20, "text": "", "user": {}}, "20"),
        ({"id_str": None, "id": 20}, ""),
        ({"id_str": True}, ""),
        ({"id_str": -7}, ""),
        ({"id_str": 10**5000}, ""),
        ({"id_str": []}, ""),
    ],
)
def test_the_id_of_a_tweet(given: dict[str, Any], expected: str) -> None:
    assert kinds.tweet_id(given) == expected


@pytest.mark.parametrize(
    "value,expected",
    [
        *[(value, value) for value in (60, 0, -1, (1 << 63) - 1, -(1 << 63))],
        *[(value, None) for value in (10**400, 1 << 63, -(1 << 63) - 1, True, 1.5, "60", None)],
    ],
)
def test_a_number_in_a_notice_has_64_bits(value: Any, expected: int | None) -> None:
    assert kinds.number({"warning": {"percent_full": value}}, "warning", "percent_full") == expected
