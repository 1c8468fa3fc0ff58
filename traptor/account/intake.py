"""What has come in is noted here, and sorted: new tweets, what has come before, notices, what cannot be read."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from traptor.account.gaps import Gaps
from traptor.account.vitals import Vitals
from traptor.sources import backoff
from traptor.sources.stream import MAX_MESSAGE_BYTES
from traptor.sources.turn import Turn
from traptor.tweets import kinds
from traptor.tweets.duplicates import RecentIds
from traptor.tweets.fields import Tweet

SKIPPED_HEAD_BYTES = 200

log = logging.getLogger(__name__)

Arrived = tuple[bytes, Tweet]
"""A new tweet, and its bytes."""
Odd = tuple[bytes, Any]
"""A message that is no tweet, or one whose bytes cannot stay as they are."""


class Intake:
    """Notes every message in the account, and tells the open stream's turn what it should know."""

    def __init__(self, vitals: Vitals, gaps: Gaps, turn: Turn, recent: RecentIds) -> None:
        self._vitals = vitals
        self._counts = vitals.account.counts
        self._gaps = gaps
        self._turn = turn
        self._recent = recent

    def sort(
        self, received: Iterable[bytes], decode: Callable[[bytes], Any]
    ) -> Iterator[tuple[list[Arrived], Odd | None]]:
        """The new tweets among them, up to each message that is to be handled by itself, and that message."""
        tweets: list[Arrived] = []
        for raw, message in self.decoded(received, decode):
            self.note()
            if not isinstance(message, Tweet):
                yield tweets, (raw, message)
                tweets = []
            elif self.is_new(message.id_str or ""):
                tweets.append((raw, message))
        yield tweets, None

    def decoded(self, received: Iterable[bytes], decode: Callable[[bytes], Any]) -> Iterator[tuple[bytes, Any]]:
        """The messages among them, each with its bytes. What is no message is skipped."""
        for raw in received:
            try:
                message = decode(raw)
            except ValueError:
                self._skip(raw)
            else:
                yield raw, message

    def note(self) -> None:
        """A message has come."""
        self._turn.received()
        self._vitals.last_message_at = self._vitals.progress_at

    def is_new(self, id_str: str) -> bool:
        """Count a tweet; False for one that has come before."""
        self._counts["received:tweet"] += 1
        self._vitals.last_tweet_at = self._vitals.progress_at
        self._gaps.tweet(id_str)
        if id_str and self._recent.is_known(id_str):
            self._counts["dropped:duplicate"] += 1
            return False
        return True

    def not_ours(self, tweets: int) -> None:
        """So many were sent for the rules of others, or for ones that are gone."""
        self._counts["dropped:other_rules"] += tweets

    def heed(self, notice: Any) -> None:
        """Count a notice, and remember what it says of the stream."""
        kind = kinds.kind(notice)
        self._counts[f"received:{kind}"] += 1
        if kind == "disconnect":
            self._turn.disconnected(kinds.number(notice, "disconnect", "code"))
            log.warning("Twitter disconnects us", extra={"notice": notice["disconnect"]})
        elif kind == "warning":
            self._vitals.percent_full = kinds.number(notice, "warning", "percent_full") or 0
            log.warning("Twitter warns", extra={"notice": notice["warning"]})

    def _skip(self, raw: bytes) -> None:
        """Count and log what is no message. One that is too long comes cut, and so is not JSON either."""
        reason = "too_long" if len(raw) > MAX_MESSAGE_BYTES else "not_json"
        self._counts["received:unreadable"] += 1
        self._counts[f"dropped:{reason}"] += 1
        if raw.startswith(backoff.CONNECTION_LIMIT):
            self._turn.disconnected(backoff.DUPLICATE_STREAM)
        log.warning("message skipped", extra={"reason": reason, "head": repr(raw[:SKIPPED_HEAD_BYTES])})
