"""Which Traptor has which rule: planned from plain values, within Twitter's limits, with as few moves as possible."""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, count
from typing import NamedTuple

from traptor.rules import loading
from traptor.rules.checked import LIMITS, order, predicates
from traptor.tweets.rule import Rule


class Place(NamedTuple):
    """Where a rule stands: the id of its Traptor, and the rule_id that ends its key, whatever its hash may say."""

    traptor_id: int
    rule_id: str


class Change(NamedTuple):
    """What happens to one rule: added, changed, moved or removed.

    ``at`` is where it is afterwards, or was when removed; ``was`` is where it comes from, if elsewhere.
    """

    kind: str
    at: Place
    rule: Rule
    was: Place | None = None


class Homeless(NamedTuple):
    """A rule that needs a place: the rule_id it would like, the place it had, if any, and where Redis has it."""

    rule_id: str
    rule: Rule
    was: Place | None = None
    stored_at: Place | None = None


Matches = Callable[[Collection[int]], Mapping[Place, float]]
"""What the rules of these Traptors have matched within the window; those that have not are left out."""


class Shard:
    """The rules of one Traptor by rule_id, and what they use of its limit."""

    def __init__(
        self, traptor_type: str, traptor_id: int, limit: int | None = None, rules: Mapping[str, Rule] | None = None
    ) -> None:
        self.traptor_id = traptor_id
        self.limit = LIMITS[traptor_type] if limit is None else limit
        self.rules = dict(rules or {})
        self.matches = 0.0
        """Matches of its rules within the window, once they are counted."""
        self._type = traptor_type
        self._asked = Counter(asked for rule in self.rules.values() for asked in set(_predicates(traptor_type, rule)))

    @property
    def used(self) -> int:
        """How many predicates Twitter counts: one that two rules share counts once."""
        return len(self._asked)

    @property
    def is_full(self) -> bool:
        return self.used >= self.limit

    def takes(self, rule: Rule) -> bool:
        """Is there room for it?"""
        new = {asked for asked in _predicates(self._type, rule) if asked not in self._asked}
        return self.used + len(new) <= self.limit

    def add(self, rule_id: str, rule: Rule, matches: float = 0.0) -> None:
        self.rules[rule_id] = rule
        self.matches += matches
        # As Counter.update would, which takes half a microsecond to see what it was given.
        for asked in set(_predicates(self._type, rule)):
            self._asked[asked] += 1

    def remove(self, rule_id: str, matches: float = 0.0) -> Rule:
        rule = self.rules.pop(rule_id)
        self.matches -= matches
        for asked in set(_predicates(self._type, rule)):
            self._asked[asked] -= 1
            if not self._asked[asked]:
                del self._asked[asked]
        return rule

    def excess(self) -> list[str]:
        """The rules that its Traptor leaves out because they are too many: the last ones in order of rule_id."""
        if self.used <= self.limit:
            return []
        kept = Shard(self._type, self.traptor_id, self.limit)
        too_many = []
        for rule_id, rule in sorted(self.rules.items(), key=lambda held: order(held[1])):
            if kept.takes(rule):
                kept.add(rule_id, rule)
            else:
                too_many.append(rule_id)
        return too_many


def _predicates(traptor_type: str, rule: Rule) -> list[str]:
    """What a rule asks for; a rule that Twitter would refuse is never asked for."""
    try:
        return predicates(traptor_type, rule)
    except ValueError:
        return []


def is_valid(traptor_type: str, rule: Rule) -> bool:
    """May one connection ask for it?"""
    return 0 < len(set(_predicates(traptor_type, rule))) <= LIMITS[traptor_type]


class Shards:
    """All rules of one type, by Traptor and rule_id. ``living`` are the Traptors that collect, or try to.

    The ``hampered`` among them do not collect now, and get new rules last. ``limits`` are those of Traptors that have
    another than their type. ``matches`` are asked for of those between which they decide, once there is something to
    decide. Methods that plan change the shards, so that one plan goes on from the one before.
    """

    def __init__(
        self,
        traptor_type: str,
        rules: Mapping[int, Mapping[str, Rule]],
        living: Iterable[int] = (),
        matches: Matches = lambda _: {},
        *,
        hampered: Iterable[int] = (),
        limits: Mapping[int, int] | None = None,
    ) -> None:
        self.traptor_type = traptor_type
        self.living = frozenset(living)
        self._hampered = frozenset(hampered)
        self.by_id = {
            traptor_id: Shard(traptor_type, traptor_id, (limits or {}).get(traptor_id), rules.get(traptor_id))
            for traptor_id in sorted({*rules, *self.living})
        }
        self._first_open = 0
        self._stored = rules
        self._stored_at: dict[Place, Place] = {}
        """Of rules that have got another place: where Redis has them."""
        self._ask_matches = matches
        self._counted: set[int] = set()
        self._matches: dict[Place, float] = {}
        self._expected = 1.0
        """A rule without a count, as every new one, is expected to match as often as the average of those counted."""

    def count_matches(self, traptor_ids: Iterable[int]) -> None:
        """Know what the rules of these Traptors match."""
        if not (uncounted := {*traptor_ids} - self._counted):
            return
        self._counted |= uncounted
        self._matches |= self._ask_matches(uncounted)
        if stored := sum(len(self._stored.get(traptor_id, ())) for traptor_id in self._counted):
            self._expected = sum(self._matches.values()) / stored if self._matches else 1.0
        for shard in map(self.by_id.__getitem__, self._counted):
            shard.matches = sum(self._matches_of(Place(shard.traptor_id, rule_id)) for rule_id in shard.rules)

    def estimated(self, traptor_id: int) -> bool:
        """Is a part of the matches of its rules expected, not counted?"""
        return any(Place(traptor_id, rule_id) not in self._matches for rule_id in self._stored.get(traptor_id, ()))

    def _matches_of(self, place: Place) -> float:
        return self._matches.get(self._stored_at.get(place, place), self._expected)

    def load(
        self, rules: Sequence[Rule], *, prune: bool = False, spared: Collection[str] = (), keep_fields: bool = False
    ) -> list[Change]:
        """What makes Redis hold these rules: those it has stay where they are, new ones fill living Traptors evenly.

        A rule without a rule_id keeps that which it has in Redis, or gets one made from its value. What no living
        Traptor has room for fills the others, then new ones. With ``prune`` what is not among them goes, but for the
        ``spared`` rule_ids. With ``keep_fields`` a rule keeps the fields that are not named.
        """
        found = self._find(rules)
        removed = self._prune(set(found.values()), spared) if prune else []
        changed: list[Change] = []
        homeless: list[Homeless] = []
        for number, rule in enumerate(rules):
            was = found.get(number)
            one = self._renewed(was, rule, keep_fields=keep_fields) if was else self._new(rule)
            if one and was and self.by_id[was.traptor_id].takes(one.rule):
                at = Place(was.traptor_id, one.rule_id)
                self._add(at, one.rule, one.stored_at)
                changed.append(Change("changed", at, one.rule, None if at == was else was))
            elif one:
                homeless.append(one)
        for one, target in zip(homeless, list(self._place(homeless)), strict=True):
            at = target or self._place_beyond(one)
            rule = {**one.rule, "rule_id": one.rule["rule_id"] or at.rule_id}
            changed.append(Change("changed" if one.was else "added", at, rule, one.was))
        return removed + changed

    def _prune(self, kept: Set[Place], spared: Collection[str]) -> list[Change]:
        return self.remove([at for at, _ in self.held() if at not in kept and at.rule_id not in spared])

    def _new(self, rule: Rule) -> Homeless:
        return Homeless(rule["rule_id"] or loading.content_id(rule["value"]), rule)

    def _renewed(self, was: Place, rule: Rule, *, keep_fields: bool) -> Homeless | None:
        """A rule as it is to be, taken from its place; None, and left there, if nothing changes.

        What its hash calls itself changes with its key alone.
        """
        held = self.by_id[was.traptor_id].rules[was.rule_id]
        rule_id = rule["rule_id"] or was.rule_id
        named = held.get("rule_id", rule_id) if rule_id == was.rule_id else rule_id
        new = {**(held if keep_fields else {}), **rule, "rule_id": named}
        return None if new == held else Homeless(rule_id, new, was, self._remove(was)[1])

    def _find(self, rules: Sequence[Rule]) -> dict[int, Place]:
        """Where Redis has these rules, by their position; no place is found twice.

        A rule is the one of the same rule_id and value, or else of the same rule_id, or else of the same value.
        """
        found = self._find_unchanged(rules)
        if left := {number: rule for number, rule in enumerate(rules) if number not in found}:
            found |= self._find_changed(left, set(found.values()))
        return found

    def _find_unchanged(self, rules: Sequence[Rule]) -> dict[int, Place]:
        """Those of which Redis has both rule_id and value: all of them, where a source is loaded again."""
        numbers = {rule["rule_id"]: number for number, rule in enumerate(rules) if rule["rule_id"]}
        found: dict[int, Place] = {}
        for traptor_id, shard in self.by_id.items():
            for rule_id in shard.rules.keys() & numbers.keys():
                number = numbers[rule_id]
                value = shard.rules[rule_id].get("value", "")
                if number not in found and loading.same(value) == loading.same(rules[number]["value"]):
                    found[number] = Place(traptor_id, rule_id)
        return found

    def _find_changed(self, rules: Mapping[int, Rule], taken: Set[Place]) -> dict[int, Place]:
        """Those of which Redis has the rule_id or the value, of rules that are not taken."""
        wanted = {number: (rule["rule_id"], loading.same(rule["value"])) for number, rule in rules.items()}
        rule_ids, values = ({one[part] for one in wanted.values()} - {""} for part in (0, 1))
        free = {
            place: (rule_id, value)
            for traptor_id, shard in self.by_id.items()
            for rule_id, rule in shard.rules.items()
            if ((value := loading.same(rule.get("value", ""))) in values or rule_id in rule_ids)
            and (place := Place(traptor_id, rule_id)) not in taken
        }
        found: dict[int, Place] = {}
        for part in (0, 1):
            places: dict[str, list[Place]] = defaultdict(list)
            for place, known_by in free.items():
                places[known_by[part]].append(place)
            for number, looked_for in list(wanted.items()):
                if looked_for[part] and (candidates := places.get(looked_for[part])):
                    found[number] = candidates.pop(0)
                    del free[found[number]], wanted[number]
        return found

    def held(self) -> Iterator[tuple[Place, Rule]]:
        """Every rule, and where it is."""
        for traptor_id, shard in self.by_id.items():
            for rule_id, rule in shard.rules.items():
                yield Place(traptor_id, rule_id), rule

    def remove(self, places: Iterable[Place]) -> list[Change]:
        """What removes these rules."""
        return [Change("removed", place, self._remove(place)[0]) for place in places]

    def places(self, rule_id: str) -> list[Place]:
        """Where a rule_id is; usually one place, but the original's scheme lets each Traptor have its own."""
        return [Place(traptor_id, rule_id) for traptor_id, shard in self.by_id.items() if rule_id in shard.rules]

    def rebalance(self, gone: Iterable[int] = ()) -> tuple[list[Change], list[Place]]:
        """Moves for the rules of Traptors that are gone, and of those over their limit; every other rule stays.

        Hot rules are placed first, each where the matches are fewest. Also returns the orphans: the rules that no
        living Traptor has room for; they stay where they are.
        """
        gone = set(gone)
        leaving = [
            Place(traptor_id, rule_id)
            for traptor_id, shard in self.by_id.items()
            for rule_id in (list(shard.rules) if traptor_id in gone else shard.excess())
            if is_valid(self.traptor_type, shard.rules[rule_id])
        ]
        if leaving:
            self.count_matches(self.by_id)
        leaving.sort(
            key=lambda place: (-self._matches_of(place), order(self.by_id[place.traptor_id].rules[place.rule_id]))
        )
        homeless = [self._leaving(place) for place in leaving]
        moves: list[Change] = []
        orphans: list[Place] = []
        for one, target in zip(homeless, list(self._place(homeless)), strict=True):
            assert one.was
            if target:
                moves.append(Change("moved", target, one.rule, one.was))
            else:
                self._add(one.was, one.rule, one.stored_at)
                orphans.append(one.was)
        return moves, orphans

    def spread(self) -> list[Change]:
        """The fewest moves after which no Traptor that collects has room for what another has too much of.

        From the fullest to the emptiest; a hot rule while that does not make the other the busier one.
        """
        collecting = [self.by_id[traptor_id] for traptor_id in sorted(self.living - self._hampered)]
        self.count_matches(shard.traptor_id for shard in collecting)
        left = {shard.traptor_id: self._hottest_first(shard) for shard in collecting}
        moves = []
        while len(collecting) > 1:
            full = max(collecting, key=lambda shard: shard.used)
            empty = min(collecting, key=lambda shard: shard.used)
            if full.used - empty.used < 2 or not left[full.traptor_id]:
                break
            is_busier = full.matches - empty.matches > 2 * left[full.traptor_id][0][0]
            _, rule_id = left[full.traptor_id].popleft() if is_busier else left[full.traptor_id].pop()
            rule = full.rules[rule_id]
            if len(_predicates(self.traptor_type, rule)) < full.used - empty.used and empty.takes(rule):
                was = Place(full.traptor_id, rule_id)
                moves.append(Change("moved", self._settle(self._leaving(was), empty.traptor_id), rule, was))
        return moves

    def _hottest_first(self, shard: Shard) -> deque[tuple[float, str]]:
        """Matches and rule_id of each rule that one connection may ask for."""
        matches = {rule_id: self._matches_of(Place(shard.traptor_id, rule_id)) for rule_id in shard.rules}
        valid = [rule_id for rule_id in shard.rules if is_valid(self.traptor_type, shard.rules[rule_id])]
        return deque(sorted(((matches[rule_id], rule_id) for rule_id in valid), reverse=True))

    def bring_home(self, homes: Mapping[Place, Place]) -> list[Change]:
        """Moves that take rules back to where they came from, if that Traptor collects and has room."""
        moves = []
        for was, home in homes.items():
            rule = self.by_id[was.traptor_id].rules.get(was.rule_id) if was.traptor_id in self.by_id else None
            if rule and home.traptor_id in self.living - self._hampered and self.by_id[home.traptor_id].takes(rule):
                at = self._free_place(home.traptor_id, home.rule_id, rule)
                self._add(at, *self._remove(was))
                moves.append(Change("moved", at, rule, was))
        return moves

    def _place(self, homeless: Collection[Homeless]) -> Iterator[Place | None]:
        """Where each rule goes: to the living Traptor with the fewest matches, then rules, that takes it.

        The hampered get only what the others do not take.
        """
        if not homeless:
            return
        with_room = [shard for shard in map(self.by_id.__getitem__, self.living) if not shard.is_full]
        from_elsewhere = {one.stored_at.traptor_id for one in homeless if one.stored_at}
        self.count_matches({shard.traptor_id for shard in with_room} | from_elsewhere)
        heap = [
            (shard.traptor_id in self._hampered, shard.matches, shard.used, shard.traptor_id) for shard in with_room
        ]
        heapq.heapify(heap)
        for one in homeless:
            passed_over = []
            target = None
            while heap and target is None:
                best = heapq.heappop(heap)
                if self.by_id[best[-1]].takes(one.rule):
                    target = self._settle(one, best[-1])
                else:
                    passed_over.append(best)
            if target:
                shard = self.by_id[target.traptor_id]
                if not shard.is_full:
                    is_hampered = target.traptor_id in self._hampered
                    heapq.heappush(heap, (is_hampered, shard.matches, shard.used, target.traptor_id))
            for entry in passed_over:
                heapq.heappush(heap, entry)
            yield target

    def _place_beyond(self, one: Homeless) -> Place:
        """Put a rule on the first Traptor that takes it though it does not live, or on a new one."""
        for traptor_id in count(self._first_open):
            shard = self.by_id.setdefault(traptor_id, Shard(self.traptor_type, traptor_id))
            if traptor_id in self.living or shard.is_full:
                self._first_open += traptor_id == self._first_open
            elif shard.takes(one.rule):
                break
        return self._settle(one, traptor_id)

    def _settle(self, one: Homeless, traptor_id: int) -> Place:
        place = self._free_place(traptor_id, one.rule_id, one.rule)
        self._add(place, one.rule, one.stored_at)
        return place

    def _free_place(self, traptor_id: int, rule_id: str, rule: Rule) -> Place:
        """With this rule_id, or one made from the rule's value where another rule has or had it."""
        made = loading.content_id(rule.get("value", ""))
        stored, held = self._stored.get(traptor_id, {}), self.by_id[traptor_id].rules
        rule_ids = chain([rule_id, made], (f"{made}-{n}" for n in count(2)))
        return Place(traptor_id, next(one for one in rule_ids if one not in stored and one not in held))

    def _leaving(self, place: Place) -> Homeless:
        rule, stored_at = self._remove(place)
        return Homeless(place.rule_id, rule, place, stored_at)

    def _add(self, place: Place, rule: Rule, stored_at: Place | None) -> None:
        if stored_at:
            self._stored_at[place] = stored_at
        self.by_id[place.traptor_id].add(place.rule_id, rule, self._matches_of(place))

    def _remove(self, place: Place) -> tuple[Rule, Place]:
        """The rule that is there, and where Redis has it."""
        rule = self.by_id[place.traptor_id].remove(place.rule_id, self._matches_of(place))
        return rule, self._stored_at.pop(place, place)


def needed(traptor_type: str, rules: Iterable[Rule]) -> tuple[int, int]:
    """How many predicates these rules ask for, shared ones once, and how many Traptors loading them fills."""
    limit = LIMITS[traptor_type]
    every: set[str] = set()
    filled: list[set[str]] = []
    first_open = 0
    for rule in rules:
        asked = set(_predicates(traptor_type, rule))
        if not 0 < len(asked) <= limit:
            continue
        every |= asked
        while first_open < len(filled) and len(filled[first_open]) >= limit:
            first_open += 1
        open_ones = (one for one in filled[first_open:] if len(one) < limit and len(one) + len(asked - one) <= limit)
        if (taking := next(open_ones, None)) is None:
            filled.append(asked)
        else:
            taking |= asked
    return len(every), len(filled)
