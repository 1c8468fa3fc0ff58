"""When to connect again, by kind of failure, and which failures are for good.

Source of the waits and of the list of codes: Twitter's "Connecting to a streaming endpoint".
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum


class Kind(StrEnum):
    """What went wrong, as far as the wait depends on it."""

    DROPPED = "dropped"
    """A stream that had delivered ended."""
    NETWORK = "network"
    HTTP = "http"
    RATE_LIMITED = "rate-limited"
    """HTTP 420 or 429."""
    STILL_COUNTED = "still-counted"
    """The server has not noticed yet that a stream of ours has just ended."""


@dataclass(frozen=True)
class Policy:
    """First wait, growth and ceiling, in seconds. Jitter only ever lengthens a wait."""

    first_seconds: float
    ceiling_seconds: float
    doubles: bool

    def wait_seconds(self, failures: int) -> float:
        """The wait after this many failures in a row, one or more."""
        if self.doubles:
            return min(self.first_seconds * 2.0 ** min(failures - 1, 30), self.ceiling_seconds)
        return min(self.first_seconds * failures, self.ceiling_seconds)

    def starting_with(self, first_seconds: float) -> "Policy":
        return replace(self, first_seconds=first_seconds, ceiling_seconds=max(first_seconds, self.ceiling_seconds))


POLICIES = {
    Kind.NETWORK: Policy(first_seconds=0.25, ceiling_seconds=16.0, doubles=False),
    Kind.HTTP: Policy(first_seconds=5.0, ceiling_seconds=320.0, doubles=True),
    # Twitter states no ceiling for 420; an hour is long enough to be let in again.
    Kind.RATE_LIMITED: Policy(first_seconds=60.0, ceiling_seconds=3600.0, doubles=True),
    Kind.STILL_COUNTED: Policy(first_seconds=0.5, ceiling_seconds=8.0, doubles=True),
}
JITTER = 0.1

UNAUTHORIZED = 401
REFUSALS = {
    401: "the credentials or the clock of this machine are wrong",
    403: "this account may not use the stream: check its access level for v2 (v1.1 was closed in March 2023)",
    404: "there is no such stream at this address: check TWITTER_STREAM_URL, or TWITTER_API_URL for v2",
    406: "a rule is not acceptable: check the rules",
    410: "this stream has been retired",
    413: "there are more rules than one connection may have",
    416: "a parameter of the request is out of range",
}
"""The answers that Twitter means for good, and what is the matter."""
TRIES_BEFORE_REFUSED = {401: 3}
"""Others are believed at once; a 401 may be a passing fault of theirs."""


DUPLICATE_STREAM = 2
DISCONNECTS = {
    1: Kind.DROPPED,  # shutdown
    DUPLICATE_STREAM: Kind.RATE_LIMITED,
    4: Kind.DROPPED,  # stall: we read too slowly
    7: Kind.RATE_LIMITED,  # admin logout: a newer stream has taken our place
    10: Kind.NETWORK,  # stream exception
    11: Kind.NETWORK,  # broker stall
    12: Kind.DROPPED,  # shed load: "reconnect as usual"
}
"""How to go on after a disconnect message, by its code; after others as after a network error.

After 2 and 7 somebody else uses the credential: coming back at once would throw each other out in turn.
"""
CONNECTION_LIMIT = b"Exceeded connection limit"
"""How a line begins that may stand in a 200 answer instead of messages: too many streams, as disconnect 2 says."""
FINAL_DISCONNECTS = {
    6: "the access token has been revoked",
    9: "the count of messages asked for has been delivered",
}


class Backoff:
    """Counts failures by kind and says how long to wait. A good stretch forgets them."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self.failures: dict[Kind, int] = {}

    def failed(self, kind: Kind, asked_seconds: float | None = None) -> float:
        """The seconds to wait after one more failure. What the server asks for is waited instead, and twice as long
        each time that this was not enough.
        """
        failures = self.failures[kind] = self.failures.get(kind, 0) + 1
        if kind is Kind.DROPPED:
            if failures == 1:
                return 0.0
            kind, failures = Kind.NETWORK, failures - 1
        policy = POLICIES[kind] if asked_seconds is None else POLICIES[kind].starting_with(asked_seconds)
        return policy.wait_seconds(failures) * (1 + JITTER * self._jitter())

    def succeeded(self) -> None:
        self.failures.clear()


def is_refusal(status: int | None, failures: int) -> bool:
    """Is this answer, after so many of them in a row, meant for good?"""
    return status in REFUSALS and failures >= TRIES_BEFORE_REFUSED.get(status or 0, 1)


CLOCK_SKEW_SECONDS = 300.0
"""Twitter refuses signatures that are older or younger."""


def advice(status: int | None, headers: Mapping[str, str], now: float) -> str:
    """What is the matter with a request that was refused for good, and so what to do."""
    skew_seconds = _clock_skew_seconds(headers.get("Date"), now) if status == UNAUTHORIZED else 0.0
    if abs(skew_seconds) > CLOCK_SKEW_SECONDS:
        return f"the clock of this machine is {skew_seconds:+.0f} s off Twitter's: set it right"
    return REFUSALS.get(status or 0, "its answer cannot be read")


def _clock_skew_seconds(date: str | None, now: float) -> float:
    """How far ``now`` is ahead of an HTTP Date header; 0 where there is none."""
    server_now = _seconds_since_1970(date or "")
    return 0.0 if server_now is None else now - server_now


def _seconds_since_1970(date: str) -> float | None:
    """An HTTP date; None for what is none, be its year of twenty digits."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def kind_of(status: int | None) -> Kind:
    """The kind of failure by HTTP status; None where there was no answer."""
    if status is None:
        return Kind.NETWORK
    return Kind.RATE_LIMITED if status in {420, 429} else Kind.HTTP


def asked_wait_seconds(status: int | None, headers: Mapping[str, str], now: float) -> float | None:
    """What Retry-After (seconds, or an HTTP date) or x-rate-limit-reset (seconds since 1970) ask for; None where they
    do not.

    Less than a second asks for nothing: to come back at once is never meant. v2 sends the reset with every answer; it
    is meant where the limit is what we ran into.
    """
    is_limit_reached = kind_of(status) is Kind.RATE_LIMITED and headers.get("x-rate-limit-remaining", "0") == "0"
    retry_after, reset = headers.get("Retry-After", ""), headers.get("x-rate-limit-reset", "")
    times = (_seconds_since_1970(retry_after), _number(reset) if is_limit_reached else None)
    for seconds in (_number(retry_after), *(time - now for time in times if time is not None)):
        if seconds is not None and 1 <= seconds <= 86_400:
            return seconds
    return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
