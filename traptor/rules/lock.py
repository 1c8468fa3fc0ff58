"""Rules are read, planned and written by one at a time: a lock in Redis, and a fence around the writing."""

import os
import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

import redis

from traptor import keys

TTL_SECONDS = 30
"""A holder that died is waited out."""
WAIT_SECONDS = 35.0
LOOK_SECONDS = 0.1


class Locked(Exception):
    """Somebody else changes rules; says who."""


class RulesLock:
    """A ``with`` takes the lock, waiting for it up to ``wait_seconds``, and hands it over. Raises Locked."""

    def __init__(self, conn: "redis.Redis", wait_seconds: float = WAIT_SECONDS) -> None:
        self._conn: Any = conn
        self._wait_seconds = wait_seconds
        self._own = f"{socket.gethostname()} pid {os.getpid()} {os.urandom(4).hex()}"

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self._wait_seconds
        while not self._conn.set(keys.RULES_LOCK, self._own, nx=True, ex=TTL_SECONDS):
            if time.monotonic() >= deadline:
                raise Locked(f"rules are being changed by {self._holder()}")
            threading.Event().wait(LOOK_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._conn.pipeline() as pipe:
            try:
                self.fence(pipe)
                pipe.delete(keys.RULES_LOCK)
                pipe.execute()
            except (Locked, redis.WatchError):
                """It ran out, and is no longer ours to hand over."""

    def fence(self, pipe: Any) -> None:
        """Begin a MULTI that Redis refuses (redis.WatchError) once the lock is no longer ours. Raises Locked."""
        pipe.watch(keys.RULES_LOCK)
        if self._text(pipe.get(keys.RULES_LOCK)) != self._own:
            raise Locked(f"the change took longer than {TTL_SECONDS} s, and nothing was written: try again")
        pipe.multi()

    def _holder(self) -> str:
        return self._text(self._conn.get(keys.RULES_LOCK)) or "somebody who has just ended"

    @staticmethod
    def _text(value: str | bytes | None) -> str:
        return value.decode() if isinstance(value, bytes) else value or ""
