"""SQLite: one file, no server.

Nothing of a deleted tweet stays in the file: freed space is overwritten (``secure_delete``), the text index is merged
until no trace of the deleted words is left, and the write-ahead log is emptied.
"""

import contextlib
import json
import socket
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import zstandard

from traptor.store.destination import Away, Refused, WrongDestination, group
from traptor.store.rows import TweetRow
from traptor.store.sql import Database
from traptor.store.words import spaced

LOCKED_SECONDS = 2.0
"""How long to wait for another program before it is told that the file is locked."""
MERGE_PAGES = 500
"""Of the text index, rewritten in one step."""
FREED_PAGES = 2000
"""Given back to the disk in one step."""
SPARE_SHARE = 0.05
"""Of the file: free pages that stay for what comes next."""
_LISTED = "IN (SELECT value FROM json_each(?))"
_REFUSED = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError, UnicodeError)


class SQLite(Database):
    def __init__(self, path: Path, *, keep_raw: bool = False, keep: timedelta | None = None) -> None:
        super().__init__(keep_raw=keep_raw, keep=keep)
        self.name = str(path)
        self.group = group(f"{socket.gethostname()}{path.resolve()}")
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._is_erasing = False
        """Are there deleted words in the text index?"""
        self._is_merging = False
        """Has the index begun to be merged since the last of them came?"""
        self._compress = zstandard.ZstdCompressor(level=3).compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def open(self) -> None:
        with self._translated():
            if self._db is None:
                self._db = self._connect()
        with self.transaction():
            self.check_version()
            found = list(self.execute("SELECT value FROM about WHERE name = 'erasing'"))
            self._is_erasing = bool(found)

    def _connect(self) -> sqlite3.Connection:
        if not self._path.exists():
            self._path.touch(mode=0o600)
        db = sqlite3.connect(self._path, timeout=LOCKED_SECONDS, isolation_level=None)
        try:
            # Only before the first table can a file be told to shrink.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA temp_store = MEMORY")
            db.execute("PRAGMA cache_size = -65536")
            db.execute("PRAGMA wal_autocheckpoint = 4000")
            folder = files("traptor.store")
            # A rowid is an INTEGER by its very name.
            tables = (
                folder.joinpath("tables.sql").read_text("utf-8").replace("bigint PRIMARY KEY", "INTEGER PRIMARY KEY")
            )
            db.executescript(f"BEGIN IMMEDIATE; {tables}; {folder.joinpath('sqlite.sql').read_text('utf-8')}; COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def close(self) -> None:
        if self._db:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA optimize")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
            self._db = None

    # Statements

    @contextlib.contextmanager
    def transaction(self, *, alone: bool = False) -> Iterator[None]:
        """Always alone: SQLite has one writer."""
        if self._db is None:
            self.open()
        with self._translated():
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                if self._db and self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _REFUSED as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        except sqlite3.OperationalError as error:
            self._drop()
            raise Away(f"{self.name}: {error}") from error
        except OSError as error:
            raise Away(f"{self.name}: {error.strerror}") from error
        except sqlite3.DatabaseError as error:
            self._drop()
            raise WrongDestination(f"{self.name}: {error}") from error

    def _drop(self) -> None:
        """The next transaction opens the file anew: it may have been moved, or be another."""
        if self._db:
            self._db.close()
            self._db = None

    def execute(self, statement: str, *values: Any) -> Any:
        assert self._db is not None, "used outside of a transaction"
        listed = [json.dumps(value) if isinstance(value, list) else value for value in values]
        return self._db.execute(statement.replace("IN ?", _LISTED), listed)

    def lock(self, clause: str) -> str:
        return ""

    def insert(self, table: str, rows: Sequence[Sequence[Any]], on_conflict: str) -> None:
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            # SQLite would take ON for a join's, had the statement a SELECT without WHERE; VALUES is no such thing.
            self._many(f"INSERT INTO {table} VALUES ({marks}) {on_conflict}", rows)

    def _many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        assert self._db is not None, "used outside of a transaction"
        self._db.executemany(statement, rows)

    def insert_tweets(self, rows: Sequence[TweetRow]) -> set[int]:
        there = set(self._ids("id IN ?", [row.id for row in rows]))
        new = [row for row in rows if row.id not in there]
        self.insert("tweets", new, "")
        self._many("INSERT INTO words (rowid, text) VALUES (?, ?)", [(row.id, spaced(row.text or "")) for row in new])
        return {row.id for row in new}

    def unindex(self, ids: Sequence[int]) -> None:
        found = list(self.execute("SELECT id, text FROM tweets WHERE id IN ?", list(ids)))
        self._many(
            "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)",
            [(id_, spaced(text or "")) for id_, text in found],
        )
        self.execute("INSERT OR IGNORE INTO about VALUES ('erasing', '1')")
        self._is_erasing, self._is_merging = True, False

    def packed(self, raw_message: bytes) -> bytes:
        return self._compress(raw_message)

    def unpacked(self, value: Any) -> bytes:
        return bytes(self._decompress(value))

    # What can wait

    def tidy(self) -> bool:
        return self.remove_old() or self._erase_words() or self._give_back()

    def _erase_words(self) -> bool:
        if not self._is_erasing:
            return False
        with self.transaction():
            assert self._db is not None
            before = self._db.total_changes
            # A negative number begins with all of the index; a positive one goes on.
            pages = MERGE_PAGES if self._is_merging else -MERGE_PAGES
            self.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", pages)
            self._is_merging = True
            if self._db.total_changes - before >= 2:
                return True
            self.execute("DELETE FROM about WHERE name = 'erasing'")
        self._is_erasing = False
        with self._translated():
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return True

    def _give_back(self) -> bool:
        """Free pages to the disk."""
        if self._db is None:
            return False
        with self._translated():
            (free,), (pages,) = (self.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_count"))
            if free <= SPARE_SHARE * pages:
                return False
            self.execute(f"PRAGMA incremental_vacuum({FREED_PAGES})").fetchall()
        return True

    # For people

    def seconds(self, column: str) -> str:
        return f"CAST(strftime('%s', {column}) AS INTEGER)"

    def stream(self, statement: str, *values: Any) -> Iterator[Mapping[str, Any]]:
        if self._db is None:
            self.open()
        with self._translated():
            cursor = self.execute(statement, *values)
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))
