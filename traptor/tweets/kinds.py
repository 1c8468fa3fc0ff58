"""What kind of message this is, and what the notices say."""

from collections.abc import Mapping
from typing import Any

KINDS = (
    "delete", "limit", "warning", "disconnect", "scrub_geo", "status_withheld", "user_withheld", "friends",
    "friends_str", "event", "for_user", "control", "direct_message", "user_delete", "user_undelete", "user_protect",
    "user_unprotect", "user_suspend", "user_unsuspend", "user_update", "sender",
)  # fmt: skip


def kind(message: Any) -> str:
    """``tweet``, the name of Twitter's notice (its one top-level key), or ``unknown``.

    Tweets from before 2010 have no id_str, as tweets in archives still show.
    """
    if not isinstance(message, Mapping):
        return "unknown"
    if "id_str" in message or ("id" in message and "text" in message and "user" in message):
        return "tweet"
    return next((name for name in KINDS if name in message), "unknown")


def tweet_id(tweet: Mapping[str, Any]) -> str:
    """A tweet's id_str, else its id; empty where Twitter sent something that is neither."""
    return _id_str(tweet, "id") or ""


def limit_count(message: Mapping[str, Any]) -> int | None:
    """The number in a limit notice: tweets withheld since the connection opened. Always under ``track``.

    None where Twitter sent something that is not a count.
    """
    count = message["limit"].get("track") if isinstance(message["limit"], Mapping) else None
    return count if type(count) is int and 0 <= count < 1 << 63 else None


def number(message: Mapping[str, Any], kind_: str, field: str) -> int | None:
    """A whole number inside a notice; None where there is none of 64 bits."""
    inside = message.get(kind_)
    value = inside.get(field) if isinstance(inside, Mapping) else None
    return value if type(value) is int and -(1 << 63) <= value < 1 << 63 else None


def deleted_id(message: Any) -> str | None:
    """The id of the tweet that a delete notice speaks of; None for any other message."""
    inside = message["delete"] if kind(message) == "delete" else None
    status = inside.get("status") if isinstance(inside, Mapping) else None
    return _id_str(status, "id") if isinstance(status, Mapping) else None


def scrubbed(message: Any) -> tuple[str, int] | None:
    """Of a scrub_geo notice: the user, and the last tweet that loses its location; None for any other message."""
    inside = message["scrub_geo"] if kind(message) == "scrub_geo" else None
    if not isinstance(inside, Mapping):
        return None
    user_id, up_to_id = _id_str(inside, "user_id"), _id_str(inside, "up_to_status_id")
    return (user_id, int(up_to_id)) if user_id and up_to_id and up_to_id.isdecimal() and len(up_to_id) < 20 else None


def subject_id(message: Any) -> str | None:
    """The id that a notice speaks of: a tweet's, else a user's; None for notices about the stream."""
    kind_ = kind(message)
    if kind_ == "delete":
        return deleted_id(message)
    inside = message.get(kind_) if kind_ != "unknown" else None
    return (_id_str(inside, "id") or _id_str(inside, "user_id")) if isinstance(inside, Mapping) else None


def _id_str(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(f"{name}_str", fields.get(name))
    # A number of thousands of digits has no text.
    return str(value) if isinstance(value, str) or (type(value) is int and 0 <= value < 1 << 64) else None
