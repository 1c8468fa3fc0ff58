"""Why a rule holds in a tweet, or does not: its phrases, users or boxes, word for word, with the fields they are in."""

from functools import lru_cache
from typing import NamedTuple

from traptor.tweets.fields import Tweet
from traptor.tweets.matching import compile_rules, phrases


class Word(NamedTuple):
    """A word of a phrase, a user's id, or a box; ``fields`` is empty where the tweet does not have it."""

    text: str
    fields: tuple[str, ...]


class Part(NamedTuple):
    """What makes a rule hold by itself: a phrase, all of whose words must be there, a user's id, or a box."""

    text: str
    words: list[Word]

    @property
    def holds(self) -> bool:
        return all(word.fields for word in self.words)


class Explainer:
    """The value of one rule, made ready once."""

    def __init__(self, rule_type: str, value: str) -> None:
        self._parts = [(part, part.split()) for part in _parts(rule_type, value)]
        self._words = list(dict.fromkeys(word for _, words in self._parts for word in words))
        self._match = compile_rules(rule_type, [{"value": word} for word in self._words]).match

    def explain(self, tweet: Tweet) -> list[Part]:
        """Each part of the rule, as this tweet has it."""
        found = {self._words[position]: fields for position, fields in self._match(tweet)}
        return [Part(part, [Word(word, found.get(word, ())) for word in words]) for part, words in self._parts]


@lru_cache(maxsize=1000)
def explainer(rule_type: str, value: str) -> Explainer:
    """That of this rule; those asked for last are kept."""
    return Explainer(rule_type, value)


def _parts(rule_type: str, value: str) -> list[str]:
    items = phrases(value)
    if rule_type != "locations":
        return items
    return [",".join(items[start : start + 4]) for start in range(0, len(items), 4)]
