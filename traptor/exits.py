"""How a process ends: the exit codes by name, and a standard output that nobody takes any more."""

import os
import sys
from enum import IntEnum


class Exit(IntEnum):
    ENDED = 0
    """As asked: SIGTERM, SIGINT, ``--limit``."""
    NEEDS_A_PERSON = 1
    """A look at rules or the fleet found what a person has to see to."""
    WRONG_SETTING = 2
    """Wrong usage or settings."""
    REFUSED = 3
    """Twitter refused us for good: a restart would only lock the account out."""


def drop_output() -> None:
    """What Python still holds for standard output must neither raise nor wait at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
