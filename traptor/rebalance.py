"""Rules of a Traptor that has been silent for long go to living ones; once, or for as long as the fleet runs."""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import redis

from traptor import fleet, keys
from traptor.fleet import Member, Name
from traptor.keys import TYPES
from traptor.rules import LIMITS
from traptor.rules_lock import WAIT_SECONDS, Locked, RulesLock
from traptor.shards import Change, Shards

WATCH_SECONDS = 2.0
"""Between two looks at the fleet."""
SILENT_SECONDS = 86_400
"""For so long it is remembered since when a Traptor is silent."""

log = logging.getLogger(__name__)


Take = Callable[["Balance"], None] | None


class Policy(NamedTuple):
    """Silence after which rules move, and whether they go back when their Traptor lives again."""

    after_seconds: float
    bring_back: bool
    dry_run: bool = False


class Balance(NamedTuple):
    """What a look came to: moves and orphans by type, who was told, and the silent: seconds until their rules move."""

    moves: dict[str, list[Change]]
    orphans: dict[str, int]
    told: list[Name]
    silent: dict[Name, float]


def rebalance(conn: "redis.Redis", channel: str, policy: Policy, *, wait_seconds: float = WAIT_SECONDS) -> Balance:
    """Look at the fleet once and move what must move. Raises Locked and redis.RedisError."""
    balance = Balance({}, {}, [], {})
    with RulesLock(conn, wait_seconds) as lock:
        members = fleet.look(conn)
        _note_silence(conn, members.values())
        for name, member in members.items():
            if member.silent_since:
                balance.silent[name] = _left_seconds(member.silent_since, policy.after_seconds)
        for traptor_type in TYPES:
            gone = {
                name.traptor_id
                for name, left in balance.silent.items()
                if name.traptor_type == traptor_type and not left
            }
            homes = fleet.homes_of(conn, traptor_type) if policy.bring_back else {}
            if not (gone or homes or _is_overfull(traptor_type, members.values())):
                continue
            shards = fleet.shards(conn, traptor_type, members)
            moves = shards.bring_home(homes)
            more, orphans = shards.rebalance(gone)
            balance.moves[traptor_type] = moves + more
            balance.orphans[traptor_type] = len(orphans)
            new_homes = _homes(shards, homes, more, gone) if policy.bring_back else None
            if not policy.dry_run:
                balance.told.extend(fleet.apply(conn, lock, channel, traptor_type, moves + more, homes=new_homes))
    return balance


def _note_silence(conn: "redis.Redis", members: Iterable[Member]) -> None:
    """Remember in Redis since when a Traptor with rules is silent, so that any look may go on from any other.

    While none of its type lives, silence does not count: a fleet that is started again finds its rules as they were.
    """
    members = list(members)
    now = datetime.now(UTC)
    types_alive = {member.name.traptor_type for member in members if member.is_living}
    with conn.pipeline(transaction=False) as pipe:
        for member in members:
            is_silent = member.rule_ids and not member.is_living and member.name.traptor_type in types_alive
            if is_silent and not member.silent_since:
                member.silent_since = now
                pipe.set(keys.silent(*member.name), now.isoformat(), ex=SILENT_SECONDS, nx=True)
            elif not is_silent and member.silent_since:
                member.silent_since = None
                pipe.delete(keys.silent(*member.name))
        pipe.execute()


def _left_seconds(silent_since: datetime, after_seconds: float) -> float:
    """Until the rules of a silent Traptor move: 0 when they do now."""
    return max(0.0, (silent_since + timedelta(seconds=after_seconds) - datetime.now(UTC)).total_seconds())


def _is_overfull(traptor_type: str, members: Iterable[Member]) -> bool:
    """May one of these have more rules than it can ask for?"""
    of_type = [member for member in members if member.name.traptor_type == traptor_type]
    return any(len(member.rule_ids) > LIMITS[traptor_type] or member.status.get("left_out") for member in of_type)


def _homes(
    shards: Shards, homes: Mapping[str, int], moves: Iterable[Change], gone: Collection[int]
) -> dict[str, int] | None:
    """The homes to remember from now on; None if they are the ones that are. A rule moved twice keeps its first."""
    left = {move.rule["rule_id"]: move.was_at for move in moves if move.was_at in gone and move.was_at is not None}
    places = {rule_id: traptor_id for traptor_id, shard in shards.by_id.items() for rule_id in shard.rules}
    kept = {rule_id: home for rule_id, home in {**left, **homes}.items() if places.get(rule_id, home) != home}
    return kept if kept != homes else None


def watch(conn: "redis.Redis", channel: str, policy: Policy, stop: threading.Event, take_up: Take) -> None:
    """Look again and again until told to stop. Several may watch: each look is made by one of them."""
    told: dict[str, int] = {}
    while not stop.is_set():
        try:
            balance = rebalance(conn, channel, policy, wait_seconds=0)
        except Locked as error:
            log.debug("skipped", extra={"reason": str(error)})
        except redis.RedisError as error:
            log.warning("Redis fails: trying again", extra={"error": str(error)})
        else:
            _tell(balance, told)
            told = balance.orphans
            if take_up:
                take_up(balance)
        stop.wait(WATCH_SECONDS)


def _tell(balance: Balance, orphans_told: Mapping[str, int]) -> None:
    for traptor_type, moves in balance.moves.items():
        if moves:
            ways = sorted({f"{change.was_at}>{change.traptor_id}" for change in moves})
            log.warning("rules moved", extra={"type": traptor_type, "count": len(moves), "ways": " ".join(ways)})
    for traptor_type, count in balance.orphans.items():
        if count != orphans_told.get(traptor_type, 0):
            log.error("orphans: no living Traptor has room", extra={"type": traptor_type, "count": count})
