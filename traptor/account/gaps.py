"""Gaps: each time without a stream is a record."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

KEPT = 1000
"""Gap records of one Traptor in Redis."""
KEPT_SECONDS = 30 * 86_400
FIRST_TWEET_SECONDS = 10.0
"""A closed gap waits so long for the first tweet behind it."""


@dataclass
class Gap:
    """A time without a stream; ``to`` is None while it lasts. Times are ISO 8601 in UTC."""

    type: str
    id: int
    since: str
    to: str | None
    cause: str
    last_tweet_id: str | None
    first_tweet_id: str | None = None
    rule_set: str | None = None
    reconnects: int = 0

    def record(self) -> dict[str, Any]:
        """As it is stored and sent: ``from`` and ``to``."""
        fields = asdict(self)
        return {"type": fields.pop("type"), "id": fields.pop("id"), "from": fields.pop("since"), **fields}

    def seconds(self, now: datetime) -> float:
        """How long it lasted, or has lasted up to now."""
        return (
            (datetime.fromisoformat(self.to) if self.to else now) - datetime.fromisoformat(self.since)
        ).total_seconds()


def iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")


class Gaps:
    """The gap that is open, if any, and the one that waits for its first tweet. ``tell`` gets each finished record."""

    def __init__(self, traptor_type: str, traptor_id: int, tell: Callable[[Gap], None]) -> None:
        self.open: Gap | None = None
        self.last_tweet_id: str | None = None
        self.seconds = 0.0
        """Of all finished gaps."""
        self._finished: deque[tuple[datetime, float]] = deque(maxlen=KEPT)
        """When each ended, and how many seconds it lasted."""
        self._type = traptor_type
        self._id = traptor_id
        self._tell = tell
        self._closed: Gap | None = None
        self._closed_at = 0.0

    def begin(self, since: datetime, cause: str) -> None:
        """The stream is over. An open gap goes on under its first cause."""
        self.finish()
        if self.open is None:
            self.open = Gap(self._type, self._id, iso(since), None, cause, self.last_tweet_id)

    def tried(self) -> None:
        """One more attempt to connect."""
        if self.open:
            self.open.reconnects += 1

    def end(self, now: datetime, rule_set: str, monotonic_now: float) -> None:
        """There is a stream again."""
        if self.open:
            self.open.to, self.open.rule_set = iso(now), rule_set
            self._closed, self.open, self._closed_at = self.open, None, monotonic_now

    def tweet(self, id_str: str) -> None:
        """A tweet has come."""
        self.last_tweet_id = id_str
        if self.open:
            # It arrived before, and is only handled now.
            self.open.last_tweet_id = id_str
        if self._closed:
            self._closed.first_tweet_id = id_str
            self.finish()

    def tick(self, monotonic_now: float) -> None:
        """Do not wait for a first tweet for ever."""
        if self._closed and monotonic_now - self._closed_at >= FIRST_TWEET_SECONDS:
            self.finish()

    def finish(self) -> None:
        """Tell of a closed gap, with its first tweet or without."""
        if self._closed:
            gap, self._closed = self._closed, None
            now = datetime.now(UTC)
            self.seconds += gap.seconds(now)
            self._finished.append((now, gap.seconds(now)))
            self._tell(gap)

    def of_last_day(self) -> tuple[int, float]:
        """How many gaps ended within a day, and how many seconds they lasted. The open one counts."""
        now = datetime.now(UTC)
        lasted = [seconds for ended, seconds in list(self._finished) if now - ended < timedelta(days=1)]
        if gap := self.open:
            lasted.append(gap.seconds(now))
        return len(lasted), round(sum(lasted), 1)


def store(conn: Any, key: str, gap: Gap) -> None:
    """Append a record to the bounded list in Redis. Raises redis.RedisError."""
    with conn.pipeline(transaction=True) as pipe:
        pipe.rpush(key, json.dumps(gap.record()))
        pipe.ltrim(key, -KEPT, -1)
        pipe.expire(key, KEPT_SECONDS)
        pipe.execute()
