"""The vectors of tests/vectors: a yes or a no for each, and what is ours where Twitter's documents are silent.

A line of these files has the request's ``parameters``, the fields of a ``tweet`` that matter, in the v1.1 shape, what
is ``expected``, and as ``mark`` who says so: the documents, an inference from them, observed traffic, or we ourselves.
Lines without a tweet are about the request: accepted or rejected. Expected "never sent" and "notice" are the stream's.
"""

import json
import unicodedata
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traptor.tweets.fields import view
from traptor.tweets.matching import Box, compile_rules, parse_box, parse_boxes, phrases

VECTORS = [
    json.loads(line)
    for name in ("track", "follow", "locations")
    for line in (Path(__file__).parent / "vectors" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
]
DECIDED = [vector for vector in VECTORS if vector["expected"] in ("yes", "no")]
# A language narrows what the rules select: whoever answers a request decides that one.
TWEETS = [vector for vector in DECIDED if "language" not in vector["parameters"]]


def complete(fields: dict[str, Any]) -> dict[str, Any]:
    """A v1.1 tweet with the given fields, and with Twitter's empty values for the others."""
    tweet = {
        "created_at": "Mon Feb 22 01:34:53 +0000 2016",
        "id": 701582000000000000,
        "id_str": "701582000000000000",
        "text": "",
        "source": '<a href="https://example.com" rel="nofollow">Example</a>',
        "truncated": False,
        "in_reply_to_status_id": None,
        "in_reply_to_status_id_str": None,
        "in_reply_to_user_id": None,
        "in_reply_to_user_id_str": None,
        "in_reply_to_screen_name": None,
        "user": {"id": 400, "id_str": "400", "screen_name": "dave", "name": "Dave", "location": None},
        "geo": None,
        "coordinates": None,
        "place": None,
        "contributors": None,
        "is_quote_status": False,
        "entities": {"hashtags": [], "urls": [], "user_mentions": [], "symbols": []},
        "favorited": False,
        "retweeted": False,
        "filter_level": "low",
        "lang": "en",
        "timestamp_ms": "1456104893000",
    } | fields
    tweet["entities"] = {"hashtags": [], "urls": [], "user_mentions": [], "symbols": []} | tweet["entities"]
    return tweet | {name: complete(tweet[name]) for name in ("retweeted_status", "quoted_status") if name in tweet}


def matches(rule_type: str, values: list[str], tweet: dict[str, Any]) -> list[tuple[int, tuple[str, ...]]]:
    matcher = compile_rules(rule_type, [{"value": value} for value in values])
    return [tuple(match) for match in matcher.match(view(tweet))]


@pytest.mark.parametrize("vector", TWEETS, ids=[vector["id"] for vector in TWEETS])
def test_vector(vector: dict[str, Any]) -> None:
    tweet = complete(vector["tweet"])
    held = [rule_type for rule_type, value in vector["parameters"].items() if matches(rule_type, [value], tweet)]
    assert ("yes" if held else "no") == vector["expected"], vector["why"]


@pytest.mark.parametrize(
    "term, text, expected",
    [
        ("a", "a\u0301 la carte", False),  # a combining accent does not leave its letter behind
        ("é", "touch\u0301é", False),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ", True),
        ("हिन", "हिन्दी", False),
        ("ภาษา", "ภาษาไทย", False),
        ("ไทย", "ภาษา ไทย", True),
        ("love", "❤\ufe0flove", True),
        ("1", "1\ufe0f\u20e3st", True),
        ("woman", "👩\u200d💻woman", True),
        ("😀", "😀 happy", True),
        ("😀", "😀😀", False),
        ("bts", "BTS는 좋아", True),
        ("좋아", "BTS는 좋아", True),
        ("年", "2019年", True),
        ("2019", "2019年", True),
        ("ジョージ", "ジョージ・ルーカス", True),
        ("ruby開発", "日々 Ruby開発 です", True),  # cut in two, but also a word as written
        ("ruby開発", "日々Ruby開発", False),
        ("İstanbul", "ISTANBUL", False),
        ("İSTANBUL", "İstanbul", True),
        ("ΟΔΟΣ", "η οδός οδος", True),
        ("straße", "STRASSE", False),
        ("amp", "rock &amp; roll", False),
        ("lt", "a &lt; b", False),
        ("at&t", "AT&amp;T called", True),
        ("&lt;", "escaped twice: &amp;lt;", True),
        ("news", "breaking\nnews\ttoday", True),
        ("x", "half a pair \ud83d x", True),
        ("#1", "we are #1", False),  # no hashtag for Twitter
        ("twitter", "", False),
        ("می\u200cخواهم", "من می\u200cخواهم.", True),
        ("خواهم", "من می\u200cخواهم.", False),
        ("می", "من می\u200cخواهم.", False),
        ("میخواهم", "من می\u200cخواهم.", False),
        ("ශ්\u200dරී", "ශ්\u200dරී ලංකා", True),
        ("රී", "ශ්\u200dරී ලංකා", False),
        ("क्\u200dष", "“क्\u200dष”", True),
        ("ष", "क्\u200dष", False),
        ("خانه", "خانه\u200c، شهر", True),  # it joins nothing
        ("خانه\u200c", "خانه، شهر", True),
        ("خانه\u200c", "خانه", True),
        ("خانه", "خانه\u200cabc", True),
        ("abc", "خانه\u200cabc", True),
        ("b", "a\u200cb", True),  # Latin needs none
        ("خانه", "خانه\u200d👩", True),
        ("😀\u200d", "😀\u200d", True),
        ("👩\u200d💻", "my 👩\u200d💻 day", True),
        ("👩", "my 👩\u200d💻 day", False),
        ("❤", "i ❤\ufe0f you", True),
        ("❤\ufe0f", "i ❤ you", True),
        ("❤\ufe0f", "i ❤\ufe0f you", True),
        ("❤\ufe0f\u200d🔥", "so ❤\u200d🔥", True),
        ("\ufe0f", "i ❤\ufe0f you", False),
        ("love \ufe0f", "love", True),
    ],
)
def test_words_of_a_text(term: str, text: str, expected: bool) -> None:
    assert bool(matches("track", [term], complete({"text": text}))) is expected


FIELDS = ("text", "hashtags", "user_mentions", "symbols", "urls", "media")
QUOTED_AT = ("quoted_status", "retweeted_status.quoted_status")
QUOTED = complete({"text": "see café", "entities": {"hashtags": [{"text": "Café"}]}})
PHOTO = {"expanded_url": "https://twitter.com/bob/status/1/photo/1", "display_url": "pic.twitter.com/Cafe"}
EVERYWHERE = complete(
    {
        "text": "RT @bob: cafe …",
        "entities": {"user_mentions": [{"screen_name": "bob"}]},
        "retweeted_status": {
            "text": "cafe …",
            "entities": {"urls": [{"expanded_url": "https://twitter.com/i/web/status/1", "display_url": None}]},
            "extended_tweet": {
                "full_text": "cafe $CAFE long",
                "entities": {
                    "hashtags": [{"text": "Cafe"}],
                    "symbols": [{"text": "CAFE"}],
                    "user_mentions": [{"screen_name": "cafe"}],
                    "urls": [{"expanded_url": "https://www.cafe.example/menu", "display_url": None}],
                    "media": [PHOTO],
                },
                "extended_entities": {"media": [PHOTO, PHOTO | {"display_url": "pic.twitter.com/Second"}]},
            },
            "quoted_status": QUOTED,
        },
        "quoted_status": QUOTED,
    }
)


@pytest.mark.parametrize(
    "value, fields",
    [
        ("cafe", ("text", *(f"retweeted_status.{field}" for field in FIELDS))),
        ("#cafe", ("retweeted_status.hashtags",)),
        ("@cafe", ("retweeted_status.user_mentions",)),
        ("$cafe", ("retweeted_status.text", "retweeted_status.symbols")),
        ("cafe.example/menu", ("retweeted_status.urls",)),
        ("pic.twitter.com/second", ("retweeted_status.media",)),
        ("pic.twitter.com/cafe", ("retweeted_status.media",)),
        ("café", tuple(f"{quoted}.{field}" for quoted in QUOTED_AT for field in ("text", "hashtags"))),
        ("menu bob", ("text", "user_mentions", "retweeted_status.urls", "retweeted_status.media")),
        ("nothing,bob rt,nowhere cafe", ("text", "user_mentions", "retweeted_status.media")),
        ("web", None),  # the link from a cut text to the whole tweet is not the author's
    ],
)
def test_track_tells_the_fields(value: str, fields: tuple[str, ...] | None) -> None:
    assert matches("track", [value], EVERYWHERE) == ([(0, fields)] if fields else [])


def test_rules_keep_their_order_and_hold_together() -> None:
    values = ["zebra", "dog,cat", "the cat", "cat", "cat cat", " , ", "dog"]
    assert matches("track", values, complete({"text": "The Cat"})) == [(index, ("text",)) for index in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "tweet, fields",
    [
        ({"user": {"id": 100}}, ("user",)),
        ({"user": {"id_str": "100"}, "in_reply_to_user_id": 100}, ("user", "in_reply_to_user_id")),
        ({"in_reply_to_user_id_str": "100"}, ("in_reply_to_user_id",)),
        ({"retweeted_status": {"user": {"id": 100}}}, ("retweeted_status.user",)),
        ({"user": {"id": 1001, "id_str": "1001"}}, None),
        ({"user": None}, None),
    ],
)
def test_follow_tells_the_fields(tweet: dict[str, Any], fields: tuple[str, ...] | None) -> None:
    assert matches("follow", ["None", "200", "100", ""], tweet) == ([(2, fields)] if fields else [])


POINT = {"coordinates": {"type": "Point", "coordinates": [0.5, 0.5]}}
PLACE = {"place": {"bounding_box": {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [1, 0]]]}}}


@pytest.mark.parametrize(
    "longitude, latitude, is_inside",
    [(0, 0, True), (1, 1, True), (0, 1, True), (-0.1, 0.5, False), (1.1, 0.5, False), (0.5, -0.1, False),
     (0.5, 1.1, False)],
)  # fmt: skip
def test_the_edges_belong_to_a_box(longitude: float, latitude: float, is_inside: bool) -> None:
    point = {"coordinates": {"type": "Point", "coordinates": [longitude, latitude]}}
    assert matches("locations", ["0,0,1,1"], point) == ([(0, ("coordinates",))] if is_inside else [])


@pytest.mark.parametrize(
    "tweet, fields",
    [
        (POINT, ("coordinates",)),
        (PLACE, ("place",)),
        (POINT | PLACE, ("coordinates", "place")),
        (POINT | PLACE | {"retweeted_status": {}}, None),
        ({"coordinates": {"coordinates": [0.5]}}, None),
        ({"place": {"bounding_box": {"coordinates": [[], [[0]]]}}}, None),
        ({"place": {"bounding_box": {"coordinates": [[[0, 0, 9], [1, 1, 9]]]}}}, ("place",)),
    ],
)
def test_locations_tell_the_fields(tweet: dict[str, Any], fields: tuple[str, ...] | None) -> None:
    values = ["not a box", "10,10,20,20", "0,0,1,1", "5,5,6,6,0,0,1,1"]
    assert matches("locations", values, tweet) == ([(2, fields), (3, fields)] if fields else [])


@pytest.mark.parametrize(
    "value, expected", [("a, b c ,,d", ["a", "b c", "d"]), ("", []), (" , ", []), ("one phrase", ["one phrase"])]
)
def test_phrases(value: str, expected: list[str]) -> None:
    assert phrases(value) == expected


def test_boxes() -> None:
    assert parse_box(" -122.75, 36.8, -121.75, 37.8 ") == Box(west=-122.75, south=36.8, east=-121.75, north=37.8)
    assert parse_box("2.5,48.5,2.5,48.5") == Box(2.5, 48.5, 2.5, 48.5)
    assert parse_boxes("0,0,1,1,-180,-90,180,90") == [Box(0, 0, 1, 1), Box(-180, -90, 180, 90)]


@pytest.mark.parametrize(
    "value, message",
    [
        ("", "four plain numbers"),
        ("1,2,3", "four plain numbers"),
        ("1,2,3,4,5", "four plain numbers"),
        ("1,2,3,x", "four plain numbers"),
        ("1,2,3,", "four plain numbers"),
        ("nan,0,1,1", "four plain numbers"),
        ("0,0,inf,1", "four plain numbers"),
        ("0,0,1_0,1", "four plain numbers"),
        ("0,0," + "9" * 400 + ",1", "longitude outside -180 to 180"),
        ("-181,0,1,1", "longitude outside -180 to 180"),
        ("0,0,1,91", "latitude outside -90 to 90"),
        ("36.8,-122.75,37.8,-121.75", "latitude outside -90 to 90"),
        ("0,1,1,0", "south above its north"),
        ("-121.75,37.8,-122.75,36.8", "south-west corner comes first"),
        ("170,-20,-170,-10", "send two boxes"),
    ],
)
def test_parse_box_says_what_is_wrong(value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_box(value)


def test_parse_boxes_wants_four_numbers_a_box() -> None:
    with pytest.raises(ValueError, match="5 numbers"):
        parse_boxes("1,2,3,4,5")


JOINERS = "\u200c\u200d"
JOINING = "िی"


# The plain model: every field is the set of all terms that it answers to.


def kind(character: str) -> str | None:
    if "\u3040" <= character <= "\u30ff" or "\u4e00" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7a3":
        return "cjk" if character.isalnum() else None
    is_mark = unicodedata.category(character) in ("Mn", "Mc")
    return "word" if character.isalnum() or character == "_" or is_mark else None


def folded(text: str) -> str:
    """In small letters, without the style of emoji and joiners that join nothing."""
    text = text.lower().replace("\ufe0f", "")
    kept = [sign for at, sign in enumerate(text) if not (sign in JOINERS and beside(text, at) == (True, ""))]
    return "".join(kept)


def beside(text: str, at: int) -> tuple[bool, str]:
    """Does a letter that joins stand before the joiners here, and which word character behind them?"""
    before, after = text[:at].rstrip(JOINERS)[-1:], text[at:].lstrip(JOINERS)[:1]
    return before in JOINING and before != "", after if after in JOINING or after.isalnum() or after == "_" else ""


def pieces(text: str) -> set[str]:
    kinds = [
        ("word" if beside(text, at)[0] and beside(text, at)[1] in JOINING else None) if sign in JOINERS else kind(sign)
        for at, sign in enumerate(text)
    ]
    runs = groupby(zip(kinds, text, strict=True), lambda pair: pair[0])
    return {"".join(sign for _, sign in run) for script, run in runs if script}


def answers(tweet: dict[str, Any], prefix: str = "") -> dict[str, set[str]]:
    whole = tweet.get("extended_tweet") or tweet
    text = folded(whole.get("full_text") or tweet["text"])
    for escaped, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(escaped, character)
    found = {"text": pieces(text) | {word for word in text.split() if word[0] not in "#@"}}
    entities = whole.get("entities") or tweet["entities"]
    for field, sign in (("hashtags", "#"), ("user_mentions", "@"), ("symbols", "$")):
        names = {(entity.get("text") or entity["screen_name"]).lower() for entity in entities.get(field, [])}
        found[field] = names | {sign + name for name in names}
    for field in ("urls", "media"):
        links = [folded(link[key]) for link in entities.get(field, []) for key in ("expanded_url", "display_url")]
        bare = {link.removeprefix("https://").removeprefix("www.") for link in links}
        found[field] = bare.union(*map(pieces, bare))
    return {prefix + field: terms for field, terms in found.items()}


def plain_model(values: list[str], tweet: dict[str, Any]) -> list[tuple[int, tuple[str, ...]]]:
    retweeted = tweet.get("retweeted_status")
    found = answers(tweet)
    if retweeted:
        found |= answers(retweeted, "retweeted_status.")
    if "quoted_status" in tweet:
        found |= answers(tweet["quoted_status"], "quoted_status.")
    if retweeted and "quoted_status" in retweeted:
        found |= answers(retweeted["quoted_status"], "retweeted_status.quoted_status.")
    held = []
    for index, value in enumerate(values):
        terms = set()
        for phrase in folded(value).split(","):
            if phrase.split() and all(any(term in field for field in found.values()) for term in phrase.split()):
                terms |= set(phrase.split())
        if terms:
            held.append((index, tuple(name for name, field in found.items() if terms & field)))
    return held


LETTERS = ["ruby", "RUBY", "cat", "7", "_", "é", "É", "\u0301", "ि", "ی", "日本", "カ", "한"]
FRAGMENTS = [*LETTERS, "😀", "\ufe0f", "\u200c", "\u200d", "’", "-", ".", "&amp;"]
WORDS = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=3).map("".join)
TERMS = st.builds("".join, st.tuples(st.sampled_from(["", "", "", "#", "@", "$"]), WORDS))
TEXTS = st.lists(TERMS, max_size=6).map(" ".join)
VALUES = st.lists(st.lists(TERMS, min_size=1, max_size=2).map(" ".join), min_size=1, max_size=2).map(",".join)
NAMES = st.lists(st.fixed_dictionaries({"text": WORDS}), max_size=2)
URLS = st.builds("https://{}{}.com/{}".format, st.sampled_from(["", "www."]), WORDS, WORDS)
LINKS = st.lists(st.fixed_dictionaries({"expanded_url": URLS, "display_url": WORDS}), max_size=2)
ENTITIES = st.fixed_dictionaries(
    {
        "hashtags": NAMES,
        "symbols": NAMES,
        "user_mentions": st.lists(st.fixed_dictionaries({"screen_name": WORDS}), max_size=2),
        "urls": LINKS,
    },
    optional={"media": LINKS},
)
EXTENDED = st.fixed_dictionaries({"full_text": TEXTS}, optional={"entities": ENTITIES})
TWEET = {"text": TEXTS, "entities": ENTITIES}
PLAIN = st.fixed_dictionaries(TWEET, optional={"extended_tweet": EXTENDED})
QUOTE = st.fixed_dictionaries(TWEET, optional={"extended_tweet": EXTENDED, "quoted_status": PLAIN})
RETWEET = st.fixed_dictionaries(TWEET, optional={"retweeted_status": QUOTE, "quoted_status": PLAIN})


@settings(deadline=None)
@given(st.lists(VALUES, max_size=8), QUOTE | RETWEET)
def test_track_agrees_with_the_plain_model(values: list[str], tweet: dict[str, Any]) -> None:
    assert matches("track", values, tweet) == plain_model(values, tweet)


def a_quote(**links: Any) -> dict[str, Any]:
    permalink = {
        "url": "https://t.co/a1",
        "expanded": "https://twitter.com/nasa/status/1039",
        "display": "twitter.com/nasa/status/10…",
    }
    return complete({"text": "look at this", "entities": {}, "quoted_status_permalink": permalink, **links})


LINK = {"url": "https://t.co/a2", "expanded_url": "https://example.com", "display_url": "example.com"}


@pytest.mark.parametrize(
    "value,expected",
    [
        ("nasa", ("urls",)),
        ("twitter.com/nasa/status/1039", ("urls",)),
        ("look 1039", ("text", "urls")),
        ("example", ("urls",)),
        ("t.co/a1", None),
    ],
)
def test_the_link_of_a_quote_is_searched_where_it_stands_since_2018(
    value: str, expected: tuple[str, ...] | None
) -> None:
    tweet = a_quote(entities={"urls": [LINK]})
    assert matches("track", [value], tweet) == ([(0, expected)] if expected else [])
    retweet = complete({"text": "RT", "retweeted_status": tweet})
    assert bool(matches("track", [value], retweet)) == bool(expected)


@pytest.mark.parametrize("permalink", [None, 5, [], "x", {"expanded": 5}, {"display": None}])
def test_a_link_of_a_quote_that_is_none_is_no_link(permalink: Any) -> None:
    assert matches("track", ["nasa"], a_quote(quoted_status_permalink=permalink)) == []
    assert matches("track", ["example"], a_quote(quoted_status_permalink=permalink, entities={"urls": [LINK]}))
