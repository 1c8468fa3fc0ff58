"""The file of the spool, and the two that SQLite keeps beside it: opened as far as disk and permissions allow."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from traptor.delivery import schema
from traptor.permissions import private_opener

BESIDE = ("-wal", "-shm")
"""What SQLite puts behind the name for its latest transactions, and for what its users share."""
ALL = ("", *BESIDE)


def descriptor(path: Path) -> int:
    """To lock the file by, or to know it again; it is made if it is not there."""
    try:
        return private_opener(str(path), os.O_CREAT | os.O_RDWR)
    except OSError:
        return os.open(path, os.O_RDONLY)


def connect(path: Path, timeout_seconds: float) -> tuple[sqlite3.Connection, bool]:
    """As others may use it too; else alone, which needs no file beside it and so no room, and of which the second value
    tells; else only to be read."""
    latest_path = Path(f"{path}-wal")
    has_latest = latest_path.exists() and latest_path.stat().st_size > 0
    failures = []
    for mode, options in (("NORMAL", ""), ("EXCLUSIVE", ""), ("NORMAL", "?immutable=1"))[: 2 if has_latest else 3]:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}{options}",
            uri=True,
            timeout=timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _begin(db, mode)
            return db, mode == "EXCLUSIVE"
        except sqlite3.OperationalError as error:
            db.close()
            if code(error) == sqlite3.SQLITE_BUSY:
                raise
            failures.append(error)
        except BaseException:
            db.close()
            raise
    raise failures[0]


def _begin(db: sqlite3.Connection, mode: str) -> None:
    db.execute(f"PRAGMA locking_mode = {mode}")
    # A killed process loses nothing that was committed; only a power cut could, and only the last transactions.
    db.execute("PRAGMA synchronous = NORMAL")
    if mode == "NORMAL":
        db.execute("PRAGMA wal_autocheckpoint = 0")
    if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
        # A file that has grown shrinks again; only before it has a table can it be told to.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        # Readers and writers do not wait for each other, and what is there can be read where nothing is written.
        db.execute("PRAGMA journal_mode = WAL")
        with db:
            db.execute("BEGIN IMMEDIATE")
            schema.prepare(db)
    schema.totals(db)


def checkpoint(path: Path) -> None:
    """Bring the latest transactions into the file, unless another does."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=0.0)) as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")


def beside(path: Path) -> set[tuple[int, int]]:
    """Which files, by device and number, stand beside it."""
    found = set()
    for suffix in BESIDE:
        with contextlib.suppress(OSError):
            status = os.stat(f"{path}{suffix}")
            found.add((status.st_dev, status.st_ino))
    return found


def unlink(path: Path, suffixes: Iterable[str] = ALL) -> None:
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def set_aside(path: Path) -> str:
    """Give it another name, which is returned."""
    aside = f"{path}.damaged-{time.time_ns()}"
    for suffix in ALL:
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


def code(error: Exception) -> int:
    """SQLite's primary code for an error; 0 where it is none of SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
