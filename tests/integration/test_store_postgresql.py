"""What holds in every database, in a real PostgreSQL; and what a server can do wrong."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.servers import PostgreSQLServer
from tests.store.samples import delete, messages, tweet
from tests.store.sql_facts import SQLFacts, rows
from traptor.store.destination import Away, Destination, Message, Selection, WrongDestination
from traptor.store.postgresql import PostgreSQL
from traptor.store.sql import TABLES, Database
from traptor.store.words import spaced


@pytest.fixture(scope="module")
def url(postgresql: PostgreSQLServer) -> str:
    return postgresql.new_database()


@pytest.fixture
def database(url: str) -> Iterator[PostgreSQL]:
    """With empty tables."""
    one = PostgreSQL(url, keep_raw=True)
    one.open()
    with one.transaction():
        one.execute(
            f"TRUNCATE {', '.join([*TABLES, 'words', 'deleted', 'scrubbed', 'apart', 'apart_ids', 'progress'])}"
        )
    yield one
    one.close()


class TestPostgreSQL(SQLFacts):
    keeps_accents = True
    order_step = 35

    def search(self, database: Destination, words: str) -> list[int]:
        assert isinstance(database, Database)
        found = rows(database, "SELECT tweet_id FROM words WHERE text @@ phraseto_tsquery('simple', ?)", spaced(words))
        return [id_ for (id_,) in found]

    def keeping(self, database: Destination, age: timedelta) -> PostgreSQL:
        assert isinstance(database, PostgreSQL)
        return PostgreSQL(database._url, keep=age)


def test_a_server_that_is_stopped_is_away_and_what_was_begun_is_undone(
    postgresql: PostgreSQLServer, database: PostgreSQL
) -> None:
    database.write(messages(tweet(1)))
    postgresql.stop()
    with pytest.raises(Away):
        database.write(messages(tweet(2), first=1))
    with pytest.raises(Away, match="refused"):
        database.progress()
    postgresql.start()
    assert database.progress() == {("traptor", 0): 1}
    assert database.write(messages(tweet(2), first=1))["stored"] == 1


def test_a_frozen_server_is_away(
    postgresql: PostgreSQLServer, database: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traptor.store.postgresql.SILENT_SECONDS", 0.5)
    for one in psutil.Process(postgresql.process.pid).children():
        one.suspend()
    try:
        with pytest.raises(Away):
            database.write(messages(tweet(1)))
    finally:
        for one in psutil.Process(postgresql.process.pid).children():
            one.resume()
    monkeypatch.undo()
    assert database.write(messages(tweet(1)))["stored"] == 1


def test_two_stores_write_at_once_and_a_delete_finds_both(postgresql: PostgreSQLServer, database: PostgreSQL) -> None:
    other = PostgreSQL(database._url)
    database.write(messages(tweet(1)))
    other.write(messages(tweet(1), tweet(2), partition=1))
    database.write(messages(delete(1), delete(2), first=1))
    other.write(messages(tweet(2), first=2, partition=1))
    assert rows(database, "SELECT id FROM tweets") == []
    other.close()


@pytest.mark.parametrize("path", ["/nowhere", "/postgres?user=nobody"])
def test_what_waiting_does_not_mend_is_no_wait(postgresql: PostgreSQLServer, path: str) -> None:
    with pytest.raises(WrongDestination):
        PostgreSQL(f"postgresql://{postgresql.user}@{postgresql.host}:{postgresql.port}{path}").open()


def test_a_database_that_cannot_hold_every_script_is_refused(postgresql: PostgreSQLServer) -> None:
    address = f"postgresql://{postgresql.user}@{postgresql.host}:{postgresql.port}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as client:
        client.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(WrongDestination, match="SQL_ASCII; allowed is UTF8"):
        PostgreSQL(f"{address}/ascii").open()


def test_a_password_is_not_in_the_name() -> None:
    assert PostgreSQL("postgresql://me:secret@db.example.org/tweets").name == "postgresql://db.example.org/tweets"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of its own that PostgreSQL may write on."""
    folder = Path(tempfile.mkdtemp(prefix="traptor-disk-"))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", folder], check=False).returncode:
        pytest.skip("nobody here may mount a small disk")
    shutil.chown(folder, "postgres", "postgres")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


def test_a_full_disk_is_waited_for_and_nothing_is_half_written(postgresql: PostgreSQLServer, small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(8 << 20))
    url = postgresql.new_database()
    with psycopg.connect(url, autocommit=True) as client:
        client.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}/'")
        client.execute("CREATE DATABASE small TEMPLATE template0 TABLESPACE small")
    database = PostgreSQL(f"{url.rpartition('/')[0]}/small")
    database.open()
    stored = filled(database)
    filler.unlink()
    assert database.progress() == {("traptor", 0): stored}
    assert database.write(a_hundred(stored))["stored"] == 100
    assert [int(row["id"]) for row in database.tweets(Selection())] == list(range(1, stored + 101))
    database.close()
    with psycopg.connect(url, autocommit=True) as client:
        client.execute("DROP DATABASE small")
        client.execute("DROP TABLESPACE small")


def filled(database: PostgreSQL) -> int:
    """Write until the disk is full. How many tweets had room?"""
    stored = []

    def fill() -> None:
        for first in count(0, 100):
            database.write(a_hundred(first))
            stored.append(first)

    with pytest.raises(Away, match="No space left"):
        fill()
    return 100 * len(stored)


def a_hundred(first: int) -> list[Message]:
    words = " ".join(f"{first}{number}" for number in range(200))
    return messages(*(tweet(id_, words, author=id_) for id_ in range(first + 1, first + 101)), first=first)
