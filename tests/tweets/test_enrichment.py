"""A compiled rule set: which rules hold, and what is told of them, for bytes and for dicts."""

import json
from typing import Any

import pytest

from traptor.tweets import fields
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.rule import Match

RULES = [{"rule_id": "9", "tag": "nine", "value": "happy"}, {"tag": "none", "value": "sad"}]
TWEET = {"id_str": "1", "text": "happy and sad", "created_at": "Mon Feb 22 01:34:53 +0000 2016"}
HELD = [Match(0, ("text",)), Match(1, ("text",))]


@pytest.fixture
def enrichment() -> Enrichment:
    return Enrichment("track", 4, RULES)


def test_a_rule_is_named_by_its_place_and_one_without_an_id_by_nothing(enrichment: Enrichment) -> None:
    assert enrichment.rule_ids == ["9", ""]
    assert enrichment.rules == RULES


@pytest.mark.parametrize("text,held", [("happy and sad", HELD), ("sad", HELD[1:]), ("unhappy", [])])
def test_dicts_and_bytes_are_matched_alike(enrichment: Enrichment, text: str, held: list[Match]) -> None:
    tweet: Any = {**TWEET, "text": text}
    decoded = fields.decode(fields.dump(tweet))
    assert isinstance(decoded, fields.Tweet)
    assert enrichment.match_dict(tweet) == enrichment.match(decoded) == held


@pytest.mark.parametrize("held", [[], HELD[:1], HELD])
def test_what_is_told_of_matches_is_what_is_appended(enrichment: Enrichment, held: list[Match]) -> None:
    appended = json.loads(enrichment.append(fields.dump(TWEET), TWEET["created_at"], held))["traptor"]
    assert appended == {
        **enrichment.identity,
        "created_at_iso": "2016-02-22T01:34:53+00:00",
        **enrichment.told(held),
    }


def test_it_says_whose_it_is(enrichment: Enrichment) -> None:
    assert enrichment.identity == {"id": 4, "id_str": "4", "rule_type": "track", "rule_set": enrichment.version}
    enrichment.identity.clear()
    assert enrichment.identity["id"] == 4


def test_another_rule_is_another_version(enrichment: Enrichment) -> None:
    assert Enrichment("track", 7, RULES).version == enrichment.version
    assert Enrichment("track", 4, RULES[:1]).version != enrichment.version
