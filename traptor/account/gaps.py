"""Gaps: each time without a stream is a record."""

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

log = logging.getLogger(__name__)

KEPT = 1000
"""Gap records of one Traptor in Redis."""
DAY_SECONDS = 86_400.0
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


def iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")


class Gaps:
    """The gap that is open, if any, and the one that waits for its first tweet. ``tell`` gets each finished record.

    How long a gap lasts is measured by ``monotonic``: a clock that is set meanwhile changes nothing but the hour.
    """

    def __init__(
        self,
        traptor_type: str,
        traptor_id: int,
        tell: Callable[[Gap], None],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open: Gap | None = None
        self.last_tweet_id: str | None = None
        self.seconds = 0.0
        """Of all finished gaps."""
        self._finished: deque[tuple[float, float]] = deque(maxlen=KEPT)
        """When each ended, by the monotonic clock, and how many seconds it lasted."""
        self._type = traptor_type
        self._id = traptor_id
        self._tell = tell
        self._now = now
        self._monotonic = monotonic
        self._began_at = 0.0
        self._closed: Gap | None = None
        self._closed_at = 0.0

    def begin(self, since: datetime, cause: str) -> None:
        """The stream is over, since now or a moment ago. An open gap goes on under its first cause."""
        self.finish()
        if self.open is None:
            now = self._now()
            since = min(since, now)  # one to come was noted before the clock was set back
            self._began_at = self._monotonic() - (now - since).total_seconds()
            self.open = Gap(self._type, self._id, iso(since), None, cause, self.last_tweet_id)

    def tried(self) -> None:
        """One more attempt to connect."""
        if self.open:
            self.open.reconnects += 1

    def end(self, rule_set: str) -> None:
        """There is a stream again."""
        if self.open:
            self._closed, self.open, self._closed_at = self.open, None, self._monotonic()
            lasted = timedelta(seconds=self._closed_at - self._began_at)
            self._closed.to = iso(datetime.fromisoformat(self._closed.since) + lasted)
            self._closed.rule_set = rule_set

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
            lasted_seconds = self._closed_at - self._began_at
            self.seconds += lasted_seconds
            self._finished.append((self._closed_at, lasted_seconds))
            self._tell(gap)

    def of_last_day(self) -> tuple[int, float]:
        """How many gaps ended within a day, and how many seconds they lasted. The open one counts."""
        now = self._monotonic()
        lasted = [seconds for ended_at, seconds in list(self._finished) if now - ended_at < DAY_SECONDS]
        if self.open:
            lasted.append(now - self._began_at)
        return len(lasted), round(sum(lasted), 1)


def store(conn: Any, key: str, gap: Gap) -> None:
    """Append a record to the bounded list in Redis; what stands there and is none is written over. Raises
    redis.RedisError."""
    try:
        _append(conn, key, gap)
    except redis.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        log.warning("what stood in the place of the gaps was no list: written over", extra={"key": key})
        conn.delete(key)
        _append(conn, key, gap)


def _append(conn: Any, key: str, gap: Gap) -> None:
    with conn.pipeline(transaction=True) as pipe:
        pipe.rpush(key, json.dumps(gap.record()))
        pipe.ltrim(key, -KEPT, -1)
        pipe.expire(key, KEPT_SECONDS)
        pipe.execute()
