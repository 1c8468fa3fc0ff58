"""The state of a Traptor, the same in the status key, the heartbeat's silence, the metrics and the log."""

from enum import StrEnum

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
    SPOOL_FULL = "spool-full"
    REFUSED = "refused"
    STOPPING = "stopping"


HEALTHY = {State.STARTING, State.WAITING_FOR_RULES, State.CONNECTING, State.STREAMING, State.QUIET}
"""What /healthz answers with 200."""


def of_stream(byte_seconds: float, message_seconds: float) -> State:
    """The state of an open stream, by the seconds since its last byte and since its last message."""
    if byte_seconds >= STALLED_SECONDS:
        return State.STALLED
    return State.QUIET if message_seconds >= QUIET_SECONDS else State.STREAMING


def worst(stream: State, *, kafka_down: bool, spool_full: bool) -> State:
    """What to tell of first: losing messages, then not delivering them, then the stream."""
    if stream in {State.REFUSED, State.STOPPING}:
        return stream
    if spool_full:
        return State.SPOOL_FULL
    return State.KAFKA_DOWN if kafka_down else stream
