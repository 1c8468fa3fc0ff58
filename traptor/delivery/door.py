"""The one door by which messages leave: Kafka, with a spool behind it, or standard output."""

from collections.abc import Sequence
from enum import StrEnum

from traptor.delivery.spool import Message


class Trouble(StrEnum):
    """What keeps messages in, the worst first: losing them, having no place for them, not delivering them."""

    SPOOL_FULL = "spool-full"
    SPOOL_FAILS = "spool-fails"
    KAFKA_DOWN = "kafka-down"


class Door:
    """Where messages go. What is written here is true of one behind which nothing waits."""

    def take_up(self) -> None:
        """Take up what an earlier run has left."""

    def send(self, messages: Sequence[Message]) -> None:
        """Waits a moment for the other side at most."""

    def waiting(self) -> int:
        return 0

    def troubles(self) -> dict[str, str]:
        """By the Trouble: why; empty where no reason is known."""
        return {}

    def gauges(self) -> dict[str, float]:
        """What metrics.GAUGES has of it besides ``waiting_messages``."""
        return {}

    def forget(self, key: bytes) -> None:
        """Its author deleted it."""

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Its author took the location back, in tweets up to this one."""

    def tick(self) -> None:
        """Called often."""

    def close(self, timeout_seconds: float) -> None:
        """Deliver what can be delivered in this time."""


class OutputError(Exception):
    """Standard output takes no more, though somebody may still read it: its disk is full, say."""
