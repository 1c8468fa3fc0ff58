import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.store.samples import aged, delete, matched, messages, quote, retweet, tweet
from tests.store.sql_facts import SQLFacts, rows
from traptor.store.destination import Away, Destination, WrongDestination
from traptor.store.sql import Database
from traptor.store.sqlite import SQLite
from traptor.store.words import phrase

Make = Callable[..., SQLite]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tweets.db"


@pytest.fixture
def make(path: Path) -> Iterator[Make]:
    made: list[SQLite] = []

    def one(**options: object) -> SQLite:
        made.append(SQLite(path, **options))  # type: ignore[arg-type]
        made[-1].open()
        return made[-1]

    yield one
    for database in made:
        database.close()


@pytest.fixture
def database(make: Make) -> SQLite:
    return make(keep_raw=True)


class TestSQLite(SQLFacts):
    def search(self, database: Destination, words: str) -> list[int]:
        assert isinstance(database, Database)
        return [id_ for (id_,) in rows(database, "SELECT rowid FROM words WHERE words MATCH ?", phrase(words))]

    def keeping(self, database: Destination, age: timedelta) -> SQLite:
        assert isinstance(database, SQLite)
        return SQLite(database._path, keep=age)


def tidied(database: SQLite) -> None:
    while database.tidy():
        pass


def test_no_byte_of_a_deleted_tweet_is_in_the_file(path: Path, make: Make) -> None:
    """Words, as the index has them, and what only the raw message has."""
    database = make(keep_raw=False)
    secret = tweet(1_350_000_000_000_000_001, "qzjvkwordone qzjvkwordtwo", author=70)
    secret["user"]["description"] = "qzjvkprofile"
    others = [tweet(10 + number, f"storm number{number} qzj{number}") for number in range(300)]
    database.write(messages(secret, *others, retweet(2, secret), quote(3, secret)))
    database._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
    traces = [b"kwordone", b"kwordtwo", b"kprofile", b"wordone"]
    assert all(trace in path.read_bytes() for trace in traces[:3])
    database.write(messages(delete(1_350_000_000_000_000_001), first=1000))
    tidied(database)
    files = [path.read_bytes(), Path(f"{path}-wal").read_bytes()]
    assert [trace for trace in traces for file in files if trace in file] == []
    assert rows(database, "SELECT count(*) FROM words WHERE words MATCH 'storm'") == [(300,)]


def test_erasing_goes_on_after_a_kill(path: Path, make: Make) -> None:
    database = make()
    database.write(messages(tweet(1, "qzjvkwordone"), *(tweet(10 + number, f"n{number}") for number in range(50))))
    database.write(messages(delete(1), first=100))
    again = make()
    tidied(again)
    assert rows(again, "SELECT * FROM about") == [("version", "1")]
    assert b"kwordone" not in path.read_bytes()


def test_old_tweets_go_and_the_file_shrinks(path: Path, make: Make) -> None:
    old = [matched(tweet(number, f"{number} " * 200)) for number in range(1, 5001)]
    make().write(messages(*old, aged(89)))
    database = make(keep=timedelta(days=90))
    database._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
    before = path.stat().st_size
    tidied(database)
    database.close()
    assert rows(make(), "SELECT count(*), count(DISTINCT tweet_id) FROM tweets LEFT JOIN matches ON tweet_id = id") == [
        (1, 0)
    ]
    assert path.stat().st_size < before / 4


def test_a_file_that_another_program_has_locked_is_away(
    path: Path, database: SQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traptor.store.sqlite.LOCKED_SECONDS", 0.05)
    database.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Away, match="database is locked"):
        database.write(messages(tweet(1)))
    other.execute("COMMIT")
    other.close()
    assert database.write(messages(tweet(1)))["stored"] == 1


def test_a_full_disk_is_away_and_nothing_is_half_written(database: SQLite) -> None:
    database._db.execute("PRAGMA max_page_count = 60")  # type: ignore[union-attr]
    with pytest.raises(Away, match="full"):
        database.write(messages(*(tweet(number, "word " * 50) for number in range(1, 2000))))
    assert rows(database, "SELECT count(*) FROM tweets") == [(0,)]
    assert database.progress() == {}


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 100])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(WrongDestination, match="not a database"):
        SQLite(path).open()
    assert path.read_bytes() == content


def test_a_file_of_another_version_is_refused(make: Make) -> None:
    database = make()
    with database.transaction():
        database.execute("UPDATE about SET value = '7' WHERE name = 'version'")
    with pytest.raises(WrongDestination, match="version 7"):
        make()


def test_only_its_owner_may_read_the_file(path: Path, database: SQLite) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
