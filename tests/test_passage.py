"""A portion's way, from the bytes of a stream to the door."""

import json
from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from traptor import settings
from traptor.account.gaps import Gaps
from traptor.account.intake import Intake
from traptor.account.ledger import Account
from traptor.delivery.address import Address
from traptor.delivery.spool import Message
from traptor.passage import Passage
from traptor.sources.v1 import V1Source
from traptor.tweets.duplicates import RecentIds
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.rule import Match

RULES = [{"rule_id": "3", "value": "happy"}, {"rule_id": "4", "value": "sad"}]
ENRICHMENT = Enrichment("track", 0, RULES)


class Shared(V1Source):
    """A source whose stream brings tweets of others as well: those with an odd id. Its mark is on what it finished."""

    def __init__(self) -> None:
        super().__init__(settings.load(dict.fromkeys(settings.APIKEY_NAMES, "k3y"), {}, {}))
        self.noted = 0

    def note(self, tweets: int) -> None:
        self.noted += tweets

    def attribute(
        self, raws: Sequence[bytes], found: list[list[Match]], enrichment: Enrichment
    ) -> list[list[Match] | None]:
        return [None if number(raw) % 2 else held for raw, held in zip(raws, found, strict=True)]

    def finish(self, raws: Sequence[bytes], enriched: list[bytes]) -> list[bytes]:
        assert list(map(number, raws)) == list(map(number, enriched))
        return [value + b" " for value in enriched]


class Noting:
    """A door that remembers what it was asked for."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.asked: list[Any] = []

    def send(self, messages: Sequence[Message]) -> None:
        self.sent += messages

    def forget(self, key: bytes) -> None:
        self.asked.append(("forget", key))

    def scrub(self, user_id: str, up_to_id: int) -> None:
        self.asked.append(("scrub", user_id, up_to_id))


def number(raw: bytes) -> int:
    return int(json.loads(raw)["id_str"])


def tweet(id_: int, text: str = "so happy") -> bytes:
    return json.dumps({"id_str": str(id_), "text": text}).encode()


class Way:
    def __init__(self, notices: str = "") -> None:
        self.account = Account()
        self.source, self.door = Shared(), Noting()
        self.counted: list[list[Match]] = []
        vitals: Any = Mock(account=self.account, progress_at=1.0)
        intake = Intake(vitals, Gaps("track", 0, lambda gap: None), Mock(), RecentIds(100))
        self.others: dict[str, str] = {}
        self.claimed: list[list[str]] = []
        self.passage = Passage(
            self.source, intake, Address("tweets", notices), lambda held: self.counted.append([*held]), self.claim
        )

    def claim(self, id_strs: Sequence[str]) -> dict[str, str]:
        self.claimed += [[*id_strs]] if id_strs else []
        return self.others

    def portion(self, *received: bytes) -> list[Message]:
        door: Any = self.door
        self.passage.portion(received, ENRICHMENT, door, lambda message: {**message, "mine": 1})
        return self.door.sent


@pytest.fixture
def way() -> Way:
    return Way()


def test_tweets_are_enriched_and_keyed_in_the_order_in_which_they_came(way: Way) -> None:
    sent = way.portion(tweet(2), tweet(4, "so sad"), tweet(6, "so what"))
    assert [(message.key, message.topic) for message in sent] == [(b"2", "tweets"), (b"4", "tweets"), (b"6", "tweets")]
    assert [json.loads(message.value)["traptor"]["rule_value"] for message in sent] == ["happy", "sad", "Not Found"]
    assert [message.value[-2:] for message in sent] == [b"} "] * 3
    assert [[match.position for match in held] for held in way.counted] == [[0], [1], []]


def test_tweets_of_others_are_noted_and_neither_counted_nor_sent(way: Way) -> None:
    sent = way.portion(tweet(1), tweet(2), tweet(3))
    assert [message.key for message in sent] == [b"2"]
    assert (way.source.noted, len(way.counted)) == (3, 1)
    assert way.account.counts["dropped:other_rules"] == 2


def test_what_has_come_before_goes_no_further(way: Way) -> None:
    way.portion(tweet(2))
    way.portion(tweet(2), b'{"id_str":"2","traptor":{}}')
    assert (way.source.noted, len(way.counted), len(way.door.sent)) == (1, 1, 1)


def test_a_tweet_whose_bytes_cannot_stay_is_taken_apart_once(way: Way) -> None:
    odd = b'{"id_str":"8","traptor":{}}'
    (sent,) = way.portion(odd, odd)
    assert (sent.key, json.loads(sent.value)) == (b"8", {"id_str": "8", "traptor": {}, "mine": 1})
    assert way.source.noted == 1


def test_a_portion_is_claimed_at_once_and_what_others_brought_is_marked(way: Way) -> None:
    """But not tweets of others, which go no further, nor those that have come before."""
    way.others = {"4": "follow:3", "8": "track:1"}
    odd = b'{"id_str":"8","traptor":{}}'
    sent = way.portion(tweet(1), tweet(2), tweet(2), tweet(4), odd)
    assert way.claimed == [["2", "4"], ["8"]]
    marks = [json.loads(message.value)["traptor"].get("already_brought_by") for message in sent]
    assert marks == [None, "follow:3", "track:1"]
    assert [message.key for message in sent] == [b"2", b"4", b"8"]


DELETE = b'{"delete":{"status":{"id_str":"12"}}}'
SCRUB = b'{"scrub_geo":{"user_id_str":"3","up_to_status_id_str":"12"}}'
LIMIT = b'{"limit":{"track":5}}'


@pytest.mark.parametrize(
    "notice,asked,key",
    [(DELETE, [("forget", b"12")], b"12"), (SCRUB, [("scrub", "3", 12)], b"3"), (LIMIT, [], b"limit")],
)
def test_a_notice_is_done_and_passes_untouched(notice: bytes, asked: list[Any], key: bytes | None) -> None:
    with_topic, without = Way("notices"), Way()
    for way in (with_topic, without):
        way.portion(tweet(2), notice, tweet(4))
        assert way.door.asked == asked
        assert [message.value for message in way.door.sent][1] == notice
        assert [message.key for message in way.door.sent][::2] == [b"2", b"4"]
        assert way.source.noted == 2
    assert (with_topic.door.sent[1].key, with_topic.door.sent[1].topic) == (key, "notices")
    assert (without.door.sent[1].key, without.door.sent[1].topic) == (None, "tweets")


def test_a_notice_is_counted_and_enriched_for_what_it_counts(way: Way) -> None:
    enriched: list[Any] = []
    door: Any = way.door
    way.passage.portion([LIMIT], ENRICHMENT, door, enriched.append)
    assert enriched == [{"limit": {"track": 5}}]
    assert way.account.counts["received:limit"] == 1
