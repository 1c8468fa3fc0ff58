"""The methods of the original by which rules come from Redis to the stream, which people call and replace.

A Traptor has them all. A notice only sets a flag; the main loop looks at the rules, and takes them up.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from birdy.twitter import TwitterApiError, TwitterClientError

from traptor import keys
from traptor.account import counters
from traptor.account.state import State
from traptor.account.vitals import Vitals
from traptor.rules import checked, stored
from traptor.rules.notices import Listener
from traptor.rules.watch import Watch
from traptor.settings import Settings
from traptor.sources import connecting
from traptor.sources.source import Source
from traptor.sources.turn import asked_seconds
from traptor.threads import Pulse, SideRoads
from traptor.tweets.enrichment import Enrichment

RETRY_SECONDS = 15.0
"""Between tries to bring changed rules to a server, where it asks for nothing else."""


class RuleMethods:
    """What they need of the Traptor whose methods they are."""

    settings: Settings
    logger: Any
    traptor_type: str
    traptor_id: int
    rule_check_interval: float
    enable_stats_collection: bool
    redis_conn: Any
    restart_flag: bool
    redis_rules: list[dict[str, str]]
    twitter_rules: str | None
    locations_rule: dict[str, Any]
    rule_counters: dict[str, counters.RollingCounter]
    _stopping: bool
    _knows_rules: bool
    _source: Source
    _enrichment: Enrichment
    _watch: Watch
    _listener: Listener
    _vitals: Vitals
    _pulse: Pulse
    _side_roads: SideRoads
    _wait_for_predecessor: Callable[[], None]

    def _stand_by(self) -> None:
        """Know the rules before it is our turn, however many they are: look when a notice may have come."""
        now = self._vitals.progress_at
        if self._watch.is_due(now, noticed=self._is_noticed()):
            self._watch.look(now, self._next_look(), self._pulse.wake)
        if (found := self._watch.found()) is not None:
            self.redis_rules, self._knows_rules = found, bool(found)

    def _wait_for_rules(self) -> None:
        """Wait for rules to appear in Redis, looking every ``rule_check_interval`` seconds and at every notice.

        While Redis cannot be read, the last whole set stays. Those that are known from standing by are looked at again
        once there is a stream.
        """
        if self._knows_rules and not self._is_noticed():
            self._knows_rules, self._listener.may_have_missed = False, True
            return
        while not self._stopping and (found := self._pulse.result(self._next_look())) is not None:
            self.redis_rules = found
            if found:
                return
            self._wait_for_predecessor()  # there is no hurry
            self._vitals.rules = checked.facts(self.traptor_type, found)
            if self._vitals.phase is not State.WAITING_FOR_RULES:
                self.logger.info("waiting for rules", extra={"keys": keys.rules(self.traptor_type, self.traptor_id)})
            self._vitals.enter(State.WAITING_FOR_RULES)
            self.logger.debug("no rules yet", extra={"next_look_seconds": self.rule_check_interval})
            self._pulse.pause(self.rule_check_interval, self._is_noticed)

    def _next_look(self) -> Callable[[], list[dict[str, str]]]:
        """A look at the rules: what it returns are those in Redis now, or the last whole set.

        The flags are cleared before it is made: a notice that comes meanwhile means another.
        """
        noticed = self.restart_flag
        self.restart_flag = self._listener.may_have_missed = False
        now = self._vitals.progress_at
        return partial(self._watch.read, self._get_redis_rules, self.redis_rules, now, noticed=noticed)

    def _get_redis_rules(self) -> Iterator[dict[str, str]]:
        """Yield this Traptor's rules from Redis: those that one connection may ask for, in order of rule_id.

        Each is a hash under ``traptor-<type>:<id>:<rule_id>``; a connection may have 5000 follow rules, 400 track
        phrases or 25 locations boxes. What Twitter would refuse is left out with a warning. Raises redis.RedisError.
        """
        found = self._source.choose(stored.read(self.redis_conn, self.traptor_type, self.traptor_id))
        self._watch.left_out(found.problems)
        yield from found.rules

    def _make_twitter_rules(self, rules_from_redis: list[dict[str, str]]) -> str:
        """The rules, dicts as they come from Redis, as the value of Twitter's parameter. Compiles the matcher."""
        sound = self._source.choose(sorted(rules_from_redis, key=checked.order))
        if sound.problems:
            self._watch.left_out(sound.problems)
        self._enrichment = Enrichment(self.traptor_type, self.traptor_id, sound.rules)
        if self.traptor_type == "locations":
            self.locations_rule = self._get_locations_traptor_rule()
        asked = self._source.ask(sound.rules)
        self._vitals.rules = checked.facts(self.traptor_type, sound.rules)
        self.logger.debug("rules for Twitter", extra={"rules": asked})
        return asked

    def _get_locations_traptor_rule(self) -> dict[str, Any]:
        """A dict with the single rule that a locations Traptor reports if there is one; of several, the last."""
        rule = self.redis_rules[-1] if self.redis_rules else {}
        return {"rule_tag": rule.get("tag"), "rule_value": rule.get("value"), **rule} if rule else {}

    def _is_restart_due(self) -> bool:
        """Has a look at the rules, in the background, found some that need another stream?"""
        noticed, now = self._is_noticed(), self._vitals.progress_at
        if self._watch.is_due(now, noticed=noticed):
            self._watch.look(now, self._next_look(), self._pulse.wake)
        found = self._watch.found()
        if found is None or self._take_up_rules(found):
            return False
        self._watch.answered(now)
        return True

    def _take_up_rules(self, found: list[dict[str, str]]) -> bool:
        """Take these rules up on the open stream; False where it must be opened anew instead."""
        before, self.redis_rules = self.redis_rules, found
        if not found or found == before:
            return bool(found)
        if not self._source.changes_rules_while_open and self._source.ask(found) != self.twitter_rules:
            return False
        # The matcher knows the new rules before the server does, so that none of their tweets is without one.
        self.twitter_rules = self._make_twitter_rules(found)
        self._make_rule_counters()
        try:
            is_placed = self._pulse.result(partial(self._source.change, found))
        except (TwitterApiError, TwitterClientError) as error:
            self.logger.warning("rules not changed on the server: trying again", extra={"error": connecting.why(error)})
            self.redis_rules = before
            self._watch.plan(self._vitals.progress_at, asked_seconds(error) or RETRY_SECONDS)
            return True
        self._watch.refused(self._source.refused())
        self.logger.info("rules taken up without reconnecting", extra={"rule_set": self._enrichment.version})
        return is_placed is not False

    # Their counters

    def _make_rule_counters(self) -> dict[str, counters.RollingCounter]:
        """Make ``self.rule_counters``, by rule_id; the counters of rules that stay go on counting."""
        rule_ids = [rule.get("rule_id", "") for rule in self.redis_rules if self.enable_stats_collection]
        self.rule_counters = {
            rule_id: self.rule_counters.get(rule_id) or self._create_rule_counter(rule_id) for rule_id in rule_ids
        }
        return self.rule_counters

    def _create_rule_counter(self, rule_id: str) -> counters.RollingCounter:
        """A counter of one rule's matches within the rolling window."""
        key = keys.stats(self.traptor_type, self.traptor_id, rule_id)
        return counters.RollingCounter(key, self.settings.STATS_COLLECTION_WINDOW)

    def _delete_rule_counters(self) -> None:
        """Forget the rule counters; what they wrote to Redis goes with its TTL."""
        self.rule_counters = {}

    # Notices

    def _check_redis_pubsub_for_restart(self) -> None:
        """Look for a notice for this Traptor; when one has come, set ``restart_flag`` and return."""
        for is_for_us in self._listener.heard():
            if is_for_us:
                put_off_seconds = self._watch.put_off_seconds(time.monotonic())
                self.logger.info("restart notice", extra={"put_off_seconds": round(put_off_seconds, 2)})
                self.restart_flag = True
                self._pulse.wake()
                return
            if self._side_roads.stopped.wait(self.settings.PUBSUB_CHECK_INTERVAL):
                return

    def _is_noticed(self) -> bool:
        return self.restart_flag or self._listener.may_have_missed
