"""Rules as Redis has them: read whole or not at all, and written."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import redis

from traptor import keys
from traptor.connections import hashes, text
from traptor.rules.checked import order
from traptor.rules.progress import SILENT, Progress

SCAN_COUNT = 2000
"""Keys that Redis looks at before it lets others have their turn: one to five milliseconds."""
_KEYS_PER_ROUND_TRIP = 1000


def read(conn: "redis.Redis", traptor_type: str, traptor_id: int) -> list[dict[str, str]]:
    """All rules of one Traptor as Redis has them, in order of rule_id.

    Works with ``decode_responses`` on or off. Raises redis.RedisError rather than return a part of them.
    """
    rule_ids = {keys.rule_id(key) for key in _keys(conn, keys.rules(traptor_type, traptor_id))}
    return sorted((rule for _, rule in _hashes(conn, traptor_type, traptor_id, rule_ids)), key=order)


def read_all(
    conn: "redis.Redis",
    traptor_type: str,
    listed: Mapping[int, Collection[str]] | None = None,
    progress: Progress = SILENT,
) -> dict[int, dict[str, dict[str, str]]]:
    """All rules of one type, by the id of their Traptor and the rule_id in their key, in order of rule_id.

    The rule_id in a hash may be another one: it is what tweets carry. Where a key is not UTF-8, the rule_id in it has
    lone surrogates, as the key has in Redis' answers. ``listed`` are the rule_ids that are asked for, by Traptor.
    """
    found = {}
    count = 0
    for traptor_id, its_rules in each(conn, traptor_type, listed):
        found[traptor_id] = its_rules
        count += len(its_rules)
        progress.step(f"{count:,} {traptor_type} rules read")
    return found


def each(
    conn: "redis.Redis", traptor_type: str, listed: Mapping[int, Collection[str]] | None = None
) -> Iterator[tuple[int, dict[str, dict[str, str]]]]:
    """The same, one Traptor after the other, each read when it is asked for."""
    by_id = _listed(conn, traptor_type) if listed is None else listed
    for traptor_id in sorted(by_id):
        held = sorted(_hashes(conn, traptor_type, traptor_id, by_id[traptor_id]), key=lambda read: order(read[1]))
        if held:
            yield traptor_id, dict(held)


def _listed(conn: "redis.Redis", traptor_type: str) -> dict[int, set[str]]:
    return {key.traptor_id: rule_ids for _, key, rule_ids in of_fleet(conn, keys.rules(traptor_type, "*"))}


def of_fleet(conn: "redis.Redis", pattern: str = keys.FLEET) -> Iterator[tuple[str, keys.Key, set[str]]]:
    """What Redis has of the fleet: each key as text and taken apart. The rules of a Traptor are together under one
    without a rule_id, which has their rule_ids.
    """
    by_name: dict[str, set[str]] = defaultdict(set)
    for key in _keys(conn, pattern):
        name, rule_id = keys.apart(key)
        rule_ids = by_name[name]
        if rule_id is not None:
            rule_ids.add(rule_id)
    for name, rule_ids in by_name.items():
        if (parsed := keys.parse(name)) and (rule_ids or parsed.kind != "rule"):
            yield name, parsed, rule_ids


def _keys(conn: "redis.Redis", pattern: str) -> Iterator[str]:
    """With lone surrogates for bytes that are not UTF-8: none of them is lost. A key may come twice."""
    for key in conn.scan_iter(pattern, count=SCAN_COUNT):
        yield key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key


def _hashes(
    conn: "redis.Redis", traptor_type: str, traptor_id: int, rule_ids: Iterable[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Each of these rules that is there, with its rule_id."""
    asked_for = sorted(rule_ids)
    for start in range(0, len(asked_for), _KEYS_PER_ROUND_TRIP):
        some = asked_for[start : start + _KEYS_PER_ROUND_TRIP]
        names = [keys.rule(traptor_type, traptor_id, one).encode("utf-8", "surrogateescape") for one in some]
        for rule_id, fields in zip(some, hashes(conn, names), strict=True):
            if rule := _rule(rule_id, fields):
                yield rule_id, rule


def _rule(rule_id: str, fields: Any) -> dict[str, str]:
    """A rule's hash as text; empty if it went away meanwhile. What is no hash becomes a rule without a value."""
    if isinstance(fields, redis.ResponseError):
        if not str(fields).startswith("WRONGTYPE"):
            raise fields
        return {"rule_id": text(rule_id)}
    return {"rule_id": text(rule_id), **fields} if fields else {}


def write(conn: "redis.Redis", traptor_type: str, traptor_id: int, rules: Iterable[Mapping[str, Any]]) -> None:
    """Write rules, each under its rule_id, all at once."""
    with conn.pipeline(transaction=True) as pipe:
        for rule in rules:
            fields: dict[Any, Any] = dict(rule)
            pipe.hset(keys.rule(traptor_type, traptor_id, rule["rule_id"]), mapping=fields)
        pipe.execute()
