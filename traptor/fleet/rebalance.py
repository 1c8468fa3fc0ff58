"""Rules of a Traptor that has been silent for long go to living ones; once, or for as long as the fleet runs."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

import redis

from traptor import keys
from traptor.fleet import roster
from traptor.fleet.roster import Changes, Member, Name
from traptor.keys import TYPES
from traptor.rules.lock import Locked, RulesLock
from traptor.rules.progress import SILENT, Progress
from traptor.rules.shards import Change, Place, Shards

WATCH_SECONDS = 2.0
"""Between two looks at the fleet."""
REST = 25
"""So many times the processor's time for a look it rests, where that is longer: many rules take their time to read."""
MOST_REST_SECONDS = 60.0
MANY_SKIPPED = 20
"""Looks in a row that somebody else's lock has prevented: longer than a lock outlives its holder."""
SILENT_SECONDS = 86_400
"""For so long it is remembered since when a Traptor is silent."""

log = logging.getLogger(__name__)


class Policy(NamedTuple):
    """Silence after which rules move, whether they go back when their Traptor lives again, and whether others go to
    Traptors that have fewer.
    """

    after_seconds: float
    bring_back: bool
    dry_run: bool = False
    spread: bool = False


class Balance(NamedTuple):
    """What a look came to: moves and orphans by type, who was told, and the silent: seconds until their rules move.

    ``away`` are the Traptors that some rules wait to return to: how many, and what for.
    """

    moves: Changes
    orphans: dict[str, int]
    told: list[Name]
    silent: dict[Name, float]
    away: Mapping[Name, tuple[int, str]] = MappingProxyType({})


def rebalance(
    conn: "redis.Redis",
    channel: str,
    policy: Policy,
    *,
    wait_seconds: float = math.inf,
    progress: Progress = SILENT,
) -> Balance:
    """Look at the fleet once and move what must move. Raises Locked and redis.RedisError."""
    with RulesLock(conn, wait_seconds, progress) as lock:
        members = roster.look(conn)
        silent = _silent(conn, members.values(), policy)
        planned: dict[str, list[Change]] = {}
        orphans: dict[str, int] = {}
        new_homes: dict[str, Mapping[Place, Place | None]] = {}
        away: dict[Name, tuple[int, str]] = {}
        for traptor_type in TYPES:
            of_type = roster.of_types(members, [traptor_type])
            gone = {member.name.traptor_id for member in of_type if silent.get(member.name) == 0}
            homes = roster.homes_of(conn, traptor_type) if policy.bring_back else {}
            if of_type and not any(member.is_living for member in of_type):
                orphans[traptor_type] = sum(member.rules for member in of_type)
            elif policy.spread or gone or _may_return(of_type, homes) or any(map(_may_be_overfull, of_type)):
                concerned = members if policy.spread else _concerned(members, homes)
                shards = roster.shards(conn, traptor_type, concerned, progress=progress)
                planned[traptor_type], orphans[traptor_type], kept = _plan(shards, gone, homes, spread=policy.spread)
                if policy.bring_back:
                    changed = {at for at, _ in homes.items() ^ kept.items()}
                    new_homes[traptor_type] = {at: kept.get(at) for at in changed}
                    homes = kept
            away |= _away(members, traptor_type, homes)
        if policy.dry_run:
            return Balance(planned, orphans, [], silent, away)
        moves, told = roster.apply(conn, lock, channel, planned, homes=new_homes, progress=progress)
    return Balance(moves, orphans, told, silent, away)


def _away(
    members: Mapping[Name, Member], traptor_type: str, homes: Mapping[Place, Place]
) -> Iterator[tuple[Name, tuple[int, str]]]:
    """Of each Traptor whose rules are elsewhere how many they are, and what they wait for."""
    for traptor_id, count in Counter(home.traptor_id for home in homes.values()).items():
        name = Name(traptor_type, traptor_id)
        member = members.get(name, Member(name))
        why = "to have room" if member.is_living else "to live again"
        yield name, (count, "to have its stream again" if member.is_living and member.is_hampered else why)


def _silent(conn: "redis.Redis", members: Iterable[Member], policy: Policy) -> dict[Name, float]:
    """The silent, those with rules but no sign of life, with the seconds until their rules move.

    Since when is kept in Redis, so that any look may go on from any other. While none of its type lives, silence does
    not count: a fleet that is started again finds its rules as they were.
    """
    members = list(members)
    now = datetime.now(UTC)
    types_alive = {member.name.traptor_type for member in members if member.is_living}
    found = {}
    with conn.pipeline(transaction=False) as pipe:
        for member in members:
            if member.rules and not member.is_living and member.name.traptor_type in types_alive:
                since = member.silent_since or now
                pipe.set(keys.silent(*member.name), since.isoformat(), ex=SILENT_SECONDS, nx=True)
                found[member.name] = max(0.0, (since + timedelta(seconds=policy.after_seconds) - now).total_seconds())
            elif member.silent_since:
                pipe.delete(keys.silent(*member.name))
        if not policy.dry_run:
            pipe.execute()
    return found


def _may_return(of_type: Iterable[Member], homes: Mapping[Place, Place]) -> bool:
    """Does a Traptor collect again whose rules are elsewhere?"""
    collecting = {member.name.traptor_id for member in of_type if member.is_living and not member.is_hampered}
    return any(home.traptor_id in collecting for home in homes.values())


def _may_be_overfull(member: Member) -> bool:
    """May it have more rules than it can ask for?"""
    left_out = member.status.get("left_out", 0)
    if member.name.traptor_type == "follow" and left_out + member.status.get("predicates", 0) <= member.limit:
        # Each asks for one user, so there was room: they are what Twitter would refuse.
        left_out = 0
    return left_out > 0 or member.rules > member.limit


def _concerned(members: Mapping[Name, Member], homes: Mapping[Place, Place]) -> dict[Name, Member]:
    """All but those that are full of rules of their own: nothing has to leave them, and nothing can come."""
    away = {place.traptor_id for pair in homes.items() for place in pair}
    return {
        name: member
        for name, member in members.items()
        if name.traptor_id in away or not (member.is_settled and member.used >= member.limit)
    }


def _plan(
    shards: Shards, gone: Collection[int], homes: Mapping[Place, Place], *, spread: bool = False
) -> tuple[list[Change], int, dict[Place, Place]]:
    """Moves, how many orphans there are, and the homes to remember. A rule that moved twice keeps its first home.

    Rules are spread only where none has to move: a rule moves once at a time.
    """
    back = shards.bring_home(homes)
    away, orphans = shards.rebalance(gone)
    moves = back + away or (shards.spread() if spread else [])
    kept = dict(homes)
    for move in moves:
        assert move.was
        home = kept.pop(move.was, move.was if move.was.traptor_id in gone else None)
        if home and home.traptor_id != move.at.traptor_id:
            kept[move.at] = home
    held = {place for place, _ in shards.held()}
    return moves, len(orphans), {at: home for at, home in kept.items() if at in held}


def watch(
    conn: "redis.Redis",
    channel: str,
    policy: Policy,
    stop: threading.Event,
    take_up: Callable[[Balance], None] = lambda balance: None,
) -> None:
    """Look again and again until told to stop. Several may watch: each look is made by one of them."""
    told: dict[str, int] = {}
    skipped = 0
    while not stop.is_set():
        began_at = time.process_time()
        try:
            balance = rebalance(conn, channel, policy, wait_seconds=0)
        except Locked as error:
            skipped += 1
            level = logging.WARNING if skipped == MANY_SKIPPED else logging.DEBUG
            log.log(level, "skipped", extra={"reason": str(error)})
        except redis.RedisError as error:
            log.warning("Redis fails: trying again", extra={"error": str(error)})
        else:
            skipped = 0
            _tell(balance, told)
            told = balance.orphans
            take_up(balance)
        stop.wait(min(max(WATCH_SECONDS, REST * (time.process_time() - began_at)), MOST_REST_SECONDS))


def _tell(balance: Balance, orphans_told: Mapping[str, int]) -> None:
    for traptor_type, moves in balance.moves.items():
        if moves:
            ways = sorted({f"{change.was[0]}>{change.at.traptor_id}" for change in moves if change.was})
            log.warning("rules moved", extra={"type": traptor_type, "count": len(moves), "ways": " ".join(ways)})
    for traptor_type in TYPES:
        count, told = balance.orphans.get(traptor_type, 0), orphans_told.get(traptor_type, 0)
        if count and count != told:
            log.error("orphans: no living Traptor has room", extra={"type": traptor_type, "count": count})
        elif told and not count:
            log.warning("no orphans any more", extra={"type": traptor_type})
