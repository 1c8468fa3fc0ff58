"""Rolling windows: counted in memory, written to Redis once a second in one round trip."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

import redis


class RollingCounter:
    """How often something happened within the last ``window_seconds``; kept in Redis as a number with a TTL."""

    def __init__(self, key: str, window_seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.key = key
        self.window_seconds = window_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # There are thousands of counters, and an empty deque takes ten times the memory of an empty list.
        self._seconds: list[list[int]] = []
        """[second, count], oldest first."""
        self._value = 0
        self._written = 0

    def __repr__(self) -> str:
        return f"RollingCounter({self.key!r}, {self.window_seconds}, value={self.value()})"

    def get_key(self) -> str:
        return self.key

    def increment(self, count: int = 1) -> None:
        second = int(self._clock())
        with self._lock:
            if not self._seconds or self._seconds[-1][0] != second:
                self._seconds.append([second, 0])
            self._seconds[-1][1] += count
            self._value += count

    def value(self) -> int:
        oldest = int(self._clock()) - self.window_seconds
        with self._lock:
            while self._seconds and self._seconds[0][0] <= oldest:
                self._value -= self._seconds.pop(0)[1]
            return self._value

    def changed(self) -> bool:
        """Is Redis behind?"""
        return self.value() != self._written

    def written(self, value: int) -> None:
        self._written = value


def write(
    conn: "redis.Redis", counters: Iterable[RollingCounter], texts: Mapping[str, tuple[str, int]] | None = None
) -> int:
    """Write the counters that have changed since they were last written. Returns how many.

    ``texts`` are written in the same round trip: by key, a text and its TTL in seconds.

    Raises redis.RedisError; nothing is lost by it: what was not written is written the next time.
    """
    changed = [(counter, counter.value()) for counter in counters if counter.changed()]
    if changed or texts:
        with conn.pipeline(transaction=False) as pipe:
            for counter, value in changed:
                if value:
                    # As ``pipe.set`` would, which looks at each of its many options first.
                    pipe.execute_command("SET", counter.key, value, "EX", counter.window_seconds)  # type: ignore[no-untyped-call]
                else:
                    pipe.delete(counter.key)
            for key, (text, ttl_seconds) in (texts or {}).items():
                pipe.set(key, text, ex=ttl_seconds)
            pipe.execute()
        for counter, value in changed:
            counter.written(value)
    return len(changed)


class LimitWatch:
    """What Twitter withheld on one connection, from its limit notices.

    The number counts since the connection opened, but several counters share a stream, so it goes up and down: the
    largest seen is a lower bound, and only what raises it is new.
    """

    def __init__(self) -> None:
        self.largest = 0

    def raised_by(self, count: int) -> int:
        """How many more are known to be withheld now than before this notice."""
        raised = max(0, count - self.largest)
        self.largest += raised
        return raised
