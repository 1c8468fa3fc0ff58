"""From v2 payloads to tweets in the shape of v1.1. docs/v2.md has the table of fields, and what v2 does not give.

What v2 does not have is left out, but for the keys that every v1.1 tweet has: those are null, or what they always were.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any, NamedTuple

from traptor.sources.v2 import payload, places
from traptor.sources.v2.entities import text_and_entities
from traptor.sources.v2.payload import Includes, Post, User, Withheld
from traptor.tweets.snowflakes import posted_ms

ONLY_TWEETS = {"text", "author_id", "conversation_id", "edit_history_tweet_ids", "edit_history_post_ids"}
"""Fields by which a tweet is told from other things that v2 sends with an id: users, lists, rules."""

Json = dict[str, Any]


class Shaped(NamedTuple):
    """The tweets of a payload in v1.1's shape, and the paths of what did not fit and is left out, each once."""

    tweets: list[Json]
    left_out: tuple[str, ...]


def is_v2(message: object) -> bool:
    """Does it hold tweets as v2 sends them? ``data`` is a tweet, or the list of tweets of a search page."""
    if not isinstance(message, Mapping):
        return False
    with_id = [one for one in payload.data(message) if isinstance(one, dict) and "id" in one]
    return any("matching_rules" in message or one.keys() & ONLY_TWEETS for one in with_id)


def shaped(message: Mapping[str, Any]) -> Shaped:
    """Every tweet that has an id, whatever else is odd about it."""
    posts, includes, left_out = payload.read(message)
    return Shaped([posted(post, includes) for post in posts], left_out)


def tweets(message: Mapping[str, Any]) -> list[Json]:
    """The tweets alone."""
    return shaped(message).tweets


def posted(post: Post, includes: Includes) -> Json:
    """A tweet of the stream, with those that it refers to."""
    status = _quoting(post, includes)
    if original := includes.tweets.get(post.reference("retweeted") or ""):
        retweeted = _quoting(original, includes)
        status |= {name: value for name, value in retweeted.items() if name in QUOTE_FIELDS}
        status["retweeted_status"] = retweeted
    if milliseconds := posted_ms(status["id"]):
        status["timestamp_ms"] = str(milliseconds)
    return status


QUOTE_FIELDS = ("is_quote_status", "quoted_status_id", "quoted_status_id_str", "quoted_status")
"""v1.1 tells them of a retweet as of its original."""


def _quoting(post: Post, includes: Includes) -> Json:
    status = _status(post, includes)
    if quoted := includes.tweets.get(post.reference("quoted") or ""):
        status["quoted_status"] = _status(quoted, includes)
    return status


def _status(post: Post, includes: Includes) -> Json:
    """One tweet, without those that it refers to."""
    status: Json = {
        "created_at": _created_at(post),
        **_both("id", post.id),
        **text_and_entities(post, includes),
        "source": _source(post.source or ""),
        **_reply(post, includes),
        "user": _user(post.author_id, includes),
        **places.located(post.geo, includes),
        "contributors": None,
        **_quoted_id(post),
        **_counts(post),
        "favorited": False,
        "retweeted": False,
        "filter_level": "low",
        "lang": post.lang or "und",
        **_edits(post),
        **_withheld(post.withheld),
    }
    return status if post.possibly_sensitive is None else {**status, "possibly_sensitive": post.possibly_sensitive}


def _both(name: str, number: int | str | None) -> Json:
    """An id as v1.1 has it, as a number and as a text."""
    if number is None:
        return {name: None, f"{name}_str": None}
    return {name: int(number), f"{name}_str": str(number)}


def _created_at(post: Post) -> str | None:
    if post.created_at is None and (milliseconds := posted_ms(int(post.id))):
        return _v1_time(datetime.fromtimestamp(milliseconds // 1000, UTC))
    return _v1_time(post.created_at)


def _v1_time(moment: datetime | None) -> str | None:
    """``2021-01-26T14:05:12.000Z`` as ``Tue Jan 26 14:05:12 +0000 2021``, in English whatever the locale."""
    if moment is None:
        return None
    try:
        utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError:  # in the first or last hours of the calendar
        return None
    clock = f"{utc.hour:02}:{utc.minute:02}:{utc.second:02}"
    return f"{DAYS[utc.weekday()]} {MONTHS[utc.month - 1]} {utc.day:02} {clock} +0000 {utc.year:04}"


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _source(name: str) -> str:
    """v1.1 has a link to the app around its name; v2 told only the name."""
    return f'<a href="" rel="nofollow">{escape(name)}</a>' if name and not name.startswith("<a ") else name


def _reply(post: Post, includes: Includes) -> Json:
    user_id = post.in_reply_to_user_id
    user = None if user_id is None else includes.user(user_id)
    return {
        **_both("in_reply_to_status_id", post.reference("replied_to")),
        **_both("in_reply_to_user_id", user_id),
        "in_reply_to_screen_name": user.username if user else None,
    }


def _quoted_id(post: Post) -> Json:
    quoted_id = post.reference("quoted")
    return {"is_quote_status": bool(quoted_id), **(_both("quoted_status_id", quoted_id) if quoted_id else {})}


def _counts(post: Post) -> Json:
    metrics = post.public_metrics or payload.PostMetrics()
    return {
        "quote_count": metrics.quote_count or 0,
        "reply_count": metrics.reply_count or 0,
        "retweet_count": metrics.retweet_count or metrics.repost_count or 0,
        "favorite_count": metrics.like_count or 0,
    }


def _edits(post: Post) -> Json:
    """As in v1.1 since September 2022."""
    edits: Json = {}
    if history := [str(one) for one in post.edit_history_tweet_ids or post.edit_history_post_ids or ()]:
        edits["edit_history"] = {"initial_tweet_id": history[0], "edit_tweet_ids": history}
    if controls := post.edit_controls:
        until = controls.editable_until
        edits["edit_controls"] = {
            "editable_until_ms": round(until.timestamp() * 1000) if until else None,
            "edits_remaining": controls.edits_remaining,
        }
        edits["editable"] = controls.is_edit_eligible
    return edits


def _user(user_id: int | str | None, includes: Includes) -> Json:
    """The author; a suspended one is not included and has but an id."""
    user = includes.user(user_id)
    return _both("id", user_id) if user is None else _known_user(user)


def _known_user(user: User) -> Json:
    metrics = user.public_metrics or payload.UserMetrics()
    image = user.profile_image_url or ""
    known: Json = {
        **_both("id", user.id),
        "name": user.name,
        "screen_name": user.username,
        "location": user.location or None,
        "url": user.url or None,
        "description": user.description or None,
        "protected": bool(user.protected),
        "verified": bool(user.verified),
        "followers_count": metrics.followers_count or 0,
        "friends_count": metrics.following_count or 0,
        "listed_count": metrics.listed_count or 0,
        "favourites_count": metrics.like_count or 0,
        "statuses_count": metrics.tweet_count or metrics.post_count or 0,
        "created_at": _v1_time(user.created_at),
        **ALWAYS_NULL,
        "profile_image_url": image.replace("https://", "http://", 1),
        "profile_image_url_https": image,
    }
    if user.verified_type:
        known["verified_type"] = user.verified_type
    if user.profile_banner_url:
        known["profile_banner_url"] = user.profile_banner_url
    return known | _withheld(user.withheld) if user.withheld else known


ALWAYS_NULL = dict.fromkeys(("utc_offset", "time_zone", "lang", "following", "follow_request_sent", "notifications"))
"""Keys of a v1.1 user that had lost their values by 2018."""


def _withheld(withheld: Withheld | None) -> Json:
    if not withheld:
        return {}
    told: Json = {"withheld_in_countries": withheld.country_codes or []}
    if withheld.copyright:
        told["withheld_copyright"] = True
    return told if not withheld.scope else {**told, "withheld_scope": V1_SCOPES.get(withheld.scope, withheld.scope)}


V1_SCOPES = {"tweet": "status", "post": "status"}
