"""What v1.1, v2 and notices can bring, as the simulator and the shapes of other APIs make it, becomes rows."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.store.samples import messages, tweet
from traptor.simulator import notices
from traptor.simulator.feed import Synthetic, decode
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.v2_payload import payload
from traptor.simulator.v2_request import asked
from traptor.sources.v2 import shape
from traptor.sources.v2.client import FIELDS
from traptor.store.batch import sort
from traptor.store.rows import Rows

SOME = 300
ASKED = asked(urlencode(FIELDS))
PREDICATES = [
    Predicates(track=("storm", "#rocket", "$ABC", "example.com/x")),
    Predicates(follow=("1001", "1002")),
    Predicates(locations=("-122.75,36.8,-121.75,37.8",)),
]


def stored(*values: Any) -> list[Rows]:
    batch = sort(messages(*values), keep_raw=False)
    assert (batch.apart, len(batch.tweets)) == ([], len(values))
    return batch.tweets


def tweets(predicates: Predicates) -> Iterator[dict[str, Any]]:
    return (decode(message.body) for message in islice(Synthetic(1, Snowflakes()).messages(predicates), SOME))


@pytest.mark.parametrize("predicates", PREDICATES, ids=["track", "follow", "locations"])
def test_a_tweet_is_the_same_row_from_either_api(predicates: Predicates) -> None:
    for one in tweets(predicates):
        found, _ = shape.shaped(json.loads(json.dumps(payload(one, [], ASKED, "tweet"))))
        assert [*map(gist, stored(*found))] == [*map(gist, stored(one))]


def gist(found: Rows) -> tuple[object, ...]:
    """What both APIs tell alike."""
    row = found.tweet
    parts = [one.tag for one in found.hashtags], [one.user_id for one in found.mentions]
    return row.id, row.created_at, row.user_id, row.retweeted_id, row.quoted_id, row.place_id, *parts


@pytest.mark.parametrize(
    "notice",
    [
        *(make(tweet(5)) for make in notices.ABOUT_A_TWEET.values()),
        *map(notices.disconnect, notices.REASONS),
        notices.limit(7),
        notices.warning(60),
    ],
    ids=lambda notice: next(iter(notice)),
)
def test_a_notice_is_none_that_is_set_apart(notice: dict[str, Any]) -> None:
    batch = sort(messages(notice), keep_raw=False)
    assert (batch.apart, batch.tweets, batch.notices.counts.total()) == ([], [], 1)
