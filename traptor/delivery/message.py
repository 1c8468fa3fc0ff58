"""What goes to Kafka, and what of it has to go when its author asks for that."""

from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from traptor.tweets import fields

ROW_BYTES = 64
"""What SQLite keeps for a row beside its key and value, about."""
LOCATION: dict[str, None] = {"geo": None, "coordinates": None, "place": None}


class _User(msgspec.Struct, gc=False):
    id_str: str | None = None


class _Tweet(msgspec.Struct, gc=False):
    id_str: str | None = None
    user: _User | None = None
    retweeted_status: "_Tweet | None" = None
    quoted_status: "_Tweet | None" = None


_decode = msgspec.json.Decoder(_Tweet).decode


class Message(NamedTuple):
    """A message, and where it goes."""

    key: bytes | None
    value: bytes
    topic: str

    def size_bytes(self) -> int:
        return len(self.value) + len(self.key or b"") + ROW_BYTES

    def mentions(self) -> set[str]:
        """Its key, and the ids of the tweet, of those embedded in it, and of their authors."""
        try:
            ids = set(_typed_ids(_decode(self.value)))
        except (ValueError, RecursionError):
            ids = self._ids_at_leisure()
        if self.key:
            ids.add(self.key.decode("utf-8", "replace"))
        return ids - {""}

    def _ids_at_leisure(self) -> set[str]:
        """Of a tweet of any shape; of what is none there are none."""
        try:
            return {id_ for tweet in _tweets(fields.load(self.value)) for id_ in (_id(tweet), _author(tweet))}
        except ValueError:
            return set()

    def without(self, deleted: Container[str], scrubbed: Mapping[str, int]) -> "Message | None":
        """The message without the tweets that are ``deleted``, and without the locations of the ``scrubbed`` users in
        tweets up to these ids.

        None where nothing is left, as of a retweet; a quote stays, without what it quotes. What cannot be read goes by
        its key, and a notice, which only speaks of tweets, stays.
        """
        try:
            tweet, before = fields.load(self.value), fields.load(self.value)
        except ValueError:
            return None if self.key and self.key.decode("utf-8", "replace") in deleted else self
        if not _is_left(tweet, deleted, scrubbed):
            return None
        return self if tweet == before else self._replace(value=fields.dump(tweet))


def _typed_ids(tweet: _Tweet) -> Iterator[str]:
    yield tweet.id_str or ""
    yield (tweet.user and tweet.user.id_str) or ""
    for embedded in (tweet.retweeted_status, tweet.quoted_status):
        if embedded:
            yield from _typed_ids(embedded)


def _tweets(message: Any) -> Iterator[dict[str, Any]]:
    """A tweet, and those embedded in it."""
    if isinstance(message, dict):
        yield message
        for name in ("retweeted_status", "quoted_status"):
            yield from _tweets(message.get(name))


def _is_left(tweet: Any, deleted: Container[str], scrubbed: Mapping[str, int]) -> bool:
    """Take out of a tweet what has to go; False where it has to go itself."""
    if not isinstance(tweet, dict):
        return True
    id_ = _id(tweet)
    if id_ in deleted or not _is_left(tweet.get("retweeted_status"), deleted, scrubbed):
        return False
    if not _is_left(tweet.get("quoted_status"), deleted, scrubbed):
        del tweet["quoted_status"]
    if id_.isdecimal() and int(id_) <= scrubbed.get(_author(tweet), -1):
        tweet.update(LOCATION)
    return True


def _id(fields_: Any) -> str:
    """A tweet's, or a user's; empty where it has none."""
    return str(fields_.get("id_str") or "") if isinstance(fields_, dict) else ""


def _author(tweet: dict[str, Any]) -> str:
    return _id(tweet.get("user"))
