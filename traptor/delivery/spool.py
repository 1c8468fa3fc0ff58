"""What waits on disk while Kafka is away: one SQLite file per Traptor, oldest first out."""

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from traptor.delivery import schema, spool_file
from traptor.delivery.message import Message
from traptor.permissions import private_folder
from traptor.printable import counted

__all__ = ["Kept", "Message", "Spool", "SpoolError", "file_name"]

CHECKPOINT_SECONDS = 1.0
"""How often the latest transactions are brought into the file."""
PATIENCE_SECONDS = 2.0
"""How long whoever can wait does so for a lock of another process."""


def file_name(traptor_type: str, traptor_id: int | str) -> str:
    """The spool of one Traptor."""
    return f"{traptor_type}-{traptor_id}.spool"


class Kept(NamedTuple):
    """A message as it stands in the spool. ``reason`` says why it was set apart; None for one that waits."""

    row: int
    since: float
    """Seconds since 1970."""
    message: Message
    reason: str | None


class SpoolError(Exception):
    """The spool cannot be written or read; says why."""


class SpoolFullError(SpoolError):
    """SPOOL_MAX_BYTES is reached."""


class SpoolLostError(SpoolError):
    """The file was deleted, replaced or emptied, with ``lost`` messages in it that waited."""

    reason = "spool_lost"

    def __init__(self, text: str, lost: int) -> None:
        super().__init__(text)
        self.lost = lost


class SpoolDamagedError(SpoolLostError):
    """The file was damaged and has been set aside; a new one begins."""

    reason = "spool_damaged"


class Spool:
    """Messages on disk. The file is made when the first one comes and goes when the last one is gone.

    Reading needs neither room nor a lock. Every method raises SpoolError where the disk or the file fails.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.patience_seconds = PATIENCE_SECONDS
        self.count = 0
        """Messages that wait."""
        self.size_bytes = 0
        """Of the messages that wait and those set apart."""
        self.apart = 0
        self.last_row = 0
        """The youngest that we know of."""
        self._db: sqlite3.Connection | None = None
        self._file = -1
        """Holds a shared lock for as long as the file is in use here."""
        self._beside: set[tuple[int, int]] = set()
        """The files beside it that have our latest transactions, and what its users share."""
        self._is_alone = False
        self._checkpoint_at = 0.0
        self._checkpointing = threading.Lock()
        """Held by the thread that does it, however slow the disk is: there is no second one."""
        self._found = 0
        self._lost = 0
        self._version = 0
        """Changes when somebody else has written to the file."""

    def open_if_there(self) -> None:
        """Look at what an earlier run has left. Removes an empty file."""
        if self._is_there():
            with self._reading():
                pass
            self._remove_if_empty()

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Store messages for as long as there is room; returns the row of each stored one, the first ones."""
        fitting = list(self._fitting(messages))
        if not fitting:
            return []
        now = time.time()
        with self._writing() as db:
            rows = [
                db.execute(
                    "INSERT INTO waiting (since, topic, key, value, mentions) VALUES (?, ?, ?, ?, ?)",
                    (now, message.topic, message.key, message.value, _mentions(message)),
                ).lastrowid
                or 0
                for message in fitting
            ]
        self.last_row = rows[-1]
        return rows

    def _fitting(self, messages: Iterable[Message]) -> Iterator[Message]:
        size_bytes = self.size_bytes
        for message in messages:
            size_bytes += message.size_bytes()
            if size_bytes > self.max_bytes:
                return
            yield message

    def keys_after(self, row: int, most: int) -> list[tuple[int, str, bytes | None]]:
        """Row, topic and key of the oldest messages behind this row (0: from the start)."""
        with self._reading() as db:
            return db.execute(
                "SELECT id, topic, key FROM waiting WHERE id > ? ORDER BY id LIMIT ?", (row, most)
            ).fetchall()

    def read(self, rows: Sequence[int]) -> Generator[tuple[int, Message], None, None]:
        """Those of the messages with these rows, which ascend, that are there."""
        with self._reading() as db:
            marks = ",".join("?" * len(rows))
            found = db.execute(f"SELECT id, key, value, topic FROM waiting WHERE id IN ({marks}) ORDER BY id", rows)
            for row, *fields in found:
                yield row, Message(*fields)

    def remove(self, rows: Collection[int]) -> None:
        """Take out messages, by row, that need not wait any more."""
        with self._writing() as db:
            db.executemany("DELETE FROM waiting WHERE id = ?", [(row,) for row in rows])
        self._remove_if_empty()

    def shrink(self) -> None:
        """Give back, a little each time, the room of what waited, where what was set apart keeps the file for long."""
        with self._reading() as db:
            if db.execute("PRAGMA freelist_count").fetchone() != (0,):
                db.executescript("PRAGMA incremental_vacuum(1000)")

    def mentioning(self, table: str, id_: str, after_row: int, most: int) -> list[tuple[int, Message]]:
        """The oldest messages behind this row, of those that wait or are ``apart``, that speak of this id."""
        with self._reading() as db:
            found = db.execute(
                f"SELECT m.id, m.key, m.value, m.topic FROM {table}_mentions JOIN {table} AS m ON m.id = row"
                f" WHERE {table}_mentions.id = ? AND row > ? ORDER BY row LIMIT ?",
                (id_, after_row, most),
            ).fetchall()
        return [(row, Message(*fields)) for row, *fields in found]

    def change(self, table: str, left: Sequence[tuple[int, Message | None]]) -> None:
        """Put these messages in the place of those with these rows; None takes them out."""
        with self._writing() as db:
            for row, message in left:
                if message is None:
                    db.execute(f"DELETE FROM {table} WHERE id = ?", (row,))
                else:
                    db.execute(f"UPDATE {table} SET value = ? WHERE id = ?", (message.value, row))
        self._remove_if_empty()

    def set_apart(self, message: Message, reason: str, row: int | None = None) -> None:
        """Keep a message that Kafka will never take, for a person to look at; ``row`` where it waited."""
        if row is None and not list(self._fitting([message])):
            raise SpoolFullError(f"{self.path}: no room to set a message apart")
        with self._writing() as db:
            db.execute(
                "INSERT INTO apart (since, topic, key, value, mentions, reason) VALUES (?, ?, ?, ?, ?, ?)",
                (time.time(), message.topic, message.key, message.value, _mentions(message), reason),
            )
            db.execute("DELETE FROM waiting WHERE id = ?", (row,))

    def put_back(self, rows: Collection[int] | None = None) -> int:
        """Let messages that were set apart, those with these numbers or all, wait again; returns how many."""
        fields = "since, topic, key, value, mentions"
        with self._writing() as db:
            found = [row for (row,) in db.execute("SELECT id FROM apart") if rows is None or row in rows]
            for row in found:
                db.execute(f"INSERT INTO waiting ({fields}) SELECT {fields} FROM apart WHERE id = ?", (row,))
                db.execute("DELETE FROM apart WHERE id = ?", (row,))
        self._found += len(found)
        return len(found)

    # What others do

    def changes(self) -> tuple[int, int]:
        """How many messages others have brought here since this was last asked (left by an earlier run, or put back),
        and how many they have taken away.

        Raises SpoolLostError where they have taken the file.
        """
        if self._db is None and not self.count:
            self.open_if_there()
        else:
            self._look_for_file()
            with self._reading() as db:
                self._compare(db)
        (found, lost), self._found, self._lost = (self._found, self._lost), 0, 0
        return found, lost

    def _look_for_file(self) -> None:
        try:
            there = self.path.stat()
            is_ours = self._db is None or os.path.samestat(there, os.fstat(self._file))
            gone = "emptied" if not there.st_size else None if is_ours else "replaced"
        except FileNotFoundError:
            gone = "deleted"
        except OSError as error:
            raise SpoolError(f"{self.path}: {error}") from error
        if gone:
            lost = self._forget_all()
            # Its connection, when it ended, has written a part of the latest transactions back into an emptied file,
            # and left them beside one that came in its place, to which they do not belong.
            if gone == "emptied":
                spool_file.unlink(self.path)
            elif self._beside and self._beside == spool_file.beside(self.path):
                spool_file.unlink(self.path, spool_file.BESIDE)
            waited = counted(lost, "message")
            raise SpoolLostError(f"{self.path}: {gone} by another program, with {waited} that waited", lost)
        if self._db and not self._beside <= spool_file.beside(self.path):
            self._bring_in()

    def _bring_in(self) -> None:
        """The files beside it have no name any more, and a kill would lose what is in them: it is still to be had."""
        with self._reading() as db:
            (is_busy, *_) = db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        if not is_busy:
            self.close()
        raise SpoolError(f"{self.path}: another program deleted the files beside it")

    def _compare(self, db: sqlite3.Connection) -> None:
        """What is there with what we know of, where others have written."""
        (version,) = db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return
        self._version = version
        known, last_row = self.count, self.last_row
        self._adopt(*schema.totals(db))
        found = self.count
        if last_row:
            (found,) = db.execute("SELECT COUNT(*) FROM waiting WHERE id > ?", (last_row,)).fetchone()
        self._found += found
        self._lost += known + found - self.count

    def having(self, messages: Mapping[int, Message]) -> set[int]:
        """The rows of those of these messages that stand in the file that is there now."""
        if not messages or not self._is_there():
            return set()
        with self._reading() as db:
            fields = "SELECT key, value, topic FROM waiting WHERE id = ?"
            return {row for row, message in messages.items() if db.execute(fields, (row,)).fetchone() == message}

    def missing(self, rows: Collection[int]) -> set[int]:
        """Those of these rows that are not there."""
        with self._reading() as db:
            return {row for row in rows if not db.execute("SELECT 1 FROM waiting WHERE id = ?", (row,)).fetchone()}

    def kept(self) -> Generator[Kept, None, None]:
        """Every message in the file: those set apart, then those that wait, oldest first."""
        with self._reading() as db:
            for source in ("reason FROM apart", "NULL FROM waiting"):
                for row, since, key, value, topic, reason in db.execute(
                    f"SELECT id, since, key, value, topic, {source} ORDER BY id"
                ):
                    yield Kept(row, since, Message(key, value, topic), reason)

    # The file

    def wait_for_locks(self, seconds: float) -> None:
        """What a lock of another process may take of each call from now on."""
        self.patience_seconds = seconds
        if self._db:
            self._db.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def close(self) -> None:
        if self._db:
            self._db.close()
            os.close(self._file)
            self._db = None

    def remove_file(self) -> None:
        """Nothing in it is wanted any more, and that is known without room for a write.

        Not while another process uses it, whose next messages would be lost, nor where one has brought something.
        """
        if self._db is None:
            return
        with self._reading() as db:
            try:
                self._unlink_unless_used(db)
            finally:
                self.close()

    def _unlink_unless_used(self, db: sqlite3.Connection) -> None:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            known = self.last_row
            self._compare(db)
            if self.last_row == known:
                spool_file.unlink(self.path)
                self._forget_all()

    def _remove_if_empty(self) -> None:
        if not self.count and not self.apart:
            self.remove_file()

    def _forget_all(self) -> int:
        lost, self.count, self.size_bytes, self.apart, self.last_row = self.count, 0, 0, 0, 0
        self.close()
        return lost

    def _is_there(self) -> bool:
        try:
            return self.path.exists()
        except OSError as error:
            raise SpoolError(f"{self.path}: {error}") from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db = self._db or self._open()
            yield self._db
        except (sqlite3.Error, OSError) as error:
            # The subclasses of a DatabaseError speak of other things than a damaged file, but for one.
            if type(error) is sqlite3.DatabaseError or "no such table" in str(error):
                raise self._set_aside(error) from error
            if spool_file.code(error) == sqlite3.SQLITE_READONLY:
                self.close()  # the next time it may be otherwise
            raise SpoolError(f"{self.path}: {error}") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            with db:
                db.execute("BEGIN IMMEDIATE")
                self._compare(db)
                schema.prepare(db)
                yield db
                measured = schema.totals(db)
            self._adopt(*measured)
            self._checkpoint_if_due()

    def _checkpoint_if_due(self) -> None:
        """Bring the latest transactions into the file, by a thread: it alone waits for the disk to have written."""
        now = time.monotonic()
        if not self._is_alone and now >= self._checkpoint_at and not self._checkpointing.locked():
            self._checkpoint_at = now + CHECKPOINT_SECONDS
            threading.Thread(target=self._checkpoint, name="traptor-spool", daemon=True).start()

    def _checkpoint(self) -> None:
        with self._checkpointing:
            spool_file.checkpoint(self.path)

    def _open(self) -> sqlite3.Connection:
        private_folder(self.path.parent)
        self._file = spool_file.descriptor(self.path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if not os.fstat(self._file).st_nlink:
                raise OSError("removed by another process while it was opened")
            db, self._is_alone = spool_file.connect(self.path, self.patience_seconds)
        except BaseException:
            os.close(self._file)
            raise
        self._beside = spool_file.beside(self.path)
        self._version = -1
        self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        self._compare(db)
        return db

    def _adopt(self, count: int, apart: int, size_bytes: int, last_row: int) -> None:
        self.count, self.apart, self.size_bytes = count, apart, size_bytes
        self.last_row = max(self.last_row, last_row)

    def _set_aside(self, error: Exception) -> SpoolError:
        """A damaged file makes room for a new one; it is kept, for whoever can mend it."""
        try:
            aside = spool_file.set_aside(self.path)
        except OSError as refused:
            return SpoolError(f"{self.path}: {error}, and {refused}")
        return SpoolDamagedError(f"{self.path}: {error}; set aside as {aside}", self._forget_all())


def _mentions(message: Message) -> str:
    return json.dumps(sorted(message.mentions()))
