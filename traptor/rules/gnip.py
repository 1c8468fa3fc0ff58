"""GNIP's PowerTrack rules in the words of statuses/filter; what it cannot express is said, never dropped."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

MOST_CLAUSES = 400
"""More alternatives than one connection takes phrases are not written out."""
_KM_PER_DEGREE = 111.32
_KM_PER_MILE = 1.609344
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>-?\(|\))
          |(?P<minus>-?)(?:(?P<name>[a-z_]+):\s*)?(?:"(?P<quoted>[^"]*)"(?P<near>~\d+)?|\[(?P<bracket>[^\]]*)\]|(?P<bare>[^\s()"]+))
          |(?P<odd>\S))""",
    re.VERBOSE,
)


class Term(NamedTuple):
    """One word or operator of a rule. ``name`` is the operator's, or empty for a keyword."""

    name: str
    value: str
    negated: bool = False


class Untranslatable(ValueError):
    """Says what in a rule statuses/filter has no words for; ``rule_id`` is its own, if it has one."""

    rule_id: Any = None


def rules(ruleset: Iterable[Any]) -> Iterator[tuple[int, str, dict[str, Any] | Untranslatable]]:
    """For each ``{"value": …, "tag": …}`` its number from 1, its value, and it in our words, or why there are none.

    A rule that speaks of several types, users or regions comes once for each, always with its tag.
    """
    for number, rule in enumerate(ruleset, start=1):
        fields = rule if isinstance(rule, dict) else {}
        rule_id = fields.get("id_str") or fields.get("id")
        given = fields.get("value")
        try:
            if not isinstance(given, str):
                raise Untranslatable("is no object with a value")
            found = translate(given)
        except Untranslatable as error:
            error.rule_id = rule_id
            yield number, given if isinstance(given, str) else json.dumps(rule)[:100], error
            continue
        named = {"rule_id": rule_id} if len(found) == 1 else {}
        for traptor_type, value in found:
            yield number, given, {"type": traptor_type, "value": value, "tag": fields.get("tag"), **named}


def translate(value: str) -> list[tuple[str, str]]:
    """Type and value of each rule that together find what this one does. Raises Untranslatable.

    Alternatives of words become one track rule with commas between them; each ``from:`` and each region is a rule.
    A quoted phrase becomes its words, which also stand in another order: the service had no exact phrases.
    """
    phrases: list[str] = []
    found: list[tuple[str, str]] = []
    for clause in _Parser(value).clauses():
        traptor_type, predicate = _predicate(clause)
        if traptor_type == "track":
            phrases.append(predicate)
        else:
            found.append((traptor_type, predicate))
    return [*([("track", ",".join(dict.fromkeys(phrases)))] if phrases else []), *dict.fromkeys(found)]


def _predicate(clause: list[Term]) -> tuple[str, str]:
    for term in clause:
        if term.negated:
            raise Untranslatable(f"excludes {_shown(term)}, and statuses/filter excludes nothing")
        if term.name not in _OPERATORS:
            raise Untranslatable(f"{term.name}: has no counterpart in statuses/filter")
    traptor_type = _OPERATORS[clause[0].name]
    if traptor_type == "track" and all(_OPERATORS[term.name] == "track" for term in clause):
        return "track", " ".join(_words(term) for term in clause)
    if len(clause) > 1:
        together = " and ".join(_shown(term) for term in clause)
        raise Untranslatable(f"wants {together} at once; statuses/filter knows only one or the other")
    return traptor_type, _SINGLE[clause[0].name](clause[0].value)


def _shown(term: Term) -> str:
    return f"{term.name}:{term.value}" if term.name else repr(term.value)


def _words(term: Term) -> str:
    """A comma inside a term would begin another phrase."""
    return " ".join(term.value.replace(",", " ").split())


def _user_id(value: str) -> str:
    if not (value.isascii() and value.isdigit()):
        raise Untranslatable(f"from:{value} is a screen name; follow takes the user's numeric id")
    return value


def _box(value: str) -> str:
    return ",".join(value.replace(",", " ").split())


def _circle(value: str) -> str:
    """The box around a circle, which is ``longitude latitude radius``, such as ``-105.27 40.01 25mi``."""
    found = re.fullmatch(r"([-+.\d]+)[\s,]+([-+.\d]+)[\s,]+([.\d]+) *(mi|km)", value)
    try:
        longitude, latitude, radius = map(float, found.groups()[:3] if found else ())
    except ValueError:
        raise Untranslatable(f"point_radius:[{value}] is not longitude, latitude and a radius in mi or km") from None
    north = radius * (_KM_PER_MILE if value.endswith("mi") else 1.0) / _KM_PER_DEGREE
    if abs(latitude) + north >= 90:
        raise Untranslatable(f"point_radius:[{value}] reaches over a pole")
    east = north / math.cos(math.radians(latitude))
    corners = (longitude - east, latitude - north, longitude + east, latitude + north)
    return ",".join(f"{number:.6f}" for number in corners)


_OPERATORS = {
    "": "track",
    "url_contains": "track",
    "from": "follow",
    "bounding_box": "locations",
    "point_radius": "locations",
}
_SINGLE = {"from": _user_id, "bounding_box": _box, "point_radius": _circle}


class _Parser:
    """PowerTrack's grammar: a blank is AND and binds before OR; parentheses group."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))

    def clauses(self) -> list[list[Term]]:
        """The rule as alternatives, each a list of terms that must all hold. Raises Untranslatable."""
        try:
            found = self._alternatives()
        except RecursionError:
            raise Untranslatable("is nested too deeply") from None
        if self._tokens:
            raise Untranslatable("has a ) without its (")
        return found

    def _alternatives(self) -> list[list[Term]]:
        found = self._together()
        while self._tokens and self._tokens[0] == "OR":
            del self._tokens[0]
            found += self._together()
        return found

    def _together(self) -> list[list[Term]]:
        factors = []
        while self._tokens and self._tokens[0] not in {")", "OR"}:
            factors.append(self._factor())
        if not factors:
            raise Untranslatable("has an empty place where a term should be")
        if math.prod(map(len, factors)) > MOST_CLAUSES:
            raise Untranslatable(f"has more than {MOST_CLAUSES} alternatives when written out")
        return [[term for part in parts for term in part] for parts in product(*factors)]

    def _factor(self) -> list[list[Term]]:
        token = self._tokens.pop(0)
        if isinstance(token, Term):
            return [[token]]
        if token == "-(":
            raise Untranslatable("excludes a group, and statuses/filter excludes nothing")
        found = self._alternatives()
        if not self._tokens:
            raise Untranslatable("has a ( without its )")
        del self._tokens[0]
        return found


def _tokens(text: str) -> Iterator[Term | str]:
    """Terms, and the signs ``(``, ``-(``, ``)`` and ``OR``."""
    for found in _TOKEN.finditer(text.strip()):
        if found["odd"]:
            raise Untranslatable(f"cannot be read from {text.strip()[found.start() :].strip()[:20]!r} on")
        if found["near"]:
            raise Untranslatable(f"wants the words of {found['quoted']!r} near each other, and track knows no distance")
        if found["sign"] or found[0].strip() == "OR":
            yield found[0].strip()
        else:
            value = next(found[kind] for kind in ("quoted", "bracket", "bare") if found[kind] is not None)
            yield Term(found["name"] or "", value.strip(), bool(found["minus"]))
