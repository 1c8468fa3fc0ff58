"""The exit codes, by name. Supervisor restarts what ends with any other."""

from enum import IntEnum


class Exit(IntEnum):
    ENDED = 0
    """As asked: SIGTERM, SIGINT, ``--limit``."""
    WRONG_SETTING = 2
    """Wrong usage or settings."""
    REFUSED = 3
    """Twitter refused us for good: a restart would only lock the account out."""
