"""The object that a tweet gains, appended to its bytes."""

import json
from typing import Any

import pytest

from traptor.tweets.blocks import Blocks, mark, mark_dict
from traptor.tweets.rule import Match

CREATED_AT = "Mon Feb 22 01:34:53 +0000 2016"
RULES = [
    {"rule_id": "1", "tag": "weather", "value": "storm,flood warning"},
    {"rule_id": "2", "tag": "été", "value": "happy", "id": "not ours", "rule_tag": "nor this", "note": 'a "quote"'},
    {"rule_id": "3", "value": "#日本"},
]
IDENTITY = {"id": 4, "id_str": "4", "rule_type": "track", "rule_set": "abc"}


@pytest.mark.parametrize(
    "matches,added",
    [
        ([], {"rule_tag": "Not Found", "rule_value": "Not Found", "rules": []}),
        (
            [Match(0, ("text", "urls"))],
            {
                "rule_tag": "weather", "rule_value": "storm,flood warning", **RULES[0],
                "rules": [{**RULES[0], "matched_in": ["text", "urls"]}],
            },
        ),
        (
            [Match(0, ("text",)), Match(1, ("hashtags",))],
            {
                "rule_tag": "été", "rule_value": "happy", "rule_id": "2", "tag": "été", "value": "happy",
                "note": 'a "quote"',
                "rules": [{**RULES[0], "matched_in": ["text"]}, {**RULES[1], "matched_in": ["hashtags"]}],
            },
        ),
        (
            [Match(2, ("text",))],
            {"rule_tag": "", "rule_value": "#日本", **RULES[2], "rules": [{**RULES[2], "matched_in": ["text"]}]},
        ),
    ],
)  # fmt: skip
def test_the_traptor_object(matches: list[Match], added: dict[str, Any]) -> None:
    raw = b'{ "id_str": "7",\n "text" : "caf\\u00e9" }'
    appended = Blocks("track", 4, RULES, "abc").append(raw, CREATED_AT, matches)
    assert appended.startswith(raw[:-1] + b',"traptor":{')
    assert appended.isascii()
    tweet = json.loads(appended)
    assert tweet.pop("traptor") == {**IDENTITY, "created_at_iso": "2016-02-22T01:34:53+00:00", **added}
    assert tweet == json.loads(raw)


def test_a_tweet_without_a_time_has_none_in_iso() -> None:
    appended = Blocks("track", 0, [], "abc").append(b'{"id_str":"7"}', "soon", [])
    assert json.loads(appended)["traptor"]["created_at_iso"] is None


@pytest.mark.parametrize(
    "rule",
    [{"rule_id": "1", "matched_in": "mine", "tag": "t", "value": "happy"}, {"matched_in": "", "value": "happy"}],
)
def test_a_rule_may_have_any_field_even_ours(rule: dict[str, str]) -> None:
    blocks = Blocks("track", 0, [rule], "abc")
    (listed,) = json.loads(blocks.matched([Match(0, ("text", "hashtags"))]))["rules"]
    assert listed == {**rule, "matched_in": ["text", "hashtags"]}


def test_a_mark_says_who_has_brought_it_before() -> None:
    blocks = Blocks("track", 0, [{**RULES[0], "already_brought_by": "mine"}], "abc")
    enriched = blocks.append(b'{"id_str":"7"}', CREATED_AT, [Match(0, ("text",))])
    told = json.loads(enriched)
    assert "already_brought_by" not in told["traptor"]
    marked = json.loads(mark(enriched, "follow:3"))
    assert marked == {**told, "traptor": {**told["traptor"], "already_brought_by": "follow:3"}}
    assert mark_dict(told, "follow:3") == marked
    assert (mark(enriched, None), mark_dict(told, None)) == (enriched, told)


@pytest.mark.parametrize("other", [None, "text", {}, {"traptor": "mine"}])
def test_what_somebody_else_has_made_stays(other: Any) -> None:
    assert mark_dict(other, "follow:3") == other
