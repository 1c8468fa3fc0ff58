"""The fleet as Redis shows it, and changes to its rules: all at once, then a notice to exactly those they concern."""

import contextlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import redis

from traptor import keys
from traptor.account import state
from traptor.account.state import State
from traptor.rules import checked, stored
from traptor.rules.lock import RulesLock
from traptor.rules.progress import SILENT, Progress
from traptor.rules.shards import Change, Place, Shards
from traptor.rules.stored import SCAN_COUNT

_KEYS_PER_ROUND_TRIP = 1000
CHANGES_AT_ONCE = 5000
"""In one MULTI, which holds up Redis for some twenty milliseconds: a full Traptor is told once."""
_COUNT = re.compile("[0-9]{1,18}")
ENDED = {State.REFUSED, State.STOPPING}
HAMPERED = {State.BACKING_OFF, State.STALLED, State.SPOOL_FULL}
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
    rule_ids: Set[str] = field(default_factory=frozenset, repr=False)
    """Under which Redis has its rules."""
    beats: bool = False
    status: dict[str, Any] = field(default_factory=dict)
    """What it says of itself; empty for one that says nothing."""
    life: dict[str, Any] = field(default_factory=dict)
    """Its last sign of life: ``at``, and whether it was ``stopped``."""
    silent_since: datetime | None = None

    @property
    def rules(self) -> int:
        """How many Redis has for it."""
        return len(self.rule_ids)

    @property
    def is_living(self) -> bool:
        """Does it collect, or try to? A heartbeat is only written while the main loop makes progress."""
        return self.beats and self.status.get("state") not in ENDED

    @property
    def is_hampered(self) -> bool:
        """Is it without a stream, or without room for what that brings?"""
        return self.status.get("state") in HAMPERED

    @property
    def limit(self) -> int:
        """How much it can ask for: what it says, since v2's limit is the account's, or what v1.1 takes."""
        return int(self.status.get("predicate_limit") or checked.LIMITS[self.name.traptor_type])

    @property
    def fits(self) -> bool:
        """Does it ask for all its rules?"""
        return not self.status.get("left_out") and self.rules <= self.limit

    @property
    def is_settled(self) -> bool:
        """Does what it says it asks for hold for the rules that Redis has for it now?"""
        is_current = self.status.get("rules") == self.rules and "predicates" in self.status
        return is_current and self.is_living and self.fits

    @property
    def used(self) -> int:
        """What one that is settled asks for."""
        return int(self.status["predicates"])


def look(conn: "redis.Redis") -> dict[Name, Member]:
    """Every Traptor that Redis knows of, in order. ``conn`` answers in text. Raises redis.RedisError."""
    members: dict[Name, Member] = {}
    texts: list[tuple[str, keys.Key]] = []
    for text, key, rule_ids in stored.of_fleet(conn):
        name = Name(key.traptor_type, key.traptor_id)
        member = members.setdefault(name, Member(name))
        if key.kind == "rule":
            member.rule_ids = rule_ids
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
        if key.kind == "silent":
            since = datetime.fromisoformat(value)
            member.silent_since = since if since.tzinfo else None
        else:
            fields = keys.content(value)
            setattr(member, key.kind, state.read(fields) if key.kind == "status" else fields)
    except ValueError:
        return


def shards(
    conn: "redis.Redis",
    traptor_type: str,
    members: Mapping[Name, Member],
    *,
    living: Iterable[int] | None = None,
    rule_ids: Set[str] | None = None,
    progress: Progress = SILENT,
) -> Shards:
    """The rules of one type as they stand; they ask for what matched. ``living`` takes some for living that may not be.

    With ``rule_ids`` only the rules under these are read, and the others are not there. Raises redis.RedisError.
    """
    of_type = of_types(members, [traptor_type])
    if living is None:
        living = [member.name.traptor_id for member in of_type if member.is_living]
    held = stored.read_all(conn, traptor_type, _listed(of_type, rule_ids), progress)
    progress.step(f"planning {traptor_type}")
    return Shards(
        traptor_type,
        held,
        living=living,
        matches=lambda ids: _matches(conn, traptor_type, {one: held[one] for one in held.keys() & ids}),
        hampered=[member.name.traptor_id for member in of_type if member.is_hampered],
        limits={member.name.traptor_id: member.limit for member in of_type},
    )


def displaced(conn: "redis.Redis", traptor_type: str, of_type: Iterable[Member]) -> Shards:
    """The rules of Traptors that do not live or fit, and the room that the others say they have.

    What only a look at all rules shows, a predicate that two Traptors share, counts twice. Raises redis.RedisError.
    """
    return Shards(
        traptor_type,
        stored.read_all(conn, traptor_type, _listed(member for member in of_type if not member.is_settled)),
        living=[member.name.traptor_id for member in of_type if member.is_living],
        limits={
            member.name.traptor_id: max(0, member.limit - member.used) if member.is_settled else member.limit
            for member in of_type
        },
    )


def _matches(
    conn: "redis.Redis", traptor_type: str, held: Mapping[int, Mapping[str, Mapping[str, str]]]
) -> dict[Place, int]:
    """What rules have matched within the window; those that have not are left out."""
    found = {}
    for traptor_id, its_rules in held.items():
        # Traptors count by the rule_id in the hash.
        counts = _values(conn, [keys.stats(traptor_type, traptor_id, rule["rule_id"]) for rule in its_rules.values()])
        for rule_id, count in zip(its_rules, counts, strict=True):
            if count and _COUNT.fullmatch(count):
                found[Place(traptor_id, rule_id)] = int(count)
    return found


def all_rules(conn: "redis.Redis", of_members: Iterable[Member]) -> Iterator[dict[str, Any]]:
    """All rules of these, read as they are asked for.

    Each has ``traptor``, ``type``, ``traptor_id``, ``rule_id``, ``matches`` within the window, and its fields. A field
    of a rule's own that has one of these names is not shown.
    """
    for member in of_members:
        traptor_type, traptor_id = member.name
        where = {"traptor": str(member.name), "type": traptor_type, "traptor_id": traptor_id}
        for _, its_rules in stored.each(conn, traptor_type, _listed([member])):
            matches = _matches(conn, traptor_type, {traptor_id: its_rules})
            for rule_id, rule in its_rules.items():
                ours = where | {"rule_id": rule_id, "matches": matches.get(Place(traptor_id, rule_id), 0)}
                yield ours | rule | ours


def of_types(members: Mapping[Name, Member], types: Iterable[str]) -> list[Member]:
    """Those of these types, one type after the other."""
    return [member for name in types for member in members.values() if member.name.traptor_type == name]


def _listed(members: Iterable[Member], wanted: Set[str] | None = None) -> dict[int, Set[str]]:
    return {
        member.name.traptor_id: member.rule_ids if wanted is None else member.rule_ids & wanted for member in members
    }


def homes_of(conn: "redis.Redis", traptor_type: str) -> dict[Place, Place]:
    """Where moved rules came from, by where they are. What nobody of ours has written is left out."""
    found = conn.hscan_iter(keys.homes(traptor_type), count=SCAN_COUNT)
    places = {_place(at): _place(home) for at, home in found}
    return {at: home for at, home in places.items() if at and home}


def _place(text: str) -> Place | None:
    found = re.fullmatch("([0-9]{1,9}):(.+)", text, re.DOTALL)
    return Place(int(found[1]), found[2]) if found else None


Changes = Mapping[str, Sequence[Change]]
"""By type."""
Homes = Mapping[str, Mapping[Place, Place | None]]
"""By type: where moved rules are, and where they came from; None for what is no longer remembered."""


def change(
    conn: "redis.Redis",
    channel: str,
    types: Iterable[str],
    plan: Callable[[Shards], list[Change]],
    *,
    dry_run: bool = False,
    living: Iterable[int] | None = None,
    rule_ids: Set[str] | None = None,
    wait_seconds: float = math.inf,
    progress: Progress = SILENT,
) -> tuple[Changes, list[Name]]:
    """Plan and make changes of all these types at once, while nobody else does. Returns them and who was told.

    ``living`` and ``rule_ids`` are those of ``shards``. Raises Locked and redis.RedisError.
    """
    with RulesLock(conn, wait_seconds, progress) as lock:
        members = look(conn)
        changes = {
            name: plan(shards(conn, name, members, living=living, rule_ids=rule_ids, progress=progress))
            for name in types
        }
        return (changes, []) if dry_run else apply(conn, lock, channel, changes, progress=progress)


def apply(
    conn: "redis.Redis",
    lock: RulesLock,
    channel: str,
    changes: Changes,
    *,
    homes: Homes | None = None,
    progress: Progress = SILENT,
) -> tuple[Changes, list[Name]]:
    """Make these changes in one MULTI, which also tells the Traptors they concern; in several where they are many.

    Returns the changes that were made, and who was told. A rule that somebody else has removed meanwhile stays
    removed. ``homes`` are what changes in what is remembered, each with its move. Raises Locked, redis.WatchError
    (somebody else changes rules: no more is written), other redis.RedisError.
    """
    every = [(traptor_type, change) for traptor_type, some in changes.items() for change in some]
    not_moved: set[tuple[str, Place]] = set()
    told: set[Name] = set()
    written = 0
    remembered = {(name, at): home for name, some in (homes or {}).items() for at, home in some.items()}
    for some in _portions(every):
        touched = {place for one in some for place in _touched(one)}
        concerned = {Name(name, place.traptor_id) for name, place in touched}
        with_them = {place: remembered.pop(place) for place in touched & remembered.keys()}
        not_moved |= _write(conn, lock, some, with_them, [(channel, keys.notice(*name)) for name in sorted(concerned)])
        told |= concerned
        written += len(some)
        progress.step(f"{written:,} of {len(every):,} changes written")
    for start in range(0, len(left := list(remembered.items())), CHANGES_AT_ONCE):
        _write(conn, lock, [], dict(left[start : start + CHANGES_AT_ONCE]), [])
    made = {name: [one for one in some if (name, one.at) not in not_moved] for name, some in changes.items()}
    return made, sorted(told)


OneChange = tuple[str, Change]
"""Of a type."""


def _portions(every: list[OneChange]) -> list[list[OneChange]]:
    """What is written at once, so that Redis is not held up: changes that have a key in common, others by Traptor.

    Each is whole in itself: a reader of Redis finds no rule twice and misses none.
    """
    if len(every) <= CHANGES_AT_ONCE:
        return [every] if every else []
    touched = Counter(key for one in every for key in _touched(one))
    together = [one for one in every if any(touched[key] > 1 for key in _touched(one))]
    alone = [one for one in every if all(touched[key] == 1 for key in _touched(one))]
    alone.sort(key=lambda one: (one[0], one[1].at.traptor_id))
    portions = [alone[start : start + CHANGES_AT_ONCE] for start in range(0, len(alone), CHANGES_AT_ONCE)]
    return [together, *portions] if together else portions


def _touched(one: OneChange) -> set[tuple[str, Place]]:
    traptor_type, change = one
    return {(traptor_type, place) for place in (change.at, change.was) if place}


def _write(
    conn: "redis.Redis",
    lock: RulesLock,
    some: Sequence[OneChange],
    homes: Mapping[tuple[str, Place], Place | None],
    notices: Iterable[tuple[str, str]],
) -> set[tuple[str, Place]]:
    """One MULTI. Returns where rules were to move and could not."""
    moves = [(traptor_type, change) for traptor_type, change in some if change.kind == "moved"]
    with conn.pipeline(transaction=True) as pipe:
        lock.fence(pipe)
        for traptor_type, move in moves:
            # A rename takes the hash as it is now, and neither brings back a removed rule nor overwrites another.
            pipe.renamenx(keys.rule(traptor_type, *(move.was or move.at)), keys.rule(traptor_type, *move.at))
        _rewrite(pipe, [(traptor_type, change) for traptor_type, change in some if change.kind != "moved"])
        for traptor_type in {name for name, _ in homes}:
            its_homes = {at: home for (name, at), home in homes.items() if name == traptor_type}
            _remember(pipe, keys.homes(traptor_type), its_homes)
        for channel, notice in notices:
            pipe.publish(channel, notice)
        answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and "no such key" not in str(answer):
            raise answer
    return {(name, move.at) for (name, move), answer in zip(moves, answers, strict=False) if answer is not True}


def _rewrite(pipe: Any, changes: Sequence[tuple[str, Change]]) -> None:
    """What goes is deleted first: its key may be another rule's afterwards."""
    for traptor_type, change in changes:
        if change.kind != "added":
            pipe.delete(keys.rule(traptor_type, *(change.was or change.at)))
    for traptor_type, change in changes:
        if change.kind != "removed":
            pipe.hset(keys.rule(traptor_type, *change.at), mapping=dict(change.rule))


def _remember(pipe: Any, key: str, homes: Mapping[Place, Place | None]) -> None:
    if new := {f"{at[0]}:{at[1]}": f"{home[0]}:{home[1]}" for at, home in homes.items() if home}:
        pipe.hset(key, mapping=new)
        pipe.expire(key, HOMES_SECONDS)
    if old := [f"{at[0]}:{at[1]}" for at, home in homes.items() if not home]:
        pipe.hdel(key, *old)


def gaps(conn: "redis.Redis", name: Name) -> list[dict[str, Any]]:
    """Its gap records, oldest first. What nobody of ours has written is left out."""
    records: Sequence[str] = []
    with contextlib.suppress(redis.ResponseError):  # it is no list
        records = conn.lrange(keys.gaps(*name), 0, -1)  # type: ignore[assignment]
    found = []
    for text in records:
        with contextlib.suppress(ValueError):
            found.append(keys.content(text))
    return found
