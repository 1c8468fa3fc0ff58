import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.archives.test_replay import ANYTHING
from traptor.archives import compliance, shapes
from traptor.archives.compliance import Notice
from traptor.archives.tally import posted_at

ID = 1950000000000000001
CREATED_AT = "Sat Jun 21 14:05:12 +0000 2025"


def messages(value: Any) -> list[dict[str, Any]]:
    return [message for one in shapes.opened(value) for message in shapes.shaped(one).messages]


def ids(value: Any) -> list[str]:
    return [message["id_str"] for message in messages(value)]


V1 = {"id": ID, "id_str": str(ID), "text": "storm", "created_at": CREATED_AT}
V2 = {"id": str(ID), "text": "storm", "author_id": "12", "created_at": "2025-06-21T14:05:12.000Z"}


@pytest.mark.parametrize(
    "value, found",
    [
        (V1, [str(ID)]),
        ([V1, [V1]], [str(ID)] * 2),
        ({"statuses": [V1, V1], "search_metadata": {}}, [str(ID)] * 2),
        ({"results": [V1], "next": "x"}, [str(ID)]),
        ({"statuses": []}, []),
        (V2, [str(ID)]),
        ({**V2, "id": ID}, [str(ID)]),
        ({"data": [V2, V2]}, [str(ID)] * 2),
        ([{"data": V2}, V2], [str(ID)] * 2),
        ({"id": ID, "text": "storm"}, [str(ID)]),
        ({"id": ID, "full_text": "storm"}, [str(ID)]),
        ({"id": str(ID), "text": "storm", "user": {"id": 12}}, [str(ID)]),
        ({"tweet": V1}, [str(ID)]),
    ],
)
def test_tweets_are_found_in_every_shape(value: Any, found: list[str]) -> None:
    assert ids(value) == found
    assert all(message.get("text") == "storm" or "full_text" in message for message in messages(value))


@pytest.mark.parametrize(
    "value",
    [1, "x", None, {}, {"what": "is this"}, {"users": []}, {"tweet": {"text": "x"}}, {"id": 1.5e18, "text": "x"}],
)
def test_what_is_neither_tweet_nor_notice_is_an_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"neither a tweet nor a notice|users without their tweets|without an id"):
        messages(value)


@pytest.mark.parametrize(
    "value", [{"delete": {}}, {"meta": {"result_count": 0}}, {"info": {"activity_count": 1}}, {"errors": [{}]}]
)
def test_what_services_say_beside_tweets_is_no_damage(value: Any) -> None:
    assert messages(value) == [value]


def test_a_tweet_of_v1_with_a_text_for_its_id_keeps_its_user() -> None:
    [tweet] = messages({"id": str(ID), "text": "storm", "user": {"id": 12}})
    assert tweet["user"] == {"id": 12}


@pytest.mark.parametrize(
    "line",
    [
        {"data": V2},
        {"data": {**V2, "id": ID}, "includes": {"users": [{"id": "12", "name": "A", "username": "a"}]}},
        {"data": V2, "includes": None, "matching_rules": [{"id": "1", "tag": "w"}]},
    ],
)
def test_a_line_of_the_stream_is_read_in_one_go_and_as_any_other(line: dict[str, Any]) -> None:
    assert [shapes.stream_line(json.dumps(line, separators=(",", ":")).encode())] == messages(line)


@pytest.mark.parametrize("line", [{"data": [V2]}, {"data": {**V2, "lang": 7}}, V1, {"data": None}])
def test_what_is_no_sound_line_of_the_stream_is_taken_apart(line: dict[str, Any]) -> None:
    assert shapes.stream_line(json.dumps(line, separators=(",", ":")).encode()) is None


def test_a_flattened_tweet_is_the_page_it_came_from() -> None:
    author = {"id": "12", "name": "A", "username": "a"}
    other = {"id": "13", "name": "B", "username": "b"}
    media = {"media_key": "3_77", "type": "photo", "url": "https://pbs.twimg.com/media/x.jpg"}
    place = {"id": "p1", "full_name": "Town", "name": "Town", "place_type": "city", "country": "C", "country_code": "C"}
    quoted = {**V2, "id": "5", "text": "rain", "author_id": "13"}
    link = {"start": 6, "end": 29, "url": "https://t.co/x", "expanded_url": "https://x.com/a/status/1/photo/1"}
    tweet = {
        **V2,
        "text": "storm https://t.co/x @b",
        "entities": {
            "urls": [{**link, "display_url": "pic", "media_key": "3_77"}],
            "mentions": [{"start": 30, "end": 32, "username": "b", "id": "13"}],
        },
        "attachments": {"media_keys": ["3_77"]},
        "geo": {"place_id": "p1"},
        "referenced_tweets": [{"type": "quoted", "id": "5"}],
    }
    includes = {"users": [author, other], "tweets": [quoted], "media": [media], "places": [place]}
    flat = {
        **tweet,
        "author": author,
        "entities": {**tweet["entities"], "mentions": [{**tweet["entities"]["mentions"][0], **other}]},
        "attachments": {"media_keys": ["3_77"], "media": [media]},
        "geo": {"place_id": "p1", **place},
        "referenced_tweets": [{"type": "quoted", **quoted, "author": other}],
        "__twarc": {"version": "2.13.0"},
    }
    [found] = messages(flat)
    assert found == messages({"data": tweet, "includes": includes})[0]
    assert (found["user"]["screen_name"], found["quoted_status"]["user"]["screen_name"]) == ("a", "b")
    assert found["extended_entities"]["media"][0]["id_str"] == "77"
    assert found["place"]["full_name"] == "Town"


def test_what_a_flattened_tweet_could_not_be_given_is_empty() -> None:
    flat = {**V2, "author": {}, "in_reply_to_user": {}, "referenced_tweets": [{"type": "replied_to", "id": "4"}]}
    [found] = messages(flat)
    assert (found["user"]["id_str"], found["in_reply_to_status_id_str"]) == ("12", "4")


def test_a_user_s_own_tweet_has_numbers_and_its_author() -> None:
    tweet = {
        "id": str(ID), "id_str": str(ID), "full_text": "storm @b", "favorite_count": "3", "lang": "12",
        "entities": {"user_mentions": [{"screen_name": "b", "id": "13", "id_str": "13", "indices": ["6", "8"]}]},
    }  # fmt: skip
    account = {"accountId": "12", "username": "a", "accountDisplayName": "A"}
    assert messages({"tweet": tweet, "account": account}) == [
        {
            **tweet,
            "id": ID,
            "favorite_count": 3,
            "entities": {"user_mentions": [{"screen_name": "b", "id": 13, "id_str": "13", "indices": [6, 8]}]},
            "user": {"id": 12, "id_str": "12", "name": "A", "screen_name": "a"},
        }
    ]


# GNIP's activities

ACTOR = {
    "objectType": "person", "id": "id:twitter.com:12", "displayName": "A", "preferredUsername": "a", "summary": "hi",
    "links": [{"href": None, "rel": "me"}, {"href": "https://example.com", "rel": "me"}], "image": "https://x/y.png",
    "followersCount": 1, "friendsCount": 2, "listedCount": 3, "statusesCount": 4, "favoritesCount": 5,
    "postedTime": "2010-01-02T03:04:05.000Z", "utcOffset": "-18000", "twitterTimeZone": "Quito", "languages": ["en"],
    "location": {"objectType": "place", "displayName": "Town"}, "verified": True,
}  # fmt: skip


def activity(number: int, body: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"tag:search.twitter.com,2005:{number}", "objectType": "activity", "verb": "post", "body": body,
        "postedTime": "2025-06-21T14:05:12.000Z", "actor": ACTOR, "object": {"objectType": "note"}, **more,
    }  # fmt: skip


def test_an_activity_is_a_tweet_as_the_guides_map_it() -> None:
    entities = {"hashtags": [], "urls": [], "user_mentions": [{"screen_name": "B", "id": 13, "id_str": "13"}]}
    place = {
        "objectType": "place", "displayName": "Town, C", "name": "Town", "country_code": "Country",
        "twitter_country_code": "C", "twitter_place_type": "city",
        "link": "https://api.twitter.com/1.1/geo/id/p1.json", "geo": {"type": "Polygon", "coordinates": [[[1, 2]]]},
    }  # fmt: skip
    [found] = messages(
        activity(
            ID, "storm", twitter_entities=entities, twitter_lang="en", retweetCount=6, favoritesCount=7,
            generator={"displayName": "Web", "link": "https://x.com"}, location=place,
            inReplyTo={"link": "http://twitter.com/b/statuses/9"}, geo={"type": "Point", "coordinates": [50, 8]},
            gnip={"matching_rules": [{"tag": "t", "id": 1}]},
        )
    )  # fmt: skip
    assert found == {
        "created_at": CREATED_AT, "id": ID, "id_str": str(ID), "text": "storm", "truncated": False,
        "source": '<a href="https://x.com" rel="nofollow">Web</a>', "entities": entities, "lang": "en",
        "retweet_count": 6, "favorite_count": 7, "is_quote_status": False,
        "in_reply_to_status_id": 9, "in_reply_to_status_id_str": "9", "in_reply_to_screen_name": "b",
        "in_reply_to_user_id": 13, "in_reply_to_user_id_str": "13",
        "geo": {"type": "Point", "coordinates": [50, 8]}, "coordinates": {"type": "Point", "coordinates": [8, 50]},
        "place": {
            "id": "p1", "url": place["link"], "place_type": "city", "name": "Town", "full_name": "Town, C",
            "country_code": "C", "country": "Country", "bounding_box": place["geo"], "attributes": {},
        },
        "user": {
            "id": 12, "id_str": "12", "name": "A", "screen_name": "a", "location": "Town", "description": "hi",
            "url": "https://example.com", "verified": True, "followers_count": 1, "friends_count": 2,
            "listed_count": 3, "statuses_count": 4, "favourites_count": 5, "utc_offset": -18000, "time_zone": "Quito",
            "created_at": "Sat Jan 02 03:04:05 +0000 2010", "lang": "en",
            "profile_image_url": "http://x/y.png", "profile_image_url_https": "https://x/y.png",
        },
        "matching_rules": [{"tag": "t", "id": 1}],
    }  # fmt: skip


def test_activities_inside_an_activity_are_retweet_and_quote() -> None:
    quoted = activity(5, "rain")
    long = {"body": "storm " * 30, "twitter_entities": {"hashtags": [{"text": "x"}]}, "display_text_range": [0, 180]}
    original = activity(4, "storm…", long_object=long, twitter_quoted_status=quoted)
    [found] = messages(activity(ID, "RT @a: storm…", verb="share", object=original))
    retweeted = found["retweeted_status"]
    assert (retweeted["id_str"], retweeted["quoted_status"]["id_str"], retweeted["quoted_status_id"]) == ("4", "5", 5)
    assert retweeted["extended_tweet"] == {
        "full_text": "storm " * 30, "entities": {"hashtags": [{"text": "x"}]}, "display_text_range": [0, 180],
    }  # fmt: skip
    assert (retweeted["truncated"], retweeted["is_quote_status"]) == (True, True)


AT = {"event_at": "2022-12-23T12:34:56.789Z"}


@pytest.mark.parametrize(
    "event, asks",
    [
        ({"data": {"delete": {"tweet": {"id": "5", "author_id": "7"}, **AT}}}, Notice("delete", "5")),
        ({"data": {"scrub_geo": {"user": {"id": "7"}, "up_to_tweet_id": "9", **AT}}}, Notice("scrub_geo", "7", 9)),
        (
            {"data": {"withheld": {"tweet": {"id": "5"}, "withheld_in_countries": ["DE"], **AT}}},
            Notice("status_withheld", "5", ["DE"]),
        ),
        (
            {"data": {"user_withheld": {"user": {"id": "7"}, "withheld_in_countries": ["DE"], **AT}}},
            Notice("user_withheld", "7", ["DE"]),
        ),
        ({"data": {"undrop": {"tweet": {"id": "5", "author_id": "7"}, **AT}}}, None),
        ({"data": {"delete": {"tweet": None, **AT}}}, None),
        ({"id": "5", "action": "delete", "redacted_at": AT["event_at"], "reason": "deleted"}, Notice("delete", "5")),
    ],
)
def test_compliance_of_v2_asks_for_the_same(event: dict[str, Any], asks: Notice | None) -> None:
    [message] = messages(event)
    assert compliance.notice(message) == asks


def test_a_delete_among_activities_is_a_notice() -> None:
    deleted = activity(7, "", verb="delete", object={"id": f"object:search.twitter.com,2005:{ID}"})
    [found] = messages(deleted)
    assert found == {"delete": {"status": {"id": ID, "id_str": str(ID), "user_id": 12, "user_id_str": "12"}}}


@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "body", "actor", "object", "verb", "geo", "location", "inReplyTo", "long_object", "generator",
             "gnip", "twitter_entities", "twitter_quoted_status", "postedTime"]
        ),
        ANYTHING,
    )
)  # fmt: skip
def test_an_odd_field_of_an_activity_loses_nothing_else(odd: dict[str, Any]) -> None:
    given_ = {**activity(ID, "storm"), **odd}
    try:
        [found] = messages(given_)
    except ValueError:
        assert "id" in odd or "verb" in odd or "object" in odd
        return
    assert json.dumps(found)
    if not {"id", "body", "verb"} & odd.keys():
        assert (found["id_str"], found["text"]) == (str(ID), "storm")


@pytest.mark.parametrize(
    "created_at, id_str, seconds",
    [
        (CREATED_AT, str(ID), 1_750_514_712),
        (None, "1354066560414646272", 1_611_669_600),
        ("yesterday?", "1354066560414646272", 1_611_669_600),
        (None, "29700859247", None),
        (None, "", None),
        (None, "x", None),
        (None, "9" * 400, None),
        ("Sat Jun 21 14:05:12 +0000 1999", "1", None),
    ],
)
def test_the_time_of_a_tweet(created_at: str | None, id_str: str, seconds: float | None) -> None:
    assert posted_at(created_at, id_str) == seconds
