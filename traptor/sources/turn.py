"""Whose turn it is to connect, and what the end of a stream, or an answer that is none, means for the next try."""

import contextlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import redis
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor.sources import backoff, connecting
from traptor.sources.backoff import Kind
from traptor.sources.credential import Credential
from traptor.sources.stream import StreamEnded
from traptor.threads import in_background

GOOD_STRETCH_SECONDS = 60.0
"""A stream that lasts so long makes earlier failures forgotten."""

log = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """Why there is no stream, and what follows: a wait of so many seconds, or a ``refusal`` that is meant for good, and
    Twitter's ``answer`` that says so.
    """

    cause: str
    facts: Mapping[str, Any]
    wait_seconds: float = 0.0
    refusal: str = ""
    answer: TwitterApiError | None = None


class Wait(NamedTuple):
    """Why we may not connect yet, empty for a back-off; how long that lasts, where it is known; and whether another
    has the credential.
    """

    reason: str
    seconds: float = math.inf
    is_held: bool = False


class Turn:
    """One Traptor's tries to connect with its credential, and the stream that is open. Times by time.monotonic().

    ``wake`` is called as soon as somebody hands over what we wait for.
    """

    def __init__(self, credential: Credential, wake: Callable[[], None] = lambda: None) -> None:
        self.credential = credential
        self._wake = wake
        self._unauthorized = 0
        self._disconnect_code: int | None = None
        self._opened_at = 0.0
        self._has_received = False
        """Has the open stream brought a message?"""
        self._is_good_stretch = False
        self._listening: Future[None] | None = None

    def waits(self, closed: Callable[[], str]) -> Iterator[Wait]:
        """What is still to be waited before we may connect, each time this is asked: for the credential, for what the
        source says (``closed``), then for the back-off. Each reason is logged once.
        """
        told = ""
        for wait in self._waits(closed):
            if wait.reason not in {"", told}:
                what = "waiting for the credential" if wait.is_held else "no stream for now"
                log.warning(what, extra={"reason": wait.reason})
                told = wait.reason
            yield wait

    def _waits(self, closed: Callable[[], str]) -> Iterator[Wait]:
        while (holder := self.credential.take()) is not None:
            self._listen()
            who = "{host} pid {pid}, {type}:{id}".format_map(defaultdict(str, holder))
            what = "name" if self.credential.is_rival(holder) else "credential"
            yield Wait(f"{what} in use by {who}", is_held=True)
        while reason := closed():
            yield Wait(reason)
        while left := self.credential.wait_seconds():
            yield Wait("", left)

    def inheriting(self) -> Iterator[dict[str, Any]]:
        """Who still delivers under our name, each time this is asked, until nobody does."""
        if self.credential.predecessor():
            log.info("the stream is open: what it brings waits until the process before us has delivered")
        while predecessor := self.credential.predecessor():
            self._listen()
            yield predecessor

    def _listen(self) -> None:
        """Hear of a hand-over, for the next second."""

        def listening() -> None:
            if self.credential.is_told():
                with contextlib.suppress(redis.RedisError):  # the side road does it again
                    self.credential.renew()
                self._wake()

        if self._listening is None or self._listening.done():
            self._listening = in_background(listening, lambda: None)

    def exchange(self, credential: Credential) -> None:
        """Go on with this one; whoever waits may have the other."""
        self.credential.release()
        self.credential = credential

    def attempt(self, connect: Callable[[], object]) -> Verdict | None:
        """Try to connect: None where that has gone well."""
        try:
            connect()
        except TwitterApiError as error:
            return self.answered(error)
        except TwitterClientError as error:
            return self.unreachable(error)
        return None

    def opened(self) -> None:
        """There is a stream. What an earlier one said of its end says nothing of this one's."""
        self._opened_at = time.monotonic()
        self._unauthorized = 0
        self._disconnect_code = None
        self._has_received = self._is_good_stretch = False

    def received(self) -> None:
        """The open stream has brought a message."""
        self._has_received = True

    def disconnected(self, code: int | None) -> None:
        """The open stream has said that it will end, and why."""
        self._disconnect_code = code

    def tick(self) -> None:
        """Once the open stream has lasted and delivered, earlier failures are forgotten."""
        if self._has_received and not self._is_good_stretch and self.lasted_seconds() >= GOOD_STRETCH_SECONDS:
            self._is_good_stretch = True
            self.credential.succeeded()

    def lasted_seconds(self) -> float:
        return time.monotonic() - self._opened_at

    def ended(self, ended: StreamEnded) -> Verdict:
        """Twitter or the network ended the stream."""
        code, self._disconnect_code = self._disconnect_code, None
        cause = ended.cause if code is None else f"disconnect-{code}"
        facts = {"detail": ended.detail, "lasted_seconds": round(self.lasted_seconds(), 1)}
        if code in backoff.FINAL_DISCONNECTS:
            return Verdict(cause, facts, refusal=f"disconnect {code}: {backoff.FINAL_DISCONNECTS[code]}")
        if code is not None:
            kind = backoff.DISCONNECTS.get(code, Kind.NETWORK)
        else:
            kind = ended.kind or (Kind.DROPPED if self._has_received else Kind.NETWORK)
        return self._wait(kind, cause, facts)

    def unreachable(self, error: TwitterClientError) -> Verdict:
        """The network failed while the stream was being opened."""
        return self._wait(Kind.NETWORK, "network", {"error": connecting.why(error)})

    def answered(self, error: TwitterApiError) -> Verdict:
        """Twitter answered with an error: it is meant for good, or to be waited out, for as long as it asks."""
        status, headers = error.status_code, error.headers or {}
        self._unauthorized = self._unauthorized + 1 if status == backoff.UNAUTHORIZED else 0
        cause, facts = f"http-{status}", {"answer": str(error)}
        if status is None or backoff.is_refusal(status, self._unauthorized or 1):
            advice = backoff.advice(status, headers, time.time())
            return Verdict(cause, facts, refusal=f"{status} {error}: {advice}", answer=error)
        kind = getattr(error, "kind", backoff.kind_of(status))
        return self._wait(kind, cause, facts, asked_seconds(error))

    def _wait(self, kind: Kind, cause: str, facts: dict[str, Any], asked_seconds: float | None = None) -> Verdict:
        wait_seconds = self.credential.failed(kind, asked_seconds)
        return Verdict(cause, {**facts, "wait_seconds": round(wait_seconds, 2)}, wait_seconds)


def asked_seconds(error: TwitterClientError) -> float | None:
    """For how long the server asks to be left alone; None where it does not say."""
    return backoff.asked_wait_seconds(error.status_code, error.headers or {}, time.time())
