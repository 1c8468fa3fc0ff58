"""Rules as Redis has them: read whole or not at all, and written."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import redis

from traptor import keys
from traptor.rules.checked import order

_KEYS_PER_ROUND_TRIP = 1000


def read(conn: "redis.Redis", traptor_type: str, traptor_id: int) -> list[dict[str, str]]:
    """All rules of one Traptor as Redis has them, in order of rule_id.

    Works with ``decode_responses`` on or off. Raises redis.RedisError rather than return a part of them.
    """
    found = _read(conn, keys.rules(traptor_type, traptor_id))
    return sorted((rule for _, rule in found), key=order)


def read_all(conn: "redis.Redis", traptor_type: str) -> dict[int, dict[str, dict[str, str]]]:
    """All rules of one type, by the id of their Traptor and the rule_id in their key, in order of rule_id.

    The rule_id in a hash may be another one: it is what tweets carry. Where a key is not UTF-8, the rule_id in it has
    lone surrogates, as the key has in Redis' answers.
    """
    found: dict[int, dict[str, dict[str, str]]] = {}
    for key, rule in sorted(_read(conn, keys.rules(traptor_type, "*")), key=lambda read: order(read[1])):
        if parsed := keys.parse(key):
            found.setdefault(parsed.traptor_id, {})[parsed.rest] = rule
    return dict(sorted(found.items()))


def _read(conn: "redis.Redis", pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each rule under a key of this pattern, with its key."""
    rule_keys = sorted({_as_listed(key) for key in conn.scan_iter(pattern, count=1000)})
    for start in range(0, len(rule_keys), _KEYS_PER_ROUND_TRIP):
        some_keys = rule_keys[start : start + _KEYS_PER_ROUND_TRIP]
        with conn.pipeline(transaction=False) as pipe:
            for key in some_keys:
                pipe.hgetall(key.encode("utf-8", "surrogateescape"))
            answers = pipe.execute(raise_on_error=False)
        for key, fields in zip(some_keys, answers, strict=True):
            if rule := _rule(key, fields):
                yield key, rule


def _rule(key: str, fields: Any) -> dict[str, str]:
    """A rule's hash as text; empty if it went away meanwhile. What is no hash becomes a rule without a value."""
    if isinstance(fields, redis.ResponseError):
        if not str(fields).startswith("WRONGTYPE"):
            raise fields
        return {"rule_id": _text(keys.rule_id(key))}
    if isinstance(fields, Exception):
        raise fields
    rule = {_text(name): _text(value) for name, value in fields.items()}
    return {"rule_id": _text(keys.rule_id(key)), **rule} if rule else {}


def _as_listed(key: str | bytes) -> str:
    """With lone surrogates for bytes that are not UTF-8: none of them is lost."""
    return key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key


def _text(value: str | bytes) -> str:
    """To be shown, with U+FFFD for what is not UTF-8."""
    found = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    return found.decode("utf-8", "replace")


def write(conn: "redis.Redis", traptor_type: str, traptor_id: int, rules: Iterable[Mapping[str, Any]]) -> None:
    """Write rules, each under its rule_id, all at once."""
    with conn.pipeline(transaction=True) as pipe:
        for rule in rules:
            fields: dict[Any, Any] = dict(rule)
            pipe.hset(keys.rule(traptor_type, traptor_id, rule["rule_id"]), mapping=fields)
        pipe.execute()
