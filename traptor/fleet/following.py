"""The rules in Redis follow a source that changes: one of those who would load it does, again and again."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import redis

from traptor import keys
from traptor.fleet.roster import Changes, Name
from traptor.rules.loading import Loaded, Remark, SourceError
from traptor.rules.lock import Locked
from traptor.sources.lease import RENEW_SECONDS, Lease
from traptor.threads import Pulse, say_farewell

LOCK_SECONDS = 5.0
"""How long a look waits for somebody else who changes rules."""
REST = 9
"""So many times the processor's time for a look it rests, where that is longer than it was told."""
MOST_TOLD = 20
"""Remarks of one look."""
FAREWELL_SECONDS = 2.0

Read = Callable[[], Loaded]
"""What the source has now. Raises SourceError."""
Write = Callable[[Loaded], tuple[Changes, Collection[Name]]]
"""Brings Redis to it. Raises Locked, redis.RedisError."""

log = logging.getLogger(__name__)


class Follower:
    """Loads rules of these types every so many seconds, while it holds the lease on them. A source or a Redis that is
    away is told once, and waited out: the rules stay as they were.
    """

    def __init__(
        self,
        conn: "redis.Redis",
        types: Collection[str],
        read: Read,
        write: Write,
        *,
        every_seconds: float,
        stopping: threading.Event,
    ) -> None:
        self._lease = Lease(conn, [keys.loader(name) for name in types], "rules", 0)
        self._pulse = Pulse(self._renew, stopping.is_set)
        self._read = read
        self._write = write
        self._every_seconds = every_seconds
        self._stopping = stopping
        self.pause_seconds = every_seconds
        self.loaded_at = 0.0
        """When we last loaded, in seconds since 1970."""
        self.rules: dict[str, int] = {}
        """How many the source had then, by type."""
        self.refused = 0
        self.failures = 0
        self._holder: Mapping[str, Any] | None = {}
        """Who has the lease: None is we, empty nobody as far as we know."""
        self._renew_at = 0.0
        self.trouble = ""
        """What keeps us from loading."""
        self._told: frozenset[Remark] = frozenset()

    def run(self) -> None:
        """Until told to stop; then the lease is free for whoever waits."""
        while not self._stopping.is_set():
            began_at = time.process_time()
            self.look()
            self.pause_seconds = max(self._every_seconds, REST * (time.process_time() - began_at))
            self._pulse.pause(self.pause_seconds, lambda: False)
        if self._holder is None:
            say_farewell(FAREWELL_SECONDS, self._lease.release)

    def look(self) -> None:
        """Load once, where it is our turn."""
        try:
            self._take()
            if self._holder is not None:
                self.trouble = ""  # what keeps us from loading is that another does
            elif loaded := self._pulse.result(self._read):
                self._tell_remarks(loaded)
                self._tell_changes(*self._write(loaded))
                self._count(loaded)
                self._note("")
        except (SourceError, Locked) as error:
            self._note(str(error))
        except redis.RedisError as error:
            self._note(f"Redis fails: {error}")

    def _take(self) -> None:
        """Raises redis.RedisError."""
        holder, self._holder = self._holder, self._lease.take()
        self._renew_at = time.monotonic() + RENEW_SECONDS
        if self._holder != holder and self._holder is None:
            log.info("loading rules")
        elif self._holder != holder and self._holder:
            log.info("waiting: another loads rules", extra={name: self._holder.get(name) for name in ("host", "pid")})

    def _renew(self) -> None:
        if self._holder is None and time.monotonic() >= self._renew_at:
            with contextlib.suppress(redis.RedisError):  # the next look tells it
                self._take()

    def _count(self, loaded: Loaded) -> None:
        self.loaded_at = time.time()
        self.rules = {traptor_type: len(found) for traptor_type, found in loaded.rules.items()}
        self.refused = len(loaded.problems)

    def _note(self, trouble: str) -> None:
        """What keeps us from loading, once for each; and that it is over."""
        self.failures += bool(trouble)
        if trouble and trouble != self.trouble:
            log.error("rules are not loaded: trying again", extra={"reason": trouble})
        elif self.trouble and not trouble:
            log.warning("rules are loaded again")
        self.trouble = trouble

    def _tell_remarks(self, loaded: Loaded) -> None:
        """Those that the last look had not."""
        new_problems = [one for one in loaded.problems if _placeless(one) not in self._told]
        new_notes = [one for one in loaded.notes if _placeless(one) not in self._told]
        _tell_some(logging.WARNING, "a rule is left out", new_problems)
        _tell_some(logging.INFO, "a rule was cleaned up or merged", new_notes)
        self._told = frozenset(map(_placeless, loaded.problems + loaded.notes))

    @staticmethod
    def _tell_changes(changes: Changes, told: Collection[Name]) -> None:
        for traptor_type, some in changes.items():
            kinds = [one.kind for one in some]
            counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
            if counts:
                names = " ".join(str(name) for name in told if name.traptor_type == traptor_type)
                log.info("rules loaded", extra={"type": traptor_type, **counts, "told": names})


def _placeless(remark: Remark) -> Remark:
    """The row's number is another when a row before it goes."""
    return remark._replace(place="")


def _tell_some(level: int, what: str, remarks: Collection[Remark]) -> None:
    for one in list(remarks)[:MOST_TOLD]:
        log.log(level, what, extra={"place": one.place, "value": one.value, "reason": one.text})
    if len(remarks) > MOST_TOLD:
        log.log(level, what, extra={"more": len(remarks) - MOST_TOLD})
