"""What a rule is to a tweet: a mapping, and where it holds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Rule = Mapping[str, str]
"""One rule: every field of its Redis hash, ``rule_id``, ``value`` and ``tag`` among them."""


class Match(NamedTuple):
    """A rule that holds: its place in the rule set, and the fields of the tweet in which it holds."""

    position: int
    fields: tuple[str, ...]


def version(rules: Sequence[Rule]) -> str:
    """A short hash of a rule set's content."""
    content = json.dumps([sorted(rule.items()) for rule in rules])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]
