"""How a process ends: the exit codes by name, the signals that ask for it, and a standard output that nobody takes."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from enum import IntEnum

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Each ends the process in good order."""
MEANINGLESS = (signal.SIGUSR1, signal.SIGUSR2)
"""They would end it at once, and mean nothing to us."""


class Exit(IntEnum):
    ENDED = 0
    """As asked: a signal, ``--limit``."""
    NEEDS_A_PERSON = 1
    """A look at rules or the fleet found what a person has to see to."""
    WRONG_SETTING = 2
    """Wrong usage or settings."""
    REFUSED = 3
    """Twitter refused us for good: a restart would only lock the account out."""


@contextlib.contextmanager
def heeding_signals(stop: Callable[..., None]) -> Iterator[None]:
    """In the main thread the signals that end a process call ``stop``; afterwards they do what they did before.

    A SIGHUP that is ignored, as ``nohup`` has it, stays so. What else has set an alarm is undone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*ENDING, *MEANINGLESS, signal.SIGALRM)}
    for number in ENDING:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, stop)
    for number in MEANINGLESS:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def drop_output() -> None:
    """What Python still holds for standard output must neither raise nor wait at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
