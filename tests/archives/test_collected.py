import json
from dataclasses import replace
from typing import Any, ClassVar

import fakeredis
import pytest
from kafka.errors import KafkaError

from traptor import keys
from traptor.account import gaps
from traptor.account.gaps import Gap
from traptor.archives import collected
from traptor.archives.held import Held, once
from traptor.archives.tally import Stretch, Tally, posted_at, top


def tweet(*rule_ids: str, **fields: Any) -> bytes:
    rules = [{"rule_id": rule_id, "tag": f"tag {rule_id}", "value": "storm", "matched_in": []} for rule_id in rule_ids]
    block = {"id": 3, "id_str": "3", "rule_type": "track", "rules": rules}
    usual = {"created_at": "Tue Jan 26 14:00:00 +0000 2021", "lang": "en", "user": {"screen_name": "ana"}}
    return json.dumps({**usual, "traptor": block, **fields}).encode()


def test_tweets_are_counted_by_the_rules_that_they_name() -> None:
    tally, rules = collected.counted([tweet("1"), tweet("1", "2"), tweet(), tweet("2", lang="fr")])
    assert tally.counts == {"lines": 4, "tweets": 4, "matched": 3}
    assert top(tally.rules, 9) == [("track:3:1", 2), ("track:3:2", 2)]
    assert rules == [
        {"rule_id": "track:3:1", "tag": "tag 1", "value": "storm"},
        {"rule_id": "track:3:2", "tag": "tag 2", "value": "storm"},
    ]
    assert (tally.read.counts.total(), tally.written.counts.total()) == (4, 3)
    assert (tally.languages, tally.accounts) == ({"en": 3, "fr": 1}, {"ana": 4})


def test_a_rule_that_has_moved_is_there_once() -> None:
    elsewhere = json.loads(tweet("1"))
    elsewhere["traptor"]["id_str"] = "10"
    another = json.loads(tweet("1"))
    another["traptor"]["rules"][0]["value"] = "flood"
    another["traptor"]["id_str"] = "5"
    tally, rules = collected.counted([tweet("1"), json.dumps(elsewhere).encode(), json.dumps(another).encode()])
    assert rules == [
        {"rule_id": "track:10:1, track:3:1", "tag": "tag 1", "value": "storm"},
        {"rule_id": "track:5:1", "tag": "tag 1", "value": "flood"},
    ]
    assert tally.rules == {"track:10:1, track:3:1": 2, "track:5:1": 1}


def test_a_rule_that_was_changed_is_there_once_as_it_is_now() -> None:
    before = [Held("track:3", "1", "a", "storm", 3), Held("track:3", "1", "b", "storm,flood", 4)]
    tally = Tally()
    assert once(before, tally) == [{"rule_id": "track:3:1", "tag": "b", "value": "storm,flood"}]
    assert tally.rules == {"track:3:1": 7}


@pytest.mark.parametrize(
    "value, counted",
    [
        (b'{"delete":{"status":{"id":1}}}', "notices"),
        (b"[]", "damaged"),
        (b"garbage", "damaged"),
        (tweet(traptor=7), "damaged"),
    ],
)
def test_what_is_no_enriched_tweet(value: bytes, counted: str) -> None:
    tally, rules = collected.counted([value])
    assert (tally.counts, rules) == ({"lines": 1, counted: 1}, [])


def test_a_tweet_without_a_time_is_counted_but_not_placed() -> None:
    tally, _ = collected.counted([tweet("1", created_at="soon")])
    assert (tally.counts["matched"], tally.read.counts) == (1, {})


NOON = "2021-01-26T12:00:00.000+00:00"
RECORD = Gap("track", 3, NOON, "2021-01-26T12:10:00.500+00:00", "cut", None)
NOON_SECONDS = int(posted_at(NOON) or 0)


def test_recorded_gaps_of_all_traptors_are_found() -> None:
    conn = fakeredis.FakeRedis(decode_responses=True)
    gaps.store(conn, keys.gaps("track", 3), RECORD)
    gaps.store(conn, keys.gaps("follow", 0), replace(RECORD, type="follow", id=0, to="2021-01-26T12:01:00.000+00:00"))
    conn.rpush(keys.gaps("track", 4), "garbage", "{}", "[]")
    found = Stretch(NOON_SECONDS, NOON_SECONDS + 600, "track:3 had no stream (cut)")
    assert collected.gaps(conn, NOON_SECONDS + 61.0) == [found]
    assert len(collected.gaps(conn, NOON_SECONDS)) == 2


class NoSuchTopic:
    DEFAULT_CONFIG: ClassVar[dict[str, Any]] = {}

    def __init__(self, **options: Any) -> None:
        pass

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set()

    def close(self) -> None:
        pass


def test_a_topic_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "KafkaConsumer", NoSuchTopic)
    with pytest.raises(KafkaError, match="there is no topic tweets"):
        list(collected.window("kafka:9092", "tweets", {}, 0))
