"""The fields of a tweet that a database keeps, and how a message is read for it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from traptor.tweets import fields, kinds, lenient

Whole = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""What a column of 64 bits holds."""


class Tag(Struct, gc=False):
    text: str | None = None


class Link(Struct, gc=False):
    url: str | None = None
    expanded_url: str | None = None
    display_url: str | None = None


class Mention(Struct, gc=False):
    id: Whole | None = None
    screen_name: str | None = None
    name: str | None = None


class Variant(Struct, gc=False):
    bitrate: int | None = None
    url: str | None = None


class Video(Struct, gc=False):
    variants: list[Variant] | None = None


class Medium(Struct, gc=False):
    id: Whole | None = None
    type: str | None = None
    media_url_https: str | None = None
    expanded_url: str | None = None
    video_info: Video | None = None


class Entities(Struct, gc=False):
    hashtags: list[Tag] | None = None
    symbols: list[Tag] | None = None
    urls: list[Link] | None = None
    user_mentions: list[Mention] | None = None
    media: list[Medium] | None = None


class Extended(Struct, gc=False):
    full_text: str | None = None
    entities: Entities | None = None
    extended_entities: Entities | None = None


class User(Struct, gc=False):
    id: Whole | None = None
    id_str: str | None = None
    screen_name: str | None = None
    name: str | None = None
    description: str | None = None
    location: str | None = None
    url: str | None = None
    created_at: str | None = None
    followers_count: Whole | None = None
    friends_count: Whole | None = None
    statuses_count: Whole | None = None
    verified: bool | None = None
    withheld_in_countries: list[str] | str | None = None


class Point(Struct, gc=False):
    coordinates: list[float] | None = None


class Ring(Struct, gc=False):
    coordinates: list[list[list[float]]] | None = None


class Place(Struct, gc=False):
    id: str | None = None
    full_name: str | None = None
    name: str | None = None
    country: str | None = None
    country_code: str | None = None
    place_type: str | None = None
    bounding_box: Ring | None = None


class Block(Struct, gc=False):
    """What Traptor added."""

    id_str: str | None = None
    rule_type: str | None = None
    rule_set: str | None = None
    rules: list[Any] | None = None


class Tweet(Struct, gc=False):
    """Absent, null and malformed fields are all None."""

    id_str: str | None = None
    id: Whole | None = None
    created_at: str | None = None
    text: str | None = None
    full_text: str | None = None
    source: str | None = None
    lang: str | None = None
    user: User | None = None
    entities: Entities | None = None
    extended_entities: Entities | None = None
    extended_tweet: Extended | None = None
    in_reply_to_status_id: Whole | None = None
    in_reply_to_user_id: Whole | None = None
    coordinates: Point | None = None
    place: Place | None = None
    quote_count: Whole | None = None
    reply_count: Whole | None = None
    retweet_count: Whole | None = None
    favorite_count: Whole | None = None
    possibly_sensitive: bool | None = None
    withheld_in_countries: list[str] | str | None = None
    quoted_status_id: Whole | None = None
    retweeted_status: "Tweet | None" = None
    quoted_status: "Tweet | None" = None
    traptor: Block | None = None


_decode = msgspec.json.Decoder(Tweet).decode


def read(value: bytes) -> Tweet | Mapping[str, Any]:
    """A tweet, or a notice as a dict. A tweet's field of the wrong shape is None.

    NUL and halves of surrogate pairs, which databases refuse, are U+FFFD. Raises ValueError for what is neither.
    """
    if b"\\u0000" not in value:
        try:
            tweet = _decode(value)
        except (msgspec.DecodeError, RecursionError):
            pass
        else:
            if tweet.id_str is not None:
                return tweet
    message = _clean(fields.load(value))
    if not isinstance(message, dict):
        raise ValueError("no JSON object")
    if kinds.kind(message) != "tweet":
        return message
    return lenient.view(message, Tweet)


_NOT_STORED = re.compile("[\x00\ud800-\udfff]")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_STORED.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(one) for name, one in value.items()}
    return value
