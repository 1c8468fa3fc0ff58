"""Rules are read, planned and written by one at a time: a lock in Redis, and a fence around the writing."""

import contextlib
import math
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

import redis

from traptor import keys
from traptor.rules.progress import SILENT, Progress

TTL_SECONDS = 30
"""A holder that died is waited out; one that works renews it."""
RENEWAL_SECONDS = 5.0
LOOK_SECONDS = 0.1
LEAST_CPU_SECONDS = 0.001
"""Of the holder's thread between two renewals; one that uses less does not get on."""


class Locked(Exception):
    """Somebody else changes rules; says who."""


class RulesLock:
    """A ``with`` takes the lock, waiting for it up to ``wait_seconds``, and hands it over. Raises Locked.

    It stays ours for as long as the thread that took it gets on: a thread beside it renews it until the first fence,
    which renews it as well.
    """

    def __init__(self, conn: "redis.Redis", wait_seconds: float = math.inf, progress: Progress = SILENT) -> None:
        self._conn: Any = conn
        self._wait_seconds = wait_seconds
        self._progress = progress
        self._own = f"{socket.gethostname()} pid {os.getpid()} {os.urandom(4).hex()}"
        self._fenced = threading.Event()

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self._wait_seconds
        holder = ""
        while not self._conn.set(keys.RULES_LOCK, self._own, nx=True, ex=TTL_SECONDS):
            holder, before = self._holder(), holder
            if time.monotonic() >= deadline:
                raise Locked(f"rules are being changed by {holder}")
            if holder != before:
                self._progress.waits(f"waits for {holder}, who changes rules")
            threading.Event().wait(LOOK_SECONDS)
        self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
        self._renewer = threading.Thread(target=self._renew_until_fenced, name="rules-lock", daemon=True)
        self._renewer.start()
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
        # A renewal between WATCH and EXEC would be a change of the key, too.
        self._fenced.set()
        self._renewer.join()
        self._renew()
        pipe.watch(keys.RULES_LOCK)
        if self._text(pipe.get(keys.RULES_LOCK)) != self._own:
            raise Locked("the lock on the rules was lost to somebody else, and nothing more was written: try again")
        pipe.multi()

    def _renew_until_fenced(self) -> None:
        used_seconds = time.clock_gettime(self._cpu_clock)
        while not self._fenced.wait(RENEWAL_SECONDS):
            before, used_seconds = used_seconds, time.clock_gettime(self._cpu_clock)
            if used_seconds - before >= LEAST_CPU_SECONDS:
                with contextlib.suppress(redis.RedisError):  # the next renewal comes long before the lock runs out
                    self._renew()

    def _renew(self) -> None:
        """For another TTL_SECONDS, if it is still ours."""
        with self._conn.pipeline() as pipe:
            pipe.watch(keys.RULES_LOCK)
            if self._text(pipe.get(keys.RULES_LOCK)) == self._own:
                pipe.multi()
                pipe.expire(keys.RULES_LOCK, TTL_SECONDS)
                with contextlib.suppress(redis.WatchError):
                    pipe.execute()

    def _holder(self) -> str:
        return self._text(self._conn.get(keys.RULES_LOCK)) or "somebody who has just ended"

    @staticmethod
    def _text(value: str | bytes | None) -> str:
        return value.decode() if isinstance(value, bytes) else value or ""
