"""X API v2 as a source: rules are on the server and change there, on the open stream; its posts are paid for."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from traptor.rules.checked import Problem, RuleSet
from traptor.settings import Settings
from traptor.sources.backoff import Kind
from traptor.sources.lease import credential_hash
from traptor.sources.v2.answers import TooManyConnections
from traptor.sources.v2.budget import Budget
from traptor.sources.v2.client import Synchronised, V2Client, recoverable
from traptor.sources.v2.rules import attribute, clauses, label, labels, owner, tag_prefix
from traptor.sources.v2.stream import Translated, keep
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.rule import Match, Rule

POSTS_PER_SECOND = 250
"""At most so many come; a backfill brings as many once more."""

JUST_ENDED = timedelta(seconds=10)
"""X may count a stream for a moment more; after that it is taken for one that stands."""

log = logging.getLogger(__name__)


class V2Source:
    """The filtered stream of one app, as one Traptor uses it.

    ``counts`` gets ``disagreed``: tweets of whose rules the server and our own matcher say different things.
    """

    changes_rules_while_open = True

    def __init__(self, wanted: Settings, counts: Counter[str]) -> None:
        self.client: Any = None
        self.most_repeated = POSTS_PER_SECOND * 60 * wanted.V2_BACKFILL_MINUTES
        self._wanted = wanted
        self._counts = counts
        self._type, self._id = wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID
        self._prefix = tag_prefix(self._type, self._id)
        self._refused: list[Problem] = []
        self._left_out: Counter[str] = Counter()
        """Fields of tweets that did not fit, by their path; they outlive a change of secrets, too."""
        # Made once: what it has not written yet must outlive a change of secrets.
        self._budget = Budget(credential_hash(wanted.credential), wanted.V2_MONTHLY_POST_LIMIT)
        self._enrichment: Enrichment | None = None
        self._positions: dict[str, int] = {}

    def connect(self, wanted: Settings) -> V2Client:
        keys = (wanted.CONSUMER_KEY, wanted.CONSUMER_SECRET, wanted.BEARER_TOKEN)
        client = V2Client(*keys, wanted.TWITTER_API_URL, ends_others=wanted.V2_END_CONNECTIONS)
        client.left_out = self._left_out
        return client

    # Rules

    def choose(self, rules: Iterable[Rule]) -> RuleSet:
        """Those that v2 can have. How many fit on the server is seen there."""
        chosen = RuleSet([], [])
        for rule in rules:
            try:
                clauses(self._type, rule)
            except ValueError as error:
                chosen.problems.append(Problem(rule["rule_id"], rule.get("value", ""), str(error)))
            else:
                chosen.rules.append(dict(rule))
        return chosen

    def ask(self, rules: Sequence[Rule]) -> str:
        return " OR ".join(clause for rule in rules for clause in clauses(self._type, rule))

    def change(self, rules: Sequence[Rule]) -> bool:
        return self._synchronise(rules).placed > 0

    def refused(self) -> list[Problem]:
        return self._refused

    def _synchronise(self, rules: Sequence[Rule]) -> Synchronised:
        limits = {"length": self._wanted.V2_RULE_LENGTH, "limit": self._wanted.V2_RULE_LIMIT}
        done: Synchronised = self.client.synchronise(self._type, self._id, rules, **limits)
        self._refused = list(done.problems)
        if done.limit < self._wanted.V2_RULE_LIMIT:
            log.warning("the account allows fewer rules: lower V2_RULE_LIMIT", extra={"limit": done.limit})
        return done

    # The stream

    def open(self, asked: str, rules: Sequence[Rule], *, missed_since: datetime | None) -> Any:
        """As any source's. Without a rule on the server there is no stream: the posts of others would be paid for."""
        done = self._synchronise(rules)
        if not done.placed:
            return None
        if done.others:
            log.warning(
                "rules of others on the server: their posts are paid for, and dropped",
                extra={"count": len(done.others), "of": sorted({owner(rule.tag) for rule in done.others})},
            )
        if missed_since is None:
            return self.client.open()
        now, minutes, hours = datetime.now(UTC), self._wanted.V2_BACKFILL_MINUTES, self._wanted.V2_RECOVERY_HOURS
        try:
            return self.client.open(minutes, missed=recoverable(missed_since, now, minutes, hours))
        except TooManyConnections as refused:
            if now - missed_since < JUST_ENDED:
                refused.kind = Kind.STILL_COUNTED
            raise

    # Its tweets

    def attribute(
        self, raws: Sequence[bytes], found: list[list[Match]], enrichment: Enrichment
    ) -> Sequence[list[Match] | None]:
        """By what the server says. A tweet that came for rules of others, or for ones that are gone, is not ours."""
        if enrichment is not self._enrichment:
            self._enrichment = enrichment
            self._positions = {label(rule): at for at, rule in enumerate(enrichment.rules)}
        return [
            self._attributed(raw, local) if isinstance(raw, Translated) else local
            for raw, local in zip(raws, found, strict=True)
        ]

    def _attributed(self, raw: Translated, local: list[Match]) -> list[Match] | None:
        groups = [ours for tag in raw.tags if (ours := self._current(labels(tag, self._prefix)))]
        matches, agreed = attribute(local, groups, self._positions)
        self._counts["disagreed"] += not agreed
        return matches if matches or groups else None

    def _current(self, named: list[str]) -> list[str]:
        """Those that still stand; old rules act on for a while after they are deleted."""
        return [one for one in named if one in self._positions]

    def finish(self, raws: Sequence[bytes], enriched: list[bytes]) -> list[bytes]:
        if not self._wanted.KEEP_V2:
            return enriched
        return [
            keep(value, raw) if isinstance(raw, Translated) else value
            for raw, value in zip(raws, enriched, strict=True)
        ]

    # What it costs

    def note(self, tweets: int) -> None:
        self._budget.note(tweets)

    def closed(self) -> str:
        return "monthly post limit reached" if self._budget.is_spent() else ""

    def report(self, conn: Any) -> None:
        for path, count in list(self._left_out.items()):
            self._counts[f"fields_left_out:{path}"] = count
        self._budget.write(conn)

    def status(self) -> dict[str, Any]:
        wanted, read = self._wanted, self._budget.read
        spent = {
            "posts": read,
            "cap": wanted.V2_MONTHLY_POST_CAP,
            "limit": wanted.V2_MONTHLY_POST_LIMIT,
            "cost": round(read * wanted.V2_POST_PRICE, 2),
        }
        return {"predicate_limit": wanted.V2_RULE_LIMIT, "v2": spent}
