"""The ``traptor`` object that a tweet gains, made of pieces that are serialised once for each rule."""

import functools
from collections.abc import Sequence
from typing import Any

from traptor.tweets.fields import dump
from traptor.tweets.rule import Match, Rule
from traptor.tweets.times import iso_time_or_none

MARK = "already_brought_by"
"""The field that names the Traptor of the fleet which has brought the same tweet before."""


class Blocks:
    """Makes the ``traptor`` object. Each rule is serialised once, here."""

    def __init__(self, traptor_type: str, traptor_id: int, rules: Sequence[Rule], rule_set: str) -> None:
        self.identity = {
            "id": traptor_id,
            "id_str": str(traptor_id),
            "rule_type": traptor_type,
            "rule_set": rule_set,
        }
        own = {*self.identity, "created_at_iso", "rule_tag", "rule_value", "rules", MARK}
        self._head = b',"traptor":' + dump(self.identity)[:-1] + b',"created_at_iso":'
        self._flat = [
            dump(
                {
                    "rule_tag": rule.get("tag", ""),
                    "rule_value": rule.get("value", ""),
                    **{name: value for name, value in rule.items() if name not in own},
                }
            )[:-1]
            for rule in rules
        ]
        self._listed = [_listed(rule) for rule in rules]

    def matched(self, matches: Sequence[Match]) -> bytes:
        """What tells of the rules that hold: the flat fields of the last one, and the list of all."""
        if not matches:
            return b'{"rule_tag":"Not Found","rule_value":"Not Found","rules":[]}'
        listed = b",".join([self._listed[index] + _quoted(fields) + b"]}" for index, fields in matches])
        return self._flat[matches[-1].position] + b',"rules":[' + listed + b"]}"

    def append(self, raw: bytes, created_at: str | None, matches: Sequence[Match]) -> bytes:
        """Twitter's bytes of a tweet, untouched but for the object appended before their last brace."""
        return b"".join((raw[:-1], self._head, _time(created_at), self.matched(matches)[1:], b"}"))


def mark(enriched: bytes, name: str | None) -> bytes:
    """An enriched tweet that the Traptor of this name has brought before, if one has."""
    return enriched if name is None else b"".join((enriched[:-2], b',"%s":' % MARK.encode(), dump(name), b"}}"))


def mark_dict(enriched: Any, name: str | None) -> Any:
    """As ``mark``, of one that is given as a dict; whoever enriches in our place may have made something else."""
    if name is None or not isinstance(enriched, dict) or not isinstance(enriched.get("traptor"), dict):
        return enriched
    return {**enriched, "traptor": {**enriched["traptor"], MARK: name}}


@functools.lru_cache(maxsize=1000)
def _time(created_at: str | None) -> bytes:
    """As it stands in JSON, with a comma. Where tweets are many, many are of the same second."""
    iso = iso_time_or_none(created_at)
    return f'"{iso}",'.encode() if iso else b"null,"


def _listed(rule: Rule) -> bytes:
    """A rule as it stands in ``rules``, up to the inside of ``matched_in``, which comes last and is ours."""
    return dump({**{name: value for name, value in rule.items() if name != "matched_in"}, "matched_in": []})[:-2]


@functools.cache
def _quoted(fields: tuple[str, ...]) -> bytes:
    """The fields as the inside of a JSON list. There are few different ones."""
    return dump(list(fields))[1:-1]
