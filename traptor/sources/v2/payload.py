"""What X API v2 sends, as types: only what v1.1 has a place for. Both generations of names stand side by side.

Only ids are certain. What is null is absent; what has another type than here is left out, and told by its path.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct

from traptor.tweets import lenient

MOST = 2**63 - 1
Id = Annotated[str, Meta(pattern=r"\A[0-9]{1,19}\Z")] | Annotated[int, Meta(ge=0, le=MOST)]
"""A number of 64 bits, as a text by the specification."""
Count = Annotated[int, Meta(ge=0, le=MOST)]
Time = Annotated[datetime, Meta(tz=True)]
Degrees = Annotated[float, Meta(ge=-180, le=180)]
"""Bounds that also keep out what is no number."""


class Tag(Struct, gc=False):
    """A hashtag or cashtag, without its sign. In all entities ``end`` is exclusive."""

    tag: str
    start: Count | None = None
    end: Count | None = None


class Mention(Struct, gc=False):
    start: Count | None = None
    end: Count | None = None
    username: str | None = None
    id: Id | None = None


class Url(Struct, gc=False):
    start: Count | None = None
    end: Count | None = None
    url: str | None = None
    expanded_url: str | None = None
    display_url: str | None = None
    media_key: str | None = None


class Entities(Struct, gc=False):
    hashtags: list[Tag] | None = None
    cashtags: list[Tag] | None = None
    mentions: list[Mention] | None = None
    urls: list[Url] | None = None


class Note(Struct, gc=False):
    """The whole of a text that is cut in ``text``, with entities of its own."""

    text: str
    entities: Entities | None = None


class Reference(Struct, gc=False):
    """``type`` is retweeted, quoted or replied_to."""

    type: str
    id: Id


class Attachments(Struct, gc=False):
    media_keys: list[str] | None = None


class Point(Struct, gc=False):
    """Longitude, latitude."""

    coordinates: Annotated[list[Degrees], Meta(min_length=2, max_length=2)]


class Geo(Struct, gc=False):
    coordinates: Point | None = None
    place_id: str | None = None


class EditControls(Struct, gc=False):
    editable_until: Time | None = None
    edits_remaining: Count | None = None
    is_edit_eligible: bool | None = None


class Withheld(Struct, gc=False):
    country_codes: list[str] | None = None
    copyright: bool | None = None
    scope: str | None = None


class PostMetrics(Struct, gc=False):
    quote_count: Count | None = None
    reply_count: Count | None = None
    like_count: Count | None = None
    retweet_count: Count | None = None
    repost_count: Count | None = None


class Post(Struct, gc=False):
    id: Id
    text: str | None = None
    created_at: Time | None = None
    author_id: Id | None = None
    in_reply_to_user_id: Id | None = None
    note_tweet: Note | None = None
    note_post: Note | None = None
    entities: Entities | None = None
    display_text_range: Annotated[list[int], Meta(min_length=2, max_length=2)] | None = None
    attachments: Attachments | None = None
    referenced_tweets: list[Reference] | None = None
    referenced_posts: list[Reference] | None = None
    edit_history_tweet_ids: list[Id] | None = None
    edit_history_post_ids: list[Id] | None = None
    edit_controls: EditControls | None = None
    geo: Geo | None = None
    public_metrics: PostMetrics | None = None
    possibly_sensitive: bool | None = None
    withheld: Withheld | None = None
    lang: str | None = None
    source: str | None = None

    def reference(self, kind: str) -> str | None:
        """The id of the tweet that this one retweeted, quoted or replied_to."""
        for one in self.referenced_tweets or self.referenced_posts or ():
            if one.type == kind:
                return str(one.id)
        return None


class UserMetrics(Struct, gc=False):
    followers_count: Count | None = None
    following_count: Count | None = None
    listed_count: Count | None = None
    like_count: Count | None = None
    tweet_count: Count | None = None
    post_count: Count | None = None


class User(Struct, gc=False):
    id: Id
    name: str | None = None
    username: str | None = None
    created_at: Time | None = None
    location: str | None = None
    url: str | None = None
    description: str | None = None
    protected: bool | None = None
    verified: bool | None = None
    verified_type: str | None = None
    profile_image_url: str | None = None
    profile_banner_url: str | None = None
    public_metrics: UserMetrics | None = None
    withheld: Withheld | None = None


class Variant(Struct, gc=False):
    bit_rate: Count | None = None
    content_type: str | None = None
    url: str | None = None


class Medium(Struct, gc=False):
    """``media_key`` is a number for the type, an underscore, and the id that v1.1 has."""

    media_key: str
    type: str | None = None
    url: str | None = None
    preview_image_url: str | None = None
    width: Count | None = None
    height: Count | None = None
    duration_ms: Count | None = None
    alt_text: str | None = None
    variants: list[Variant] | None = None


class Box(Struct, gc=False):
    """West, south, east, north."""

    bbox: Annotated[list[Degrees], Meta(min_length=4, max_length=4)]


class Place(Struct, gc=False):
    id: str
    place_type: str | None = None
    name: str | None = None
    full_name: str | None = None
    country_code: str | None = None
    country: str | None = None
    geo: Box | None = None


class Expansions(Struct, gc=False):
    users: list[User] | None = None
    tweets: list[Post] | None = None
    posts: list[Post] | None = None
    media: list[Medium] | None = None
    places: list[Place] | None = None


class MatchingRule(Struct, gc=False):
    tag: str | None = None


class Line(Struct, gc=False):
    """A tweet of the stream."""

    data: Post
    includes: Expansions | None = None
    matching_rules: list[MatchingRule] | None = None


class Includes(NamedTuple):
    """What a payload's tweets refer to, by id or key; users by their lower-case name as well."""

    users: Mapping[str, User]
    by_name: Mapping[str, User]
    tweets: Mapping[str, Post]
    media: Mapping[str, Medium]
    places: Mapping[str, Place]

    def user(self, user_id: Id | None, name: str | None = None) -> User | None:
        return self.users.get(str(user_id)) or self.by_name.get((name or "").lower())


class Payload(NamedTuple):
    posts: list[Post]
    includes: Includes
    left_out: tuple[str, ...]
    """The paths of what was left out, such as ``data.entities.mentions.username``, each once."""


def read(message: Mapping[str, Any]) -> Payload:
    """All tweets that have an id, and what they refer to."""
    posts, odd = lenient.convert(data(message), list[Post], "data")
    given, odd_includes = lenient.convert(message.get("includes") or {}, Expansions, "includes")
    return Payload(posts, included(Expansions() if given is UNSET else given), odd + odd_includes)


_decode = msgspec.json.Decoder(Line).decode


def decode(raw: bytes) -> Line | None:
    """A tweet of the stream in one go; None where something does not fit."""
    try:
        line = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return line if line.data.text is not None else None


def data(message: object) -> list[Any]:
    """``data`` is a tweet, or the list of tweets of a search page."""
    found = message.get("data") if isinstance(message, Mapping) else None
    return found if isinstance(found, list) else [found]


def included(given: Expansions) -> Includes:
    users = given.users or ()
    return Includes(
        users={str(user.id): user for user in users},
        by_name={user.username.lower(): user for user in users if user.username},
        tweets={str(post.id): post for post in (*(given.tweets or ()), *(given.posts or ()))},
        media={medium.media_key: medium for medium in given.media or ()},
        places={place.id: place for place in given.places or ()},
    )
