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
    with RulesLock(conn, wait_seconds) as lock:
        members = fleet.look(conn)
        silent = _silent(conn, members.values(), policy.after_seconds)
        balance = Balance({}, {}, [], silent)
        for traptor_type in TYPES:
            of_type = [member for member in members.values() if member.name.traptor_type == traptor_type]
            gone = {member.name.traptor_id for member in of_type if silent.get(member.name) == 0}
            homes = fleet.homes_of(conn, traptor_type) if policy.bring_back else {}
            if of_type and not any(member.is_living for member in of_type):
                balance.orphans[traptor_type] = sum(len(member.rule_ids) for member in of_type)
            elif gone or homes or _is_overfull(of_type):
                shards = fleet.shards(conn, traptor_type, members)
                moves, balance.orphans[traptor_type], kept = _plan(shards, gone, homes)
                balance.moves[traptor_type] = moves
                if not policy.dry_run:
                    new_homes = kept if policy.bring_back and kept != homes else None
                    balance.told.extend(fleet.apply(conn, lock, channel, traptor_type, moves, homes=new_homes))
    return balance


def _silent(conn: "redis.Redis", members: Iterable[Member], after_seconds: float) -> dict[Name, float]:
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
            if member.rule_ids and not member.is_living and member.name.traptor_type in types_alive:
                since = member.silent_since or now
                pipe.set(keys.silent(*member.name), since.isoformat(), ex=SILENT_SECONDS, nx=True)
                found[member.name] = max(0.0, (since + timedelta(seconds=after_seconds) - now).total_seconds())
            elif member.silent_since:
                pipe.delete(keys.silent(*member.name))
        pipe.execute()
    return found


def _is_overfull(of_type: Iterable[Member]) -> bool:
    """May one of these have more rules than it can ask for?"""
    return any(
        len(member.rule_ids) > LIMITS[member.name.traptor_type] or member.status.get("left_out") for member in of_type
    )


def _plan(shards: Shards, gone: Collection[int], homes: Mapping[str, int]) -> tuple[list[Change], int, dict[str, int]]:
    """Moves, how many orphans there are, and the homes to remember. A rule that moved twice keeps its first home."""
    back = shards.bring_home(homes)
    away, orphans = shards.rebalance(gone)
    left = {move.rule["rule_id"]: move.was_at for move in away if move.was_at in gone and move.was_at is not None}
    places = {rule_id: traptor_id for traptor_id, shard in shards.by_id.items() for rule_id in shard.rules}
    kept = {rule_id: home for rule_id, home in {**left, **homes}.items() if places.get(rule_id, home) != home}
    return back + away, len(orphans), kept


def watch(
    conn: "redis.Redis",
    channel: str,
    policy: Policy,
    stop: threading.Event,
    take_up: Callable[[Balance], None] = lambda balance: None,
) -> None:
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
