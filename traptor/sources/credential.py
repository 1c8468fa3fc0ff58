"""The right to connect with one credential: the lease on it and on our name, and the back-off remembered in Redis.

Without Redis both go on in memory, with a warning: a stream matters more than the book-keeping about it.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis

from traptor import keys
from traptor.sources import backoff
from traptor.sources.lease import TTL_SECONDS, Lease, as_holder, credential_hash

REMEMBERED_SECONDS = 3600
"""Failures are remembered for so long after the wait that they caused."""
LONGEST_SECONDS = 86_400.0
"""No remembered wait is longer, whatever the clock of the host that set it."""
TOLD_SECONDS = 1
"""How long to wait for word at a time; Redis before version 6 knows whole seconds alone."""
EARLY = {backoff.Kind.DROPPED, backoff.Kind.NETWORK, backoff.Kind.STILL_COUNTED}
"""Waits of our own making, which new rules may cut short; the others Twitter has asked for."""

log = logging.getLogger(__name__)


class Credential:
    """One credential as one Traptor uses it. ``name`` is a hash of its public parts."""

    def __init__(self, conn: Any, apikeys: Mapping[str, str], traptor_type: str, traptor_id: int) -> None:
        self.name = credential_hash(apikeys)
        self.not_before = 0.0
        """When to connect again, by time.monotonic()."""
        self.may_connect_early = False
        self.lost = False
        """Somebody else took the lease while we could not renew it."""
        self._conn = conn
        self._backoff = backoff.Backoff()
        self.rival: dict[str, Any] = {}
        """Who waits to run as this Traptor too, with another credential."""
        self._traptor = traptor_type, traptor_id
        leased = keys.lease(self.name), keys.name(*self._traptor)
        self._lease = Lease(conn, leased, *self._traptor, self.name)
        self._holding = threading.Lock()
        self._held = False
        self._is_recalled = False
        """Do we know the back-off that Redis remembers?"""
        self._other: dict[str, Any] | None = None
        """Who else has the lease, by our last look."""
        self._patient_until = 0.0

    def wait_seconds(self) -> float:
        return max(0.0, self.not_before - time.monotonic())

    def take(self) -> dict[str, Any] | None:
        """Take the lease and recall the back-off of whoever had it. Returns the holder if it is not ours.

        Without Redis it counts as ours until ``renew`` finds otherwise, but not while another is known to have it.
        """
        if time.monotonic() < self._patient_until:
            return self._other
        try:
            holder = self._lease.take()
            if holder is None and not self._is_recalled:
                self._recall()
            elif holder is not None and self.is_rival(holder):
                self._tell_rival(holder)
        except redis.RedisError as error:
            if self._other is None:
                log.warning("no lease on the credential, going on without", extra={"error": str(error)})
                self._held, self.lost = True, False
            else:
                # Each look at a Redis that is away holds the main loop up.
                self._patient_until = time.monotonic() + TTL_SECONDS
            return self._other
        self._other = holder
        self._held = self._is_recalled = holder is None
        self.lost = False
        return holder

    def renew(self) -> None:
        """Keep a lease that we hold. Raises redis.RedisError."""
        with self._holding:
            if self._held and (holder := self._lease.take()) is not None:
                log.error("another Traptor has taken our credential", extra=_named(holder))
                self._held, self._is_recalled, self.lost, self._other = False, False, True, holder
            elif self._held:
                self._look_for_rival()

    def is_rival(self, holder: Mapping[str, Any]) -> bool:
        """Is it another process of our type and id, with another credential?"""
        return self._is_namesake(holder) and holder.get("credential", self.name) != self.name

    def _is_namesake(self, holder: Mapping[str, Any]) -> bool:
        return (holder.get("type"), holder.get("id")) == self._traptor

    def _tell_rival(self, holder: dict[str, Any]) -> None:
        """Leave word for it. Raises redis.RedisError."""
        is_new, self._other = holder != self._other, holder
        if is_new:
            log.error("this Traptor runs already, with another credential: not twice", extra=_named(holder))
        self._conn.set(keys.rival(*self._traptor), self._lease.own, ex=TTL_SECONDS)

    def _look_for_rival(self) -> None:
        stored = self._conn.get(keys.rival(*self._traptor))
        rival = as_holder(stored) if stored else {}
        if not self.is_rival(rival):
            rival = {}  # or the word is our own, from before
        if rival and rival != self.rival:
            log.error("a second process would run as this Traptor, with another credential", extra=_named(rival))
        self.rival = rival

    def predecessor(self) -> dict[str, Any] | None:
        """Who has handed the credential over to us, and still delivers under our name what it has received."""
        return self._lease.predecessor() if self._held else None

    def has_name(self) -> bool:
        """Is our name ours, and the spool that goes by it?"""
        return self._held and self.predecessor() is None

    def has_namesake(self) -> bool:
        """Is another process of our name at work, by our last look? It writes itself what stands in Redis under it."""
        return self.predecessor() is not None or self._is_namesake(self._other or {})

    def hand_over(self) -> None:
        """Our stream is closed: whoever waits may open one. Our name stays ours until ``release``, so that what we have
        received is delivered before what comes next.
        """
        with self._holding:
            self._leave(lambda: self._lease.hand_over(keys.lease(self.name)))

    def release(self) -> None:
        """Hand over to whoever waits."""
        with self._holding:
            self._leave(self._lease.release)
            self._held = self._is_recalled = False

    def _leave(self, leave: Callable[[], None]) -> None:
        if self._held:
            try:
                leave()
            except redis.RedisError as error:
                log.warning("lease not released: it ends by itself", extra={"error": str(error)})
            else:
                self._tell_waiting()

    def _tell_waiting(self) -> None:
        try:
            with self._conn.pipeline(transaction=True) as pipe:
                pipe.lpush(keys.handover(self.name), self._lease.own)
                pipe.expire(keys.handover(self.name), TTL_SECONDS)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("who waits for the credential is not told: it looks each second", extra={"error": str(error)})

    def is_told(self) -> bool:
        """Has somebody handed the credential over, or its name? Waits for that, for a second at most."""
        try:
            return self._conn.blpop([keys.handover(self.name)], timeout=TOLD_SECONDS) is not None
        except redis.RedisError:
            return False

    def failed(self, kind: backoff.Kind, asked_seconds: float | None = None) -> float:
        """Set when to connect again; returns the seconds until then."""
        wait_seconds = self._backoff.failed(kind, asked_seconds)
        self.not_before = time.monotonic() + wait_seconds
        self.may_connect_early = kind in EARLY
        if not self.may_connect_early:
            self._remember(wait_seconds)
        return wait_seconds

    def succeeded(self) -> None:
        """A good stretch: earlier failures are forgotten."""
        if self._backoff.failures:
            self._backoff.succeeded()
            try:
                self._conn.delete(keys.backoff(self.name))
            except redis.RedisError as error:
                log.warning("back-off not forgotten in Redis", extra={"error": str(error)})

    def _remember(self, wait_seconds: float) -> None:
        state = {"failures": self._backoff.failures, "not_before": time.time() + wait_seconds}
        try:
            self._conn.set(keys.backoff(self.name), json.dumps(state), ex=round(wait_seconds) + REMEMBERED_SECONDS)
        except redis.RedisError as error:
            log.warning("back-off not remembered in Redis", extra={"error": str(error)})

    def _recall(self) -> None:
        stored = self._conn.get(keys.backoff(self.name))
        if not stored:
            return
        try:
            state = keys.content(stored)
            failures = {backoff.Kind(kind): max(0, int(count)) for kind, count in state["failures"].items()}
            left_seconds = min(float(state["not_before"]) - time.time(), LONGEST_SECONDS)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            facts = {"key": keys.backoff(self.name), "error": str(error)}
            log.warning("remembered back-off cannot be read: ignored", extra=facts)
            return
        self._backoff.failures = failures
        if left_seconds > self.wait_seconds():
            self.not_before = time.monotonic() + left_seconds
            log.warning(
                "earlier back-off goes on",
                extra={"wait_seconds": round(left_seconds, 1), "failures": self._backoff.failures},
            )


def _named(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Who holds it, as fields of a log line."""
    return {"holder": f"{holder.get('host')} pid {holder.get('pid')} {holder.get('type')}:{holder.get('id')}"}
