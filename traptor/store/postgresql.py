"""PostgreSQL: rows by COPY into a staging table, and from there where they belong."""

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

try:
    import psycopg
    from psycopg.rows import dict_row
except ImportError as error:
    raise ImportError("psycopg is not installed; pip install 'psycopg[binary]' brings it") from error

from traptor.store.destination import Away, Refused, WrongDestination, group
from traptor.store.rows import TweetRow
from traptor.store.sql import Database
from traptor.store.words import spaced

CONNECT_SECONDS = 5
LOCK_KEY = 0x7472_6170_746F_72
"""``traptor`` in ASCII: the advisory lock that stores share, and that one which erases holds alone."""
STATEMENT_MS = 60_000
"""Of a statement; after that the server counts as away."""
SILENT_SECONDS = 120.0
"""Of a transaction; after that the connection is cut."""
CURSOR_ROWS = 2000
WORDS = "INSERT INTO words SELECT tweet_id, to_tsvector('simple', text) FROM staged_words ON CONFLICT DO NOTHING"
_REFUSED = (psycopg.DataError, psycopg.IntegrityError, psycopg.NotSupportedError, psycopg.errors.ProgramLimitExceeded)
_OF_NEW_TWEETS = {"hashtags", "urls", "mentions", "media"}
"""Tables whose rows come with a new tweet alone, so that none is there."""
_WRONG = re.compile(
    "does not exist|authentication failed|no password supplied|permission denied|no pg_hba.conf entry|invalid integer"
)
"""What libpq says without a code, and no waiting mends."""


class PostgreSQL(Database):
    """``url`` as libpq reads it; what it does not say comes from PGHOST and its like, and from ~/.pgpass."""

    def __init__(self, url: str, password: str = "", *, keep_raw: bool = False, keep: timedelta | None = None) -> None:
        super().__init__(keep_raw=keep_raw, keep=keep)
        parts = urlsplit(url)
        self.name = f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.group = group(self.name)
        self._url = url
        self._password = password
        self._db: psycopg.Connection[Any] | None = None

    def open(self) -> None:
        with self._translated():
            if self._db is None or self._db.closed:
                self._db = self._connect()
                self._check_encoding(self._db.info.parameter_status("server_encoding"))
        with self.transaction(alone=True):
            self._make_tables()
            self.check_version()

    def _connect(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            application_name="traptor store",
            client_encoding="utf8",
            options=f"-c statement_timeout={STATEMENT_MS} -c client_min_messages=warning -c timezone=UTC",
            keepalives_idle=10,
            keepalives_interval=3,
            keepalives_count=3,
            tcp_user_timeout=STATEMENT_MS // 4,
            password=self._password or None,
        )

    def _check_encoding(self, encoding: str | None) -> None:
        """In another not every tweet can be written, or no word of it found."""
        if encoding != "UTF8":
            self.close()
            raise WrongDestination(
                f"{self.name} has the encoding {encoding}; allowed is UTF8, as in"
                " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )

    def _make_tables(self) -> None:
        folder = files("traptor.store")
        # A raw message is text, which the server compresses, and which people can cast to jsonb.
        types = {"raw blob": "raw text", " blob": " bytea", " json,": " jsonb,"}
        tables = re.sub(r" REFERENCES \w+ \(id\)", "", folder.joinpath("tables.sql").read_text(encoding="utf-8"))
        for generic, own in types.items():
            tables = tables.replace(generic, own)
        assert self._db is not None
        self._db.execute(tables + folder.joinpath("postgresql.sql").read_text(encoding="utf-8"))

    def close(self) -> None:
        if self._db:
            self._db.close()
            self._db = None

    # Statements

    @contextlib.contextmanager
    def transaction(self, *, alone: bool = False) -> Iterator[None]:
        if self._db is None or self._db.closed:
            self.open()
        with self._translated():
            assert self._db is not None
            watchdog = threading.Timer(SILENT_SECONDS, _cut, [self._db.fileno()])
            watchdog.daemon = True
            watchdog.start()
            try:
                with self._db.transaction():
                    self.execute(f"SELECT pg_advisory_xact_lock{'' if alone else '_shared'}(?)", LOCK_KEY)
                    yield
            finally:
                watchdog.cancel()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _REFUSED as error:
            raise Refused(f"{type(error).__name__}: {_one_line(error)}") from None
        except psycopg.ProgrammingError as error:
            # The URL, a right that we have not, or a table that somebody has altered.
            raise WrongDestination(f"{self.name}: {_one_line(error)}") from None
        except psycopg.Error as error:
            # A deadlock and a server that starts are mended by another try, like one that is gone.
            if self._db:
                self._db.close()
                self._db = None
            kind = WrongDestination if _WRONG.search(str(error)) else Away
            raise kind(f"{self.name}: {_one_line(error)}") from None

    def execute(self, statement: str, *values: Any) -> Any:
        assert self._db is not None, "used outside of a transaction"
        return self._db.execute(statement.replace("IN ?", "= ANY(%s)").replace("?", "%s"), values)

    def insert(self, table: str, rows: Sequence[Sequence[Any]], on_conflict: str) -> None:
        if rows and table in _OF_NEW_TWEETS:
            self._copy(table, rows)
        elif rows:
            self._stage(table, rows)
            self.execute(f"INSERT INTO {table} SELECT * FROM staged_{table} {on_conflict}")

    def _stage(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Into a temporary table of the same columns, which is empty again after the transaction."""
        assert self._db is not None, "used outside of a transaction"
        columns = "(tweet_id bigint, text text)" if table == "words" else f"(LIKE {table})"
        self._db.execute(f"CREATE TEMP TABLE IF NOT EXISTS staged_{table} {columns} ON COMMIT DELETE ROWS")
        self._copy(f"staged_{table}", rows)

    def _copy(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        assert self._db is not None, "used outside of a transaction"
        with self._db.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def insert_tweets(self, rows: Sequence[TweetRow]) -> set[int]:
        if not rows:
            return set()
        self._stage("tweets", rows)
        returned = self.execute("INSERT INTO tweets SELECT * FROM staged_tweets ON CONFLICT DO NOTHING RETURNING id")
        new = {id_ for (id_,) in returned}
        self._stage("words", [(row.id, spaced(row.text or "")) for row in rows if row.id in new])
        self.execute(WORDS)
        return new

    def unindex(self, ids: Sequence[int]) -> None:
        self.execute("DELETE FROM words WHERE tweet_id IN ?", list(ids))

    def packed(self, raw_message: bytes) -> str:
        return raw_message.decode("utf-8", "replace")

    def unpacked(self, value: Any) -> bytes:
        return str(value).encode()

    # What can wait

    def tidy(self) -> bool:
        return self.remove_old()

    # For people

    def seconds(self, column: str) -> str:
        return f"floor(extract(epoch FROM {column}))::bigint"

    def stream(self, statement: str, *values: Any) -> Iterator[Mapping[str, Any]]:
        with self.transaction():
            assert self._db is not None
            with self._db.cursor("traptor_export", row_factory=dict_row) as cursor:
                cursor.itersize = CURSOR_ROWS
                yield from cursor.execute(statement.replace("?", "%s"), values)


def _cut(descriptor: int) -> None:
    """End a connection whose server is frozen: libpq would wait for ever."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
