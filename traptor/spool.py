"""What waits on disk while Kafka is away: one SQLite file per Traptor, oldest first out."""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
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
_SIZE = f"COUNT(*), COALESCE(SUM(LENGTH(value) + COALESCE(LENGTH(key), 0) + {_ROW_BYTES}), 0)"


class Message(NamedTuple):
    """What goes to Kafka."""

    key: bytes | None
    value: bytes
    topic: str

    def size_bytes(self) -> int:
        return len(self.value) + len(self.key or b"") + _ROW_BYTES

    def without_location(self, user_id: str, up_to_id: int) -> "Message":
        """The message without geo, coordinates and place, if it is a tweet of this user up to this id."""
        try:
            tweet = json.loads(self.value)
            concerned = tweet["user"]["id_str"] == user_id and int(tweet["id_str"]) <= up_to_id
        except (ValueError, KeyError, TypeError):
            return self
        if not concerned:
            return self
        tweet.update(geo=None, coordinates=None, place=None)
        return self._replace(value=json.dumps(tweet, separators=(",", ":")).encode("ascii"))


class SpoolError(Exception):
    """The spool cannot be written or read; says why."""


class Spool:
    """Messages on disk. The file is made when the first one comes and goes when the last one is gone.

    Every method raises SpoolError where the disk or the file fails. A file that is damaged is set aside, not deleted.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.count = 0
        self.size_bytes = 0
        self.apart = 0
        self._db: sqlite3.Connection | None = None

    def open_if_there(self) -> None:
        """Take up what an earlier run has left. Removes an empty file."""
        if self.path.exists():
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

    def remove(self, stored: Sequence[tuple[int, Message]]) -> None:
        """Delivered: take them out, each with its row."""
        with self._transaction() as db:
            db.executemany("DELETE FROM waiting WHERE id = ?", [(row,) for row, _ in stored])
        self.count -= len(stored)
        self.size_bytes -= sum(message.size_bytes() for _, message in stored)
        self._remove_if_empty()

    def forget(self, key: bytes, on_their_way: set[int]) -> int:
        """Take out what waits under this key; returns how many messages."""
        if not self.count:
            return 0
        with self._transaction() as db:
            found = db.execute("SELECT id, value, topic FROM waiting WHERE key = ?", (key,)).fetchall()
        stored = [(id_, Message(key, value, topic)) for id_, value, topic in found if id_ not in on_their_way]
        if stored:
            self.remove(stored)
        return len(stored)

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Take the location out of what waits from this user, up to this id."""
        if not self.count:
            return
        with self._transaction() as db:
            found = db.execute(
                "SELECT id, key, value, topic FROM waiting WHERE INSTR(value, ?)", (f'"id_str":"{user_id}"'.encode(),)
            ).fetchall()
            for id_, *fields in found:
                scrubbed = Message(*fields).without_location(user_id, up_to_id)
                db.execute("UPDATE waiting SET value = ? WHERE id = ?", (scrubbed.value, id_))
            self._measure(db)

    def set_apart(self, message: Message, reason: str) -> None:
        """Keep a message that Kafka will never take, for a person to look at."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO apart (since, topic, key, value, reason) VALUES (?, ?, ?, ?, ?)",
                (time.time(), message.topic, message.key, message.value, reason),
            )
        self.apart += 1

    def close(self) -> None:
        if self._db:
            self._db.close()
            self._db = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._db = self._db or self._open()
            with db:
                yield db
        except (sqlite3.Error, OSError) as error:
            self._after_error(error)
            raise SpoolError(f"{self.path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(self.path, timeout=2.0, isolation_level="IMMEDIATE", check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing that was committed; only a power cut could, and only the last transactions.
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        self._measure(db)
        return db

    def _measure(self, db: sqlite3.Connection) -> None:
        self.count, self.size_bytes = db.execute(f"SELECT {_SIZE} FROM waiting").fetchone()
        (self.apart,) = db.execute("SELECT COUNT(*) FROM apart").fetchone()

    def _after_error(self, error: Exception) -> None:
        """Start afresh after an error; a damaged file makes room for a new one."""
        self.close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self.path.replace(self.path.with_suffix(f".damaged-{int(time.time())}"))
            self.count = self.size_bytes = self.apart = 0

    def _remove_if_empty(self) -> None:
        if not self.count and not self.apart:
            self.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
