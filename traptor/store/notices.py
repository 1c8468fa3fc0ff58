"""What the messages that are not tweets ask of a database, and the gap records."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from traptor.store.rows import Withheld, utc
from traptor.tweets import kinds

MOST_ID = (1 << 63) - 1


class Gap(NamedTuple):
    traptor: str
    since: str
    until: str | None
    cause: str | None
    last_tweet_id: int | None
    first_tweet_id: int | None
    rule_set: str | None
    reconnects: int | None


class Limit(NamedTuple):
    at: str
    tweets: int


@dataclass
class Notices:
    """What a batch asks for, gathered."""

    counts: Counter[str] = field(default_factory=Counter)
    deleted: set[int] = field(default_factory=set)
    scrubbed: dict[int, int] = field(default_factory=dict)
    """Users, and the last tweet of each that loses its place."""
    withheld: set[Withheld] = field(default_factory=set)
    gaps: list[Gap] = field(default_factory=list)
    limits: set[Limit] = field(default_factory=set)

    def add(self, message: Mapping[str, Any]) -> None:
        """Raises ValueError for what is no notice that is known, or speaks of nothing."""
        name = "gap" if "gap" in message else kinds.kind(message)
        if name == "unknown":
            raise ValueError("neither a tweet nor a notice that is known")
        take = getattr(self, f"_{name}", None)
        if take:
            take(message)
        self.counts[name] += 1

    def _delete(self, message: Mapping[str, Any]) -> None:
        self.deleted.add(_id(kinds.deleted_id(message)))

    def _scrub_geo(self, message: Mapping[str, Any]) -> None:
        user, up_to = kinds.scrubbed(message) or (None, 0)
        user_id = _id(user)
        self.scrubbed[user_id] = max(self.scrubbed.get(user_id, 0), min(up_to, MOST_ID))

    def _status_withheld(self, message: Mapping[str, Any]) -> None:
        self.withheld.update(_withheld("tweet", message["status_withheld"]))

    def _user_withheld(self, message: Mapping[str, Any]) -> None:
        self.withheld.update(_withheld("user", message["user_withheld"]))

    def _limit(self, message: Mapping[str, Any]) -> None:
        count = kinds.limit_count(message)
        if count is None:
            raise ValueError("a limit notice without a count")
        self.limits.add(Limit(_at(message["limit"].get("timestamp_ms")), count))

    def _gap(self, message: Mapping[str, Any]) -> None:
        gap = message["gap"]
        since = utc(str(gap.get("from"))) if isinstance(gap, Mapping) else None
        if not since:
            raise ValueError("a gap without a time")
        self.gaps.append(
            Gap(
                f"{gap.get('type')}:{gap.get('id')}",
                since,
                utc(str(gap.get("to"))),
                _text(gap.get("cause")),
                _id_or_none(gap.get("last_tweet_id")),
                _id_or_none(gap.get("first_tweet_id")),
                _text(gap.get("rule_set")),
                _id_or_none(gap.get("reconnects")),
            )
        )


def _withheld(kind: str, inside: Any) -> Iterator[Withheld]:
    countries = inside.get("withheld_in_countries") if isinstance(inside, Mapping) else None
    if not isinstance(countries, list):
        raise ValueError("a withheld notice without countries")
    number = _id(inside.get("id_str", inside.get("id")))
    return (Withheld(kind, number, country) for country in countries if isinstance(country, str))


def _id(value: Any) -> int:
    number = _id_or_none(value)
    if number is None:
        raise ValueError("a notice without an id of 64 bits")
    return number


def _id_or_none(value: Any) -> int | None:
    text = str(value) if isinstance(value, int | str) else ""
    number = int(text) if len(text) < 20 and text.isascii() and text.isdigit() else -1
    return number if 0 <= number <= MOST_ID else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _at(timestamp_ms: Any) -> str:
    """Twitter's milliseconds since 1970, as text or number; without them it is now."""
    number = _id_or_none(timestamp_ms)
    try:
        time = datetime.fromtimestamp(number / 1000, UTC) if number is not None else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        time = datetime.now(UTC)
    return time.isoformat(timespec="milliseconds")
