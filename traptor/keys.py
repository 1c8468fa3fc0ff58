"""Every Redis key and channel message, built and parsed."""

import json
import re
import sys
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec

TYPES = ("track", "follow", "locations")


def rule(traptor_type: str, traptor_id: int | str, rule_id: int | str) -> str:
    return f"traptor-{traptor_type}:{traptor_id}:{rule_id}"


def rules(traptor_type: str, traptor_id: int | str) -> str:
    """The pattern that finds all rules of one Traptor."""
    return rule(traptor_type, traptor_id, "*")


def rule_id(rule_key: str) -> str:
    """The rule_id in a rule's key; it may hold colons itself."""
    return rule_key.split(":", 2)[2]


def heartbeat(traptor_type: str, traptor_id: int | str, now: datetime) -> str:
    """``now`` in UTC."""
    return f"{traptor_type}:{traptor_id}:{now:%Y%m%d%H%M%S}"


def stats(traptor_type: str, traptor_id: int | str, rule_id: str) -> str:
    return f"stats:{traptor_type}:{traptor_id}:{rule_id}"


def limit(traptor_type: str, traptor_id: int | str) -> str:
    return f"limit:{traptor_type}:{traptor_id}"


def status(traptor_type: str, traptor_id: int | str) -> str:
    return f"traptor:status:{traptor_type}:{traptor_id}"


def gaps(traptor_type: str, traptor_id: int | str) -> str:
    """A list of gap records."""
    return f"traptor:gaps:{traptor_type}:{traptor_id}"


def life(traptor_type: str, traptor_id: int | str) -> str:
    """The last sign of life: what the next start needs to know."""
    return f"traptor:life:{traptor_type}:{traptor_id}"


def recent(traptor_type: str, traptor_id: int | str) -> str:
    """The ids of the tweets that came last, where the next start may be sent them once more."""
    return f"traptor:recent:{traptor_type}:{traptor_id}"


def lease(credential: str) -> str:
    """Who uses a credential, by its hash."""
    return f"traptor:lease:{credential}"


def handover(credential: str) -> str:
    """A list of those who have just handed a credential, or their name, over; whoever waits takes from it."""
    return f"traptor:handover:{credential}"


def name(traptor_type: str, traptor_id: int | str) -> str:
    """Who runs as this Traptor."""
    return f"traptor:name:{traptor_type}:{traptor_id}"


def rival(traptor_type: str, traptor_id: int | str) -> str:
    """Who would run as this Traptor too, with another credential, and waits."""
    return f"traptor:rival:{traptor_type}:{traptor_id}"


def backoff(credential: str) -> str:
    """When a credential may connect again, by its hash."""
    return f"traptor:backoff:{credential}"


def posts(app: str, month: str) -> str:
    """Posts that an app, by its hash, has read through v2 in a month such as 2026-08."""
    return f"traptor:posts:{app}:{month}"


def brought(slot: int | str) -> str:
    """Which Traptor was the first to bring each tweet that was posted in these ten seconds: a hash, by id."""
    return f"traptor:brought:{slot}"


def silent(traptor_type: str, traptor_id: int | str) -> str:
    """Since when a Traptor that has rules has shown no sign of life, as ``rules rebalance`` found it."""
    return f"traptor:silent:{traptor_type}:{traptor_id}"


def homes(traptor_type: str) -> str:
    """Where moved rules came from."""
    return f"traptor:homes:{traptor_type}"


RULES_LOCK = "traptor:lock:rules"
"""Held by whoever changes rules."""


def loader(traptor_type: str) -> str:
    """Who loads the rules of this type again and again."""
    return f"traptor:loader:{traptor_type}"


FLEET = "[tfl][ro]*:[0-9]*"
"""The pattern that finds every key that ``parse`` knows, and hardly another."""


_RULE = re.compile("(traptor-[^:]*:[^:]*):(.*)", re.DOTALL)


def apart(key: str) -> tuple[str, str | None]:
    """The key of a rule as far as it names a Traptor, and its rule_id; any other as it is, and None."""
    found = _RULE.fullmatch(key)
    return (found[1], found[2]) if found else (key, None)


class Key(NamedTuple):
    """A key of the fleet taken apart. ``rest`` is the rule_id, or the time of a heartbeat."""

    kind: str
    traptor_type: str
    traptor_id: int
    rest: str


_KINDS = {
    "traptor-": "rule",
    "traptor:status:": "status",
    "traptor:life:": "life",
    "traptor:silent:": "silent",
    "": "heartbeat",
}
_KEY = re.compile(rf"({'|'.join(_KINDS)})({'|'.join(TYPES)}):(0|[1-9][0-9]{{0,8}})(?::(.+))?", re.DOTALL)


def parse(key: str) -> Key | None:
    """What this key of Redis is to the fleet; None for one that is not of its kind."""
    if not (found := _KEY.fullmatch(key)):
        return None
    prefix, traptor_type, traptor_id, rest = found.groups(default="")
    return Key(_KINDS[prefix], traptor_type, int(traptor_id), rest)


_Whole = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Value = str | bool | _Whole | _Finite | None
_Plain = _Value | list[_Value] | dict[str, _Value]


def content(stored: str | bytes) -> dict[str, Any]:
    """The object that a key of ours holds as JSON. Raises ValueError for what none of us has written there.

    Ours are flat but for lists and objects of plain values: a field that is deeper, or a number that is not finite or
    has more than 64 bits, is left out.
    """
    try:
        found = json.loads(stored, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"not an object: {type(found).__name__}")
    return {name: value for name, value in found.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    try:
        msgspec.convert(value, _Plain)
    except msgspec.ValidationError:
        return False
    return True


def notice(traptor_type: str, traptor_id: int | str) -> str:
    """What is published on the notify channel when the rules of one Traptor have changed."""
    return f"{traptor_type}:{traptor_id}"


def is_notice_for(payload: object, traptor_type: str, traptor_id: int | str) -> bool:
    """Does this payload of the channel, whatever it is, speak of this Traptor?"""
    if isinstance(payload, bytes):
        payload = payload.decode("utf-8", "replace")
    return isinstance(payload, str) and payload.strip() == notice(traptor_type, traptor_id)
