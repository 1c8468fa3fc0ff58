"""`traptor store` as a process, on a real broker: by id nothing is lost and nothing is twice, whatever ends when."""

import csv
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import requests
from kafka import KafkaProducer

from tests.integration.daemon import Daemon, Output, environment
from tests.servers import KafkaBroker, OpenSearchServer, PostgreSQLServer, free_port, wait_until
from tests.store.samples import delete, located, matched, quote, retweet, scrub_geo, tweet

DELETED = range(5, 3000, 50)
WHOLE = 3000
LEFT = [id_ for id_ in range(1, WHOLE + 1) if id_ not in DELETED]


def values(count: int) -> list[bytes]:
    """Tweets, each from two Traptors, with deletes of some before and after, gaps, and what is no message."""
    found: list[object] = []
    for id_ in range(1, count + 1):
        one = matched(tweet(id_, f"storm {id_}", author=1000 + id_ % 40))
        found.append(one)
        if id_ in DELETED:
            found.insert(random.Random(id_).randrange(len(found)), delete(id_))
        if id_ % 100 == 0:
            found += [b"no JSON %d" % id_, {**one, "traptor": {**one["traptor"], "id_str": "1"}}]
    return [value if isinstance(value, bytes) else json.dumps(value).encode() for value in found]


def send(broker: KafkaBroker, topic: str, messages: list[bytes], partitions: int = 1) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.hosts)
    for at, value in enumerate(messages):
        producer.send(topic, value, partition=at % partitions)
    producer.close()


def store(folder: Path, broker: KafkaBroker, topic: str, *arguments: str, **settings: object) -> Daemon:
    daemon = Daemon(folder, KAFKA_HOSTS=broker.hosts, KAFKA_TOPIC=topic, **settings)
    daemon.command = [sys.executable, "-m", "traptor", "store", *arguments]
    return daemon


def ended(daemon: Daemon, timeout_seconds: float = 60) -> "Counter[str]":
    """What it says that it did."""
    assert daemon.process.wait(timeout_seconds) == 0, daemon.said()
    daemon.stderr.join()
    words = daemon.stderr.lines[-1].decode().removeprefix("store: ").partition(", in ")[0].split(", ")
    return Counter({name: int(count) for name, _, count in (word.rpartition(" ") for word in words)})


def ids(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as db:
        return [id_ for (id_,) in db.execute("SELECT id FROM tweets ORDER BY id")]


def run(folder: Path, *arguments: str, given: bytes = b"", **wanted: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "traptor", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(folder, wanted), input=given, capture_output=True, timeout=60, check=False
    )


def test_all_of_a_topic_is_in_the_file_once(tmp_path: Path, kafka_broker: KafkaBroker, topic: str) -> None:
    send(kafka_broker, topic, values(WHOLE))
    with store(tmp_path, kafka_broker, topic, "--once", "tweets.db") as daemon:
        did = ended(daemon)
    assert ids(tmp_path / "tweets.db") == LEFT
    assert did["read"] == sum(did.values()) - did["read"] == len(values(WHOLE))
    assert (did["set apart"], did["notices"]) == (WHOLE // 100, len(DELETED))
    settings = {"KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic}
    checked = run(tmp_path, "store", "check", "tweets.db", **settings)
    assert (checked.returncode, checked.stdout.count(b" 0 missing")) == (0, 1), checked
    with closing(sqlite3.connect(tmp_path / "tweets.db")) as db, db:
        db.execute("DELETE FROM tweets WHERE id = 7")
    checked = run(tmp_path, "store", "check", "tweets.db", **settings)
    assert (checked.returncode, checked.stdout.splitlines()[-1].strip()) == (1, b"7"), checked


@pytest.mark.heavy
def test_killed_at_random_moments_it_loses_nothing_and_has_nothing_twice(
    tmp_path: Path, kafka_broker: KafkaBroker, topic: str
) -> None:
    send(kafka_broker, topic, values(WHOLE))
    source = random.Random(1)
    path = tmp_path / "tweets.db"
    for time in range(20):
        # A group of its own does not wait for the one that was killed; how far it was stands in the file.
        arguments = ["--group", f"{topic}-{time}", "tweets.db"]
        with store(tmp_path, kafka_broker, topic, *arguments) as daemon:
            before = len(ids(path)) if path.exists() else 0
            more = source.randrange(1, 150)
            wait_until(lambda: path.exists() and _count(path) >= min(before + more, 2900), "tweets")  # noqa: B023
            daemon.process.kill()
    with store(tmp_path, kafka_broker, topic, "--once", "--group", f"{topic}-last", "tweets.db") as daemon:
        ended(daemon)
    assert ids(path) == LEFT
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM apart").fetchone() == (WHOLE // 100,)
        assert db.execute("SELECT count(*) FROM matches WHERE traptor = 'track:1'").fetchone() == (WHOLE // 100,)


@pytest.mark.heavy
@pytest.mark.parametrize("away, back", [("stop", "start"), ("freeze", "thaw")])
def test_a_broker_that_is_away_is_waited_for(
    tmp_path: Path, kafka_broker: KafkaBroker, topic: str, away: str, back: str
) -> None:
    path = tmp_path / "tweets.db"
    sent = [json.dumps(matched(tweet(id_))).encode() for id_ in range(1, 41)]
    send(kafka_broker, topic, sent[:20])
    with store(tmp_path, kafka_broker, topic, "tweets.db", LOG_JSON=True) as daemon:
        wait_until(lambda: path.exists() and _count(path) == 20, "the first tweets")
        getattr(kafka_broker, away)()
        try:
            wait_until(lambda: _state(daemon) == "kafka-down", "it to see that Kafka is away")
        finally:
            getattr(kafka_broker, back)()
        send(kafka_broker, topic, sent[20:])
        wait_until(lambda: _count(path) == 40, "the others")
        daemon.signal(signal.SIGTERM)
        assert ended(daemon, 10)["merged"] == 0
    assert ids(path) == list(range(1, 41))


def _state(daemon: Daemon) -> str:
    return str(daemon.logged("state")[-1]["state"])


def _count(path: Path) -> int:
    try:
        return len(ids(path))
    except sqlite3.OperationalError:
        return 0


def two_stores(
    folder: Path,
    broker: KafkaBroker,
    topic: str,
    name: str,
    *,
    server: PostgreSQLServer | OpenSearchServer,
    count: Callable[[], int],
) -> "Counter[str]":
    """Two share three partitions; the server is stopped and comes back, one is killed, and a delete is on another
    partition. Returns what the other did, which ends with all that was not deleted."""
    sent = values(WHOLE)
    broker.create_topic(topic, 3)
    send(broker, topic, sent[:1000], 3)
    folders = [folder / "one", folder / "two"]
    for one in folders:
        one.mkdir()
    with (
        store(folders[0], broker, topic, name, LOG_JSON=True) as stays,
        store(folders[1], broker, topic, name, LOG_JSON=True) as goes,
    ):
        wait_until(lambda: count() > 300, "the first tweets")
        server.stop()
        send(broker, topic, sent[1000:2000], 3)
        stays.wait_for_log("the database is away: trying again")
        server.start()
        wait_until(lambda: count() > 1200, "the tweets that waited")
        goes.process.kill()
        send(broker, topic, sent[2000:], 3)
        wait_until(lambda: count() == len(LEFT), "all tweets")
        stays.signal(signal.SIGTERM)
        return ended(stays, 10)


@pytest.mark.heavy
def test_stores_share_three_partitions_and_a_server_goes_away(
    tmp_path: Path, kafka_broker: KafkaBroker, postgresql: PostgreSQLServer
) -> None:
    url = postgresql.new_database()

    def count() -> int:
        with psycopg.connect(url) as db:
            try:
                return int(db.execute("SELECT count(*) FROM tweets").fetchone()[0])  # type: ignore[index]
            except psycopg.errors.UndefinedTable:
                return 0

    topic = f"traptor-{uuid.uuid4().hex}"
    two_stores(tmp_path, kafka_broker, topic, url, server=postgresql, count=count)
    with psycopg.connect(url) as db:
        assert [id_ for (id_,) in db.execute("SELECT id FROM tweets ORDER BY id")] == LEFT
        assert db.execute("SELECT count(*) FROM apart").fetchone() == (WHOLE // 100,)


@pytest.mark.heavy
def test_a_frozen_server_does_not_hold_up_the_end(
    tmp_path: Path, kafka_broker: KafkaBroker, topic: str, postgresql: PostgreSQLServer
) -> None:
    url = postgresql.new_database()
    with store(tmp_path, kafka_broker, topic, url, LOG_JSON=True) as daemon:
        send(kafka_broker, topic, [json.dumps(tweet(1)).encode()])
        with psycopg.connect(url, autocommit=True) as db:
            wait_until(lambda: _has_progress(db), "the first tweet")
            (pid,) = db.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'traptor store'").fetchone()  # type: ignore[misc]
            os.kill(pid, signal.SIGSTOP)
            try:
                send(kafka_broker, topic, [json.dumps(tweet(2)).encode()])
                daemon.signal(signal.SIGTERM)
                ended(daemon, 10)
            finally:
                os.kill(pid, signal.SIGCONT)
            assert db.execute("SELECT id FROM tweets").fetchall() == [(1,)]


def _has_progress(db: "psycopg.Connection[tuple[int]]") -> bool:
    try:
        return bool(db.execute("SELECT 1 FROM progress").fetchall())
    except psycopg.errors.UndefinedTable:
        return False


def test_notices_of_another_topic_are_honoured(tmp_path: Path, kafka_broker: KafkaBroker, topic: str) -> None:
    notices = f"{topic}-notices"
    kafka_broker.create_topic(notices)
    send(kafka_broker, notices, [json.dumps(one).encode() for one in (delete(1), scrub_geo(7, 9))])
    send(kafka_broker, topic, [json.dumps(one).encode() for one in (tweet(1), located(tweet(2)))])
    with store(tmp_path, kafka_broker, topic, "--once", "tweets.db", KAFKA_NOTICES_TOPIC=notices) as daemon:
        did = ended(daemon)
    assert (did["read"], did["notices"]) == (4, 2)
    with closing(sqlite3.connect(tmp_path / "tweets.db")) as db:
        assert db.execute("SELECT id, place_id FROM tweets").fetchall() == [(2, None)]


@pytest.mark.parametrize("begin, expected", [("beginning", [1, 2]), ("2021-01-27", [2]), ("now", [])])
def test_it_begins_where_it_is_told(
    tmp_path: Path, kafka_broker: KafkaBroker, topic: str, begin: str, expected: list[int]
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("tansu does not find offsets by time; `make kafka` brings Apache Kafka")
    producer = KafkaProducer(bootstrap_servers=kafka_broker.hosts)
    for id_, day in ((1, 26), (2, 28)):
        at = datetime(2021, 1, day, tzinfo=UTC).timestamp()
        producer.send(topic, json.dumps(tweet(id_)).encode(), timestamp_ms=int(at * 1000))
        producer.flush()
    producer.close()
    with store(tmp_path, kafka_broker, topic, "--once", "--from", begin, "tweets.db") as daemon:
        ended(daemon)
    assert ids(tmp_path / "tweets.db") == expected


def test_it_says_how_it_is(tmp_path: Path, kafka_broker: KafkaBroker, topic: str) -> None:
    port = free_port()
    send(kafka_broker, topic, [json.dumps(tweet(1)).encode()])
    with store(tmp_path, kafka_broker, topic, "--metrics-port", str(port), "tweets.db") as daemon:
        wait_until(lambda: b"traptor_store_stored_total 1.0" in told(port, "metrics"), "the tweet")
        assert told(port, "healthz") == b"streaming\n"
        daemon.signal(signal.SIGTERM)
        ended(daemon, 10)


def told(port: int, path: str) -> bytes:
    try:
        return requests.get(f"http://127.0.0.1:{port}/{path}", timeout=5).content
    except requests.ConnectionError:
        return b""


def test_it_ends_in_good_order_and_goes_on_where_it_was(tmp_path: Path, kafka_broker: KafkaBroker, topic: str) -> None:
    path = tmp_path / "tweets.db"
    for first in (1, 11):
        send(kafka_broker, topic, [json.dumps(tweet(id_)).encode() for id_ in range(first, first + 10)])
        with store(tmp_path, kafka_broker, topic, "tweets.db") as daemon:
            wait_until(lambda: _count(path) == first + 9 if path.exists() else False, "the tweets")  # noqa: B023
            daemon.signal(signal.SIGTERM)
            assert ended(daemon, 10)["read"] == 10
    assert ids(path) == list(range(1, 21))


def test_what_comes_from_a_pipe_needs_no_kafka(tmp_path: Path) -> None:
    original = tweet(1, "=SUM(A1) storm")
    lines = [matched(original), retweet(2, original), quote(3, original), delete(9)]
    given = b"".join(json.dumps(one).encode() + b"\r\n" for one in lines) + b"\nno JSON"
    stored = run(tmp_path, "store", "tweets.db", "-", given=given)
    assert stored.returncode == 0, stored
    assert stored.stderr.splitlines()[-1] == (
        b"store: read 5, stored 3, merged 0, deleted 0, set apart 1, notices 1, in tweets.db"
    )
    assert stored.stdout == b""

    table = run(tmp_path, "export", "tweets.db", "--format", "csv").stdout.decode("utf-8-sig")
    read = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [(row["id"], row["text"]) for row in read] == [
        ("\t1", "'=SUM(A1) storm"), ("\t2", "'=SUM(A1) storm"), ("\t3", "look"),
    ]  # fmt: skip
    assert run(tmp_path, "export", "tweets.db", "--format", "ids", "--rule", "weather").stdout == b"1\n"
    assert [json.loads(line)["id"] for line in run(tmp_path, "export", "tweets.db").stdout.splitlines()] == [*"123"]

    apart = run(tmp_path, "store", "apart", "tweets.db", "export").stdout
    assert json.loads(apart)["value"] == "no JSON"
    assert run(tmp_path, "store", "apart", "tweets.db", "resend").stdout == b"store: 1 tried again, 0 stored\n"
    reported = run(tmp_path, "report", "tweets.db")
    assert reported.stderr == b"report: 3 tweets, matched 1, in tweets.html\n", reported
    assert "track:0:1" in (tmp_path / "tweets.html").read_text()


def test_parquet_has_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run(tmp_path, "store", "tweets.db", "-", given=json.dumps(located(matched(tweet((1 << 63) - 1)))).encode())
    run(tmp_path, "export", "tweets.db", "--format", "parquet", "--out", "tweets.parquet")
    (row,) = parquet.read_table(tmp_path / "tweets.parquet").to_pylist()
    assert (row["id"], row["longitude"]) == ((1 << 63) - 1, -122.4)
    assert row["created_at"].isoformat() == "2021-01-26T14:06:00+00:00"


def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    """What is read meanwhile stays in memory, no more of it than one batch."""
    run(tmp_path, "store", "tweets.db", "-", given=json.dumps(tweet(1)).encode())
    daemon = Daemon(tmp_path, LOG_JSON=True)
    daemon.command = [sys.executable, "-m", "traptor", "store", "tweets.db", "-"]
    read, write = os.pipe()
    with closing(sqlite3.connect(tmp_path / "tweets.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        pipe = subprocess.PIPE
        daemon.process = subprocess.Popen(
            daemon.command, cwd=tmp_path, env=daemon.environment, stdin=read, stdout=pipe, stderr=pipe
        )
        assert daemon.process.stdout
        assert daemon.process.stderr
        daemon.stdout, daemon.stderr = Output(daemon.process.stdout), Output(daemon.process.stderr)
        os.close(read)
        os.write(write, json.dumps(tweet(2)).encode())
        os.close(write)
        daemon.wait_for_log("the database is away: trying again")
        other.execute("COMMIT")
    ended(daemon)
    assert ids(tmp_path / "tweets.db") == [1, 2]


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (["store", "tweets.csv"], 2, b"'tweets.csv' is no destination; allowed are sqlite:PATH"),
        (["store", "nowhere/tweets.db", "-"], 2, b"nowhere is no folder that we may write into"),
        (["store", "postgresql://127.0.0.1:port/tweets", "-"], 1, b"invalid integer value"),
        (["store", "--once", "tweets.db"], 1, b"there is no topic nowhere"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, kafka_broker: KafkaBroker, arguments: list[str], code: int, told: bytes
) -> None:
    done = run(tmp_path, *arguments, KAFKA_HOSTS=kafka_broker.hosts, KAFKA_TOPIC="nowhere")
    assert (done.returncode, told in done.stderr, b"Traceback" in done.stderr) == (code, True, False), done
