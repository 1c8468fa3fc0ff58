"""What a rule is to a tweet: a mapping, and where it holds."""

from collections.abc import Mapping
from typing import NamedTuple

Rule = Mapping[str, str]
"""One rule: every field of its Redis hash, ``rule_id``, ``value`` and ``tag`` among them."""


class Match(NamedTuple):
    """A rule that holds: its place in the rule set, and the fields of the tweet in which it holds."""

    position: int
    fields: tuple[str, ...]
