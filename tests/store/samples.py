"""Synthetic tweets and notices for the tests of the store, small and in Twitter's shapes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from traptor.store.destination import Message
from traptor.tweets.snowflakes import EPOCH_MS

CREATED_AT = "Tue Jan 26 14:06:00 +0000 2021"
GAP = {
    "type": "track", "id": 0, "from": "2021-01-26T10:00:00.000+00:00", "to": "2021-01-26T10:01:30.500+00:00",
    "cause": "cut", "last_tweet_id": "1", "first_tweet_id": None, "rule_set": "0123", "reconnects": 2,
}  # fmt: skip
LIMIT = {"limit": {"track": 5, "timestamp_ms": "1611669960000"}}


def user(id_: int, **more: Any) -> dict[str, Any]:
    return {"id": id_, "id_str": str(id_), "screen_name": f"user{id_}", "name": f"Name {id_}", **more}


def tweet(id_: int, text: str = "storm", author: int = 7, **more: Any) -> dict[str, Any]:
    return {
        "created_at": CREATED_AT, "id": id_, "id_str": str(id_), "text": text, "user": user(author), "lang": "en",
        "entities": {"hashtags": [], "urls": [], "user_mentions": [], "symbols": []}, **more,
    }  # fmt: skip


def aged(days: float, text: str = "storm", author: int = 7) -> dict[str, Any]:
    """A tweet that is so old, with an id of that moment."""
    at = datetime.now(UTC) - timedelta(days=days)
    id_ = (int(at.timestamp() * 1000) - EPOCH_MS) << 22
    return tweet(id_, text, author, created_at=f"{at:%a %b %d %H:%M:%S +0000 %Y}")


def retweet(id_: int, of: dict[str, Any], author: int = 8) -> dict[str, Any]:
    return tweet(id_, f"RT @{of['user']['screen_name']}: {of['text'][:20]}…", author, retweeted_status=of)


def quote(id_: int, of: dict[str, Any], text: str = "look", author: int = 9) -> dict[str, Any]:
    return tweet(id_, text, author, quoted_status=of, quoted_status_id=of["id"], is_quote_status=True)


def matched(one: dict[str, Any], traptor: int = 0, rule: str = "1", **fields: str) -> dict[str, Any]:
    """As this Traptor enriches it."""
    found = {"rule_id": rule, "tag": "weather", "value": "storm", **fields, "matched_in": ["text"]}
    block = {"id": traptor, "id_str": str(traptor), "rule_type": "track", "rule_set": "0123456789ab", "rules": [found]}
    return {**one, "traptor": block}


def delete(id_: int) -> dict[str, Any]:
    return {
        "delete": {"status": {"id": id_, "id_str": str(id_), "user_id": 7, "user_id_str": "7"}, "timestamp_ms": "1"}
    }


def scrub_geo(user_id: int, up_to: int) -> dict[str, Any]:
    return {"scrub_geo": {"user_id": user_id, "user_id_str": str(user_id), "up_to_status_id": up_to,
                          "up_to_status_id_str": str(up_to)}}  # fmt: skip


PLACE = {
    "id": "5a110d312052166f", "full_name": "San Francisco, CA", "name": "San Francisco", "country": "United States",
    "country_code": "US", "place_type": "city",
    "bounding_box": {
        "type": "Polygon", "coordinates": [[[-122.5, 37.7], [-122.5, 37.8], [-122.3, 37.8], [-122.3, 37.7]]],
    },
}  # fmt: skip
POINT = {"type": "Point", "coordinates": [-122.4, 37.75]}


def located(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "place": PLACE, "coordinates": POINT, "geo": {"type": "Point", "coordinates": [37.75, -122.4]}}


def messages(*values: Any, first: int = 0, topic: str = "traptor", partition: int = 0) -> list[Message]:
    """As they stand in a partition; bytes are taken as they are."""
    encoded = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    return [Message(topic, partition, first + at, value) for at, value in enumerate(encoded)]
