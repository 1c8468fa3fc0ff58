"""Rules as a report of several Traptors has them: each once, wherever it was held."""

from collections.abc import Iterable
from typing import NamedTuple

from traptor.archives.tally import Tally
from traptor.tweets.rule import Rule


class Held(NamedTuple):
    """A rule of a Traptor such as ``track:0``, and how many tweets it held for there."""

    traptor: str
    rule_id: str
    tag: str
    value: str
    tweets: int


def once(every: Iterable[Held], tally: Tally) -> list[Rule]:
    """Each rule once, with its last tag and value; its tweets are added to the tally.

    Its id is that of the Traptor and its own, ``track:0:17``; one that has moved has all those that it had.
    """
    by_place: dict[tuple[str, str], Held] = {}
    for one in every:
        before = by_place.get(one[:2])
        by_place[one[:2]] = one._replace(tweets=one.tweets + (before.tweets if before else 0))
    by_rule: dict[tuple[str, str, str], list[Held]] = {}
    for one in by_place.values():
        by_rule.setdefault((one.traptor.partition(":")[0], one.rule_id, one.value), []).append(one)
    rules: list[Rule] = []
    for places in by_rule.values():
        last = places[-1]
        ids = ", ".join(sorted(f"{place.traptor}:{place.rule_id}" for place in places))
        tally.rules[ids] += sum(place.tweets for place in places)
        rules.append({"rule_id": ids, "tag": last.tag, "value": last.value})
    return rules
