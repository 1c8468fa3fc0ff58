"""What a tweet costs on its way into a database: ``python -m bench.store``, beside json.loads and a plain executemany.

CPU is of this process; tweets/s are by the clock, with the server on the same machine. With ``--parts`` it is
seen whether a database stays as fast as it grows.
"""

import argparse
import gc
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import requests

from bench.tweets import rules, tweets
from tests.servers import OpenSearchServer, PostgreSQLServer, ServerMissing
from traptor.store.destination import MOST_MESSAGES, Destination, Message
from traptor.store.postgresql import PostgreSQL
from traptor.store.search.destination import Search
from traptor.store.sqlite import SQLite
from traptor.tweets.fields import dump


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tweets", type=int, default=20_000)
    arguments.add_argument("--parts", type=int, default=1)
    wanted = arguments.parse_args()
    lines = enriched(wanted.tweets)
    gc.freeze()
    gc.set_threshold(50_000)
    size_kb = sum(map(len, lines)) / len(lines) / 1000
    print(f"{len(lines):,} tweets of {size_kb:.1f} KB, in batches of {MOST_MESSAGES}\n")
    print(f"{'':36}{'CPU µs/tweet':>13}{'tweets/s':>10}{'bytes/tweet':>13}")
    with tempfile.TemporaryDirectory() as folder:
        yardsticks(lines, Path(folder))
        for name, keep_raw in (("SQLite, tables and words", False), ("SQLite, raw messages too", True)):
            path = Path(folder) / f"{keep_raw}.db"
            fill(name, SQLite(path, keep_raw=keep_raw), lines, wanted.parts, lambda path=path: path.stat().st_size)
        try:
            with PostgreSQLServer(Path(folder)) as server:
                url = server.new_database()
                fill("PostgreSQL, tables and words", PostgreSQL(url), lines, wanted.parts, lambda: size(url))
        except ServerMissing as error:
            print(error)
        try:
            with OpenSearchServer(Path(folder)) as search:
                database = Search(search.new_destination())
                fill("OpenSearch, documents", database, lines, wanted.parts, lambda: size_of_indices(search.url))
        except ServerMissing as error:
            print(error)


def enriched(count: int) -> list[bytes]:
    """Tweets as a Traptor sends them, each with one rule."""
    rule_set = rules("track", 50)
    block = {"id": 0, "id_str": "0", "rule_type": "track", "rule_set": "0123456789ab"}
    return [
        dump({**one, "traptor": {**block, "rules": [{**rule_set[at % 50], "matched_in": ["text"]}]}})
        for at, one in enumerate(tweets(rule_set, "track", count))
    ]


def yardsticks(lines: Sequence[bytes], folder: Path) -> None:
    measured("json.loads", len(lines), lambda: [json.loads(line) for line in lines])
    with closing(sqlite3.connect(folder / "plain.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY, value BLOB)")
        rows = list(enumerate(lines))

        def insert() -> None:
            for start in range(0, len(lines), MOST_MESSAGES):
                with db:
                    db.executemany("INSERT INTO raw VALUES (?, ?)", rows[start : start + MOST_MESSAGES])

        measured("executemany of the raw JSON, SQLite", len(lines), insert)


def fill(name: str, database: Destination, lines: Sequence[bytes], parts: int, size_bytes: Callable[[], int]) -> None:
    messages = [Message("bench", 0, offset, line) for offset, line in enumerate(lines)]
    part = -(-len(messages) // parts)

    def write(first: int) -> None:
        for start in range(first, min(first + part, len(messages)), MOST_MESSAGES):
            counts = database.write(messages[start : min(start + MOST_MESSAGES, first + part)])
            assert counts["stored"] == counts["read"], counts

    database.open()
    for first in range(0, len(messages), part):
        count = min(part, len(messages) - first)
        measured(name if parts == 1 else f"{name} from {first:,}", count, lambda first=first: write(first))
    database.close()
    print(f"{'':59}{size_bytes() / len(messages):>13,.0f}")


def size(url: str) -> int:
    with psycopg.connect(url) as db:
        row = db.execute("SELECT pg_database_size(current_database())").fetchone()
        return int(row[0]) if row else 0


def size_of_indices(url: str) -> int:
    requests.post(f"{url}/_flush", timeout=60).raise_for_status()
    told = requests.get(f"{url}/_stats/store", timeout=60).json()
    return int(told["_all"]["primaries"]["store"]["size_in_bytes"])


def measured(name: str, count: int, act: Callable[[], object]) -> None:
    wall, cpu = time.monotonic(), time.process_time()
    act()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    print(f"{name:36}{cpu / count * 1e6:>13.1f}{count / wall:>10,.0f}")


if __name__ == "__main__":
    main()
