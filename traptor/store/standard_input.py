"""Messages from standard input, one a line."""

import os
import select
import time
from collections.abc import Sequence

from traptor.store.destination import MOST_MESSAGES, STANDARD_INPUT, Message

MOST_BYTES = 16 << 20
"""A line that is longer is taken for a message at this length."""
_CHUNK_BYTES = 1 << 18


class StandardInput:
    """A Reader. What is read is gone from there: nothing tells it again after a kill."""

    name = "standard input"

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._lines: list[bytes] = []
        self._line = time.time_ns() // 1000
        """A number that no line of another run has."""
        self._is_at_end = False

    def read(self, wait_seconds: float) -> list[Message]:
        if not self._lines and not self._is_at_end:
            self._fill(wait_seconds)
        taken, self._lines = self._lines[:MOST_MESSAGES], self._lines[MOST_MESSAGES:]
        messages = []
        for line in taken:
            if line.strip():
                messages.append(Message(STANDARD_INPUT, 0, self._line, line))
            self._line += 1
        return messages

    def _fill(self, wait_seconds: float) -> None:
        """All that is there by now."""
        size_bytes = 0
        while size_bytes < MOST_BYTES and select.select([self._descriptor], [], [], wait_seconds)[0]:
            chunk = os.read(self._descriptor, _CHUNK_BYTES)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            size_bytes += len(chunk)
            self._lines += lines
            wait_seconds = 0.0
            self._is_at_end = not chunk
            if self._is_at_end or len(self._rest) > MOST_BYTES:
                self._lines.append(self._rest)
                self._rest = b""
                return

    def hold(self) -> None:
        """The pipe holds what comes meanwhile."""

    def stored(self, messages: Sequence[Message]) -> None:
        """There is nobody to tell."""

    def is_finished(self) -> bool:
        return self._is_at_end and not self._lines

    def behind(self) -> int:
        return len(self._lines)

    def is_connected(self) -> bool:
        return True

    def close(self) -> None:
        """It is not ours."""
