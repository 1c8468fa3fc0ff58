"""Which Traptor has which rule: planned from plain values, within Twitter's limits, with as few moves as possible."""

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from traptor import loading
from traptor.messages import Rule
from traptor.rules import LIMITS, order, predicates


class Change(NamedTuple):
    """What happens to one rule: added, changed, moved or removed.

    ``traptor_id`` is where it is afterwards, or was when removed; ``was_at`` is where it comes from, if elsewhere.
    """

    kind: str
    traptor_id: int
    rule: Rule
    was_at: int | None = None


class Shard:
    """The rules of one Traptor, and what they use of its limit."""

    def __init__(self, traptor_type: str, traptor_id: int) -> None:
        self.traptor_id = traptor_id
        self.rules: dict[str, Rule] = {}
        self.matches = 0.0
        """Matches of its rules within the window."""
        self._type = traptor_type
        self._asked: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """How many predicates Twitter counts: one that two rules share counts once."""
        return len(self._asked)

    @property
    def is_full(self) -> bool:
        return self.used >= LIMITS[self._type]

    def takes(self, rule: Rule) -> bool:
        """Is there room for it, and no other rule of its rule_id?"""
        new = {asked for asked in _predicates(self._type, rule) if asked not in self._asked}
        return rule["rule_id"] not in self.rules and self.used + len(new) <= LIMITS[self._type]

    def add(self, rule: Rule, matches: float = 0.0) -> None:
        self.rules[rule["rule_id"]] = rule
        self.matches += matches
        self._asked.update(set(_predicates(self._type, rule)))

    def remove(self, rule_id: str, matches: float = 0.0) -> Rule:
        rule = self.rules.pop(rule_id)
        self.matches -= matches
        for asked in set(_predicates(self._type, rule)):
            self._asked[asked] -= 1
            if not self._asked[asked]:
                del self._asked[asked]
        return rule

    def excess(self) -> list[Rule]:
        """The rules that its Traptor leaves out because they are too many: the last ones in order of rule_id."""
        kept = Shard(self._type, self.traptor_id)
        too_many = []
        for rule in sorted(self.rules.values(), key=order):
            if kept.takes(rule):
                kept.add(rule)
            else:
                too_many.append(rule)
        return too_many


def _predicates(traptor_type: str, rule: Rule) -> list[str]:
    """What a rule asks for; a rule that Twitter would refuse is never asked for."""
    try:
        return predicates(traptor_type, rule)
    except ValueError:
        return []


def is_valid(traptor_type: str, rule: Rule) -> bool:
    return bool(_predicates(traptor_type, rule))


class Shards:
    """All rules of one type. ``living`` are the Traptors that collect; ``matches`` the counts of rules by rule_id.

    Methods that plan change the shards, so that one plan goes on from the one before.
    """

    def __init__(
        self,
        traptor_type: str,
        rules: Mapping[int, Sequence[Rule]],
        living: Iterable[int] = (),
        matches: Mapping[str, float] | None = None,
    ) -> None:
        self.traptor_type = traptor_type
        self.living = frozenset(living)
        self.by_id = {traptor_id: Shard(traptor_type, traptor_id) for traptor_id in sorted({*rules, *self.living})}
        self._matches = matches or {}
        self._first_open = 0
        total = sum(map(len, rules.values()))
        # A rule without a count, as every new one, is expected to match as often as the average.
        self._expected = sum(self._matches.values()) / total if total and self._matches else 1.0
        for traptor_id, its_rules in rules.items():
            for rule in its_rules:
                self._add(traptor_id, rule)

    def load(self, rules: Iterable[Rule], *, prune: bool = False, spared: Collection[str] = ()) -> list[Change]:
        """What makes Redis hold these rules: those it has stay where they are, new ones fill living Traptors evenly.

        A rule without a rule_id takes that of the rule with the same value, or else one made from its value. What no
        living Traptor has room for fills the others, then new ones. With ``prune`` what is not among them goes, but for
        the ``spared`` rule_ids.
        """
        known = _Known(self)
        wanted = [(known.find(rule), rule) for rule in rules]
        kept = {found for found, _ in wanted if found}
        pruned = [found for found in known.places() if prune and found not in kept and found[1] not in spared]
        removed = [Change("removed", *self._remove(*found)) for found in pruned]
        changed: list[Change] = []
        homeless: list[tuple[Rule, int | None]] = []
        for found, rule in wanted:
            new = {**rule, "rule_id": rule["rule_id"] or (found[1] if found else loading.content_id(rule["value"]))}
            if not found:
                homeless.append((new, None))
            elif self.by_id[found[0]].rules[found[1]] != new:
                self._remove(*found)
                if self.by_id[found[0]].takes(new):
                    self._add(found[0], new)
                    changed.append(Change("changed", found[0], new))
                else:
                    homeless.append((new, found[0]))
        for (rule, was_at), target in zip(homeless, list(self._place(rule for rule, _ in homeless)), strict=True):
            at = self._place_beyond(rule) if target is None else target
            changed.append(Change("added", at, rule) if was_at is None else Change("changed", at, rule, was_at))
        return removed + changed

    def remove(self, rule_ids: Collection[str]) -> list[Change]:
        """What removes these rules, wherever they are."""
        found = [(i, rule_id) for i, shard in self.by_id.items() for rule_id in rule_ids if rule_id in shard.rules]
        return [Change("removed", *self._remove(*each)) for each in found]

    def rebalance(self, gone: Iterable[int] = ()) -> tuple[list[Change], list[Rule]]:
        """Moves for the rules of Traptors that are gone, and of those over their limit; every other rule stays.

        Hot rules are placed first, each where the matches are fewest. Also returns the orphans: the rules that no
        living Traptor has room for; they stay where they are.
        """
        gone = set(gone)
        homeless: list[tuple[int, Rule]] = []
        for traptor_id, shard in self.by_id.items():
            leaving = list(shard.rules.values()) if traptor_id in gone else shard.excess()
            homeless += [(traptor_id, rule) for rule in leaving if is_valid(self.traptor_type, rule)]
        homeless.sort(key=lambda placed: (-self._heat(placed[1]["rule_id"]), order(placed[1])))
        for traptor_id, rule in homeless:
            self._remove(traptor_id, rule["rule_id"])
        moves: list[Change] = []
        orphans: list[Rule] = []
        for (was_at, rule), target in zip(homeless, list(self._place(rule for _, rule in homeless)), strict=True):
            if target is None:
                self._add(was_at, rule)
                orphans.append(rule)
            else:
                moves.append(Change("moved", target, rule, was_at))
        return moves, orphans

    def bring_home(self, homes: Mapping[str, int]) -> list[Change]:
        """Moves that take rules, by rule_id, back to where they came from, if that Traptor lives and has room."""
        moves = []
        for traptor_id, shard in self.by_id.items():
            for rule_id, rule in list(shard.rules.items()):
                home = homes.get(rule_id, traptor_id)
                if home != traptor_id and home in self.living and self.by_id[home].takes(rule):
                    self._remove(traptor_id, rule_id)
                    self._add(home, rule)
                    moves.append(Change("moved", home, rule, traptor_id))
        return moves

    def _place(self, rules: Iterable[Rule]) -> Iterator[int | None]:
        """Where each rule goes: to the living Traptor with the fewest matches, then rules, that takes it."""
        heap = [
            (shard.matches, shard.used, traptor_id)
            for traptor_id, shard in self.by_id.items()
            if traptor_id in self.living and not shard.is_full
        ]
        heapq.heapify(heap)
        for rule in rules:
            passed_over = []
            target = None
            while heap and target is None:
                best = heapq.heappop(heap)
                if self.by_id[best[-1]].takes(rule):
                    target = best[-1]
                else:
                    passed_over.append(best)
            if target is not None:
                self._add(target, rule)
                shard = self.by_id[target]
                if not shard.is_full:
                    heapq.heappush(heap, (shard.matches, shard.used, target))
            for entry in passed_over:
                heapq.heappush(heap, entry)
            yield target

    def _place_beyond(self, rule: Rule) -> int:
        """Put a rule on the first Traptor that takes it though it does not live, or on a new one."""
        for traptor_id in count(self._first_open):
            shard = self.by_id.setdefault(traptor_id, Shard(self.traptor_type, traptor_id))
            if traptor_id in self.living or shard.is_full:
                self._first_open += traptor_id == self._first_open
            elif shard.takes(rule):
                break
        self._add(traptor_id, rule)
        return traptor_id

    def _add(self, traptor_id: int, rule: Rule) -> None:
        self.by_id[traptor_id].add(rule, self._heat(rule["rule_id"]))

    def _remove(self, traptor_id: int, rule_id: str) -> tuple[int, Rule]:
        return traptor_id, self.by_id[traptor_id].remove(rule_id, self._heat(rule_id))

    def _heat(self, rule_id: str) -> float:
        return self._matches.get(rule_id, self._expected)


class _Known:
    """The rules that Redis has, found by value or by rule_id; a place is a Traptor's id and a rule_id."""

    def __init__(self, shards: Shards) -> None:
        self._by_value: dict[str, tuple[int, str]] = {}
        self._by_rule_id: dict[str, tuple[int, str]] = {}
        for traptor_id, shard in shards.by_id.items():
            for rule_id, rule in shard.rules.items():
                self._by_value.setdefault(loading.same(rule.get("value", "")), (traptor_id, rule_id))
                self._by_rule_id.setdefault(rule_id, (traptor_id, rule_id))
        self._places = [(i, r) for i, shard in shards.by_id.items() for r in shard.rules]

    def find(self, rule: Rule) -> tuple[int, str] | None:
        """Where Redis has this rule: the one of its rule_id if that is given, else the one of its value."""
        found = self._by_value.get(loading.same(rule["value"]))
        if found and rule["rule_id"] in {"", found[1]}:
            return found
        return self._by_rule_id.get(rule["rule_id"] or loading.content_id(rule["value"]))

    def places(self) -> list[tuple[int, str]]:
        return self._places


def needed(traptor_type: str, rules: Iterable[Rule]) -> tuple[int, int]:
    """How many predicates these rules ask for, shared ones once, and how many Traptors that takes at least."""
    asked = {one for rule in rules for one in _predicates(traptor_type, rule)}
    return len(asked), math.ceil(len(asked) / LIMITS[traptor_type])
