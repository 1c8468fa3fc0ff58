"""A tweet as rows of the tables. Pure: what goes into a database is decided here, whichever it is."""

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from traptor.store.tweet import Entities, Extended, Medium, Place, Tweet, User
from traptor.tweets.snowflakes import posted_ms
from traptor.tweets.times import iso_time_or_none

OWN_FIELDS = frozenset({"rule_id", "tag", "value", "matched_in"})
"""The fields of a rule that have columns."""


class TweetRow(NamedTuple):
    id: int
    created_at: str | None
    user_id: int | None
    text: str | None
    lang: str | None
    source: str | None
    in_reply_to_status_id: int | None
    in_reply_to_user_id: int | None
    retweeted_id: int | None
    retweeted_user_id: int | None
    quoted_id: int | None
    quoted_user_id: int | None
    quoted_text: str | None
    longitude: float | None
    latitude: float | None
    place_id: str | None
    quote_count: int | None
    reply_count: int | None
    retweet_count: int | None
    favorite_count: int | None
    possibly_sensitive: bool | None
    raw: bytes | None


class UserRow(NamedTuple):
    id: int
    screen_name: str | None
    name: str | None
    description: str | None
    location: str | None
    url: str | None
    created_at: str | None
    followers_count: int | None
    friends_count: int | None
    statuses_count: int | None
    verified: bool | None
    seen_in: int


class PlaceRow(NamedTuple):
    id: str
    full_name: str | None
    name: str | None
    country: str | None
    country_code: str | None
    place_type: str | None
    west: float | None
    south: float | None
    east: float | None
    north: float | None


class Hashtag(NamedTuple):
    tweet_id: int
    position: int
    sign: str
    tag: str | None


class Url(NamedTuple):
    tweet_id: int
    position: int
    url: str | None
    expanded_url: str | None
    display_url: str | None


class Mention(NamedTuple):
    tweet_id: int
    position: int
    user_id: int | None
    screen_name: str | None
    name: str | None


class Media(NamedTuple):
    tweet_id: int
    position: int
    id: int | None
    type: str | None
    url: str | None
    expanded_url: str | None
    video_url: str | None


class Match(NamedTuple):
    tweet_id: int
    traptor: str
    rule_id: str
    tag: str | None
    value: str | None
    matched_in: str
    rule_set: str | None
    fields: str


class Withheld(NamedTuple):
    """Where a tweet or a user (``kind``) must not be shown."""

    kind: str
    id: int
    country: str


@dataclass(slots=True)
class Rows:
    """Everything of one tweet."""

    tweet: TweetRow
    users: list[UserRow]
    place: PlaceRow | None
    hashtags: list[Hashtag]
    urls: list[Url]
    mentions: list[Mention]
    media: list[Media]
    matches: list[Match]
    withheld: list[Withheld]

    def without_place(self) -> "Rows":
        return replace(self, tweet=self.tweet._replace(longitude=None, latitude=None, place_id=None), place=None)

    def without_quoted(self) -> "Rows":
        """The quoted tweet's id stays, as in the link to it."""
        quoted_user_id = self.tweet.quoted_user_id
        users = [one for one in self.users if one.id != quoted_user_id or one.id == self.tweet.user_id]
        return replace(self, tweet=self.tweet._replace(quoted_user_id=None, quoted_text=None), users=users)


def rows(tweet: Tweet, raw: bytes | None = None) -> Rows:
    """The rows of a tweet. Raises ValueError for one without an id of 64 bits."""
    id_ = _id(tweet)
    if id_ is None:
        raise ValueError("no tweet id of 64 bits")
    original = tweet.retweeted_status
    content = original or tweet
    quoted = tweet.quoted_status or (original and original.quoted_status)
    entities = _entities(content)
    point = tweet.coordinates.coordinates if tweet.coordinates else None
    longitude, latitude = point if point and len(point) == 2 else (None, None)
    row = TweetRow(
        id_,
        _created_at(tweet.created_at, id_),
        _user_id(tweet.user),
        _text(content),
        tweet.lang,
        tweet.source,
        tweet.in_reply_to_status_id,
        tweet.in_reply_to_user_id,
        _id(original) if original else None,
        _user_id(original.user) if original else None,
        _id(quoted) if quoted else tweet.quoted_status_id,
        _user_id(quoted.user) if quoted else None,
        _text(quoted) if quoted else None,
        longitude,
        latitude,
        tweet.place.id if tweet.place else None,
        content.quote_count,
        content.reply_count,
        content.retweet_count,
        content.favorite_count,
        content.possibly_sensitive,
        raw,
    )
    shown = [one for one in (tweet, original, quoted) if one]
    return Rows(
        row,
        [_user(one.user, number, id_) for one in shown if one.user and (number := _user_id(one.user)) is not None],
        _place(tweet.place) if tweet.place and tweet.place.id else None,
        _hashtags(id_, entities),
        [Url(id_, at, one.url, one.expanded_url, one.display_url) for at, one in enumerate(entities.urls or ())],
        [Mention(id_, at, one.id, one.screen_name, one.name) for at, one in enumerate(entities.user_mentions or ())],
        [_media(id_, at, one) for at, one in enumerate(_all_media(content, entities))],
        list(_matches(id_, tweet)),
        list(_withheld(shown)),
    )


def _id(tweet: Tweet) -> int | None:
    return _number(tweet.id_str) if tweet.id_str is not None else tweet.id


def _user_id(user: User | None) -> int | None:
    if user is None:
        return None
    return _number(user.id_str) if user.id_str is not None else user.id


def _number(text: str) -> int | None:
    """An id as 64 bits hold it."""
    number = int(text) if len(text) < 20 and text.isascii() and text.isdigit() else -1
    return number if 0 <= number < 1 << 63 else None


def _created_at(created_at: str | None, id_: int) -> str | None:
    """In ISO 8601, UTC; where it cannot be read the time that is in the id."""
    if time := created_at and utc(created_at):
        return time
    milliseconds = posted_ms(id_)
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat() if milliseconds else None


@functools.lru_cache(maxsize=10_000)
def utc(time: str) -> str | None:
    """A time of Twitter's or Traptor's in ISO 8601, UTC, to the millisecond at most; None for what is none."""
    iso = iso_time_or_none(time)
    if iso is None:
        return None
    if iso.endswith("+00:00"):
        return iso
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None


def _text(tweet: Tweet) -> str | None:
    whole = tweet.extended_tweet
    return (whole.full_text if whole else None) or tweet.full_text or tweet.text


def _entities(tweet: Tweet) -> Entities:
    return (tweet.extended_tweet and tweet.extended_tweet.entities) or tweet.entities or Entities()


def _all_media(tweet: Tweet, entities: Entities) -> Sequence[Medium]:
    """``entities`` has the first photo alone, and no video."""
    wholes: tuple[Extended | Tweet | None, ...] = (tweet.extended_tweet, tweet)
    extended = next((whole.extended_entities for whole in wholes if whole and whole.extended_entities), None)
    return (extended and extended.media) or entities.media or ()


def _hashtags(id_: int, entities: Entities) -> list[Hashtag]:
    signed = [("#", one.text) for one in entities.hashtags or ()] + [("$", one.text) for one in entities.symbols or ()]
    return [Hashtag(id_, position, sign, tag) for position, (sign, tag) in enumerate(signed)]


def _media(id_: int, position: int, one: Medium) -> Media:
    variants = (one.video_info and one.video_info.variants) or ()
    best = max(variants, key=lambda variant: variant.bitrate or -1, default=None)
    return Media(id_, position, one.id, one.type, one.media_url_https, one.expanded_url, best.url if best else None)


def _user(user: User, number: int, seen_in: int) -> UserRow:
    return UserRow(
        number,
        user.screen_name,
        user.name,
        user.description,
        user.location,
        user.url,
        utc(user.created_at) if user.created_at else None,
        user.followers_count,
        user.friends_count,
        user.statuses_count,
        user.verified,
        seen_in,
    )


def _place(place: Place) -> PlaceRow:
    corners = (place.bounding_box and place.bounding_box.coordinates) or ()
    points = [point for ring in corners for point in ring if len(point) == 2]
    longitudes, latitudes = [point[0] for point in points], [point[1] for point in points]
    box = (min(longitudes), min(latitudes), max(longitudes), max(latitudes)) if points else (None,) * 4
    return PlaceRow(
        str(place.id), place.full_name, place.name, place.country, place.country_code, place.place_type, *box
    )


def _matches(id_: int, tweet: Tweet) -> Iterator[Match]:
    block = tweet.traptor
    if block is None:
        return
    traptor = f"{block.rule_type or '?'}:{block.id_str or '?'}"
    for rule in block.rules or ():
        if isinstance(rule, dict):
            yield Match(
                id_,
                traptor,
                _word(rule.get("rule_id")) or "?",
                _word(rule.get("tag")),
                _word(rule.get("value")),
                _json(rule.get("matched_in") or []),
                block.rule_set,
                _json({name: value for name, value in rule.items() if name not in OWN_FIELDS}),
            )


def _word(value: Any) -> str | None:
    """Redis has texts alone; what came another way may have others."""
    return value if value is None or isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _withheld(shown: Iterable[Tweet]) -> Iterator[Withheld]:
    for tweet in shown:
        for kind, number, countries in (
            ("tweet", _id(tweet), tweet.withheld_in_countries),
            ("user", _user_id(tweet.user), tweet.user and tweet.user.withheld_in_countries),
        ):
            if countries and number is not None:
                for country in countries if isinstance(countries, list) else countries.split(","):
                    yield Withheld(kind, number, country.strip())
