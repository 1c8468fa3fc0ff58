"""Standard error that cannot stop the program: a reader who is away, a full disk or a closed pipe loses lines, no more.

Everything that the process writes there comes this way: the log, the commands, and Python's own tracebacks.
"""

import atexit
import io
import logging
import os
import queue
import sys
import threading

from traptor.printable import READABLE

MOST_WAITING = 1_000
"""Writes, a line each as a rule, that wait for a reader."""
PATIENCE_SECONDS = 0.2
LAST_PATIENCE_SECONDS = 1.0

log = logging.getLogger(__name__)


class StandardError(io.RawIOBase):
    """A thread writes to the descriptor; ``write`` waits for nobody, and ``flush`` only while somebody reads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[bytes] = queue.Queue(MOST_WAITING)
        self._left_out = 0
        self._is_stuck = False
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._pass_on, name="traptor-stderr", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, text: "bytes | memoryview") -> int:  # type: ignore[override]
        try:
            self._waiting.put_nowait(bytes(text))
        except queue.Full:
            self._left_out += 1
        return len(text)

    def flush(self) -> None:
        if not self._is_stuck and threading.current_thread() is not self._thread:
            self._is_stuck = not self.drained(PATIENCE_SECONDS)

    def drained(self, timeout_seconds: float) -> bool:
        """Has everything gone out, at the latest after so many seconds?"""
        with self._waiting.all_tasks_done:
            return self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, timeout_seconds)

    def _pass_on(self) -> None:
        while True:
            rest = self._waiting.get()
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                self._left_out += 1
            self._waiting.task_done()
            if not self._waiting.unfinished_tasks and not rest:
                self._flows_again()

    def _flows_again(self) -> None:
        self._is_stuck = False
        left_out, self._left_out = self._left_out, 0
        if left_out:
            log.warning("standard error was not read or could not be written", extra={"left_out": left_out})


def install() -> None:
    """Put it in the place of ``sys.stderr``, unless that has no descriptor.

    The descriptors of closed standard streams are not left to the next file that is opened.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        raw = StandardError(sys.stderr.fileno())
    except (AttributeError, io.UnsupportedOperation):
        return
    sys.stderr = io.TextIOWrapper(
        raw, encoding=sys.stderr.encoding, errors=READABLE, write_through=True, line_buffering=True
    )
    atexit.register(raw.drained, LAST_PATIENCE_SECONDS)
