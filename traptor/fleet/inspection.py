"""What is wrong with the rules in Redis, in words."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import redis

from traptor.fleet import roster
from traptor.printable import counted
from traptor.rules import loading
from traptor.rules.checked import predicates
from traptor.rules.doubts import doubts
from traptor.rules.progress import SILENT, Progress
from traptor.rules.shards import Place, Shards
from traptor.tweets.rule import Rule


def inspect(conn: "redis.Redis", types: Iterable[str], progress: Progress = SILENT) -> tuple[list[str], list[str]]:
    """Errors and warnings, a line each. Raises redis.RedisError."""
    members = roster.look(conn)
    errors: list[str] = []
    warnings: list[str] = []
    for traptor_type in types:
        shards = roster.shards(conn, traptor_type, members, progress=progress)
        errors += _refused(shards)
        warnings += _doubles(shards)
        warnings += _doubtful(shards)
        if shards.by_id and not shards.living:
            count = sum(1 for _ in shards.held())
            errors.append(f"no {traptor_type} Traptor lives: nobody collects its {counted(count, 'rule')}")
            continue
        moves, orphans = shards.rebalance(shards.by_id.keys() - shards.living)
        errors += [
            f"{_shown(traptor_type, place, shards.by_id[place.traptor_id].rules[place.rule_id])} is an orphan:"
            " no living Traptor has room for it"
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


def _doubtful(shards: Shards) -> Iterator[str]:
    """Track rules that mean less than people think."""
    for place, rule in shards.held() if shards.traptor_type == "track" else ():
        for doubt in doubts(rule.get("value", "")):
            yield f"{_shown(shards.traptor_type, place, rule)} at {shards.traptor_type}:{place.traptor_id} {doubt}"


def _doubles(shards: Shards) -> Iterator[str]:
    """Rules that ask for the same, and rules of several Traptors that share their rule_id."""
    asked = {place: _asked(shards.traptor_type, rule) for place, rule in shards.held()}
    times_asked = Counter(asked.values())
    of_rule_id = Counter(place.rule_id for place in asked)
    by_asked: dict[str, list[str]] = defaultdict(list)
    by_rule_id: dict[str, list[str]] = defaultdict(list)
    for (traptor_id, rule_id), one in asked.items():
        if times_asked[one] > 1:
            by_asked[one].append(f"{shards.traptor_type}:{traptor_id}:{rule_id}")
        if of_rule_id[rule_id] > 1:
            by_rule_id[rule_id].append(f"{shards.traptor_type}:{traptor_id}")
    yield from (f"{', '.join(places)} ask for the same, {one!r}" for one, places in by_asked.items())
    yield from (f"{', '.join(names)} have the same rule_id {rule_id}" for rule_id, names in by_rule_id.items())


def _asked(traptor_type: str, rule: Rule) -> str:
    """What a rule asks Twitter for, however it is written; its value, where it asks for nothing."""
    value = loading.same(rule.get("value", ""))
    try:
        found = predicates(traptor_type, {"value": value})
    except ValueError:
        return value
    return ",".join(sorted({" ".join(one.split()) for one in found}))


def _shown(traptor_type: str, place: Place, rule: Rule) -> str:
    return f"{traptor_type} rule {place.rule_id} {rule.get('value', '')!r}"
