"""v1.1's rules as v2 has them: translated, packed, and compared with what the server holds.

A server rule is several of ours joined by OR, as many as fit its length. Its tag says whose and which they are, and
of which value: ``traptor:track:0:1=a2f0,2=09c1``. Rules whose tag does not begin so belong to others, and are never
touched.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from traptor.rules.checked import Problem, predicates
from traptor.sources.v2 import answers
from traptor.tweets.matching import Box, parse_boxes, phrases
from traptor.tweets.rule import Match, Rule

MAX_TAG_CHARACTERS = 250
BOX_SIDE_MILES = 24.0
"""Twitter wants less than 25."""
MILES_PER_DEGREE = 69.172
"""At the equator; as many for a degree of latitude, nearly."""
MAX_BOXES = 2000
"""Pieces of one rule's boxes: more than these fill 100 server rules."""


class ServerRule(NamedTuple):
    """A rule as v2 has it; ``id`` is the server's, empty while it has none."""

    value: str
    tag: str
    id: str = ""


class Change(NamedTuple):
    """What makes the server's rules the wanted ones, in this order: delete what is in the way, add, delete the rest."""

    delete: list[ServerRule]
    add: list[ServerRule]
    delete_after: list[ServerRule]


def tag_prefix(traptor_type: str, traptor_id: int) -> str:
    """What the tags of one Traptor's server rules begin with."""
    return f"traptor:{traptor_type}:{traptor_id}:"


def owner(tag: str) -> str:
    """The ``type:id`` of the Traptor whose server rule has this tag, or ``others``."""
    found = re.match(r"traptor:(\w+:\d+):", tag)
    return found[1] if found else "others"


def label(rule: Rule) -> str:
    """What stands for a rule in a tag: its id, and which value of it.

    A changed rule has another label, so that what still comes for its old value is not taken for the new one.
    """
    digest = hashlib.blake2b(rule["value"].encode(), digest_size=2).hexdigest()
    return f"{quote(rule['rule_id'], safe='')}={digest}"


def labels(tag: str, prefix: str) -> list[str]:
    """The labels of the rules in a server rule of ours; none for one of somebody else."""
    return tag.removeprefix(prefix).split(",") if tag.startswith(prefix) else []


# Translating


def clauses(traptor_type: str, rule: Rule) -> list[str]:
    """What one rule asks for; a tweet that fits any of these is wanted. ValueError says what is wrong."""
    predicates(traptor_type, rule)
    return _CLAUSES[traptor_type](rule["value"])


def _track(value: str) -> list[str]:
    """Blank is AND in both, comma is OR."""
    return [" ".join(_term(term) for term in phrase.split()) for phrase in phrases(value)]


def _term(term: str) -> str:
    """A word stays as it is; what v2 could take for an operator or would cut is quoted.

    What could be a link is looked for in texts and in links: v1.1 took it from both, as ``node.js`` and ``U.S`` show.
    """
    if re.fullmatch(r"[#@$]?\w+", term) and term.lower() not in ("or", "and"):
        return term
    if re.fullmatch(r"[\w-]+(\.[\w-]+)+(/\S*)?", term):
        return f'("{_escaped(term)}" OR url:"{_escaped(term)}")'
    return f'"{_escaped(term)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _follow(value: str) -> list[str]:
    """Who is quoted is not followed, in v1.1 as here. ``to:`` covers replies."""
    user_id = value.strip()
    return [f"from:{user_id}", f"retweets_of:{user_id}", f"to:{user_id}"]


def _locations(value: str) -> list[str]:
    boxes = parse_boxes(value)
    if (count := sum(rows * columns for rows, columns in map(_grid, boxes))) > MAX_BOXES:
        raise ValueError(f"needs {count} boxes of {BOX_SIDE_MILES:g} miles; allowed are {MAX_BOXES}")
    return [_location(piece) for box in boxes for piece in split(box)]


def _location(box: Box) -> str:
    west, south, east, north = (f"{round(number, 5):.5f}".rstrip("0").rstrip(".") for number in box)
    if west == east and south == north:
        return f"point_radius:[{west} {south} 1mi]"
    return f"bounding_box:[{west} {south} {east} {north}]"


def _grid(box: Box) -> tuple[int, int]:
    """Rows and columns of pieces that are small enough."""
    widest = 0.0 if box.south <= 0 <= box.north else min(abs(box.south), abs(box.north))
    height_miles = (box.north - box.south) * MILES_PER_DEGREE
    width_miles = (box.east - box.west) * MILES_PER_DEGREE * math.cos(math.radians(widest))
    return max(math.ceil(height_miles / BOX_SIDE_MILES), 1), max(math.ceil(width_miles / BOX_SIDE_MILES), 1)


def split(box: Box) -> Iterator[Box]:
    """The box in pieces with sides of less than 25 miles, row by row from the south-west."""
    rows, columns = _grid(box)
    height, width = (box.north - box.south) / rows, (box.east - box.west) / columns
    for row in range(rows):
        for column in range(columns):
            west, south = box.west + column * width, box.south + row * height
            yield Box(west, south, west + width, south + height)


_CLAUSES = {"track": _track, "follow": _follow, "locations": _locations}


# Packing


def pack(
    traptor_type: str, traptor_id: int, rules: Sequence[Rule], length: int, limit: float
) -> tuple[list[ServerRule], list[Problem]]:
    """At most ``limit`` server rules of at most ``length`` characters, and the rules that are left out.

    Each rule has server rules of its own where there is room, so that the server tells exactly which one holds;
    otherwise they share. Left out is what makes no sense, has a clause that is too long, or finds no room.
    """
    prefix = tag_prefix(traptor_type, traptor_id)
    apart, problems = _pack(traptor_type, prefix, rules, length, math.inf, shared=False)
    apart = _one_per_value(apart, prefix)
    if len(apart) <= limit:
        return apart, problems
    shared, problems = _pack(traptor_type, prefix, rules, length, limit, shared=True)
    return _one_per_value(shared, prefix), problems


def pack_tightly(traptor_type: str, rules: Sequence[Rule], length: int) -> list[ServerRule]:
    """As few server rules as hold all the rules that make sense."""
    prefix = tag_prefix(traptor_type, 0)
    return _one_per_value(_pack(traptor_type, prefix, rules, length, math.inf, shared=True)[0], prefix)


def _one_per_value(packed: Iterable[ServerRule], prefix: str) -> list[ServerRule]:
    """v2 refuses a value that the app already has a rule of, whatever its tag: rules of one value share a tag."""
    tags: dict[str, str] = {}
    for value, tag, _ in packed:
        tags[value] = f"{tags[value]},{tag.removeprefix(prefix)}" if value in tags else tag
    return [ServerRule(value, tag) for value, tag in tags.items()]


def _pack(
    traptor_type: str, prefix: str, rules: Iterable[Rule], length: int, limit: float, *, shared: bool
) -> tuple[list[ServerRule], list[Problem]]:
    packed: list[ServerRule] = []
    problems: list[Problem] = []
    for rule in rules:
        own = prefix + label(rule)
        try:
            asked = clauses(traptor_type, rule)
            grown = _append(packed[-1:] if shared else [], asked, own, prefix, length)
        except ValueError as error:
            problems.append(Problem(rule["rule_id"], rule.get("value", ""), str(error)))
            continue
        kept = packed[:-1] if shared else packed
        if len(kept) + len(grown) > limit:
            problems.append(Problem(rule["rule_id"], rule["value"], f"over the limit of {limit} rules on the server"))
            continue
        packed = kept + grown
    return packed, problems


def _append(last: list[ServerRule], asked: Iterable[str], own: str, prefix: str, length: int) -> list[ServerRule]:
    """The last server rule with these clauses, and as many more as they need. ``own`` is the tag of their rule."""
    grown = last.copy()
    for clause in asked:
        if len(clause) > length:
            raise ValueError(f"has {len(clause)} characters for v2; allowed are {length}")
        joined = _joined(grown[-1], clause, own, prefix) if grown else None
        if joined and len(joined.value) <= length and len(joined.tag) <= MAX_TAG_CHARACTERS:
            grown[-1] = joined
        else:
            grown.append(ServerRule(clause, own))
    return grown


def _joined(rule: ServerRule, clause: str, own: str, prefix: str) -> ServerRule:
    own_label = own.removeprefix(prefix)
    is_in_it = labels(rule.tag, prefix)[-1] == own_label
    return ServerRule(f"{rule.value} OR {clause}", rule.tag if is_in_it else f"{rule.tag},{own_label}")


# Comparing


def change(held: Sequence[ServerRule], wanted: Sequence[ServerRule], prefix: str, limit: int) -> Change:
    """How to get from what the server holds to what is wanted. Only rules of ours are deleted.

    They go last, so that nothing is missed meanwhile; but first where ``limit`` has no room for both, and where the
    value stays and only the tag is another. A value that others hold is not added: v2 would refuse it, and sends its
    tweets anyway.
    """
    ours = {(rule.value, rule.tag): rule for rule in held if rule.tag.startswith(prefix)}
    theirs = {rule.value for rule in held if not rule.tag.startswith(prefix)}
    asked = {(rule.value, rule.tag) for rule in wanted}
    add = [rule for rule in wanted if (rule.value, rule.tag) not in ours and rule.value not in theirs]
    gone = [rule for key, rule in ours.items() if key not in asked]
    if len(held) + len(add) > limit:
        return Change(gone, add, [])
    values = {rule.value for rule in add}
    return Change(
        delete=[rule for rule in gone if rule.value in values],
        add=add,
        delete_after=[rule for rule in gone if rule.value not in values],
    )


class Attribution(NamedTuple):
    """The rules that hold, and whether the server and our own matcher say the same."""

    matches: list[Match]
    agreed: bool


def attribute(local: Sequence[Match], groups: Sequence[Sequence[str]], positions: Mapping[str, int]) -> Attribution:
    """Which rules hold: those that the server names, by label. Of each group at least one does, by what it says.

    Where a server rule holds several of ours, the matcher tells them apart; where it finds none of them, the server is
    believed if there is but one. What the server names nothing of counts only when it names nothing at all.
    """
    named = {positions[one] for group in groups for one in group if one in positions}
    found = {match.position: match for match in local}
    held = {position: found[position] for position in named & found.keys()}
    unexplained = [group for group in groups if not any(positions.get(one) in found for one in group)]
    for group in unexplained:
        if len(group) == 1 and group[0] in positions:
            held[positions[group[0]]] = Match(positions[group[0]], ())
    agreed = not unexplained and found.keys() <= named
    return Attribution([held[position] for position in sorted(held)] or list(local), agreed)


def from_answer(answer: Mapping[str, Any]) -> list[ServerRule]:
    """The rules in an answer of the rules endpoint, those that have a value and an id."""
    return [
        ServerRule(value, tag if isinstance(tag := rule.get("tag"), str) else "", rule_id)
        for rule in answers.dicts(answer.get("data"))
        if isinstance(value := rule.get("value"), str) and isinstance(rule_id := rule.get("id"), str)
    ]
