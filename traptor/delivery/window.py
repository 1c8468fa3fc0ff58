"""What is on its way to Kafka and has not been acknowledged."""

from collections import deque
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from traptor.delivery.spool import Message


class Sent:
    """A message on its way. ``row`` is where it stands in the spool as well; None where it does not."""

    __slots__ = ("future", "is_deleted", "message", "row", "since", "size_bytes")

    def __init__(self, message: Message, future: Any, since: float, row: int | None) -> None:
        self.message = message
        self.future = future
        self.since = since
        self.row = row
        self.size_bytes = message.size_bytes()
        self.is_deleted = False
        """Its author has deleted it: it is not sent a second time."""


class Window:
    """Messages in the order in which they were sent. One thread changes it; the numbers may be read by any."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.unspooled = 0
        """Messages that stand nowhere else."""
        self.rows: set[int] = set()
        """Of those that stand in the spool as well."""
        self._sent: deque[Sent] = deque()

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._sent)

    def __bool__(self) -> bool:
        return bool(self._sent)

    def oldest_seconds(self, now: float) -> float:
        """The age of the oldest message; 0 where there is none."""
        try:
            return now - self._sent[0].since
        except IndexError:
            return 0.0

    def add(self, sent: Sent) -> None:
        self._sent.append(sent)
        self.size_bytes += sent.size_bytes
        if sent.row is None:
            self.unspooled += 1
        else:
            self.rows.add(sent.row)

    def take_answered(self) -> list[Sent]:
        """Take out the oldest messages, for as long as Kafka has answered, for better or worse."""
        # "is True", so that people's tests may put a mock, of which everything is true, in the producer's place.
        answered = takewhile(lambda sent: sent.future.is_done is True, self._sent)
        return self._take(sum(1 for _ in answered))

    def take_all(self) -> list[Sent]:
        return self._take(len(self._sent))

    def spooled(self, sent: Sent, row: int) -> None:
        """It stands in the spool now."""
        sent.row = row
        self.unspooled -= 1
        self.rows.add(row)

    def unspool(self) -> None:
        """Nothing stands in the spool any more."""
        for sent in self._sent:
            sent.row = None
        self.unspooled = len(self._sent)
        self.rows.clear()

    def _take(self, count: int) -> list[Sent]:
        taken = [self._sent.popleft() for _ in range(count)]
        rows = [sent.row for sent in taken if sent.row is not None]
        self.size_bytes -= sum(sent.size_bytes for sent in taken)
        self.unspooled -= count - len(rows)
        self.rows.difference_update(rows)
        return taken
