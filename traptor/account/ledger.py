"""The account: what was received, and what became of every message of it.

At every moment that nothing is in flight: received + taken up from an earlier run's spool = delivered + waiting
+ set apart + dropped, each drop by a named reason.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise

SLOT_SECONDS = 10
SLOTS = 30
"""Rates are kept for the last five minutes."""


class Account:
    """Counts by name; a name with a colon has a label behind it: ``received:tweet``, ``dropped:duplicate``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._slots: deque[tuple[int, float, int]] = deque(maxlen=SLOTS + 1)
        """Slot number, when it began, and how many tweets there had been by then."""

    def sum(self, name: str) -> int:
        """All counts under one name, whatever their label."""
        return sum(count for key, count in list(self.counts.items()) if key.partition(":")[0] == name)

    def summary(self, waiting: int) -> dict[str, int]:
        """A run in figures: tweets received and matched, messages delivered; what waits or was dropped, if any."""
        counts = self.counts
        seen = {
            "received": counts["received:tweet"],
            "matched": counts["matched"],
            "delivered": counts["delivered"],
        }
        left = {
            "taken_up": counts["taken_up"],
            "waiting": waiting,
            "apart": counts["apart"],
            "dropped": self.sum("dropped"),
        }
        return seen | {name: count for name, count in left.items() if count}

    def is_balanced(self, waiting: int) -> bool:
        """Is every message accounted for, with so many waiting?"""
        came = self.sum("received") + self.counts["taken_up"]
        return came == self.counts["delivered"] + waiting + self.counts["apart"] + self.sum("dropped")

    def mark(self) -> None:
        """Note how far we are; called at least once in SLOT_SECONDS for the rates to be right."""
        now = self._clock()
        slot = int(now) // SLOT_SECONDS
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, now, self.counts["received:tweet"]))

    def rates(self) -> list[float]:
        """Tweets per second in each slot that is over, oldest first."""
        slots = list(self._slots)
        return [
            round((after - before) / max(1.0, end - start), 2)
            for (_, start, before), (_, end, after) in pairwise(slots)
        ]

    def rate(self) -> float:
        """Tweets per second of late: in this slot so far, and in the one before it while this one is young."""
        now, slots = self._clock(), list(self._slots)[-2:]
        if not slots:
            return 0.0
        _, start, before = slots[-1] if now - slots[-1][1] >= SLOT_SECONDS / 2 else slots[0]
        return round((self.counts["received:tweet"] - before) / max(1.0, now - start), 2)
