"""The fleet as Redis shows it, and changes to its rules: all at once, then a notice to exactly those they concern."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import redis

from traptor import keys, rules, status
from traptor.rules_lock import RulesLock
from traptor.shards import Change, Shards
from traptor.status import State

_KEYS_PER_ROUND_TRIP = 1000
ENDED = {State.REFUSED, State.STOPPING}
HOMES_SECONDS = 7 * 86_400
"""For so long it is remembered where moved rules came from."""


class Name(NamedTuple):
    """``track:0`` names one Traptor."""

    traptor_type: str
    traptor_id: int

    def __str__(self) -> str:
        return f"{self.traptor_type}:{self.traptor_id}"


@dataclass
class Member:
    """One Traptor, living or not."""

    name: Name
    rule_ids: set[str] = field(default_factory=set)
    beats: bool = False
    status: dict[str, Any] = field(default_factory=dict)
    """What it says of itself; empty for one that says nothing."""
    life: dict[str, Any] = field(default_factory=dict)
    """Its last sign of life: ``at``, and whether it was ``stopped``."""
    silent_since: datetime | None = None
    matches: dict[str, int] = field(default_factory=dict)
    """Matches within the window, by rule_id."""

    @property
    def is_living(self) -> bool:
        """Does it collect, or try to? A heartbeat is only written while the main loop makes progress."""
        return self.beats and self.status.get("state") not in ENDED


def look(conn: "redis.Redis") -> dict[Name, Member]:
    """Every Traptor that Redis knows of, in order. ``conn`` answers in text. Raises redis.RedisError."""
    members: dict[Name, Member] = {}
    texts: list[tuple[str, keys.Key]] = []
    for text in conn.scan_iter(count=_KEYS_PER_ROUND_TRIP):
        if not (key := keys.parse(text)):
            continue
        name = Name(key.traptor_type, key.traptor_id)
        member = members.setdefault(name, Member(name))
        if key.kind == "rule":
            member.rule_ids.add(key.rest)
        elif key.kind == "heartbeat":
            member.beats = True
        else:
            texts.append((text, key))
    for (_, key), value in zip(texts, _values(conn, [text for text, _ in texts]), strict=True):
        if value is not None:
            _note(members[Name(key.traptor_type, key.traptor_id)], key, value)
    return dict(sorted(members.items()))


def _values(conn: "redis.Redis", names: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(names), _KEYS_PER_ROUND_TRIP):
        found += conn.mget(names[start : start + _KEYS_PER_ROUND_TRIP])
    return found


def _note(member: Member, key: keys.Key, value: str) -> None:
    """Take up a value; one that nobody of ours has written is left out."""
    try:
        if key.kind == "stats":
            member.matches[key.rest] = int(value)
        elif key.kind == "silent":
            since = datetime.fromisoformat(value)
            member.silent_since = since if since.tzinfo else None
        elif isinstance(fields := _json(value), dict):
            setattr(member, key.kind, status.read(fields) if key.kind == "status" else fields)
    except ValueError:
        return


def shards(
    conn: "redis.Redis", traptor_type: str, members: Mapping[Name, Member], *, living: Iterable[int] | None = None
) -> Shards:
    """The rules of one type as they stand, with what matched. ``living`` takes some for living that may not be.

    Raises redis.RedisError.
    """
    of_type = [member for member in members.values() if member.name.traptor_type == traptor_type]
    if living is None:
        living = [member.name.traptor_id for member in of_type if member.is_living]
    return Shards(
        traptor_type,
        rules.read_all(conn, traptor_type),
        living=living,
        matches={rule_id: count for member in of_type for rule_id, count in member.matches.items()},
    )


def stored(conn: "redis.Redis", members: Mapping[Name, Member], types: Iterable[str]) -> list[dict[str, Any]]:
    """All rules of these types: their fields, ``type``, ``traptor_id``, and ``matches`` within the window."""
    return [
        {"type": traptor_type, "traptor_id": traptor_id, **rule, "matches": matches.get(rule["rule_id"], 0)}
        for traptor_type in types
        for traptor_id, its_rules in rules.read_all(conn, traptor_type).items()
        for matches in [
            members[Name(traptor_type, traptor_id)].matches if (traptor_type, traptor_id) in members else {}
        ]
        for rule in its_rules
    ]


def homes_of(conn: "redis.Redis", traptor_type: str) -> dict[str, int]:
    """Where moved rules came from, by rule_id."""
    found: Mapping[str, str] = conn.hgetall(keys.homes(traptor_type))  # type: ignore[assignment]
    return {rule_id: int(traptor_id) for rule_id, traptor_id in found.items()}


Changes = Mapping[str, Sequence[Change]]
"""By type."""


def change(
    conn: "redis.Redis",
    channel: str,
    types: Iterable[str],
    plan: Callable[[Shards], list[Change]],
    *,
    dry_run: bool = False,
    living: Iterable[int] | None = None,
) -> tuple[Changes, list[Name]]:
    """Plan and make changes while nobody else does; each type at once. Returns them and who was told.

    Raises Locked and redis.RedisError.
    """
    changes: dict[str, list[Change]] = {}
    told: list[Name] = []
    with RulesLock(conn) as lock:
        members = look(conn)
        for traptor_type in types:
            changes[traptor_type] = plan(shards(conn, traptor_type, members, living=living))
            if not dry_run:
                told += apply(conn, lock, channel, traptor_type, changes[traptor_type])
    return changes, told


def apply(
    conn: "redis.Redis",
    lock: RulesLock,
    channel: str,
    traptor_type: str,
    changes: Sequence[Change],
    *,
    homes: Mapping[str, int] | None = None,
) -> list[Name]:
    """Make these changes in one MULTI, which also tells the Traptors they concern. Returns those.

    A rule that somebody else has removed meanwhile stays removed. ``homes``, if any, are what is remembered from now
    on. Raises Locked, redis.WatchError (somebody else changes rules: nothing is written), other redis.RedisError.
    """
    if not changes and homes is None:
        return []
    concerned = sorted({traptor_id for change in changes for traptor_id in _concerned(change)})
    with conn.pipeline(transaction=True) as pipe:
        lock.fence(pipe)
        for change in changes:
            _write(pipe, traptor_type, change)
        if homes is not None:
            pipe.delete(keys.homes(traptor_type))
        if homes:
            pipe.hset(keys.homes(traptor_type), mapping={rule_id: str(home) for rule_id, home in homes.items()})
            pipe.expire(keys.homes(traptor_type), HOMES_SECONDS)
        for traptor_id in concerned:
            pipe.publish(channel, keys.notice(traptor_type, traptor_id))
        for answer in pipe.execute(raise_on_error=False):
            if isinstance(answer, Exception) and "no such key" not in str(answer):
                raise answer
    return [Name(traptor_type, traptor_id) for traptor_id in concerned]


def _concerned(change: Change) -> Iterable[int]:
    return (change.traptor_id,) if change.was_at is None else (change.traptor_id, change.was_at)


def _write(pipe: Any, traptor_type: str, change: Change) -> None:
    key = keys.rule(traptor_type, change.traptor_id, change.rule["rule_id"])
    old_key = key if change.was_at is None else keys.rule(traptor_type, change.was_at, change.rule["rule_id"])
    match change.kind:
        case "moved":
            # A rename takes the hash as it is now, and neither brings back a removed rule nor overwrites another.
            pipe.renamenx(old_key, key)
        case "removed":
            pipe.delete(key)
        case "added":
            pipe.hset(key, mapping=dict(change.rule))
        case "changed":
            pipe.delete(old_key)
            pipe.hset(key, mapping=dict(change.rule))


def gaps(conn: "redis.Redis", name: Name) -> list[dict[str, Any]]:
    """Its gap records, oldest first. What nobody of ours has written is left out."""
    records: Sequence[str] = conn.lrange(keys.gaps(*name), 0, -1)  # type: ignore[assignment]
    return [record for text in records if isinstance(record := _json(text), dict)]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
