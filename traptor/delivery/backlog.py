"""What waits for Kafka: half a second in memory, then on disk. What finds no room is dropped, by a reason."""

import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from traptor.delivery.spool import Message, Spool, SpoolDamagedError, SpoolError
from traptor.delivery.window import Sent, Window

GATHER_SECONDS = 0.5
"""How long messages that Kafka does not take may wait in memory before they are written to the spool."""
MEMORY_BYTES = 64 << 20
"""What may wait in memory where the spool cannot be written."""
BATCH = 500
"""Messages written to the spool or read from it at a time."""
FULL_SECONDS = 10.0
"""Told at most so often that messages are dropped or that the spool fails, and for so long after the last drop."""

log = logging.getLogger(__name__)


class Backlog:
    """True while something waits that is not on its way; what is in the ``window`` may stand in the spool as well.

    ``counts`` gets taken_up, spooled, apart, spool_damaged_files and dropped:REASON.
    """

    def __init__(self, spool: Spool, window: Window, counts: Counter[str], clock: Callable[[], float]) -> None:
        self.spool = spool
        self._window = window
        self._counts = counts
        self._clock = clock
        self._gathered: deque[Message] = deque()
        """What Kafka does not take now and the spool does not have yet; younger than all that the spool has."""
        self._gathered_bytes = 0
        self._gathered_since = 0.0
        self._cursor = 0
        """Up to this row, everything in the spool is on its way or finished."""
        self._finished: dict[int, Message] = {}
        """Rows of the spool that need not wait any more, and are still to be taken out."""
        self._dropped_at = self._failed_at = -FULL_SECONDS

    def __bool__(self) -> bool:
        return bool(self._gathered) or self._disk_waits()

    def _disk_waits(self) -> bool:
        """Is there something in the spool that is neither on its way nor finished?"""
        return self.spool.count > len(self._window.rows) + len(self._finished)

    def waiting(self) -> int:
        """Messages in memory and on disk; among them those on their way that the spool has as well."""
        return len(self._gathered) + self.spool.count - len(self._finished)

    def is_full(self) -> bool:
        """Are messages being dropped, for want of room?"""
        return self._clock() - self._dropped_at < FULL_SECONDS

    def open(self) -> None:
        """Take up what an earlier run has left."""
        with self._spool_may_fail():
            self.spool.open_if_there()
            self.take_up()

    def take_up(self) -> None:
        """Count what others have left or put back."""
        with self._spool_may_fail():
            if found := self.spool.found():
                self._counts["taken_up"] += found
                log.info("spool taken up", extra={"messages": found, "bytes": self.spool.size_bytes})

    # In

    def add(self, message: Message) -> None:
        if not self._gathered:
            self._gathered_since = self._clock()
        if self._gathered_bytes + message.size_bytes() > MEMORY_BYTES:
            self._drop([message], "memory_full")
            return
        self._gathered.append(message)
        self._gathered_bytes += message.size_bytes()

    def put_back(self, again: Sequence[Sent]) -> None:
        """These are to be sent again, before all that has come since; but not those that were deleted meanwhile."""
        self._cursor = 0
        self._counts["dropped:deleted"] += sum(sent.is_deleted for sent in again)
        for sent in again:
            if sent.is_deleted:
                self.finish(sent)
        messages = [sent.message for sent in again if sent.row is None and not sent.is_deleted]
        self._gathered.extendleft(reversed(messages))
        self._gathered_bytes += sum(message.size_bytes() for message in messages)
        self._gathered_since = -GATHER_SECONDS  # they have waited long enough

    def keep_too(self, slow: Sequence[Sent]) -> None:
        """Write to the spool what is on its way for long."""
        with self._spool_may_fail():
            rows = self._append([sent.message for sent in slow])
            for sent, row in zip(slow, rows, strict=False):
                self._window.spooled(sent, row)

    def save_old(self) -> None:
        """Write to the spool what has waited in memory for long."""
        if self._gathered and self._clock() - self._gathered_since >= GATHER_SECONDS:
            self.save()

    def save(self) -> None:
        """Write to the spool what waits in memory."""
        self._gathered_since = self._clock()
        with self._spool_may_fail():
            while self._gathered:
                batch = list(islice(self._gathered, BATCH))
                stored = self._append(batch)
                self._drop(batch[len(stored) :], "spool_full")
                for _ in batch:
                    self._forget_first()

    def _append(self, messages: Sequence[Message]) -> list[int]:
        if not self.spool.count:
            # The file goes when it is empty, and a new one counts its rows anew.
            self._cursor = 0
        rows = self.spool.append(messages)
        self._counts["spooled"] += len(rows)
        return rows

    # Out

    def oldest(self) -> Iterator[tuple[int | None, Message]]:
        """What is to be sent next, with its row in the spool; ``pass_on`` is to be called for each that was.

        From memory only when nothing older is on disk.
        """
        while self._disk_waits() and (stored := self._stored()):
            for row, message in stored:
                if row not in self._window.rows and row not in self._finished:
                    yield row, message
                else:
                    self._cursor = row
        while self._gathered and not self._disk_waits():
            yield None, self._gathered[0]

    def _stored(self) -> list[tuple[int, Message]]:
        with self._spool_may_fail():
            return self.spool.after(self._cursor, BATCH)
        return []

    def pass_on(self, row: int | None) -> None:
        """It is on its way, or set apart."""
        if row is None:
            self._forget_first()
        else:
            self._cursor = row

    def _forget_first(self) -> None:
        self._gathered_bytes -= self._gathered.popleft().size_bytes()

    def finish(self, sent: Sent) -> None:
        """It need not wait any more."""
        if sent.row is not None:
            self._finished[sent.row] = sent.message

    def take_out_finished(self) -> None:
        """Where that fails they stay, are not sent again by this run, and are tried the next time."""
        if self._finished:
            with self._spool_may_fail():
                self.spool.remove(self._finished)
                self._finished.clear()

    def set_apart(self, message: Message, error: Exception, row: int | None) -> None:
        """Kafka will never take it."""
        reason = f"{type(error).__name__}: {error}"
        log.error(
            "Kafka will never take a message: set apart",
            extra={"key": message.key, "bytes": len(message.value), "error": reason},
        )
        try:
            self.spool.set_apart(message, reason, row)
        except SpoolError as spool_error:
            if row is not None:
                self._finished[row] = message
            self._failed(spool_error)
            self._drop([message], "refused_by_kafka")
        else:
            self._counts["apart"] += 1

    def forget(self, key: bytes) -> None:
        """Drop what waits under this key and is not on its way."""
        kept = [message for message in self._gathered if message.key != key]
        dropped = len(self._gathered) - len(kept)
        self._gather_anew(kept)
        with self._spool_may_fail():
            dropped += self.spool.forget(key, self._window.rows | self._finished.keys())
        self._counts["dropped:deleted"] += dropped

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Take the location out of what waits from this user, up to this id."""
        self._gather_anew([message.without_location(user_id, up_to_id) for message in self._gathered])
        with self._spool_may_fail():
            self.spool.scrub(user_id, up_to_id)

    def _gather_anew(self, messages: Sequence[Message]) -> None:
        self._gathered = deque(messages)
        self._gathered_bytes = sum(message.size_bytes() for message in messages)

    def close(self, unspooled: Sequence[Message]) -> None:
        """What neither Kafka nor the spool has taken ends with the process."""
        self._drop([*unspooled, *self._gathered], "unsaved")
        self._gather_anew([])
        self.spool.close()

    # What fails

    @contextlib.contextmanager
    def _spool_may_fail(self) -> Iterator[None]:
        try:
            yield
        except SpoolError as error:
            self._failed(error)

    def _failed(self, error: SpoolError) -> None:
        if isinstance(error, SpoolDamagedError):
            self._failed_at = -FULL_SECONDS  # told each time
            self._counts["spool_damaged_files"] += 1
            self._counts["dropped:spool_damaged"] += error.lost - len(self._window.rows) - len(self._finished)
            self._window.unspool()
            self._finished.clear()
            self._cursor = 0
        if self._clock() - self._failed_at >= FULL_SECONDS:
            self._failed_at = self._clock()
            log.error("spool fails", extra={"error": str(error), "waiting_in_memory": len(self._gathered)})

    def _drop(self, messages: Sequence[Message], reason: str) -> None:
        if messages:
            if not self.is_full():
                log.error("messages are dropped", extra={"reason": reason, "count": len(messages)})
            self._dropped_at = self._clock()
            self._counts[f"dropped:{reason}"] += len(messages)
