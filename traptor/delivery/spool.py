"""What waits on disk while Kafka is away: one SQLite file per Traptor, oldest first out."""

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    id INTEGER PRIMARY KEY AUTOINCREMENT, since REAL NOT NULL, topic TEXT NOT NULL, key BLOB, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS waiting_key ON waiting (key);
CREATE TABLE IF NOT EXISTS apart (
    id INTEGER PRIMARY KEY AUTOINCREMENT, since REAL NOT NULL, topic TEXT NOT NULL, key BLOB, value BLOB NOT NULL,
    reason TEXT NOT NULL
);
"""
_ROW_BYTES = 64
"""What SQLite keeps for a row beside its key and value, about."""
_SIZE = f"SELECT COUNT(*), COALESCE(SUM(LENGTH(value) + COALESCE(LENGTH(key), 0) + {_ROW_BYTES}), 0) FROM"
_FILES = ("", "-wal", "-shm")
"""SQLite keeps its latest transactions in files of their own."""


def file_name(traptor_type: str, traptor_id: int | str) -> str:
    """The spool of one Traptor."""
    return f"{traptor_type}-{traptor_id}.spool"


class Message(NamedTuple):
    """What goes to Kafka."""

    key: bytes | None
    value: bytes
    topic: str

    def size_bytes(self) -> int:
        return len(self.value) + len(self.key or b"") + _ROW_BYTES

    def without_location(self, user_id: str, up_to_id: int) -> "Message":
        """The message without geo, coordinates and place, if it is a tweet of this user up to this id."""
        if user_id.encode("utf-8", "replace") not in self.value:
            return self
        try:
            tweet = json.loads(self.value)
            concerned = tweet["user"]["id_str"] == user_id and int(tweet["id_str"]) <= up_to_id
        except (ValueError, KeyError, TypeError, RecursionError):
            return self
        if not concerned:
            return self
        tweet.update(geo=None, coordinates=None, place=None)
        return self._replace(value=json.dumps(tweet, separators=(",", ":")).encode("ascii"))


class Kept(NamedTuple):
    """A message as it stands in the spool. ``reason`` says why it was set apart; None for one that waits."""

    row: int
    since: float
    """Seconds since 1970."""
    message: Message
    reason: str | None


class SpoolError(Exception):
    """The spool cannot be written or read; says why."""


class SpoolDamagedError(SpoolError):
    """The file was damaged and has been set aside, with ``lost`` messages in it that waited; a new one begins."""

    def __init__(self, text: str, lost: int) -> None:
        super().__init__(text)
        self.lost = lost


class Spool:
    """Messages on disk. The file is made when the first one comes and goes when the last one is gone.

    Every method raises SpoolError where the disk or the file fails.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.count = 0
        """Messages that wait."""
        self.size_bytes = 0
        """Of the messages that wait and those set apart."""
        self.apart = 0
        self._db: sqlite3.Connection | None = None
        self._file = -1
        """Holds a shared lock for as long as the file is in use here."""
        self._found = 0
        self._version = 0
        """Changes when somebody else has written to the file."""

    def open_if_there(self) -> None:
        """Look at what an earlier run has left. Removes an empty file."""
        try:
            is_there = self.path.exists()
        except OSError as error:
            raise SpoolError(f"{self.path}: {error}") from error
        if is_there:
            with self._transaction():
                pass
            self._remove_if_empty()

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Store messages for as long as there is room; returns the row of each stored one, the first ones."""
        fitting = list(self._fitting(messages))
        if not fitting:
            return []
        now = time.time()
        with self._transaction() as db:
            rows = [
                db.execute(
                    "INSERT INTO waiting (since, topic, key, value) VALUES (?, ?, ?, ?)",
                    (now, message.topic, message.key, message.value),
                ).lastrowid
                for message in fitting
            ]
        self.count += len(fitting)
        self.size_bytes += sum(message.size_bytes() for message in fitting)
        return [row for row in rows if row is not None]

    def _fitting(self, messages: Iterable[Message]) -> Iterator[Message]:
        size_bytes = self.size_bytes
        for message in messages:
            size_bytes += message.size_bytes()
            if size_bytes > self.max_bytes:
                return
            yield message

    def after(self, row: int, most: int) -> list[tuple[int, Message]]:
        """The oldest messages behind this row (0: from the start), with their rows."""
        if not self.count:
            return []
        with self._transaction() as db:
            found = db.execute(
                "SELECT id, key, value, topic FROM waiting WHERE id > ? ORDER BY id LIMIT ?", (row, most)
            ).fetchall()
        return [(id_, Message(key, value, topic)) for id_, key, value, topic in found]

    def remove(self, stored: Mapping[int, Message]) -> None:
        """Take out messages, by row, that need not wait any more."""
        with self._transaction() as db:
            db.executemany("DELETE FROM waiting WHERE id = ?", [(row,) for row in stored])
        self.count -= len(stored)
        self.size_bytes -= sum(message.size_bytes() for message in stored.values())
        if not self.count and self.apart:
            with self._transaction() as db:
                db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
        self._remove_if_empty()

    def forget(self, key: bytes, but_rows: Collection[int] = ()) -> int:
        """Take out what is set apart or waits under this key, but for these rows; returns how many messages waited."""
        if not self.count and not self.apart:
            return 0
        with self._transaction() as db:
            found = db.execute("SELECT id, value, topic FROM waiting WHERE key = ?", (key,)).fetchall()
            if db.execute("DELETE FROM apart WHERE key = ?", (key,)).rowcount:
                self._measure(db)
        self._remove_if_empty()
        stored = {row: Message(key, value, topic) for row, value, topic in found if row not in but_rows}
        if stored:
            self.remove(stored)
        return len(stored)

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Take the location out of what waits or is set apart from this user, up to this id."""
        if not self.count and not self.apart:
            return
        author = (user_id.encode("utf-8", "replace"),)
        with self._transaction() as db:
            for table in ("waiting", "apart"):
                found = db.execute(
                    f"SELECT id, key, value, topic FROM {table} WHERE INSTR(value, ?)", author
                ).fetchall()
                for row, *fields in found:
                    scrubbed = Message(*fields).without_location(user_id, up_to_id)
                    db.execute(f"UPDATE {table} SET value = ? WHERE id = ?", (scrubbed.value, row))
            self._measure(db)

    def set_apart(self, message: Message, reason: str, row: int | None = None) -> None:
        """Keep a message that Kafka will never take, for a person to look at; ``row`` where it waited."""
        if row is None and not list(self._fitting([message])):
            raise SpoolError(f"{self.path}: no room to set a message apart")
        with self._transaction() as db:
            db.execute(
                "INSERT INTO apart (since, topic, key, value, reason) VALUES (?, ?, ?, ?, ?)",
                (time.time(), message.topic, message.key, message.value, reason),
            )
            db.execute("DELETE FROM waiting WHERE id = ?", (row,))
            self._measure(db)

    def put_back(self, rows: Collection[int] | None = None) -> int:
        """Let messages that were set apart, those with these numbers or all, wait again; returns how many."""
        with self._transaction() as db:
            found = [row for (row,) in db.execute("SELECT id FROM apart") if rows is None or row in rows]
            for row in found:
                db.execute(
                    "INSERT INTO waiting (since, topic, key, value)"
                    " SELECT since, topic, key, value FROM apart WHERE id = ?",
                    (row,),
                )
                db.execute("DELETE FROM apart WHERE id = ?", (row,))
            self._measure(db)
        return len(found)

    def found(self) -> int:
        """How many messages have come to wait here by others than us since this was last asked: left by an earlier
        run, or put back by another process."""
        if self._db is not None or self.apart:
            with self._transaction() as db:
                (version,) = db.execute("PRAGMA data_version").fetchone()
                if version != self._version:
                    self._version = version
                    self._note_found(db)
        found, self._found = self._found, 0
        return found

    def kept(self) -> Generator[Kept, None, None]:
        """Every message in the file: those set apart, then those that wait, oldest first."""
        with self._transaction() as db:
            for source in ("reason FROM apart", "NULL FROM waiting"):
                for row, since, key, value, topic, reason in db.execute(
                    f"SELECT id, since, key, value, topic, {source} ORDER BY id"
                ):
                    yield Kept(row, since, Message(key, value, topic), reason)

    def close(self) -> None:
        if self._db:
            self._db.close()
            os.close(self._file)
            self._db = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._db = self._db or self._open()
            with db:
                yield db
        except (sqlite3.Error, OSError) as error:
            # The next call starts afresh.
            self.close()
            if type(error) is sqlite3.DatabaseError:  # its subclasses speak of other things than a damaged file
                raise self._set_aside(error) from error
            raise SpoolError(f"{self.path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_SH)
        db = sqlite3.connect(self.path, timeout=2.0, isolation_level="IMMEDIATE", check_same_thread=False)
        try:
            if not os.fstat(self._file).st_nlink:
                raise OSError("removed by another process while it was opened")
            # A file that has grown shrinks again; only before it has a table can it be told to.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing that was committed; only a power cut could, and only the last transactions.
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)
            (self._version,) = db.execute("PRAGMA data_version").fetchone()
            self._note_found(db)
        except BaseException:
            db.close()
            os.close(self._file)
            raise
        return db

    def _note_found(self, db: sqlite3.Connection) -> None:
        known = self.count
        self._measure(db)
        self._found += self.count - known

    def _measure(self, db: sqlite3.Connection) -> None:
        self.count, waiting_bytes = db.execute(f"{_SIZE} waiting").fetchone()
        self.apart, apart_bytes = db.execute(f"{_SIZE} apart").fetchone()
        self.size_bytes = waiting_bytes + apart_bytes

    def _set_aside(self, error: Exception) -> SpoolError:
        """A damaged file makes room for a new one; it is kept, for whoever can mend it."""
        aside = f"{self.path}.damaged-{time.time_ns()}"
        try:
            for suffix in _FILES:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        except OSError as refused:
            return SpoolError(f"{self.path}: {error}, and {refused}")
        lost, self.count, self.size_bytes, self.apart = self.count, 0, 0, 0
        return SpoolDamagedError(f"{self.path}: {error}; set aside as {aside}", lost)

    def _remove_if_empty(self) -> None:
        """But not while another process uses it, whose next messages would be lost. An empty file harms nobody."""
        if self._db and not self.count and not self.apart:
            self._db.close()
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for suffix in _FILES:
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            self.close()
