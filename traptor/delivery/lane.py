"""One partition's line: what is on its way to Kafka, and what waits behind that."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from traptor.delivery.message import Message

SLOW_SECONDS = 1.0
"""A message without acknowledgement for so long goes to the spool as well, so that a killed process keeps it; and no
more are sent after it, where the way to Kafka and back does not take as long."""


class Entry:
    """A message in memory. ``row`` is where it stands in the spool as well; None where it does not."""

    __slots__ = ("future", "message", "row", "since", "size_bytes")

    def __init__(self, message: Message, since: float, row: int | None = None) -> None:
        self.message = message
        self.since = since
        """When it came, or was sent the last time."""
        self.row = row
        self.size_bytes = message.size_bytes()
        self.future: Any = None


class Lane:
    """Messages in the order in which they came. One thread changes it; the numbers may be read by any."""

    def __init__(self) -> None:
        self.on_way: deque[Entry] = deque()
        """Sent, and not acknowledged."""
        self.on_way_bytes = 0
        self.again: deque[Entry] = deque()
        """To be sent again, before all others."""
        self.rows: deque[int] = deque()
        """Where the next ones stand in the spool."""
        self.fresh: deque[Entry] = deque()
        """Has just come, and is younger than what is in the spool."""
        self.not_before = 0.0
        self.patience_seconds = SLOW_SECONDS
        self.is_stuck = False
        """Kafka has not acknowledged anything since it was late, or gave something back."""

    def is_clear(self) -> bool:
        """May what comes now be sent at once, as far as order is concerned?"""
        return not (self.again or self.rows or self.fresh)

    def oldest_seconds(self, now: float) -> float:
        """The age of the oldest message on its way; 0 where there is none."""
        try:
            return now - self.on_way[0].since
        except IndexError:
            return 0.0

    def is_slow(self, now: float) -> bool:
        return self.oldest_seconds(now) > self.patience_seconds

    def note_if_stuck(self, now: float) -> bool:
        is_late = self.is_slow(now) or bool(self.again)
        self.is_stuck = is_late or (self.is_stuck and bool(self.on_way or not self.is_clear()))
        return self.is_stuck

    def oldest_since(self) -> Iterator[float]:
        """When the oldest of each part in memory came or was sent."""
        return (part[0].since for part in (self.on_way, self.again, self.fresh) if part)

    def sent(self, entry: Entry) -> None:
        self.on_way.append(entry)
        self.on_way_bytes += entry.size_bytes

    def take_answered(self, *, in_order: bool) -> list[Entry]:
        """Take out what Kafka has answered, for better or worse; all of it, or what is before the first unanswered."""
        # "is True", so that people's tests may put a mock, of which everything is true, in the producer's place.
        if in_order:
            answered = list(takewhile(lambda entry: entry.future.is_done is True, self.on_way))
            for _ in answered:
                self.on_way.popleft()
        else:
            # Each is asked once, for its answer may come at any moment: then it is in one of the two.
            answered, left = [], deque[Entry]()
            for entry in self.on_way:
                (answered if entry.future.is_done is True else left).append(entry)
            if answered:
                self.on_way = left
        self.on_way_bytes -= sum(entry.size_bytes for entry in answered)
        return answered

    def take_back(self, failed: Sequence[Entry]) -> None:
        """Nothing is on its way any more; all of it is to be sent again, with what has failed."""
        self.again.extendleft(sorted([*failed, *self.on_way], key=lambda entry: entry.since)[::-1])
        self.not_before = 0.0
        self.on_way.clear()
        self.on_way_bytes = 0
