"""The exit codes, by name. Supervisor restarts what ends with any other."""

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
