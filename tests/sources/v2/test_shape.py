import json
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sources.v2.differences import unexcused
from traptor.simulator.feed import Synthetic, decode, encode
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.v2_payload import payload
from traptor.simulator.v2_request import asked
from traptor.sources.v2 import shape
from traptor.sources.v2.client import FIELDS
from traptor.sources.v2.stream import translated

ASKED = asked(urlencode(FIELDS))
PREDICATES = [
    Predicates(track=("storm", "#rocket", "$ABC", "example.com/x")),
    Predicates(follow=("1001", "1002")),
    Predicates(locations=("-122.75,36.8,-121.75,37.8",)),
]


@pytest.mark.parametrize("names", ["tweet", "post"])
@pytest.mark.parametrize("predicates", PREDICATES, ids=["track", "follow", "locations"])
def test_a_tweet_is_the_same_through_v2_but_for_what_v2_does_not_have(predicates: Predicates, names: str) -> None:
    for message in islice(Synthetic(1, Snowflakes()).messages(predicates), 1000):
        tweet = decode(message.body)
        found, left_out = shape.shaped(json.loads(encode(payload(tweet, [], ASKED, names))))
        assert [unexcused(tweet, translated) for translated in found] == [[]]
        assert left_out == ()


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
    sent = payload(decode(message), [], asked(""))
    assert (sent["includes"], sent["data"].keys()) == ({}, {"id", "text", "edit_history_tweet_ids"})


def test_media_of_retweets_are_asked_for() -> None:
    tweets = [decode(message.body) for message in islice(Synthetic(1, Snowflakes()).messages(PREDICATES[0]), 200)]
    [original, *_] = [
        tweet for tweet in tweets if "extended_entities" in tweet.get("retweeted_status", {}).get("extended_tweet", {})
    ]
    without = ASKED._replace(expansions=ASKED.expansions - {"referenced_tweets.id.attachments.media_keys"})
    assert [payload(original, [], each)["includes"].get("media", []) != [] for each in (ASKED, without)] == [
        True,
        False,
    ]


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
            {"withheld_in_countries": ["DE"], "withheld_copyright": True, "withheld_scope": "status"},
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
        ({"data": {"id": "1"}, "matching_rules": []}, True), ({"data": {"id": "1"}}, False),
        ({"data": DATA}, True), ({"data": [DATA]}, True), ({"data": []}, False), ({"data": {}}, False),
        ({"id_str": "1"}, False), ([], False), (None, False), ({"data": "x"}, False), ({"data": [1]}, False),
    ],
)  # fmt: skip
def test_what_is_v2(message: Any, is_v2: bool) -> None:
    assert shape.is_v2(message) is is_v2


ODD = [
    ({"id": 20}, {}, {"id": 20, "id_str": "20"}, ()),
    ({"text": 7}, {}, {"text": ""}, ("data.text",)),
    ({"created_at": "yesterday"}, {}, {"created_at": None}, ("data.created_at",)),
    ({"entities": 7}, {}, {"text": "storm here"}, ("data.entities",)),
    ({"entities": {"hashtags": [{}, {"start": 0, "end": 6, "tag": "x"}]}}, {}, {}, ("data.entities.hashtags",)),
    ({"referenced_tweets": [{}, {"type": "quoted", "id": "19"}]}, {}, {"quoted_status_id": 19},
     ("data.referenced_tweets",)),
    ({"public_metrics": {"like_count": "many", "reply_count": 2}}, {}, {"favorite_count": 0, "reply_count": 2},
     ("data.public_metrics.like_count",)),
    ({"geo": {"coordinates": [], "place_id": "p"}}, {"places": [{"id": "p"}]}, {"coordinates": None},
     ("data.geo.coordinates",)),
    ({"attachments": {"media_keys": None}}, {}, {"text": "storm here"}, ()),
    ({"author_id": "12"}, {"users": [{"id": "12"}, {"name": "nobody"}, 5]}, {}, ("includes.users",)),
    ({}, {"users": 7, "tweets": [{"text": "no id"}]}, {}, ("includes.users", "includes.tweets")),
    ({"lang": None, "source": 5}, {}, {"lang": "und", "source": ""}, ("data.source",)),
]  # fmt: skip


@pytest.mark.parametrize("odd, includes, expected, left_out", ODD)
def test_one_odd_field_loses_nothing_else(
    odd: dict[str, Any], includes: dict[str, Any], expected: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    data = {**DATA, "text": "storm here", "created_at": "2021-01-26T14:05:12.000Z", **odd}
    found = shape.shaped({"data": data, "includes": includes})
    [tweet] = found.tweets
    assert {name: tweet[name] for name in expected} == expected
    assert found.left_out == left_out
    assert tweet["id_str"] == "20"


@pytest.mark.parametrize("wrong", [None, "", "x", "-1", "1" * 20, "٣", 10**30, -1, True, 1.5, ["1"]])
def test_what_has_no_id_that_can_be_read_is_no_tweet(wrong: Any) -> None:
    assert shape.shaped({"data": {**DATA, "id": wrong}}).tweets == []
    raw = json.dumps({"data": {**DATA, "id": wrong}}).encode()
    assert translated(raw) == [raw]


def test_a_page_loses_only_what_has_no_id() -> None:
    found = shape.shaped({"data": [DATA, {"text": "no id"}, "x", {**DATA, "id": "21", "entities": 7}]})
    assert [tweet["id"] for tweet in found.tweets] == [20, 21]
    assert found.left_out == ("data", "data.entities")


@pytest.mark.parametrize(
    "mention, users, expected",
    [
        ({"start": 6, "end": 8, "id": "77"}, [], {"screen_name": None, "name": None, "id": 77, "indices": [6, 8]}),
        (
            {"start": 6, "end": 10, "id": "8"}, [{"id": "8", "username": "ana", "name": "Ana"}],
            {"screen_name": "ana", "name": "Ana", "id": 8, "indices": [6, 10]},
        ),
        (
            {"start": 6, "end": 10, "username": "Ana"}, [{"id": "8", "username": "ana"}],
            {"screen_name": "Ana", "name": None, "id": 8, "indices": [6, 10]},
        ),
        ({"username": "ana"}, [], {"screen_name": "ana", "name": None, "id": None, "indices": [6, 10]}),
    ],
    ids=["id alone", "id", "name", "no place"],
)  # fmt: skip
def test_a_mention_has_what_is_known_of_its_user(mention: Any, users: list[Any], expected: dict[str, Any]) -> None:
    data = {**DATA, "text": "hello @ana", "entities": {"mentions": [mention]}}
    [tweet] = shape.tweets({"data": data, "includes": {"users": users}})
    [found] = tweet["entities"]["user_mentions"]
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "entity, expected",
    [
        ({"start": 2, "end": 8, "tag": "storm"}, [2, 8]),
        ({"start": 3, "end": 9, "tag": "storm"}, [2, 8]),  # UTF-16 counts the emoji as two
        ({"start": 9, "end": 16, "tag": "storm"}, [9, 15]),
        ({"start": 1, "end": 7, "tag": "calm"}, [1, 7]),
    ],
)
def test_indices_point_at_what_they_say_in_code_points(entity: dict[str, Any], expected: list[int]) -> None:
    text = "\U0001f30a #storm #STORM"
    [tweet] = shape.tweets({"data": {**DATA, "text": text, "entities": {"hashtags": [entity]}}})
    assert [tag["indices"] for tag in tweet["entities"]["hashtags"]] == [expected]


NOTE = "storm " * 50 + "#sea"
SELF = {"url": "https://t.co/self", "expanded_url": "https://x.com/i/web/status/20", "display_url": "x.com/i/web/…"}
SHOWN = {"url": "https://t.co/pic", "expanded_url": "https://x.com/ana/status/20/photo/1", "display_url": "pic.x.com/a"}


@pytest.mark.parametrize("name", ["note_tweet", "note_post"])
@pytest.mark.parametrize("key", [{"media_key": "3_99"}, {}], ids=["key", "no key"])
@pytest.mark.parametrize("own", [{"hashtags": [{"start": 300, "end": 304, "tag": "sea"}]}, None], ids=["tag", "none"])
def test_a_long_post_keeps_its_photo_and_nothing_of_the_cut_text(
    name: str, key: dict[str, str], own: dict[str, Any] | None
) -> None:
    cut = NOTE[:200].rstrip() + "… https://t.co/self https://t.co/pic"
    urls = [
        {**SELF, "start": cut.index(SELF["url"]), "end": cut.index(SELF["url"]) + len(SELF["url"])},
        {**SHOWN, **key, "start": cut.index(SHOWN["url"]), "end": len(cut)},
    ]
    data = {**DATA, "text": cut, "entities": {"urls": urls}, name: {"text": NOTE, "entities": own},
            "attachments": {"media_keys": ["3_99"]}, "display_text_range": [0, 200]}  # fmt: skip
    [tweet] = shape.tweets({"data": data, "includes": {"media": [PHOTO]}})
    whole = tweet["extended_tweet"]
    assert (whole["full_text"], whole["display_text_range"]) == (f"{NOTE} {SHOWN['url']}", [0, len(NOTE)])
    assert whole["entities"]["urls"] == []
    assert [tag["text"] for tag in whole["entities"]["hashtags"]] == (["sea"] if own else [])
    [photo] = whole["extended_entities"]["media"]
    assert (photo["id"], photo["url"]) == (99, SHOWN["url"])
    assert whole["full_text"][slice(*photo["indices"])] == SHOWN["url"]
    assert tweet["entities"] == {"hashtags": [], "urls": [], "user_mentions": [], "symbols": []}


@pytest.mark.parametrize(
    "links, expected",
    [
        ([SHOWN], ["https://t.co/pic"]),
        ([{**SHOWN, "expanded_url": "https://x.com/ana/status/20/video/1"}], ["https://t.co/pic"]),
        ([{"url": "https://t.co/pic", "display_url": "pic.twitter.com/a"}], ["https://t.co/pic"]),
        ([SHOWN, {**SHOWN, "url": "https://t.co/of", "expanded_url": "https://x.com/bo/status/9/photo/1"}],
         ["https://t.co/pic"]),
        ([{"url": "https://t.co/web", "expanded_url": "https://a.example", "display_url": "a.example"}], [None]),
        ([], [None]),
    ],
    ids=["photo", "video", "pic.", "that of another tweet", "no media link", "no link"],
)  # fmt: skip
def test_media_without_a_key_among_the_urls_are_placed_by_the_link(links: list[Any], expected: list[Any]) -> None:
    text = "look " + " ".join(link["url"] for link in links)
    places = [{"start": text.index(link["url"]), "end": text.index(link["url"]) + len(link["url"])} for link in links]
    urls = [{**link, **place} for link, place in zip(links, places, strict=True)]
    data = {**DATA, "text": text, "entities": {"urls": urls}, "attachments": {"media_keys": ["3_99"]}}
    [tweet] = shape.tweets({"data": data, "includes": {"media": [PHOTO]}})
    [photo] = tweet["extended_entities"]["media"]
    assert ([photo["url"]], photo["id"]) == (expected, 99)
    assert text[slice(*photo["indices"])] == (photo["url"] or "")
    assert photo["url"] not in [link["url"] for link in tweet["entities"]["urls"]]


def test_a_media_key_that_is_no_number_leaves_the_medium() -> None:
    data = {**DATA, "attachments": {"media_keys": ["abc"]}}
    [tweet] = shape.tweets({"data": data, "includes": {"media": [{**PHOTO, "media_key": "abc"}]}})
    [photo] = tweet["extended_entities"]["media"]
    assert (photo["id"], photo["id_str"], photo["media_url_https"]) == (None, None, PHOTO["url"])


@pytest.mark.parametrize("ids", ["edit_history_tweet_ids", "edit_history_post_ids"])
def test_what_is_kept_on_the_way(ids: str) -> None:
    controls = {"edits_remaining": 4, "is_edit_eligible": True, "editable_until": "2021-01-26T14:35:12.000Z"}
    user = {"id": "7", "url": "", "verified_type": "business", "profile_banner_url": "https://pbs.example/b"}
    data = {**DATA, "id": "1354078219000000000", ids: ["19", "1354078219000000000"], "edit_controls": controls,
            "display_text_range": [4, 9], "source": "Twitter Web App"}  # fmt: skip
    [tweet] = shape.tweets({"data": data, "includes": {"users": [user]}})
    expected = {
        "created_at": "Tue Jan 26 14:46:19 +0000 2021",
        "edit_history": {"initial_tweet_id": "19", "edit_tweet_ids": ["19", "1354078219000000000"]},
        "edit_controls": {"editable_until_ms": 1611671712000, "edits_remaining": 4},
        "editable": True,
        "display_text_range": [4, 9],
        "source": '<a href="" rel="nofollow">Twitter Web App</a>',
    }
    assert {name: tweet[name] for name in expected} == expected
    assert [tweet["user"][name] for name in ("url", "verified_type", "profile_banner_url")] == [
        None, "business", "https://pbs.example/b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "told, expected",
    [
        ({}, {"location": None, "description": None, "followers_count": 0, "statuses_count": 0, "listed_count": 0}),
        ({"location": "Rome", "description": "I write", "protected": True, "verified": True},
         {"location": "Rome", "description": "I write", "protected": True, "verified": True}),
        ({"public_metrics": {"followers_count": 1, "following_count": 2, "listed_count": 3, "like_count": 4,
                             "tweet_count": 5}},
         {"followers_count": 1, "friends_count": 2, "listed_count": 3, "favourites_count": 4, "statuses_count": 5}),
        ({"public_metrics": {"post_count": 6}}, {"statuses_count": 6, "followers_count": 0}),
    ],
)  # fmt: skip
def test_a_user_has_what_is_told_of_him(told: dict[str, Any], expected: dict[str, Any]) -> None:
    [tweet] = shape.tweets({"data": DATA, "includes": {"users": [{"id": "7", "username": "ana", **told}]}})
    assert {name: tweet["user"][name] for name in expected} == expected


@pytest.mark.parametrize(
    "metrics, expected",
    [
        (None, [0, 0, 0, 0]),
        ({"quote_count": 1, "reply_count": 2, "retweet_count": 3, "like_count": 4}, [1, 2, 3, 4]),
        ({"repost_count": 5}, [0, 0, 5, 0]),
    ],
)
def test_a_tweet_counts_what_it_got(metrics: dict[str, int] | None, expected: list[int]) -> None:
    [tweet] = shape.tweets({"data": {**DATA, "public_metrics": metrics}})
    assert [tweet[f"{name}_count"] for name in ("quote", "reply", "retweet", "favorite")] == expected


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SAMPLES = [
    payload(decode(message.body), [{"id": "1", "tag": "traptor:track:0:1"}], ASKED, names)
    for names in ("tweet", "post")
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


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """The same with one field or entry taken away."""
    copy = value.copy()
    if path[1:]:
        copy[path[0]] = without(value[path[0]], path[1:])
    else:
        del copy[path[0]]
    return copy


@settings(deadline=None)
@given(st.data())
def test_whatever_is_odd_no_tweet_with_an_id_is_lost(data: st.DataObject) -> None:
    """Fields are taken away and types turned in all places: never an exception, and the rest is there."""
    broken = data.draw(st.sampled_from(SAMPLES))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from(list(paths(broken))[1:]))
        is_taken = data.draw(st.booleans())
        broken = without(broken, place) if is_taken else replaced(broken, place, data.draw(ANYTHING))
    found = shape.tweets(broken)
    own = broken.get("data")
    if isinstance(own, dict) and isinstance(own.get("id"), str) and own["id"].isdigit():
        assert shape.is_v2(broken)
        assert [tweet["id_str"] for tweet in found] == [own["id"]]
    for message in translated(json.dumps(broken).encode()):
        json.loads(message)


@given(st.data())
def test_no_message_is_a_crash(data: st.DataObject) -> None:
    """It is tweets with the tags of their rules, disconnect messages, or passes as it is."""
    sample = data.draw(st.sampled_from([*SAMPLES, {"errors": [{"title": "ConnectionException"}]}]))
    place = data.draw(st.sampled_from([("matching_rules",), ("errors",), *paths(sample)]))
    for message in translated(json.dumps(replaced(sample, place, data.draw(ANYTHING))).encode()):
        assert isinstance(message, bytes)
        assert all(isinstance(tag, str) for tag in getattr(message, "tags", ()))
