"""What of a message has to go when an author asks for it."""

import json
from typing import Any

import pytest

from traptor.delivery.message import Message

PLACES = {"geo": 1, "coordinates": 2, "place": 3}
NOWHERE = dict.fromkeys(PLACES)


def tweet(id_str: str, user_id: str, **more: Any) -> dict[str, Any]:
    return {"id_str": id_str, "user": {"id_str": user_id}, **PLACES, "text": "é", **more}


def message(fields: Any) -> Message:
    return Message(b"3", json.dumps(fields).encode(), "traptor")


ALONE = tweet("3", "8")
RETWEET = tweet("3", "8", retweeted_status=tweet("2", "7"))
QUOTE = tweet("3", "8", quoted_status=tweet("2", "7"))
RETWEETED_QUOTE = tweet("3", "8", retweeted_status=tweet("2", "7", quoted_status=tweet("1", "6")))


@pytest.mark.parametrize(
    "fields, ids",
    [
        (ALONE, {"3", "8"}),
        (RETWEET, {"3", "8", "2", "7"}),
        (RETWEETED_QUOTE, {"3", "8", "2", "7", "1", "6"}),
        ({**ALONE, "retweeted_status": None, "quoted_status": 5}, {"3", "8"}),
        ({"id_str": 4, "user": {"id_str": 9}}, {"3", "4", "9"}),
        ({"delete": {"status": {"id_str": "1"}}}, {"3"}),
        ([], {"3"}),
    ],
)
def test_a_message_mentions_its_tweets_and_their_authors(fields: Any, ids: set[str]) -> None:
    assert message(fields).mentions() == ids


@pytest.mark.parametrize("value", [b"coffee", b'{"id_str":"1"', b"[" * 100_000, b"\xff"])
def test_what_cannot_be_read_is_known_by_its_key(value: bytes) -> None:
    odd = Message(b"3", value, "traptor")
    assert (odd.mentions(), odd.without({"3"}, {}), odd.without({"4"}, {"3": 9})) == ({"3"}, None, odd)
    assert Message(None, value, "traptor").mentions() == set()


@pytest.mark.parametrize(
    "fields, deleted, left",
    [
        (ALONE, {"3"}, None),
        (ALONE, {"8", "2"}, ALONE),
        (RETWEET, {"2"}, None),
        (QUOTE, {"2"}, ALONE),
        (RETWEETED_QUOTE, {"1"}, RETWEET),
        ({"delete": {"status": {"id_str": "3"}}}, {"3"}, {"delete": {"status": {"id_str": "3"}}}),
    ],
)
def test_a_deleted_tweet_goes_wherever_it_stands(fields: Any, deleted: set[str], left: Any) -> None:
    found = message(fields).without(deleted, {})
    assert (found and json.loads(found.value)) == left


@pytest.mark.parametrize(
    "fields, user_id, up_to_id, left",
    [
        (ALONE, "8", 3, {**ALONE, **NOWHERE}),
        (ALONE, "8", 2, ALONE),
        (ALONE, "3", 9, ALONE),
        (RETWEET, "7", 2, {**RETWEET, "retweeted_status": {**RETWEET["retweeted_status"], **NOWHERE}}),
        (QUOTE, "7", 9, {**QUOTE, "quoted_status": {**QUOTE["quoted_status"], **NOWHERE}}),
        (QUOTE, "7", 1, QUOTE),
    ],
)
def test_a_location_goes_wherever_it_stands(fields: Any, user_id: str, up_to_id: int, left: Any) -> None:
    before = message(fields)
    found = before.without((), {user_id: up_to_id})
    assert found is not None
    assert json.loads(found.value) == left
    assert (found is before) == (left == fields)
