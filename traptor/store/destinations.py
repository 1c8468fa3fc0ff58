"""Which database a name means."""

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from traptor.store.destination import Destination, WrongDestination

ALLOWED = (
    "sqlite:PATH, a path that ends in .db, postgresql://user@host/database, opensearch+https://user@host:9200/prefix,"
    " or elasticsearch+https://… (or +http)"
)
SEARCH = {f"{name}+{scheme}" for name in ("opensearch", "elasticsearch") for scheme in ("http", "https")}


def is_destination(name: str) -> bool:
    return ":" in name or name.endswith(".db")


def destination(
    name: str,
    password: str = "",
    *,
    keep_raw: bool = False,
    keep: timedelta | None = None,
    is_there: bool = False,
) -> Destination:
    """Not connected yet. Raises WrongDestination for a name that means nothing, or, where it should be there, no file;
    ImportError where a package is missing."""
    scheme = _scheme(name)
    if scheme == "sqlite" or (not scheme and name.endswith(".db")):
        from traptor.store.sqlite import SQLite

        path = Path(name.removeprefix("sqlite:"))
        if is_there and not os.path.exists(path):
            raise WrongDestination(f"there is no file {path}")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise WrongDestination(f"{path.parent} is no folder that we may write into")
        return SQLite(path, keep_raw=keep_raw, keep=keep)
    if scheme in {"postgresql", "postgres"}:
        from traptor.store.postgresql import PostgreSQL

        return PostgreSQL(name, password, keep_raw=keep_raw, keep=keep)
    if scheme in SEARCH:
        from traptor.store.search.destination import Search

        return Search(name, password, keep_raw=keep_raw, keep=keep)
    raise WrongDestination(f"{name.rpartition('@')[2]!r} is no destination; allowed are {ALLOWED}")


def _scheme(name: str) -> str:
    try:
        return urlsplit(name).scheme
    except ValueError as error:
        raise WrongDestination(f"{name.rpartition('@')[2]!r} is no destination: {error}") from None
