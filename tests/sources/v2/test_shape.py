import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sources.v2.differences import unexcused
from traptor.simulator.feed import Synthetic, decode, encode
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.v2_payload import payload
from traptor.sources.v2 import shape
from traptor.sources.v2.client import FIELDS, translated

EXPANSIONS = FIELDS["expansions"].split(",")
PREDICATES = [
    Predicates(track=("storm", "#rocket", "$ABC", "example.com/x")),
    Predicates(follow=("1001", "1002")),
    Predicates(locations=("-122.75,36.8,-121.75,37.8",)),
]


@pytest.mark.parametrize("predicates", PREDICATES, ids=["track", "follow", "locations"])
def test_a_tweet_is_the_same_through_v2_but_for_what_v2_does_not_have(predicates: Predicates) -> None:
    for message in islice(Synthetic(1, Snowflakes()).messages(predicates), 1000):
        tweet = decode(message.body)
        [translated] = shape.tweets(json.loads(encode(payload(tweet, [], EXPANSIONS))))
        assert unexcused(tweet, translated) == []


def test_the_27_keys_of_every_tweet_are_there() -> None:
    always = {
        "created_at", "id", "id_str", "text", "source", "truncated", "in_reply_to_status_id",
        "in_reply_to_status_id_str", "in_reply_to_user_id", "in_reply_to_user_id_str", "in_reply_to_screen_name",
        "user", "geo", "coordinates", "place", "contributors", "is_quote_status", "quote_count", "reply_count",
        "retweet_count", "favorite_count", "entities", "favorited", "retweeted", "filter_level", "lang", "timestamp_ms",
    }  # fmt: skip
    [tweet] = shape.tweets({"data": {"id": "1354078219000000000", "text": "x", "author_id": "7"}})
    assert tweet.keys() == always
    assert (tweet["timestamp_ms"], tweet["user"]) == ("1611672379623", {"id": 7, "id_str": "7"})


def test_what_is_not_asked_for_is_not_included() -> None:
    message = next(Synthetic(1, Snowflakes()).messages(PREDICATES[0])).body
    assert payload(decode(message), [], [])["includes"] == {}


def test_media_of_retweets_are_asked_for() -> None:
    tweets = [decode(message.body) for message in islice(Synthetic(1, Snowflakes()).messages(PREDICATES[0]), 200)]
    [original, *_] = [
        tweet for tweet in tweets if "extended_entities" in tweet.get("retweeted_status", {}).get("extended_tweet", {})
    ]
    without = set(EXPANSIONS) - {"referenced_tweets.id.attachments.media_keys"}
    assert [payload(original, [], asked)["includes"].get("media", []) != [] for asked in (EXPANSIONS, without)] == [
        True, False,
    ]  # fmt: skip


LONG = "storm " * 60
DATA = {"id": "20", "text": "x", "author_id": "7"}
PHOTO = {"media_key": "3_99", "type": "photo", "url": "https://pbs.example/a.jpg", "width": 20, "height": 10}
LINK = {
    "start": 2,
    "end": 25,
    "url": "https://t.co/1",
    "expanded_url": "https://x.com/a/photo/1",
    "display_url": "pic.x",
}


@pytest.mark.parametrize(
    "data, includes, expected",
    [
        (
            {"created_at": "2021-01-26T14:05:12.000Z"}, {},
            {"created_at": "Tue Jan 26 14:05:12 +0000 2021"},
        ),
        (
            {"text": LONG[:280], "note_tweet": {"text": LONG}}, {},
            {"truncated": True, "text": "storm " * 22 + "storm…",
             "extended_tweet": {"full_text": LONG, "display_text_range": [0, 360], "entities": {
                 "hashtags": [], "urls": [], "user_mentions": [], "symbols": []}}},
        ),
        (
            {"entities": {"hashtags": [{"start": 0, "end": 4, "tag": "été"}], "cashtags": [
                {"start": 5, "end": 9, "tag": "ABC"}]}}, {},
            {"entities": {"hashtags": [{"text": "été", "indices": [0, 4]}], "urls": [], "user_mentions": [],
                          "symbols": [{"text": "ABC", "indices": [5, 9]}]}},
        ),
        (
            {"entities": {"mentions": [{"start": 0, "end": 4, "username": "ana", "id": "8"}]}},
            {"users": [{"id": "8", "username": "ana", "name": "Ana"}]},
            {"entities": {"hashtags": [], "urls": [], "symbols": [], "user_mentions": [
                {"screen_name": "ana", "name": "Ana", "id": 8, "id_str": "8", "indices": [0, 4]}]}},
        ),
        (
            {"referenced_tweets": [{"type": "replied_to", "id": "19"}], "in_reply_to_user_id": "8"},
            {"users": [{"id": "8", "username": "ana", "name": "Ana"}]},
            {"in_reply_to_status_id": 19, "in_reply_to_status_id_str": "19", "in_reply_to_user_id": 8,
             "in_reply_to_user_id_str": "8", "in_reply_to_screen_name": "ana"},
        ),
        (
            {"referenced_tweets": [{"type": "quoted", "id": "19"}]}, {},
            {"is_quote_status": True, "quoted_status_id": 19, "quoted_status_id_str": "19"},
        ),
        (
            {"geo": {"coordinates": {"type": "Point", "coordinates": [-122.4, 37.7]}, "place_id": "p"}},
            {"places": [{"id": "p", "full_name": "San Francisco, CA", "geo": {"bbox": [-123, 37, -122, 38]}}]},
            {"coordinates": {"type": "Point", "coordinates": [-122.4, 37.7]},
             "geo": {"type": "Point", "coordinates": [37.7, -122.4]}},
        ),
        (
            {"withheld": {"country_codes": ["DE"], "copyright": True, "scope": "tweet"}}, {},
            {"withheld_in_countries": ["DE"], "withheld_copyright": True, "withheld_scope": "tweet"},
        ),
        ({"public_metrics": {"like_count": 3, "retweet_count": 4}}, {}, {"favorite_count": 3, "retweet_count": 4}),
    ],
    ids=["time", "long", "tags", "mention", "reply", "quote of what is gone", "point", "withheld", "counts"],
)  # fmt: skip
def test_fields(data: dict[str, Any], includes: dict[str, Any], expected: dict[str, Any]) -> None:
    [tweet] = shape.tweets({"data": {**DATA, **data}, "includes": includes})
    assert {name: tweet.get(name) for name in expected} == expected


def test_a_place_has_its_box_as_a_ring() -> None:
    places = [{"id": "p", "full_name": "San Francisco, CA", "geo": {"bbox": [-123, 37, -122, 38]}}]
    [tweet] = shape.tweets({"data": {**DATA, "geo": {"place_id": "p"}}, "includes": {"places": places}})
    assert tweet["place"]["full_name"] == "San Francisco, CA"
    assert tweet["place"]["bounding_box"] == {
        "type": "Polygon", "coordinates": [[[-123, 37], [-123, 38], [-122, 38], [-122, 37]]],
    }  # fmt: skip


def test_media_are_told_from_links_and_the_first_stands_among_the_entities() -> None:
    video = {"media_key": "13_7", "type": "video", "preview_image_url": "https://pbs.example/v.jpg", "duration_ms": 900,
             "variants": [{"bit_rate": 800, "content_type": "video/mp4", "url": "https://v.example/1"}]}  # fmt: skip
    other = {**LINK, "start": 30, "end": 53, "expanded_url": "https://a.example"}
    urls = [{**LINK, "media_key": "3_99"}, {**LINK, "media_key": "13_7"}, other]
    data = {**DATA, "entities": {"urls": urls}, "attachments": {"media_keys": ["3_99", "13_7", "3_gone"]}}
    [tweet] = shape.tweets({"data": data, "includes": {"media": [PHOTO, video]}})
    assert [link["expanded_url"] for link in tweet["entities"]["urls"]] == ["https://a.example"]
    assert [medium["id_str"] for medium in tweet["entities"]["media"]] == ["99"]
    photo, moving = tweet["extended_entities"]["media"]
    assert (photo["media_url"], photo["sizes"]) == (
        "http://pbs.example/a.jpg", {"large": {"w": 20, "h": 10, "resize": "fit"}},
    )  # fmt: skip
    assert moving["video_info"] == {
        "duration_millis": 900,
        "variants": [{"bitrate": 800, "content_type": "video/mp4", "url": "https://v.example/1"}],
    }


@pytest.mark.parametrize("included, links, media", [([], 1, 0), ([PHOTO], 0, 1)])
def test_a_medium_that_is_not_included_leaves_its_link(included: list[Any], links: int, media: int) -> None:
    """One link, however many media it stands for."""
    urls = [{**LINK, "media_key": key} for key in ("3_99", "3_98", "3_97")]
    data = {**DATA, "entities": {"urls": urls}, "attachments": {"media_keys": ["3_99", "3_98", "3_97"]}}
    [tweet] = shape.tweets({"data": data, "includes": {"media": included}})
    assert [link["url"] for link in tweet["entities"]["urls"]] == [LINK["url"]] * links
    assert len(tweet["entities"].get("media", [])) == media


def test_a_retweet_has_its_original_and_tells_of_its_quote() -> None:
    original = {**DATA, "id": "19", "referenced_tweets": [{"type": "quoted", "id": "18"}]}
    data = {**DATA, "text": "RT @ana: x", "referenced_tweets": [{"type": "retweeted", "id": "19"}]}
    [tweet] = shape.tweets({"data": data, "includes": {"tweets": [original]}})
    assert (tweet["retweeted_status"]["id"], tweet["is_quote_status"], tweet["quoted_status_id"]) == (19, True, 18)
    assert "timestamp_ms" not in tweet["retweeted_status"]


@pytest.mark.parametrize(
    "message, is_v2",
    [
        ({"data": DATA}, True), ({"data": [DATA]}, True), ({"data": []}, False), ({"data": {}}, False),
        ({"id_str": "1"}, False), ([], False), (None, False), ({"data": "x"}, False), ({"data": [1]}, False),
    ],
)  # fmt: skip
def test_what_is_v2(message: Any, is_v2: bool) -> None:
    assert shape.is_v2(message) is is_v2


@pytest.mark.parametrize(
    "broken",
    [
        {"id": "x"}, {"entities": 7}, {"entities": {"hashtags": [{}]}}, {"referenced_tweets": [{}]},
        {"created_at": "soon"}, {"public_metrics": 7}, {"geo": {"coordinates": []}, "note_tweet": "x"},
    ],
)  # fmt: skip
def test_a_payload_of_another_shape_is_an_error(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        shape.tweets({"data": {**DATA, **broken, "text": broken.get("text", "x")}})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SAMPLES = [
    payload(decode(message.body), [{"id": "1", "tag": "traptor:track:0:1"}], EXPANSIONS)
    for predicates in PREDICATES
    for message in islice(Synthetic(2, Snowflakes()).messages(predicates), 20)
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from paths(inner, (*path, name))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]] if path[1:] else None, path[1:], other)
    return copy


@given(st.data())
def test_no_payload_is_a_crash(data: st.DataObject) -> None:
    """Whatever stands anywhere in a payload: it is a tweet, or an error that is told."""
    sample = data.draw(st.sampled_from(SAMPLES))
    broken = replaced(sample, data.draw(st.sampled_from(list(paths(sample)))), data.draw(ANYTHING))
    if shape.is_v2(broken):
        try:
            found = shape.tweets(broken)
        except ValueError:
            return
        assert all(isinstance(tweet["id"], int) for tweet in found)


@given(st.data())
def test_no_message_is_a_crash(data: st.DataObject) -> None:
    """It is tweets with the tags of their rules, disconnect messages, or passes as it is."""
    sample = data.draw(st.sampled_from([*SAMPLES, {"errors": [{"title": "ConnectionException"}]}]))
    place = data.draw(st.sampled_from([("matching_rules",), ("errors",), *paths(sample)]))
    for message in translated(json.dumps(replaced(sample, place, data.draw(ANYTHING))).encode()):
        assert isinstance(message, bytes)
        assert all(isinstance(tag, str) for tag in getattr(message, "tags", ()))
