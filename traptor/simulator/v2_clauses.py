"""What a rule of X API v2 means: words, operators, alternatives."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from traptor.tweets.fields import Tweet
from traptor.tweets.matching import compile_rules, parse_box

MILES_PER_DEGREE = 69.1
LARGEST_BOX_DEGREES = 0.37

Holds = Callable[[Tweet], bool]


class Term(NamedTuple):
    """One word or operator. ``kind`` is track for words; ``value`` is as v1.1 has it; not all can stand alone."""

    kind: str
    value: str
    holds: Holds
    stands_alone: bool = True


class Clause(NamedTuple):
    """One alternative of a rule: all its terms hold."""

    kind: str
    value: str
    holds: Holds


QUOTED = r'"(?:\\.|[^"\\])*"'
TOKEN = re.compile(rf'-?\((?:{QUOTED}|[^()"])*\)|-?(?:\w+:)?{QUOTED}|\w+:\[[^\]]*\]|[^\s"]+|"')


def parse(value: str) -> Iterator[Clause]:
    """The alternatives of a rule. Parentheses hold alternatives of one word. Raises ValueError."""
    tokens = TOKEN.findall(value)
    if not tokens or '"' in tokens or any(re.match(r"\)|-?\((?!.*\)$)|-$", token) for token in tokens):
        raise ValueError(f"no viable alternative at input {value[:40]!r}")
    for is_or, some in itertools.groupby(tokens, lambda token: token == "OR"):
        if not is_or:
            yield _clause([_term(token) for token in some])


def _clause(terms: Sequence[Term]) -> Clause:
    alone = [term for term in terms if term.stands_alone]
    if not alone:
        text = " ".join(term.value for term in terms)
        raise ValueError(f"{text}: cannot stand alone; use it with an operator that can, such as a word")
    kind = "track" if any(term.kind == "track" for term in alone) else alone[0].kind
    value = " ".join(term.value for term in alone) if kind == "track" else alone[0].value
    return Clause(kind, value, lambda tweet: all(term.holds(tweet) for term in terms))


def _term(token: str) -> Term:
    if token.startswith("-"):
        negated = _term(token[1:])
        return Term("not", token, lambda tweet: not negated.holds(tweet), stands_alone=False)
    operator, _, argument = token.partition(":")
    if operator in _PROPERTIES and argument:
        if argument not in _PROPERTIES[operator]:
            raise ValueError(f"{token}: {operator}: takes {', '.join(_PROPERTIES[operator])}")
        return Term(operator, token, _PROPERTIES[operator][argument], stands_alone=False)
    if operator in _HOLDS and argument:
        return _operator(operator, argument)
    return Term("track", *_word(token))


def _operator(operator: str, argument: str) -> Term:
    if operator not in USERS:
        argument = ",".join(argument.strip("[]").split())
    if operator == "bounding_box":
        box = parse_box(argument)
        if max(box.north - box.south, (box.east - box.west) / 2) > LARGEST_BOX_DEGREES:
            raise ValueError("The sides of a bounding_box must be less than 25 miles")
    return Term(operator, argument, _HOLDS[operator](argument))


def _word(token: str) -> tuple[str, Holds]:
    """A word as v1.1 has it, and whether it is there: url: looks in links only, others look everywhere, as v1.1 did."""
    if token.startswith("("):
        alternatives = list(parse(token[1:-1]))
        return alternatives[0].value, lambda tweet: any(one.holds(tweet) for one in alternatives)
    quoted = re.fullmatch(r'(?:url:)?"(.*)"', token)
    word = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else token
    matcher = compile_rules("track", [{"value": word.replace(",", " ")}])
    if not token.startswith("url:"):
        return word, lambda tweet: bool(matcher.match(tweet))
    return word, lambda tweet: any(
        field.rpartition(".")[2] in ("urls", "media") for match in matcher.match(tweet) for field in match.fields
    )


def box(clause: Clause) -> str:
    """A box, or the point at the centre of a circle."""
    west, south, *_ = clause.value.split(",")
    return clause.value if clause.kind == "bounding_box" else ",".join((west, south, west, south))


def _author(user_id: str) -> Holds:
    return lambda tweet: bool(tweet.user and tweet.user.id_str == user_id)


def _retweeted_author(user_id: str) -> Holds:
    is_author = _author(user_id)
    return lambda tweet: bool(tweet.retweeted_status and is_author(tweet.retweeted_status))


def _replied_to(user_id: str) -> Holds:
    return lambda tweet: tweet.in_reply_to_user_id_str == user_id


def _inside(numbers: str) -> Holds:
    """The point, or all of the place, is inside: v1.1 took any overlap."""
    west, south, east, north = map(float, numbers.split(","))
    return _located(lambda longitude, latitude: west <= longitude <= east and south <= latitude <= north)


def _near(circle: str) -> Holds:
    """The point, or all of the place, is within so many miles."""
    west, south, radius = map(float, circle.removesuffix("mi").split(","))
    narrowing = math.cos(math.radians(south))

    def is_near(longitude: float, latitude: float) -> bool:
        return math.hypot((longitude - west) * narrowing, latitude - south) * MILES_PER_DEGREE <= radius

    return _located(is_near)


def _located(is_within: Callable[[float, float], bool]) -> Holds:
    def holds(tweet: Tweet) -> bool:
        point = tweet.coordinates.coordinates if tweet.coordinates else None
        place_box = tweet.place.bounding_box if tweet.place else None
        rings = (place_box.coordinates if place_box else None) or []
        corners = [point] if point else [corner for ring in rings for corner in ring]
        return bool(corners) and all(is_within(*corner) for corner in corners) and tweet.retweeted_status is None

    return holds


USERS = {"from": _author, "retweets_of": _retweeted_author, "to": _replied_to}
_HOLDS = {**USERS, "bounding_box": _inside, "point_radius": _near}
_PROPERTIES: dict[str, dict[str, Holds]] = {
    "is": {
        "retweet": lambda tweet: tweet.retweeted_status is not None,
        "quote": lambda tweet: tweet.quoted_status is not None,
        "reply": lambda tweet: tweet.in_reply_to_user_id_str is not None,
    },
    "has": {
        "hashtags": lambda tweet: bool(tweet.entities and tweet.entities.hashtags),
        "links": lambda tweet: bool(tweet.entities and tweet.entities.urls),
        "mentions": lambda tweet: bool(tweet.entities and tweet.entities.user_mentions),
        "media": lambda tweet: bool(tweet.entities and tweet.entities.media),
        "geo": lambda tweet: bool(tweet.coordinates or tweet.place),
    },
}
"""These only narrow what others find."""
