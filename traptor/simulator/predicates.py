"""What a stream request asks for, checked as Twitter checks it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from traptor.simulator.refusals import Refusal
from traptor.tweets import fields
from traptor.tweets.matching import Matcher, compile_rules, parse_boxes

MOST_PHRASES, MOST_USER_IDS, MOST_BOXES = 400, 5000, 25
LONGEST_PHRASE_BYTES = 60
LARGEST_USER_ID = 2**63 - 1
LONGEST_NAMED_CHARACTERS = 30


@dataclass(frozen=True)
class Predicates:
    """Lists as sent; a tweet is delivered that fits any of track, follow and locations, in one of the languages."""

    track: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    stall_warnings: bool = False

    def matchers(self) -> list[Matcher]:
        lists = {"track": self.track, "follow": self.follow, "locations": self.locations}
        return [compile_rules(name, [{"value": value} for value in values]) for name, values in lists.items() if values]


class Filter:
    """Does this message belong on the stream? What is not a tweet does, always."""

    def __init__(self, predicates: Predicates) -> None:
        self._languages = predicates.language
        self._matchers = predicates.matchers()

    def __call__(self, message: Mapping[str, Any]) -> bool:
        if "id_str" not in message:
            return True
        if self._languages and message.get("lang") not in self._languages:
            return False
        tweet = fields.view(message)
        return any(matcher.match(tweet) for matcher in self._matchers)


def parse(query: str) -> Predicates:
    """From the request's form. Raises Refusal with 406, 413 or 416, and with Twitter's texts where they are known."""
    form = dict(parse_qsl(query, keep_blank_values=True))
    if "count" in form:
        raise Refusal(416, "Parameter count needs elevated access")
    predicates = Predicates(
        track=_items(form, "track"),
        follow=_items(form, "follow"),
        locations=_boxes(form),
        language=_items(form, "language"),
        stall_warnings=form.get("stall_warnings") == "true",
    )
    if not (predicates.track or predicates.follow or predicates.locations):
        raise Refusal(406, "No filter parameters found. Expect at least one parameter: follow track locations")
    _check_track(predicates.track)
    _check_follow(predicates.follow)
    _check_count("locations", predicates.locations, MOST_BOXES)
    return predicates


def _items(form: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in form[name].split(",")) if form.get(name) else ()


def _boxes(form: Mapping[str, str]) -> tuple[str, ...]:
    if not form.get("locations"):
        return ()
    try:
        return tuple(",".join(map(str, box)) for box in parse_boxes(form["locations"]))
    except ValueError as error:
        raise Refusal(406, f"Parameter locations: {error}") from None


def _check_track(phrases: tuple[str, ...]) -> None:
    _check_count("track", phrases, MOST_PHRASES)
    for index, phrase in enumerate(phrases):
        if len(phrase.encode()) > LONGEST_PHRASE_BYTES:
            start = phrase[:LONGEST_NAMED_CHARACTERS]
            raise Refusal(406, f"Parameter track item index {index} too long: {start}")
        if not phrase:
            raise Refusal(406, f"Parameter track item index {index} too short")


def _check_follow(user_ids: tuple[str, ...]) -> None:
    _check_count("follow", user_ids, MOST_USER_IDS)
    for index, user_id in enumerate(user_ids):
        if not re.fullmatch("[1-9][0-9]{0,18}", user_id) or int(user_id) > LARGEST_USER_ID:
            start = user_id[:LONGEST_NAMED_CHARACTERS]
            raise Refusal(406, f"Parameter follow item index {index} is not a user id: {start}")


def _check_count(name: str, items: tuple[str, ...], most: int) -> None:
    if len(items) > most:
        raise Refusal(413, f"Parameter {name} has {len(items)} items, more than {most}")
