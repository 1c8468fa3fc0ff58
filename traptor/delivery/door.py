"""The one door by which messages leave: Kafka, with a spool behind it, or standard output.

Either has ``take_up``, ``send``, which waits a moment for the other side at most, ``tick``, which is called often, and
``close``.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from traptor.delivery.spool import Message


class Trouble(StrEnum):
    """What keeps messages in, the worst first: losing them, having no place for them, not delivering them."""

    SPOOL_FULL = "spool-full"
    SPOOL_FAILS = "spool-fails"
    KAFKA_DOWN = "kafka-down"


class Door(Protocol):
    """Where messages go."""

    def take_up(self) -> None: ...

    def send(self, messages: Sequence[Message]) -> None: ...

    def waiting(self) -> int: ...

    def troubles(self) -> dict[str, str]:
        """By the Trouble: why; empty where no reason is known."""
        ...

    def gauges(self) -> dict[str, float]:
        """What metrics.GAUGES has of it besides ``waiting_messages``."""
        ...

    def forget(self, key: bytes) -> None: ...

    def scrub(self, user_id: str, up_to_id: int) -> None: ...

    def tick(self) -> None: ...

    def close(self, timeout_seconds: float) -> None: ...


class OutputError(Exception):
    """Standard output takes no more, though somebody may still read it: its disk is full, say."""
