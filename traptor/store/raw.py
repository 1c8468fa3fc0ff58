"""Raw messages without what was taken back."""

from collections.abc import Collection, Mapping
from typing import Any

from traptor.tweets.fields import dump, load

NESTED = ("retweeted_status", "quoted_status")
PLACES = ("geo", "coordinates", "place")


def honoured(value: bytes, deleted: Collection[int], scrubbed: Mapping[int, int]) -> bytes:
    """The message without deleted tweets inside, and without the places of users up to a tweet of theirs.

    What need not be changed stays as it is, byte for byte. What cannot be taken apart, for its depth or for a number
    that is too large, stays where it names none of them, and else is empty.
    """
    try:
        message = load(value)
    except ValueError:
        return b"{}" if any(b"%d" % id_ in value for id_ in (*deleted, *scrubbed)) else value
    return dump(message) if _changed(message, deleted, scrubbed) else value


def _changed(tweet: Any, deleted: Collection[int], scrubbed: Mapping[int, int]) -> bool:
    if not isinstance(tweet, dict):
        return False
    is_changed = _without_places(tweet, scrubbed)
    for name in NESTED:
        nested = tweet.get(name)
        if isinstance(nested, dict) and _id(nested) in deleted:
            del tweet[name]
            is_changed = True
        else:
            is_changed |= _changed(nested, deleted, scrubbed)
    return is_changed


def _without_places(tweet: dict[str, Any], scrubbed: Mapping[int, int]) -> bool:
    user, id_ = tweet.get("user"), _id(tweet)
    user_id = _id(user) if isinstance(user, dict) else None
    if id_ is None or user_id is None or id_ > scrubbed.get(user_id, -1):
        return False
    is_changed = any(tweet.get(name) is not None for name in PLACES)
    tweet.update({name: None for name in PLACES if name in tweet})
    return is_changed


def _id(fields: Mapping[str, Any]) -> int | None:
    value = str(fields.get("id_str", fields.get("id")))
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
