"""What is wrong with the rules in Redis, in words."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import redis

from traptor.fleet import roster
from traptor.rules import loading
from traptor.rules.shards import Place, Shards
from traptor.tweets.rule import Rule


def inspect(conn: "redis.Redis", types: Iterable[str]) -> tuple[list[str], list[str]]:
    """Errors and warnings, a line each. Raises redis.RedisError."""
    members = roster.look(conn)
    errors: list[str] = []
    warnings: list[str] = []
    for traptor_type in types:
        shards = roster.shards(conn, traptor_type, members)
        errors += _refused(shards)
        warnings += _doubles(shards)
        moves, orphans = shards.rebalance(shards.by_id.keys() - shards.living)
        held = dict(shards.held())
        errors += [
            f"{_shown(traptor_type, place, held[place])} is an orphan: no living Traptor has room for it"
            for place in orphans
        ]
        warnings += [
            f"{_shown(traptor_type, move.was, move.rule)} is not collected: `rules rebalance` would move it"
            f" from {traptor_type}:{move.was.traptor_id} to {traptor_type}:{move.at.traptor_id}"
            for move in moves
            if move.was
        ]
    return errors, warnings


def _refused(shards: Shards) -> Iterator[str]:
    for place, rule in shards.held():
        try:
            loading.check(shards.traptor_type, rule)
        except ValueError as error:
            yield f"{_shown(shards.traptor_type, place, rule)} at {shards.traptor_type}:{place.traptor_id} {error}"


def _doubles(shards: Shards) -> Iterator[str]:
    """Rules that share their value, and rules of several Traptors that share their rule_id."""
    by_value: dict[str, list[str]] = defaultdict(list)
    by_rule_id: dict[str, list[str]] = defaultdict(list)
    for (traptor_id, rule_id), rule in shards.held():
        by_value[loading.same(rule.get("value", ""))].append(f"{shards.traptor_type}:{traptor_id}:{rule_id}")
        by_rule_id[rule_id].append(f"{shards.traptor_type}:{traptor_id}")
    yield from (
        f"{', '.join(places)} have the same value {value!r}" for value, places in by_value.items() if places[1:]
    )
    yield from (
        f"{', '.join(names)} have the same rule_id {rule_id}" for rule_id, names in by_rule_id.items() if names[1:]
    )


def _shown(traptor_type: str, place: Place, rule: Rule) -> str:
    return f"{traptor_type} rule {place.rule_id} {rule.get('value', '')!r}"
