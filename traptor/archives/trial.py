"""What rules find in files of tweets, before anybody pays for any: matches, where, and some examples of each rule."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from traptor.archives.forms import Problem
from traptor.archives.reading import Reading, parts
from traptor.archives.tally import Tally
from traptor.archives.workers import Enricher, Task
from traptor.tweets import fields
from traptor.tweets.rule import Rule

MOST_EXAMPLES = 3


class Trial:
    """Of rules of one type, each with a rule_id of its own."""

    def __init__(self, traptor_type: str, rules: Sequence[Rule]) -> None:
        self._enricher = Enricher(Task(traptor_type, 0, list(rules)))
        self.fields: dict[str, Counter[str]] = defaultdict(Counter)
        """By rule_id: how often it held in which field."""
        self.examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
        """By rule_id: the first enriched tweets."""
        self.problems: list[Problem] = []

    @property
    def tally(self) -> Tally:
        """The counts ``tweets`` and ``matched``, and the matches of each rule."""
        return self._enricher.tally

    def line(self, body: bytes, place: str) -> None:
        """A JSON text with tweets in it."""
        try:
            for found in self._enricher.found_in(body):
                self._note(fields.load(found.value))
        except ValueError as error:
            self.problems.append(Problem(place, str(error)))

    def _note(self, tweet: dict[str, Any]) -> None:
        for rule in tweet["traptor"]["rules"]:
            self.fields[rule["rule_id"]].update(rule["matched_in"])
            if len(self.examples[rule["rule_id"]]) < MOST_EXAMPLES:
                self.examples[rule["rule_id"]].append(tweet)


def read(paths: Iterable[str], trials: Sequence[Trial]) -> list[Problem]:
    """Let each of them see what is in these files, of whatever kind `replay` reads. Returns what could not be read."""
    problems = []
    for part in parts(paths):
        for step in [part] if isinstance(part, Problem) else Reading(part):
            if isinstance(step, Problem):
                problems.append(step)
                continue
            for trial in trials:
                trial.line(step.body, f"{step.place}, line {step.number}")
    return problems + (trials[0].problems if trials else [])
