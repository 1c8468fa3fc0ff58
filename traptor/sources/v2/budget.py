"""How many posts were read this month, for v2 is paid by the post."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from traptor import keys

KEPT_SECONDS = 40 * 86_400
"""A little longer than a month."""


def _now() -> datetime:
    return datetime.now(UTC)


class Budget:
    """The posts that an app has read in this month (UTC), all its processes together. A ``limit`` of 0 is none.

    ``app`` names it; the count is kept in Redis, and what Redis does not know yet in memory.
    """

    def __init__(self, app: str, limit: int, clock: Callable[[], datetime] = _now) -> None:
        self._app = app
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._month = self._this_month()
        self._written = 0
        self._unwritten = 0

    @property
    def read(self) -> int:
        with self._lock:
            self._turn_month()
            return self._written + self._unwritten

    def note(self, posts: int) -> None:
        """So many more have been read."""
        with self._lock:
            self._turn_month()
            self._unwritten += posts

    def is_spent(self) -> bool:
        return bool(self._limit) and self.read >= self._limit

    def write(self, conn: Any) -> None:
        """Add what is new to Redis, and learn what others have read. Raises redis.RedisError; nothing is lost by it."""
        with self._writing:
            self._write(conn)

    def _write(self, conn: Any) -> None:
        with self._lock:
            self._turn_month()
            adding, key = self._unwritten, keys.posts(self._app, self._month)
        with conn.pipeline(transaction=True) as pipe:
            pipe.incrby(key, adding)
            pipe.expire(key, KEPT_SECONDS)
            total, _ = pipe.execute()
        with self._lock:
            if key == keys.posts(self._app, self._month):
                self._unwritten -= adding
                self._written = int(total)

    def _turn_month(self) -> None:
        if (month := self._this_month()) != self._month:
            self._month, self._written, self._unwritten = month, 0, 0

    def _this_month(self) -> str:
        return f"{self._clock():%Y-%m}"
