"""The methods of the original that take dicts, one message at a time, which people call and replace.

A Traptor has them all. Where one is replaced, every message passes through them; otherwise bytes take the shorter way
of ``passage``.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from traptor import keys
from traptor.account import counters
from traptor.account.intake import Intake
from traptor.account.ledger import Account
from traptor.delivery.address import Address
from traptor.delivery.door import Door
from traptor.passage import Passage
from traptor.settings import Settings
from traptor.sources.stream import FilterStream
from traptor.tweets import fields, kinds, times
from traptor.tweets.blocks import mark_dict
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.rule import Match


class DictMethods:
    """What they need of the Traptor whose methods they are."""

    settings: Settings
    traptor_type: str
    traptor_id: int
    enable_stats_collection: bool
    birdy_stream: Any
    redis_rules: list[dict[str, str]]
    rule_counters: dict[str, counters.RollingCounter]
    limit_counter: Any
    account: Account
    _enrichment: Enrichment
    _limit_watch: counters.LimitWatch
    _intake: Intake
    _passage: Passage
    _address: Address
    _door: Door

    def _long_way(self) -> tuple[Iterator[Sequence[Any]], Callable[[Sequence[Any]], None]] | None:
        """What the stream brings, and the method that takes it, where somebody has replaced the stream, or a method
        that takes dicts; None where bytes may stay bytes.
        """
        if not isinstance(self.birdy_stream, FilterStream):
            # None stands for a moment in which nothing came.
            singly = ([] if message is None else [message] for message in self.birdy_stream.stream())
            return singly, self._handle_dicts
        if self._is_dict_method_replaced():
            return self.birdy_stream.reads(), self._handle_bytes_as_dicts
        return None

    def _is_dict_method_replaced(self) -> bool:
        """Has a subclass, or somebody who holds this one, replaced a method that messages pass through?"""
        return any(
            name in vars(self) or getattr(type(self), name) is not getattr(DictMethods, name) for name in REPLACEABLE
        )

    def _handle_bytes_as_dicts(self, received: Sequence[bytes]) -> None:
        self._handle_dicts([message for _, message in self._intake.decoded(received, fields.load)])

    def _handle_dicts(self, received: Sequence[Any]) -> None:
        """Messages on the long way, through the methods that people replace."""
        others = self._passage.claim([kinds.tweet_id(one) for one in received if kinds.kind(one) == "tweet"])
        for message in received:
            self._intake.note()
            first = None
            if not self._message_is_tweet(message):
                self._passage.heed(message, self._door)
            elif self._passage.is_new(message):
                first = others.get(kinds.tweet_id(message))
            else:
                continue
            self._send_enriched_data_to_kafka(message, mark_dict(self._enrich_tweet(message), first))

    def _send_enriched_data_to_kafka(self, tweet: Any, enriched_data: Any) -> None:
        """Send the enriched data, keyed by the tweet's id. Waits for nobody; standard output where Kafka is off."""
        value = fields.dump(enriched_data)
        if self._message_is_tweet(tweet):
            self._door.send([self._address.tweet(kinds.tweet_id(tweet), value)])
        else:
            self._door.send([self._address.notice(tweet, value)])

    # Enriching

    def _enrich_tweet(self, tweet: Any) -> Any:
        """The tweet with its ``traptor`` object; any other message as it is. Counts either."""
        if self._message_is_tweet(tweet):
            tweet = self._create_traptor_obj(tweet)
            tweet = self._add_iso_created_at(tweet)
            return self._find_rule_matches(tweet)
        if self._message_is_limit_message(tweet) and (count := kinds.limit_count(tweet)) is not None:
            self._increment_limit_message_counter(count)
        return tweet

    @staticmethod
    def _message_is_tweet(message: Any) -> bool:
        """Is it a tweet?"""
        return kinds.kind(message) == "tweet"

    @staticmethod
    def _message_is_limit_message(message: Any) -> bool:
        """Does it say how many tweets Twitter has withheld?"""
        return kinds.kind(message) == "limit"

    def _create_traptor_obj(self, tweet_dict: dict[str, Any]) -> dict[str, Any]:
        """The tweet with a ``traptor`` dict that holds type and id of this Traptor."""
        return {**tweet_dict, "traptor": self._enrichment.identity}

    def _add_iso_created_at(self, tweet_dict: dict[str, Any]) -> dict[str, Any]:
        """The tweet with ``traptor.created_at_iso``; None where it has no time that can be read."""
        iso = times.iso_time_or_none(tweet_dict.get("created_at"))
        return {**tweet_dict, "traptor": {**tweet_dict.get("traptor", {}), "created_at_iso": iso}}

    def _find_rule_matches(self, tweet_dict: dict[str, Any]) -> dict[str, Any]:
        """The tweet with the flat fields of the last rule that holds, and all that hold in ``rules``."""
        matches = self._enrichment.match_dict(tweet_dict)
        self._count_matches(matches)
        return {**tweet_dict, "traptor": {**tweet_dict.get("traptor", {}), **self._enrichment.told(matches)}}

    @staticmethod
    def _tweet_time_to_iso(tweet_time: str) -> str:
        """``created_at`` in ISO format. Raises ValueError for what is no time."""
        return times.iso_time(tweet_time)

    # Counting

    def _count_matches(self, matches: Sequence[Match]) -> None:
        """Count a tweet that fits these rules."""
        self.account.counts["matched" if matches else "unmatched"] += 1
        for match in matches:
            self._increment_rule_counter(self._enrichment.rule_ids[match.position])

    def _increment_rule_counter(self, rule_value: str) -> None:
        """Count a match of the rule with this rule_id."""
        if counter := self.rule_counters.get(rule_value):
            counter.increment()

    def _make_limit_message_counter(self) -> None:
        """Make ``self.limit_counter``, the tweets that Twitter says it withheld within the rolling window."""
        self.limit_counter = self.limit_counter or counters.RollingCounter(
            keys.limit(self.traptor_type, self.traptor_id), self.settings.LIMIT_COUNT_COLLECTION_WINDOW
        )

    def _increment_limit_message_counter(self, limit_count: int) -> None:
        """Count what this number in a limit notice adds to the largest one seen on this connection."""
        if raised := self._limit_watch.raised_by(limit_count):
            self.account.counts["withheld"] += raised
            self._make_limit_message_counter()
            self.limit_counter.increment(raised)


REPLACEABLE = (
    "_enrich_tweet",
    "_message_is_tweet",
    "_message_is_limit_message",
    "_create_traptor_obj",
    "_add_iso_created_at",
    "_find_rule_matches",
    "_tweet_time_to_iso",
    "_increment_rule_counter",
    "_increment_limit_message_counter",
    "_send_enriched_data_to_kafka",
)
"""Whoever replaces one of these sees every message pass through it."""
