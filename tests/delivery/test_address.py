"""Where in Kafka a message goes."""

import json
from typing import Any

import pytest

from traptor.delivery.address import Address

ONE, TWO = Address("tweets"), Address("tweets", "notices")
DELETE = {"delete": {"status": {"id_str": "12"}}}


@pytest.mark.parametrize("address", [ONE, TWO])
@pytest.mark.parametrize("id_str,key", [("701", b"701"), ("", None), ("\ud83d", b"?")])
def test_a_tweet_is_keyed_by_its_id(address: Address, id_str: str, key: bytes | None) -> None:
    assert address.tweet(id_str, b"{}") == (key, b"{}", "tweets")


@pytest.mark.parametrize(
    "address,notice,key,topic",
    [
        (ONE, DELETE, None, "tweets"),
        (TWO, DELETE, b"12", "notices"),
        (TWO, {"limit": {"track": 5}}, b"limit", "notices"),
        (TWO, {"unheard of": 1}, b"unknown", "notices"),
    ],
)
def test_a_notice_is_keyed_where_it_has_a_topic_of_its_own(
    address: Address, notice: dict[str, Any], key: bytes | None, topic: str
) -> None:
    assert address.notice(notice, b"{}") == (key, b"{}", topic)


def test_a_gap_is_told_only_where_notices_have_a_topic() -> None:
    assert ONE.gap("track:0", {"cause": "cut"}) is None
    told = TWO.gap("track:0", {"cause": "cut"})
    assert told
    assert (told.key, told.topic, json.loads(told.value)) == (b"track:0", "notices", {"gap": {"cause": "cut"}})
