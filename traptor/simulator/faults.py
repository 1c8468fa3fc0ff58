"""Faults as data: what goes wrong, on which connection, after how many messages."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Skew = Annotated[float, Meta(description="seconds, ahead when positive")]
RefusalStatus = Literal[401, 403, 404, 406, 410, 413, 416, 420, 429, 500, 502, 503, 504]


class Fault(Struct, tag_field="fault", forbid_unknown_fields=True, kw_only=True):
    """``connection`` is the number of a request, from 1, or None for any; ``times`` is on how many, 0 for all."""

    connection: Positive | None = None
    times: Count = 1


class Disturbance(Fault, kw_only=True):
    """Happens on an open stream as soon as ``after`` messages have been sent on it."""

    after: Count = 0


class Status(Fault, tag="status"):
    """Refuse the request. ``retry_after`` and ``reset_after`` give Retry-After and x-rate-limit-reset, in seconds."""

    code: RefusalStatus
    body: str | None = None
    retry_after: Count | None = None
    reset_after: Count | None = None


class Clock(Fault, tag="clock"):
    """Twitter's clock is ``seconds`` off from the client's: 401, with a Date header that says so."""

    seconds: Skew


class Calm(Fault, tag="calm"):
    """420 for a request that comes within ``seconds`` of the one before with the same credential."""

    times: Count = 0
    seconds: Seconds = 60.0


class Drop(Fault, tag="drop"):
    """Close the socket instead of answering."""


class Stall(Disturbance, tag="stall"):
    """Not a byte for ``seconds``, keep-alives included."""

    seconds: Seconds = 95.0


class Cut(Disturbance, tag="cut"):
    """Close the socket in the middle of a message."""


class Reset(Disturbance, tag="reset"):
    """Close the socket with RST."""


class End(Disturbance, tag="end"):
    """End the stream in good order, without a word."""


class Disconnect(Disturbance, tag="disconnect"):
    """A disconnect message with this code, then the end."""

    code: Positive = 12


class Split(Disturbance, tag="split"):
    """Chunks of so many bytes, cut between CR and LF as well, for the rest of the connection; 0 ends it."""

    bytes: Count = 1


class Slow(Disturbance, tag="slow"):
    """As split, with a pause after each chunk."""

    bytes: Positive = 100
    pause_seconds: Seconds = 0.1


class Garbage(Disturbance, tag="garbage"):
    """A line that is not JSON."""

    text: str = '{"created_at":"Mon Feb 22 01:34:53 +0000 2016","id":70155'


class Newline(Disturbance, tag="newline"):
    """The next message has a bare line feed between its fields, as Twitter's may."""


class Oversized(Disturbance, tag="oversized"):
    """A message of so many bytes."""

    bytes: Positive = 2 * 1024 * 1024


class Duplicate(Disturbance, tag="duplicate"):
    """The last tweet again, so many times."""

    after: Count = 1
    copies: Positive = 1


class Disorder(Disturbance, tag="disorder"):
    """The next so many tweets in reverse order."""

    tweets: Positive = 10


class Limit(Disturbance, tag="limit"):
    """One limit notice for each number."""

    track: tuple[Count, ...] = (5, 6, 10, 15, 10, 20)


class Notice(Disturbance, tag="notice", kw_only=True):
    """A notice about the last tweet; a warning goes only to who asked for stall_warnings."""

    after: Count = 1
    kind: Literal["delete", "scrub_geo", "status_withheld", "user_withheld", "warning"]
    percent_full: Annotated[int, Meta(ge=60, le=100)] = 60


class Odd(Disturbance, tag="odd", kw_only=True):
    """In the next message this field has this value, or is not there; ``includes.users.0.name`` is one of a list's."""

    field: str
    value: Any = UNSET


class Send(Disturbance, tag="message", kw_only=True):
    """Any message at all."""

    message: dict[str, Any]


Answer = Status | Clock | Calm | Drop
StreamFault = (
    Stall | Cut | Reset | End | Disconnect | Split | Slow | Garbage | Newline | Oversized
    | Duplicate | Disorder | Limit | Notice | Odd | Send
)  # fmt: skip
KINDS = {str(kind.__struct_config__.tag): kind for kind in (*get_args(Answer), *get_args(StreamFault))}


def parse(fault: Mapping[str, Any] | Fault) -> Fault:
    """ValueError says what is wrong and what is allowed."""
    if isinstance(fault, Fault):
        return fault
    kind = KINDS.get(str(fault.get("fault"))) if isinstance(fault, Mapping) else None
    if kind is None:
        raise ValueError(f"{fault!r} is no object with a 'fault' that is one of: {', '.join(sorted(KINDS))}")
    try:
        parsed: Fault = msgspec.convert(fault, kind)
    except msgspec.ValidationError as error:
        fields = ", ".join(kind.__struct_fields__)
        raise ValueError(f"{fault}: {error}; a {fault['fault']} fault has: {fields}") from None
    return parsed


class Plan:
    """The faults still to come. Any thread may append; ``on_change`` is called after."""

    def __init__(self, faults: Iterable[Mapping[str, Any] | Fault], on_change: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._pending = [_Pending(parse(fault)) for fault in faults]
        self._on_change = on_change

    def append(self, fault: Mapping[str, Any] | Fault) -> None:
        """ValueError says what is wrong and what is allowed."""
        pending = _Pending(parse(fault))
        with self._lock:
            self._pending.append(pending)
        self._on_change()

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()

    def answer(self, connection: int, idle_seconds: float) -> Answer | None:
        """How to refuse this request, which comes ``idle_seconds`` after the one before; None: do not."""
        with self._lock:
            for pending in self._pending:
                fault = pending.fault
                is_calm = isinstance(fault, Calm) and idle_seconds >= fault.seconds
                if isinstance(fault, Answer) and pending.concerns(connection) and not is_calm:
                    self._spend(pending, connection)
                    return fault
        return None

    def due(self, connection: int, messages: int) -> StreamFault | None:
        """What goes wrong now on a stream that has sent so many messages."""
        with self._lock:
            for pending in self._pending:
                if (gap := pending.gap(connection, messages)) is not None and gap <= 0:
                    self._spend(pending, connection)
                    assert isinstance(pending.fault, StreamFault)
                    return pending.fault
        return None

    def gap(self, connection: int, messages: int) -> int | None:
        """How many messages may still be sent before the next fault; None: any number."""
        with self._lock:
            gaps = [pending.gap(connection, messages) for pending in self._pending]
        return min((gap for gap in gaps if gap is not None), default=None)

    def _spend(self, pending: "_Pending", connection: int) -> None:
        pending.spent_on.add(connection)
        if len(pending.spent_on) == pending.fault.times:
            self._pending.remove(pending)


class _Pending:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.spent_on: set[int] = set()

    def concerns(self, connection: int) -> bool:
        return self.fault.connection in (None, connection) and connection not in self.spent_on

    def gap(self, connection: int, messages: int) -> int | None:
        if isinstance(self.fault, Disturbance) and self.concerns(connection):
            return self.fault.after - messages
        return None
