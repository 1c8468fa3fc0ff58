"""The Traptor on X API v2: the same life, but rules are on the server and change there, on the open stream."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor import settings
from traptor.account.state import State
from traptor.rules import checked, stored
from traptor.sources import backoff
from traptor.sources.v2.budget import Budget
from traptor.sources.v2.client import Synchronised, V2Client
from traptor.sources.v2.rules import attribute, clauses, label, labels, owner, tag_prefix
from traptor.sources.v2.stream import Translated, keep
from traptor.traptor import BEAT_SECONDS, Traptor
from traptor.tweets import fields
from traptor.tweets.duplicates import RecentIds
from traptor.tweets.rule import Match

RETRY_SECONDS = 15.0
"""Between tries to bring changed rules to the server, where Twitter asks for nothing else."""
POSTS_PER_SECOND = 250
"""At most so many come; a backfill brings as many once more."""


class V2Traptor(Traptor):
    """Collects by TWITTER_API=2. What it delivers has the shape of v1.1."""

    def _adopt(self, wanted: settings.Settings) -> None:
        super()._adopt(wanted)
        self._prefix = tag_prefix(self.traptor_type, self.traptor_id)
        self._untranslatable: list[checked.Problem] = []
        self._refused: list[checked.Problem] = []
        """Rules that the server did not take."""
        # Made once: what it has not written yet must outlive a change of secrets.
        self._budget = Budget(self._credential.name, wanted.V2_MONTHLY_POST_LIMIT)
        if wanted.DEDUPE_WINDOW:
            backfilled = POSTS_PER_SECOND * 60 * wanted.V2_BACKFILL_MINUTES
            self._recent = RecentIds(max(wanted.DEDUPE_WINDOW, backfilled))

    # Setting up

    def _setup_birdy(self) -> None:
        """Create ``self.birdy_conn``. Connects to nothing yet."""
        wanted = self.settings
        self.birdy_conn = V2Client(
            wanted.CONSUMER_KEY, wanted.CONSUMER_SECRET, wanted.BEARER_TOKEN, wanted.TWITTER_API_URL
        )

    # Rules

    def _get_redis_rules(self) -> Iterator[dict[str, str]]:
        """Yield this Traptor's rules from Redis that v2 can have. How many fit on the server is seen there."""
        problems: list[checked.Problem] = []
        for rule in stored.read(self.redis_conn, self.traptor_type, self.traptor_id):
            try:
                clauses(self.traptor_type, rule)
            except ValueError as error:
                problems.append(checked.Problem(rule["rule_id"], rule.get("value", ""), str(error)))
            else:
                yield rule
        self._untranslatable = problems
        self._tell_problems([*problems, *self._refused])

    def _make_twitter_rules(self, rules_from_redis: list[dict[str, str]]) -> str:
        """Compile the matcher; gives all clauses, as a text that changes when they do."""
        ordered = sorted(rules_from_redis, key=checked.order)
        self._compiled(ordered)
        self._vitals.rules = checked.facts(self.traptor_type, ordered, len(self._problems))
        return " OR ".join(clause for rule in ordered for clause in clauses(self.traptor_type, rule))

    def _compiled(self, rule_set: list[dict[str, str]]) -> None:
        super()._compiled(rule_set)
        self._positions = {label(rule): at for at, rule in enumerate(rule_set)}

    def _change_rules(self, found: list[dict[str, str]], before: list[dict[str, str]]) -> bool:
        """Bring them to the server; the stream stays.

        The matcher knows the new rules before the server does, so that none of their tweets is without one. False
        where the server can have none of them.
        """
        self.twitter_rules = self._make_twitter_rules(found)
        self._make_rule_counters()
        try:
            done = self._interruptibly(self._synchronise)
        except (TwitterApiError, TwitterClientError) as error:
            self.logger.warning("rules not changed on the server: trying again", extra={"error": str(error)})
            self.redis_rules = before
            asked_seconds = backoff.asked_wait_seconds(error.status_code, error.headers or {}, time.time())
            self._plan_next_look(asked_seconds or RETRY_SECONDS)
            return True
        self.logger.info("rules changed on the server", extra={"rule_set": self.rule_set})
        return done is None or done.placed > 0

    def _synchronise(self) -> Synchronised:
        limits = {"length": self.settings.V2_RULE_LENGTH, "limit": self.settings.V2_RULE_LIMIT}
        done: Synchronised = self.birdy_conn.synchronise(self.traptor_type, self.traptor_id, self.redis_rules, **limits)
        self._refused = list(done.problems)
        self._tell_problems([*self._untranslatable, *self._refused])
        if done.limit < self.settings.V2_RULE_LIMIT:
            self.logger.warning("the account allows fewer rules: lower V2_RULE_LIMIT", extra={"limit": done.limit})
        return done

    # Connecting

    def _wait_for_turn(self) -> None:
        """When the budget is spent, wait for the next month."""
        super()._wait_for_turn()
        with contextlib.suppress(redis.RedisError):  # whoever reports every second tells of it
            self._budget.write(self.redis_conn)
        if self._budget.is_spent():
            self.logger.error(
                "monthly post limit reached: no stream until next month", extra={"read": self._budget.read}
            )
        while not self._stopping and self._budget.is_spent():
            self._vitals.enter(State.BACKING_OFF, "monthly post limit reached")
            self._wait(BEAT_SECONDS)

    def _create_birdy_stream(self) -> None:
        """As ever; without a rule on the server there is no stream, for the posts of others would be paid for."""
        self._is_placed = True
        super()._create_birdy_stream()
        if not self._is_placed:
            self.logger.error("none of the rules can be on the server: no stream")
            self._vitals.enter(State.WAITING_FOR_RULES, "none of the rules can be on the server")
            self._pause(self.rule_check_interval)

    def _filter(self, **predicates: str | None) -> Any:
        """Bring the rules to the server and open the stream, if there are any.

        Raises TwitterApiError and TwitterClientError.
        """
        done = self._synchronise()
        self._is_placed = done.placed > 0
        if not self._is_placed:
            return None
        if done.others:
            self.logger.warning(
                "rules of others on the server: their posts are paid for, and dropped",
                extra={"count": len(done.others), "of": sorted({owner(rule.tag) for rule in done.others})},
            )
        return self.birdy_conn.open(self.settings.V2_BACKFILL_MINUTES if self._gaps.open else 0)

    # Collecting

    def _handle_bytes(self, received: Sequence[bytes]) -> None:
        """Tweets in v1.1's shape, each with what the server says of it; other messages as ever."""
        for raw in received:
            message = fields.decode(raw) if isinstance(raw, Translated) else None
            if isinstance(raw, Translated) and isinstance(message, fields.Tweet):
                self._handle_translated(message, raw)
            else:
                super()._handle_bytes([raw])

    def _handle_translated(self, message: fields.Tweet, raw: Translated) -> None:
        self._note_message()
        if self._is_new_tweet(id_str := message.id_str or ""):
            self._budget.note()
            self._deliver_by_rules(id_str, message, raw)
        if self._budget.is_spent():
            self._gaps.begin(datetime.now(UTC), "budget")
            self._close_stream()

    def _deliver_by_rules(self, id_str: str, message: fields.Tweet, raw: Translated) -> None:
        """A tweet that came for rules of others, or for ones that are gone, is not ours."""
        groups = [ours for tag in raw.tags if (ours := self._current(labels(tag, self._prefix)))]
        matches = self._attributed(self._matcher.match(message), groups)
        if not matches and not groups:
            self.account.counts["dropped:other_rules"] += 1
            return
        self._count_matches(matches)
        value = self._blocks.append(raw, message.created_at, matches)
        self._deliver(id_str, keep(value, raw) if self.settings.KEEP_V2 else value)

    def _current(self, named: list[str]) -> list[str]:
        """Those that still stand; old rules act on for a while after they are deleted."""
        return [one for one in named if one in self._positions]

    def _attributed(self, local: list[Match], groups: list[list[str]]) -> list[Match]:
        matches, agreed = attribute(local, groups, self._positions)
        self.account.counts["disagreed"] += not agreed
        return matches

    # Telling

    def _report(self) -> None:
        """As ever, with what was read this month."""
        self._budget.write(self.redis_conn)
        super()._report()

    def _status(self) -> dict[str, Any]:
        """As ever, and what was read this month and costs."""
        wanted, read = self.settings, self._budget.read
        spent = {
            "posts": read,
            "cap": wanted.V2_MONTHLY_POST_CAP,
            "limit": wanted.V2_MONTHLY_POST_LIMIT,
            "cost": round(read * wanted.V2_POST_PRICE, 2),
        }
        return {**super()._status(), "predicate_limit": wanted.V2_RULE_LIMIT, "v2": spent}
