"""The state of a Traptor, the same in the status key, the heartbeat's silence, the metrics and the log."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from traptor.delivery.door import Trouble

QUIET_SECONDS = 60.0
"""Keep-alives, but no message for so long: quiet."""
STALLED_SECONDS = 45.0
"""No byte for so long, where a keep-alive comes every 30 s: stalled; after 90 s the stream is given up."""


class State(StrEnum):
    STARTING = "starting"
    WAITING_FOR_RULES = "waiting-for-rules"
    CONNECTING = "connecting"
    STREAMING = "streaming"
    QUIET = "quiet"
    STALLED = "stalled"
    BACKING_OFF = "backing-off"
    KAFKA_DOWN = "kafka-down"
    DATABASE_DOWN = "database-down"
    """Of ``traptor store`` alone."""
    SPOOL_FULL = "spool-full"
    SPOOL_FAILS = "spool-fails"
    REFUSED = "refused"
    STOPPING = "stopping"


HEALTHY = {State.STARTING, State.WAITING_FOR_RULES, State.CONNECTING, State.STREAMING, State.QUIET}
"""What /healthz answers with 200."""


_NUMBERS = {
    "pid", "rules", "predicates", "predicate_limit", "left_out", "tweets_per_second", "received", "matched",
    "unmatched", "taken_up", "delivered", "waiting", "spool_messages", "spool_bytes", "spool_damaged_files", "apart",
    "dropped", "withheld", "ack_lag_seconds", "gaps_day", "gap_seconds_day",
}  # fmt: skip
_TEXTS = {
    "since", "started", "reason", "risks", "until", "host", "version", "rule_set", "last_tweet_at",
    "last_byte_at", "credential",
}  # fmt: skip


def read(told: Mapping[str, Any]) -> dict[str, Any]:
    """A status as it stands in Redis, without the fields that are not what a Traptor writes there."""
    return {name: value for name, value in told.items() if _is_sound(name, value)}


def _is_sound(name: str, value: Any) -> bool:
    if name in _NUMBERS:
        return _is_number(value)
    if name == "state":
        return isinstance(value, str)
    if name in _TEXTS:
        return isinstance(value, str | None)
    if name == "rates":
        return isinstance(value, list) and all(map(_is_number, value))
    if name == "v2":
        return isinstance(value, dict) and all(
            _is_number(value.get(part)) for part in ("posts", "cap", "limit", "cost")
        )
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1 << 63


def of_stream(byte_seconds: float, message_seconds: float) -> State:
    """The state of an open stream, by the seconds since its last byte and since its last message."""
    if byte_seconds >= STALLED_SECONDS:
        return State.STALLED
    return State.QUIET if message_seconds >= QUIET_SECONDS else State.STREAMING


def worst(stream: State, troubles: Collection[str]) -> State:
    """What to tell of first: the end, then the worst trouble of the door, then the stream."""
    if stream in {State.REFUSED, State.STOPPING}:
        return stream
    return next((State(trouble) for trouble in Trouble if trouble in troubles), stream)
