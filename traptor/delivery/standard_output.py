"""Out to standard output, one message per line."""

import signal
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from traptor.delivery.door import Door, OutputError
from traptor.delivery.spool import Message


class Lines(Protocol):
    """What takes lines of bytes. Raises OSError."""

    def writelines(self, lines: Iterable[bytes], /) -> object: ...

    def flush(self) -> object: ...


class StandardOutput(Door):
    """One message per line: what is out is out, and what cannot be written ends the process. Raises BrokenPipeError
    when the reader has gone, or OutputError."""

    def __init__(self, counts: Counter[str], out: Lines | None = None) -> None:
        self.counts = counts
        self._out = out

    def send(self, messages: Sequence[Message]) -> None:
        """Write and flush them. Of those that are not all written, none counts as delivered."""
        out: Lines = self._out or sys.stdout.buffer
        # A line feed inside JSON is white space; a line is a message.
        lines = [message.value.replace(b"\n", b" ") + b"\n" for message in messages]
        try:
            out.writelines(lines)
            out.flush()
        except OSError as error:
            self.counts["dropped:not_written"] += len(lines)
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(f"standard output cannot be written: {error.strerror}") from None
        self.counts["delivered"] += len(lines)

    def give_up_in(self, seconds: float) -> None:
        """Whoever reads us may have stopped reading without closing: then a write never returns. Main thread only."""
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _give_up(*_: object) -> None:
    raise BrokenPipeError("nobody reads our standard output")
