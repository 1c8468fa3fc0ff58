"""A compiled rule set: which of its rules a tweet satisfies, and what the tweet gains by them."""

from collections.abc import Mapping, Sequence
from typing import Any

from traptor.tweets import fields
from traptor.tweets.blocks import Blocks
from traptor.tweets.matching import compile_rules
from traptor.tweets.rule import Match, Rule, version


class Enrichment:
    """The rules of one Traptor, in order, made ready once. A match names a rule by its place among ``rules``.

    ``match`` takes a Tweet; ``append`` takes its bytes, its ``created_at`` and its matches, and gives the bytes with
    the ``traptor`` object at their end. ``version`` is a short hash of the rules.
    """

    def __init__(self, traptor_type: str, traptor_id: int, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.rule_ids = [rule.get("rule_id", "") for rule in rules]
        self.version = version(rules)
        self.match = compile_rules(traptor_type, rules).match
        self._blocks = Blocks(traptor_type, traptor_id, rules, self.version)
        self.append = self._blocks.append

    @property
    def identity(self) -> dict[str, Any]:
        """What the ``traptor`` object says of the Traptor."""
        return dict(self._blocks.identity)

    def match_dict(self, tweet: Mapping[str, Any]) -> list[Match]:
        """The rules that a tweet satisfies which is given as a dict."""
        return self.match(fields.view(tweet))

    def told(self, matches: Sequence[Match]) -> dict[str, Any]:
        """What the ``traptor`` object says of these matches."""
        told: dict[str, Any] = fields.load(self._blocks.matched(matches))
        return told
