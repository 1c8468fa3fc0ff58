"""The fields of a tweet that Traptor looks at, and how a message is read and written.

Only these are decoded; everything else passes through unread.
"""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, Struct

from traptor.tweets import lenient


class Hashtag(Struct, gc=False):
    """A hashtag or a symbol (cashtag), without its sign."""

    text: str | None = None


class Mention(Struct, gc=False):
    screen_name: str | None = None


class Link(Struct, gc=False):
    """An entry of ``urls`` or ``media``."""

    expanded_url: str | None = None
    display_url: str | None = None


class Permalink(Link, gc=False):
    """The link to a quoted tweet, which stood in ``urls`` until September 2018."""

    expanded_url: str | None = msgspec.field(name="expanded", default=None)
    display_url: str | None = msgspec.field(name="display", default=None)


class Entities(Struct, gc=False):
    hashtags: list[Hashtag] | None = None
    symbols: list[Hashtag] | None = None
    user_mentions: list[Mention] | None = None
    urls: list[Link] | None = None
    media: list[Link] | None = None


class User(Struct, gc=False):
    id: int | str | None = None
    id_str: str | None = None


class Point(Struct, gc=False):
    """GeoJSON: longitude, latitude."""

    coordinates: list[float] | None = None


class Polygon(Struct, gc=False):
    """A place's bounding box: one ring of longitude, latitude pairs."""

    coordinates: list[list[list[float]]] | None = None


class Place(Struct, gc=False):
    bounding_box: Polygon | None = None


class ExtendedTweet(Struct, gc=False):
    full_text: str | None = None
    entities: Entities | None = None
    extended_entities: Entities | None = None


class Tweet(Struct, gc=False):
    """The fields of a v1.1 tweet that Traptor reads. Absent, null and malformed fields are all None."""

    id_str: str | None = None
    id: Any = None
    created_at: str | None = None
    text: str | None = None
    full_text: str | None = None
    entities: Entities | None = None
    extended_entities: Entities | None = None
    extended_tweet: ExtendedTweet | None = None
    user: User | None = None
    in_reply_to_user_id: int | str | None = None
    in_reply_to_user_id_str: str | None = None
    coordinates: Point | None = None
    place: Place | None = None
    retweeted_status: "Tweet | None" = None
    quoted_status: "Tweet | None" = None
    quoted_status_permalink: Permalink | None = None
    traptor: Any = UNSET


_decode_tweet = msgspec.json.Decoder(Tweet).decode

_READS_ANY_DEPTH = sys.version_info >= (3, 14)
"""Does msgspec read what is nested as deeply as its stack allows? Before, it stopped by itself: after a thousand
levels, or, with Python 3.13, some thousands."""
MAX_DEPTH = 320
"""Of a message that is taken apart. Twitter's have about ten levels."""


def view(tweet: Mapping[str, Any]) -> Tweet:
    """The typed view of a tweet given as a dict. A field of the wrong shape counts as absent."""
    return lenient.view(tweet, Tweet)


def decode(raw: bytes) -> Any:
    """A message: a Tweet where its bytes can be kept as they are, else what ``load`` returns.

    Not kept are: messages that are no tweets, tweets with a ``traptor`` of their own, with half a surrogate pair, or
    of a shape that the typed view refuses. Raises ValueError for bytes that are not JSON.
    """
    if not raw.isascii():
        raw.decode("utf-8")
    if _READS_ANY_DEPTH and raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        load(raw)
    try:
        tweet = _decode_tweet(raw)
    except (msgspec.DecodeError, RecursionError):
        return load(raw)
    if tweet.id_str is None and tweet.user and tweet.text is not None and type(tweet.id) is int:
        # From before 2010: the number is all there is.
        tweet.id_str = str(tweet.id) if 0 <= tweet.id < 1 << 64 else None
    if tweet.id_str is None or tweet.traptor is not UNSET or not raw.endswith(b"}"):
        return load(raw)
    return tweet


def load(raw: bytes) -> Any:
    """A message as Python's json reads it, for what the typed view cannot hold.

    Raises ValueError for bytes that are not JSON, or nested too deeply to read.
    """
    try:
        message = json.loads(raw, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _is_too_deep(message):
        raise ValueError("nested too deeply")
    return message


def _is_too_deep(message: Any) -> bool:
    """Would a function that calls itself for each level of it run out of stack?"""
    level = [message]
    for _ in range(MAX_DEPTH):
        inside = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [value for values in inside for value in values]
        if not level:
            return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number} is too large")
    return value


def dump(message: Any) -> bytes:
    """A message as one line of compact ASCII JSON, as Twitter writes it."""
    return json.dumps(message, separators=(",", ":")).encode("ascii")
