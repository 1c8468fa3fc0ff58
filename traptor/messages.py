"""What kind of message is this, the fields of a tweet that Traptor looks at, and the ``traptor`` object.

A message arrives as bytes and leaves as the same bytes with one object appended. Only the fields that matching and
enrichment need are decoded, into the structs below; everything else passes through unread.
"""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple, NoReturn, TypeVar, get_args, get_type_hints

import msgspec
from dateutil import parser
from msgspec import UNSET, Struct

Rule = Mapping[str, str]
"""One rule: every field of its Redis hash, ``rule_id``, ``value`` and ``tag`` among them."""


class Hashtag(Struct, gc=False):
    """A hashtag or a symbol (cashtag), without its sign."""

    text: str | None = None


class Mention(Struct, gc=False):
    screen_name: str | None = None


class Link(Struct, gc=False):
    """An entry of ``urls`` or ``media``."""

    expanded_url: str | None = None
    display_url: str | None = None


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
    traptor: Any = UNSET


class Match(NamedTuple):
    """A rule that holds: its place in the rule set, and the fields of the tweet in which it holds."""

    position: int
    fields: tuple[str, ...]


_decode_tweet = msgspec.json.Decoder(Tweet).decode
MISFITS = (msgspec.ValidationError, UnicodeEncodeError)
"""What msgspec raises for a value of the wrong shape; the second where that is a text with half a surrogate pair."""
MAX_DEPTH = 320
"""Of a message that is taken apart. Twitter's have about ten levels."""
_S = TypeVar("_S", bound=Struct)


def view(tweet: Mapping[str, Any]) -> Tweet:
    """The typed view of a tweet given as a dict. A field of the wrong shape counts as absent."""
    try:
        return msgspec.convert(tweet, Tweet)
    except MISFITS:
        return _lenient(tweet, Tweet)


def _lenient(fields: Mapping[str, Any], struct: type[_S]) -> _S:
    """Convert field by field, leaving out what does not fit."""
    known = {}
    for name, hint in get_type_hints(struct).items():
        if name in fields:
            try:
                known[name] = msgspec.convert(fields[name], hint)
            except MISFITS:
                known[name] = _lenient_value(fields[name], hint)
    return struct(**known)


def _lenient_value(value: Any, hint: Any) -> Any:
    for option in get_args(hint):
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, Struct):
            return _lenient(value, option)
        if isinstance(value, list) and get_args(option) and issubclass(item := get_args(option)[0], Struct):
            return [_lenient(entry, item) for entry in value if isinstance(entry, dict)]
    return None


def decode(raw: bytes) -> Any:
    """A message: a Tweet where its bytes can be kept as they are, else what ``load`` returns.

    Not kept are: messages that are no tweets, tweets with a ``traptor`` of their own, with half a surrogate pair, or
    of a shape that the typed view refuses. Raises ValueError for bytes that are not JSON.
    """
    if not raw.isascii():
        raw.decode("utf-8")
    try:
        tweet = _decode_tweet(raw)
    except (msgspec.DecodeError, RecursionError):
        return load(raw)
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


KINDS = (
    "delete", "limit", "warning", "disconnect", "scrub_geo", "status_withheld", "user_withheld", "friends",
    "friends_str", "event", "for_user", "control", "direct_message", "user_delete", "user_undelete", "user_protect",
    "user_unprotect", "user_suspend", "user_unsuspend", "user_update", "sender",
)  # fmt: skip


def kind(message: Any) -> str:
    """``tweet``, the name of Twitter's notice (its one top-level key), or ``unknown``."""
    if not isinstance(message, Mapping):
        return "unknown"
    if "id_str" in message:
        return "tweet"
    return next((name for name in KINDS if name in message), "unknown")


def tweet_id(tweet: Mapping[str, Any]) -> str:
    """A tweet's id_str; empty where Twitter sent something that is none."""
    id_str = tweet["id_str"]
    return str(id_str) if isinstance(id_str, int | str) else ""


def limit_count(message: Mapping[str, Any]) -> int | None:
    """The number in a limit notice: tweets withheld since the connection opened. Always under ``track``.

    None where Twitter sent something that is not a count.
    """
    count = message["limit"].get("track") if isinstance(message["limit"], Mapping) else None
    return count if type(count) is int and 0 <= count < 1 << 63 else None


def number(message: Mapping[str, Any], kind_: str, field: str) -> int | None:
    """A whole number inside a notice; None where there is none."""
    inside = message.get(kind_)
    value = inside.get(field) if isinstance(inside, Mapping) else None
    return value if isinstance(value, int) else None


def deleted_id(message: Mapping[str, Any]) -> str | None:
    """The id of the tweet that a delete notice speaks of."""
    inside = message["delete"]
    status = inside.get("status") if isinstance(inside, Mapping) else None
    return _id_str(status, "id") if isinstance(status, Mapping) else None


def scrubbed(message: Mapping[str, Any]) -> tuple[str, int] | None:
    """Of a scrub_geo notice: the user, and the last tweet that loses its location."""
    inside = message["scrub_geo"]
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
    return str(value) if isinstance(value, int | str) else None


_MONTHS = {
    name: f"{number:02}"
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_CREATED_AT = re.compile(r"... (...) ([0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) \+0000 ([0-9]{4})")


def iso_time(created_at: str) -> str:
    """``Mon Feb 22 01:34:53 +0000 2016`` as ``2016-02-22T01:34:53+00:00``. Raises ValueError for what is no time.

    Twitter always writes the one form, in UTC, so it is cut to pieces; anything else goes to dateutil.
    """
    found = _CREATED_AT.fullmatch(created_at)
    if found and (month := _MONTHS.get(found[1])):
        return f"{found[4]}-{month}-{found[2]}T{found[3]}+00:00"
    try:
        time = parser.parse(created_at)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()


class Blocks:
    """Makes the ``traptor`` object. Each rule is serialised once, here."""

    def __init__(self, traptor_type: str, traptor_id: int, rules: Sequence[Rule], rule_set: str) -> None:
        self.identity = {
            "id": traptor_id,
            "id_str": str(traptor_id),
            "rule_type": traptor_type,
            "rule_set": rule_set,
        }
        own = {*self.identity, "created_at_iso", "rule_tag", "rule_value", "rules"}
        self._head = b',"traptor":' + dump(self.identity)[:-1] + b',"created_at_iso":'
        self._flat = [
            dump(
                {
                    "rule_tag": rule.get("tag", ""),
                    "rule_value": rule.get("value", ""),
                    **{name: value for name, value in rule.items() if name not in own},
                }
            )[:-1]
            for rule in rules
        ]
        self._listed = [_listed(rule) for rule in rules]

    def matched(self, matches: Sequence[Match]) -> bytes:
        """What tells of the rules that hold: the flat fields of the last one, and the list of all."""
        if not matches:
            return b'{"rule_tag":"Not Found","rule_value":"Not Found","rules":[]}'
        listed = b",".join([self._listed[index] + _quoted(fields) + b"]}" for index, fields in matches])
        return self._flat[matches[-1].position] + b',"rules":[' + listed + b"]}"

    def append(self, raw: bytes, created_at: str | None, matches: Sequence[Match]) -> bytes:
        """Twitter's bytes of a tweet, untouched but for the object appended before their last brace."""
        return b"".join((raw[:-1], self._head, _time(created_at), self.matched(matches)[1:], b"}"))


@functools.lru_cache(maxsize=1000)
def _time(created_at: str | None) -> bytes:
    """As it stands in JSON, with a comma. Where tweets are many, many are of the same second."""
    iso = iso_time_or_none(created_at)
    return f'"{iso}",'.encode() if iso else b"null,"


def _listed(rule: Rule) -> bytes:
    """A rule as it stands in ``rules``, up to the inside of ``matched_in``, which comes last and is ours."""
    return dump({**{name: value for name, value in rule.items() if name != "matched_in"}, "matched_in": []})[:-2]


def iso_time_or_none(created_at: object) -> str | None:
    """The time, or None where the tweet has none that can be read."""
    try:
        return iso_time(created_at) if isinstance(created_at, str) else None
    except ValueError:
        return None


@functools.cache
def _quoted(fields: tuple[str, ...]) -> bytes:
    """The fields as the inside of a JSON list. There are few different ones."""
    return dump(list(fields))[1:-1]
