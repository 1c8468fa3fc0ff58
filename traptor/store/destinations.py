"""Which database a name means."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from traptor.store.destination import Destination, WrongDestination

ALLOWED = "sqlite:PATH, a path that ends in .db, or postgresql://user@host/database"


def is_destination(name: str) -> bool:
    return bool(urlsplit(name).scheme) or name.endswith(".db")


def destination(name: str, password: str = "", *, keep_raw: bool = False, keep: timedelta | None = None) -> Destination:
    """Not connected yet. Raises WrongDestination for a name that means nothing."""
    scheme = urlsplit(name).scheme
    if scheme == "sqlite" or (not scheme and name.endswith(".db")):
        from traptor.store.sqlite import SQLite

        return SQLite(Path(name.removeprefix("sqlite:")), keep_raw=keep_raw, keep=keep)
    if scheme in {"postgresql", "postgres"}:
        from traptor.store.postgresql import PostgreSQL

        return PostgreSQL(name, password, keep_raw=keep_raw, keep=keep)
    raise WrongDestination(f"{name.partition('@')[2] or name!r} is no destination; allowed are {ALLOWED}")
