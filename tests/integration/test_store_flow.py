"""The whole flow on real servers: rules in MariaDB, tweets in PostgreSQL and OpenSearch, the same by id and by rule."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest
import redis
import requests

from tests.integration.daemon import APIKEYS, Daemon, addresses
from tests.integration.test_fleet import asked
from tests.integration.test_rules_mysql import MariaDB, fill, following, mariadb, table  # noqa: F401 - fixtures
from tests.integration.test_store import ended, run, store
from tests.servers import KafkaBroker, OpenSearchServer, PostgreSQLServer, RedisServer, wait_until
from tests.store.samples import tweet
from traptor.simulator import Credential, Simulator

CREDENTIALS = [Credential(f"key-{n}", f"secret-{n}", f"token-{n}", f"token-secret-{n}") for n in range(2)]
WORDS = ("storm", "hail", "frost", "drought", "flood")
"""Of each tweet one, and so its rule."""
FIRST, ADDED, REMOVED = set(WORDS[:-1]), WORDS[-1], WORDS[0]
SOME = 100
PATIENCE_SECONDS = 120


@pytest.fixture
def twitter() -> Iterator[Simulator]:
    tweets = [tweet(number, f"{word} is near", author=100 + number) for number, word in enumerate(WORDS, start=1)]
    with Simulator(credentials=CREDENTIALS, tweets=tweets, loop=True, rate=10) as simulator:
        yield simulator


class Fleet:
    """Starts its processes, each in a folder of its own, and keeps them until the end."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def start(self, name: str, made: Callable[[Path], Daemon]) -> Daemon:
        """One that was killed starts again in its old folder."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return self._stack.enter_context(made(folder))


def traptor(
    traptor_id: int, twitter: Simulator, redis_server: RedisServer, **settings: str
) -> Callable[[Path], Daemon]:
    keys = dict(zip(APIKEYS, CREDENTIALS[traptor_id], strict=True))
    quick = {"HEARTBEAT_INTERVAL": 1, "RESTART_MIN_INTERVAL": 1, "REDIS_URL": redis_server.url}
    return lambda folder: Daemon(folder, "--id", str(traptor_id), **addresses(twitter.url), **quick, **settings, **keys)


def rows_of_postgresql(url: str) -> dict[str, set[str]]:
    """The rules of each tweet, by its id."""
    with psycopg.connect(url) as db:
        try:
            found = db.execute(
                "SELECT id::text, array_remove(array_agg(value), NULL) FROM tweets"
                " LEFT JOIN matches ON tweet_id = id GROUP BY id"
            ).fetchall()
        except psycopg.errors.UndefinedTable:
            return {}
    return {id_: set(values) for id_, values in found}


def documents_of(opensearch: OpenSearchServer, name: str) -> dict[str, set[str]]:
    """The same."""
    address = f"{opensearch.url}/{urlsplit(name).path.strip('/')}-tweets"
    requests.post(f"{address}/_refresh", timeout=30)
    answer = requests.get(f"{address}/_search?size=10000&_source=matches", timeout=30).json()
    return {
        hit["_id"]: {match["value"] for match in hit["_source"].get("matches", ())}
        for hit in answer.get("hits", {}).get("hits", ())
    }


@pytest.mark.heavy
def test_what_the_databases_have_is_what_twitter_sent(  # noqa: PLR0917 - the fixtures are what it is about
    tmp_path: Path,
    twitter: Simulator,
    mariadb: MariaDB,  # noqa: F811
    table: "pymysql.cursors.Cursor",  # noqa: F811
    redis_server: RedisServer,
    redis_db: redis.Redis,
    kafka_broker: KafkaBroker,
    postgresql: PostgreSQLServer,
    opensearch: OpenSearchServer,
) -> None:
    """While it runs, a rule comes, another goes, and a Traptor and two stores are killed."""
    topic, url, name = f"traptor-{uuid.uuid4().hex}", postgresql.new_database(), opensearch.new_destination()
    notices = f"{topic}-notices"
    kafka_broker.create_topic(topic, 3)
    kafka_broker.create_topic(notices)
    kafka = {"KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic, "KAFKA_NOTICES_TOPIC": notices}
    fill(table, *[("weather", word, "keyword") for word in sorted(FIRST)])

    def phrases() -> set[str]:
        return set().union(*asked(twitter).values())

    def more_sent() -> None:
        twitter.wait_for_sent(twitter.tweets + SOME, PATIENCE_SECONDS)

    with contextlib.ExitStack() as stack:
        fleet = Fleet(tmp_path, stack)
        loader = fleet.start("loader", lambda folder: following(folder, redis_server, mariadb, "--traptors", "2"))
        wait_until(lambda: len(list(redis_db.scan_iter("traptor-track:*"))) == len(FIRST), "the rules in Redis")
        traptors = [fleet.start(f"traptor {n}", traptor(n, twitter, redis_server, **kafka)) for n in range(2)]
        into_sql = [lambda folder: store(folder, kafka_broker, topic, url, KAFKA_NOTICES_TOPIC=notices)] * 2
        stores = [fleet.start(f"store {n}", made) for n, made in enumerate(into_sql)]
        into_search = lambda folder: store(folder, kafka_broker, topic, name, KAFKA_NOTICES_TOPIC=notices)  # noqa: E731
        searcher = fleet.start("search", into_search)
        wait_until(
            lambda: phrases() == FIRST and len(asked(twitter)) == 2, "two streams with all phrases", PATIENCE_SECONDS
        )
        wait_until(lambda: len(rows_of_postgresql(url)) > SOME, "tweets in PostgreSQL", PATIENCE_SECONDS)
        wait_until(lambda: len(documents_of(opensearch, name)) > SOME, "tweets in OpenSearch", PATIENCE_SECONDS)

        fill(table, ("weather", ADDED, "keyword"))
        table.execute("delete from rules where value = %s", (REMOVED,))
        wait_until(lambda: phrases() == FIRST - {REMOVED} | {ADDED}, "one phrase more, and one less", PATIENCE_SECONDS)
        more_sent()

        traptors[0].process.kill()
        killed = [one for one in twitter.connections if one.consumer_key == "key-0"][-1]
        more_sent()
        traptors[0] = fleet.start("traptor 0", traptor(0, twitter, redis_server, **kafka))
        wait_until(lambda: len(asked(twitter)) == 2, "two streams again", PATIENCE_SECONDS)
        stores[1].process.kill()
        searcher.process.kill()
        more_sent()
        searcher = fleet.start("search", into_search)
        stores[1] = fleet.start("store 1", into_sql[1])
        more_sent()

        twitter.finish()
        for daemon in (*traptors, loader):
            daemon.stop()
        in_topic = {json.loads(value)["id_str"] for _, value in kafka_broker.consume(topic, 1)}
        wait_until(
            lambda: rows_of_postgresql(url).keys() == in_topic, "all of the topic in PostgreSQL", PATIENCE_SECONDS
        )
        wait_until(
            lambda: documents_of(opensearch, name).keys() == in_topic,
            "all of the topic in OpenSearch",
            PATIENCE_SECONDS,
        )
        for daemon in (*stores, searcher):
            ended_well(daemon)

    rows = rows_of_postgresql(url)
    assert documents_of(opensearch, name) == rows
    for connection in twitter.connections:
        lost = [id_ for id_ in connection.sent if id_ not in rows]
        # What a killed Traptor was sent and had not yet given to anybody: the last of it.
        assert lost == connection.sent[len(connection.sent) - len(lost) :]
        assert not lost or connection is killed
        for id_ in set(connection.sent) - set(lost):
            assert rows[id_] <= set(connection.predicates.track)
    assert rows.keys() <= set(twitter.sent)
    with psycopg.connect(url) as db:
        texts = dict(db.execute("SELECT id::text, split_part(text, ' ', 1) FROM tweets").fetchall())
        gaps = db.execute("SELECT traptor FROM gaps WHERE last_tweet_id IS NOT NULL").fetchall()
    assert rows == {id_: {word} for id_, word in texts.items()}
    assert set(texts.values()) == set(WORDS)
    assert ("track:0",) in gaps
    for destination in (url, name):
        checked = run(tmp_path, "store", "check", destination, **kafka)
        assert (checked.returncode, b" 0 missing" in checked.stdout) == (0, True), checked


def ended_well(daemon: Daemon) -> None:
    daemon.process.terminate()
    assert ended(daemon, 10)["set apart"] == 0
