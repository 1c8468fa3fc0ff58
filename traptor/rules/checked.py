"""Rules checked against what Twitter takes on one connection, put in order, and joined for the request."""

import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from traptor.tweets.matching import parse_boxes, phrases
from traptor.tweets.rule import Rule, version

LIMITS = {"follow": 5000, "track": 400, "locations": 25}
"""What one connection may ask for: user ids, phrases, boxes."""

LARGEST_USER_ID = 2**63 - 1
_USER_ID = re.compile("[1-9][0-9]{0,18}")

PHRASE_BYTES = 60
"""The longest phrase, in bytes of UTF-8."""

RULE_BYTES = 100_000
"""The most that one rule may add to a tweet. A tweet has up to 50 KB and Kafka takes messages of 1 MB: a rule's fields
stand in it twice, and beside them those of others that hold.
"""


class Problem(NamedTuple):
    """A rule that is left out, and why."""

    rule_id: str
    value: str
    reason: str


class Facts(NamedTuple):
    """A rule set in figures: its version, its rules, and the predicates asked for."""

    rule_set: str
    rules: int
    predicates: int


class RuleSet(NamedTuple):
    """Rules that can be asked for on one connection, in order of rule_id, and the ones that cannot."""

    rules: list[dict[str, str]]
    problems: list[Problem]


def order(rule: Rule) -> tuple[int, int, str]:
    """Sorts by rule_id: numbers by their value, before everything else."""
    rule_id = str(rule.get("rule_id", ""))
    if rule_id.isascii() and rule_id.isdigit():
        # Not as int(), which refuses numbers of thousands of digits.
        digits = rule_id.lstrip("0")
        return (0, len(digits), digits)
    return (1, 0, rule_id)


def check(traptor_type: str, rules: Iterable[Rule]) -> RuleSet:
    """Keep what Twitter accepts on one connection; each rule that it would refuse, or that is too many, is a problem.

    The limit counts what is sent: a phrase that two rules share counts once.
    """
    kept: list[dict[str, str]] = []
    problems: list[Problem] = []
    asked: set[str] = set()
    for rule in rules:
        try:
            new = set(predicates(traptor_type, rule)) - asked
        except ValueError as error:
            problems.append(_problem(rule, str(error)))
            continue
        if len(asked) + len(new) > LIMITS[traptor_type]:
            problems.append(_problem(rule, f"over the limit of {LIMITS[traptor_type]} for {traptor_type}"))
            continue
        asked |= new
        kept.append(dict(rule))
    return RuleSet(kept, problems)


def _problem(rule: Rule, reason: str) -> Problem:
    return Problem(str(rule.get("rule_id", "")), str(rule.get("value", "")), reason)


def predicates(traptor_type: str, rule: Rule) -> list[str]:
    """What one rule asks of Twitter: its phrases, its user id, or its boxes. Raises ValueError saying what is wrong.

    A rule that would not fit a message is as wrong as one that Twitter would refuse.
    """
    value = rule.get("value")
    if not value or not value.strip():
        raise ValueError("has no value")
    if "\ufffd" in value:
        raise ValueError("is not UTF-8")
    if (size_bytes := _size_bytes(rule)) > RULE_BYTES:
        raise ValueError(f"has {size_bytes} bytes in all its fields; allowed are {RULE_BYTES}, for tweets carry them")
    return _PREDICATES[traptor_type](value)


def _size_bytes(rule: Rule) -> int:
    """As it stands in a tweet, where a sign has twelve bytes at most; 0 where it cannot be too much."""
    if 12 * sum(len(name) + len(str(value)) for name, value in rule.items()) <= RULE_BYTES:
        return 0
    return len(json.dumps(dict(rule)))


def _phrases(value: str) -> list[str]:
    found = phrases(value)
    if not found:
        raise ValueError("has no phrase, only commas")
    for phrase in found:
        length_bytes = len(phrase.encode("utf-8", "replace"))
        if length_bytes > PHRASE_BYTES:
            raise ValueError(f"phrase {phrase!r} has {length_bytes} bytes; allowed are 1 to {PHRASE_BYTES}")
    return found


def _user_id(value: str) -> list[str]:
    user_id = value.strip()
    if not _USER_ID.fullmatch(user_id) or int(user_id) > LARGEST_USER_ID:
        raise ValueError(f"is not a user id; allowed are 1 to {LARGEST_USER_ID}, no zeros before it, no screen name")
    return [user_id]


def _boxes(value: str) -> list[str]:
    return [",".join(f"{Decimal(str(number)).normalize():f}" for number in box) for box in parse_boxes(value)]


_PREDICATES = {"track": _phrases, "follow": _user_id, "locations": _boxes}


def join(traptor_type: str, rules: Iterable[Rule]) -> str:
    """The value that Twitter's request takes: every predicate once, in the order of the rules."""
    return ",".join(dict.fromkeys(one for rule in rules for one in predicates(traptor_type, rule)))


def count(traptor_type: str, rules: Iterable[Rule]) -> int:
    """How much of the limit these rules take: different predicates."""
    return len({one for rule in rules for one in predicates(traptor_type, rule)})


def facts(traptor_type: str, rules: Sequence[Rule]) -> Facts:
    return Facts(version(rules), len(rules), count(traptor_type, rules))
