"""What waits on disk, and the account of all that waits. What finds no room is dropped, by a reason.

Whatever the disk refuses is kept in memory and tried again at the next turn; what is on disk can be read all the same.
"""

import contextlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from traptor.delivery import reasons
from traptor.delivery.lane import Entry, Lane
from traptor.delivery.message import Message
from traptor.delivery.schema import TABLES
from traptor.delivery.spool import Spool, SpoolError, SpoolFullError, SpoolLostError
from traptor.delivery.wishes import Wish, Wishes
from traptor.printable import counted

GATHER_SECONDS = 0.5
"""How long messages that Kafka does not take may wait in memory before they are written to the spool."""
MEMORY_BYTES = 64 << 20
"""What may wait in memory where the spool cannot be written."""
BATCH = 500
"""Messages written to the spool, read from it or taken out of it in one turn."""
CHANGED = 100
"""Messages that are looked at in one turn for what their authors have taken back."""
SET_APART = 20
"""Messages that are set apart in one turn, each in a transaction of its own."""
ASKING_SECONDS = 1.0
"""How long others wait for the number of what waits, while the disk is at it."""
LAST_SECONDS = 0.3
"""What a lock of another process may take of each write at the end; before that nobody waits for one."""
FULL_SECONDS = 10.0
"""Told at most so often that messages are dropped or that the spool fails, and for so long after the last time."""

log = logging.getLogger(__name__)


class Backlog:
    """``lane_of`` finds the lane of a topic and key; ``lanes`` gives all of them.

    ``counts`` gets taken_up, spooled, apart, spool_damaged_files and dropped:REASON.
    """

    def __init__(
        self,
        spool: Spool,
        counts: Counter[str],
        clock: Callable[[], float],
        lane_of: Callable[[str, bytes | None], Lane],
        lanes: Callable[[], Iterable[Lane]],
    ) -> None:
        self.spool = spool
        self.in_memory = 0
        """Messages that stand nowhere else."""
        self._counts = counts
        self._clock = clock
        self._lane_of = lane_of
        self._lanes = lanes
        self._fresh_bytes = 0
        self._on_both: dict[int, Entry] = {}
        """By row: messages that are in memory and in the spool."""
        self._finished: set[int] = set()
        """Rows of the spool that need not wait any more, and are still to be taken out."""
        self._listed_to = 0
        """Up to this row, the lanes know what is in the spool."""
        self._counting = threading.Lock()
        """Held while what waits changes its place, for other threads ask how much there is."""
        self._waited = 0
        self._apart: deque[tuple[Entry, str]] = deque()
        """To be set apart, with the reason."""
        self._wishes = Wishes()
        self._wished: deque[tuple[Wish, str, int]] = deque()
        """To be fulfilled on disk: in this table, behind this row."""
        self._is_ours = self._is_unreadable = False
        self._trouble = ""
        self._dropped_at = self._failed_at = self._told_at = -FULL_SECONDS
        spool.wait_for_locks(0.0)

    def waiting(self) -> int:
        """Messages in memory and on disk that are not finished; while the disk hangs, as many as there were."""
        if self._counting.acquire(timeout=ASKING_SECONDS):
            self._waited = self.in_memory + self.spool.count - len(self._finished)
            self._counting.release()
        return self._waited

    def is_full(self) -> bool:
        """Are messages being dropped, for want of room?"""
        return self._clock() - self._dropped_at < FULL_SECONDS

    def trouble(self) -> str:
        """What is wrong with the spool, or has been a moment ago; empty while it does what it should."""
        return self._trouble if self._clock() - self._failed_at < FULL_SECONDS else ""

    def is_listed(self) -> bool:
        """Do the lanes know all that is in the spool, as far as it can be read?"""
        return self._is_unreadable or self._knows_all()

    def _knows_all(self) -> bool:
        return self._listed_to >= self.spool.last_row

    # Others

    def take_up(self) -> None:
        """The file is ours from now on."""
        self._is_ours = True
        self.look()

    def look(self) -> None:
        """Count what others have left here or put back, and what they have taken."""
        if not self._is_ours:
            return
        with self._spool_may_fail():
            found, lost = self.spool.changes()
            if lost:
                self._lost(lost, "spool_lost", self.spool.missing(self._on_both.keys() | self._finished))
                self._failed(SpoolError(f"{self.spool.path}: another program has taken out {counted(lost, 'message')}"))
            if found:
                self._counts["taken_up"] += found
                log.info("spool taken up", extra={"messages": found, "bytes": self.spool.size_bytes})

    def _lost(self, count: int, reason: str, gone: set[int]) -> None:
        """So many are not in the spool any more, among them these rows; what is in memory as well is not lost."""
        for row in gone & self._on_both.keys():
            self._on_both.pop(row).row = None
            self.in_memory += 1
        self._finished -= gone
        if count > len(gone):
            self._drop(count - len(gone), reason)

    def _find_again(self, before: Mapping[int, Entry], reason: str) -> None:
        """Of what is in memory, what stands in the file that is there now, an older state of ours. It is lost and taken
        up again, and goes out once."""
        rows = self.spool.having({row: entry.message for row, entry in before.items()})
        for row in rows:
            before[row].row = row
            self._on_both[row] = before[row]
        self.in_memory -= len(rows)
        self._drop(len(rows), reason)

    def list_more(self) -> None:
        """Tell the lanes of what is in the spool that they do not know of."""
        if self._listed_to > self.spool.last_row:
            self.list_anew()  # the file has gone when it was empty, and a new one counts its rows anew
        if self._listed_to < self.spool.last_row:
            with self._reading():
                found = self.spool.keys_after(self._listed_to, BATCH)
                for row, topic, key in found:
                    if row not in self._on_both and row not in self._finished:
                        self._lane_of(topic, key).rows.append(row)
                self._listed_to = found[-1][0] if len(found) == BATCH else self.spool.last_row

    def list_anew(self) -> None:
        """The lanes are others now, or the file is."""
        self._listed_to = 0
        for lane in self._lanes():
            lane.rows.clear()

    # In

    def add(self, lane: Lane, entry: Entry) -> None:
        """It waits in memory, for its turn or to be written."""
        if self._fresh_bytes + entry.size_bytes > MEMORY_BYTES:
            self._drop(1, "memory_full")
            return
        self.in_memory += 1
        lane.fresh.append(entry)
        self._fresh_bytes += entry.size_bytes

    def take_first(self, lane: Lane) -> None:
        """The first of those that have just come waits no more."""
        self._fresh_bytes -= lane.fresh.popleft().size_bytes

    def keep_too(self, slow: Sequence[Entry]) -> None:
        """Write to the spool what is on its way for long, but not what was deleted meanwhile."""
        self._write([entry for entry in slow[:BATCH] if self.is_left(entry)])

    def save_old(self) -> None:
        """Write to the spool what has waited in memory for long."""
        most, young = BATCH, self._clock() - GATHER_SECONDS
        for lane in self._lanes():
            if most > 0 and lane.fresh and lane.fresh[0].since <= young:
                most -= self._save(lane, most)

    def save_all(self) -> None:
        """Write to the spool all that waits in memory, as far as it takes it."""
        self.spool.wait_for_locks(LAST_SECONDS)
        while self._wished and self._fulfil_wishes():
            pass
        for lane in self._lanes():
            self._write(
                [entry for part in (lane.on_way, lane.again) for entry in part if not entry.row and self.keeps(entry)]
            )
            while self._save(lane, BATCH):
                pass

    def _save(self, lane: Lane, most: int) -> int:
        """How many of those that have just come are off our hands: stored, or dropped where there is no room."""
        batch = list(islice(lane.fresh, most))
        next_row = self._listed_to + 1 if self._knows_all() else -1
        left = [entry for entry in batch if self.is_left(entry)]
        if not self._write(left):
            return 0
        for entry in batch:
            self.take_first(lane)
            if entry.row is None:
                self.drop(entry, "spool_full" if self.is_left(entry) else "deleted")
                continue
            del self._on_both[entry.row]
            # Where others have brought something before it, all of it is still to be listed.
            if entry.row == next_row:
                lane.rows.append(next_row)
                self._listed_to, next_row = next_row, next_row + 1
        return len(batch)

    def _write(self, entries: Sequence[Entry]) -> bool:
        """Those that fit have a row afterwards. False where the spool cannot be written."""
        if self._listed_to > self.spool.last_row:
            self.list_anew()
        with self._spool_may_fail(), self._counting:
            rows = self.spool.append([entry.message for entry in entries])
            self._counts["spooled"] += len(rows)
            for entry, row in zip(entries, rows, strict=False):
                entry.row = row
                self._on_both[row] = entry
            self.in_memory -= len(rows)
            return True
        return False

    # Out

    def read(self, lane: Lane) -> Iterator[Entry]:
        """A lane's messages on disk, the oldest first, as far as they can be read; each is in the caller's hands once
        it is given."""
        while wanted := list(islice(lane.rows, BATCH)):
            with self._reading(), contextlib.closing(self.spool.read(wanted)) as found:
                for row, message in found:
                    while lane.rows.popleft() < row:
                        pass  # it has been taken out meanwhile, as those behind the last one
                    entry = self._on_both[row] = Entry(message, float("-inf"), row)
                    yield entry
                while lane.rows and lane.rows[0] <= wanted[-1]:
                    lane.rows.popleft()
            if self._is_unreadable:
                return

    def delivered(self, entries: Sequence[Entry]) -> None:
        self._counts["delivered"] += len(entries)
        for entry in entries:
            self._finish(entry)

    def drop(self, entry: Entry, reason: str) -> None:
        self._finish(entry)
        self._drop(1, reason)

    def _finish(self, entry: Entry) -> None:
        """It need not wait any more."""
        if entry.row is None:
            self.in_memory -= 1
        else:
            del self._on_both[entry.row]
            self._finished.add(entry.row)

    def tidy(self) -> None:
        """Take out of the spool what need not be there; where that fails, it is tried the next time."""
        self._take_out_finished()
        self._write_apart()
        self._fulfil_wishes()

    def _take_out_finished(self) -> None:
        if self._finished:
            with self._spool_may_fail(), self._counting:
                if len(self._finished) == self.spool.count and not self.spool.apart:
                    self.spool.remove_file()
                if self.spool.count:
                    rows = list(islice(self._finished, BATCH))
                    self.spool.remove(rows)
                    self._finished.difference_update(rows)
                else:
                    self._finished.clear()
        elif self.spool.apart and not self.spool.count:
            with self._spool_may_fail():
                self.spool.shrink()

    def set_apart(self, entry: Entry, error: Exception) -> None:
        """Kafka will never take it."""
        reason = reasons.named(error)
        log.error(
            "Kafka will never take a message: set apart",
            extra={"key": entry.message.key, "bytes": len(entry.message.value), "error": reason},
        )
        self._apart.append((entry, reason))
        if len(self._apart) > BATCH:
            self.drop(self._apart.popleft()[0], "refused_by_kafka")

    def _write_apart(self) -> None:
        for _ in range(min(SET_APART, len(self._apart))):
            entry, reason = self._apart[0]
            if self.keeps(entry) and not self._is_written_apart(entry, reason):
                return
            self._apart.popleft()

    def _is_written_apart(self, entry: Entry, reason: str) -> bool:
        with self._spool_may_fail():
            try:
                self.spool.set_apart(entry.message, reason, entry.row)
            except SpoolFullError:
                self.drop(entry, "refused_by_kafka")
                return True
            self._counts["apart"] += 1
            if entry.row is None:
                self.in_memory -= 1
            else:
                del self._on_both[entry.row]
            return True
        return False

    # What authors take back

    def wish(self, wish: Wish) -> None:
        """It holds for all that is in memory, when it is sent or written, and for all that is on disk, bit by bit."""
        self._wishes.add(wish)
        if self.spool.count or self.spool.apart:
            # What is set apart may be put back meanwhile, and is found then among what waits.
            self._wished.extend((wish, table, 0) for table in reversed(TABLES))

    def is_left(self, entry: Entry) -> bool:
        """Make of it what its author left; False where that is nothing."""
        left = self._wishes.fulfilled(entry.message, entry.since)
        if left is not None:
            entry.message = left
        return left is not None

    def keeps(self, entry: Entry) -> bool:
        """The same; what is nothing any more is dropped."""
        if self.is_left(entry):
            return True
        self.drop(entry, "deleted")
        return False

    def _fulfil_wishes(self) -> bool:
        """Some of them, on disk; False where that cannot be written."""
        left = CHANGED
        with self._spool_may_fail():
            while self._wished and left > 0:
                wish, table, row = self._wished[0]
                found = self.spool.mentioning(table, wish.id_, row, left)
                self._change(table, [(row, message, wish.fulfilled(message)) for row, message in found])
                self._wished.popleft()
                if len(found) == left:
                    self._wished.appendleft((wish, table, found[-1][0]))
                left -= len(found) + 1
            if not self._wished:
                oldest = [since for lane in self._lanes() for since in lane.oldest_since()]
                oldest += [entry.since for entry, _ in self._apart]
                self._wishes.forget_before(min(oldest, default=float("inf")))
            return True
        return False

    def _change(self, table: str, found: Sequence[tuple[int, Message, Message | None]]) -> None:
        changed = [(row, after) for row, before, after in found if after is not before]
        if not changed:
            return
        self.spool.change(table, changed)
        gone = {row for row, after in changed if after is None} if table == "waiting" else set()
        if gone:
            self._lost(len(gone), "deleted", gone & (self._on_both.keys() | self._finished))

    # The end, and what fails

    def close(self) -> None:
        """What neither Kafka nor the spool has taken ends with the process."""
        for entry, _ in self._apart:
            self.drop(entry, "refused_by_kafka")
        while self._finished and self.spool.count:
            before = len(self._finished)
            self._take_out_finished()
            if len(self._finished) == before:
                break
        self._drop(self.in_memory, "unsaved", spool=str(self.spool.path), trouble=self._trouble, see_to="SPOOL_DIR")
        self.in_memory = 0
        self.spool.close()

    @contextlib.contextmanager
    def _spool_may_fail(self) -> Iterator[None]:
        try:
            yield
        except SpoolError as error:
            self._failed(error)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        is_unreadable = False
        try:
            yield
        except SpoolError as error:
            is_unreadable = True
            self._failed(error)
        finally:
            self._is_unreadable = is_unreadable

    def _failed(self, error: SpoolError) -> None:
        self._trouble, self._failed_at = str(error), self._clock()
        if isinstance(error, SpoolLostError):
            self._counts["spool_damaged_files"] += error.reason == "spool_damaged"
            before = dict(self._on_both)
            self._lost(error.lost, error.reason, self._on_both.keys() | self._finished)
            self.list_anew()
            with self._spool_may_fail():
                self._find_again(before, error.reason)
        elif self._clock() - self._told_at < FULL_SECONDS:
            return
        self._told_at = self._clock()
        log.error("spool fails", extra={"error": str(error), "waiting_in_memory": self.in_memory})

    def _drop(self, count: int, reason: str, **facts: str) -> None:
        if not count:
            return
        self._counts[f"dropped:{reason}"] += count
        if reason == "deleted":
            return  # as its author wished
        if facts or not self.is_full():
            log.error("messages are dropped", extra={"reason": reason, "count": count, **facts})
        self._dropped_at = self._clock()
