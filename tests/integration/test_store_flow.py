"""The whole flow on real servers: rules in MariaDB, tweets in PostgreSQL and OpenSearch, the same by id and by rule."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
from traptor.simulator.connection import Connection

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


@dataclass
class Flow:
    """All that is in it. Its processes have a folder each, and run until the end."""

    folder: Path
    stack: contextlib.ExitStack
    twitter: Simulator
    mariadb: MariaDB
    table: "pymysql.cursors.Cursor"
    redis_server: RedisServer
    broker: KafkaBroker
    opensearch: OpenSearchServer
    url: str
    """Of PostgreSQL."""
    name: str
    """Of OpenSearch."""
    topic: str = field(default_factory=lambda: f"traptor-{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.notices = f"{self.topic}-notices"
        self.kafka = {
            "KAFKA_HOSTS": self.broker.hosts,
            "KAFKA_TOPIC": self.topic,
            "KAFKA_NOTICES_TOPIC": self.notices,
        }
        self.running: dict[str, Daemon] = {}

    # Its processes

    def start(self, name: str, made: Callable[[Path], Daemon]) -> None:
        """One that was killed starts again in its old folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        self.running[name] = self.stack.enter_context(made(folder))

    def start_loader(self) -> None:
        self.start("loader", lambda folder: following(folder, self.redis_server, self.mariadb, "--traptors", "2"))

    def start_traptor(self, number: int) -> None:
        keys = dict(zip(APIKEYS, CREDENTIALS[number], strict=True))
        quick = {"HEARTBEAT_INTERVAL": 1, "RESTART_MIN_INTERVAL": 1, "REDIS_URL": self.redis_server.url}
        wanted = {**addresses(self.twitter.url), **quick, **self.kafka, **keys}
        self.start(f"traptor {number}", lambda folder: Daemon(folder, "--id", str(number), **wanted))

    def start_store(self, name: str, destination: str) -> None:
        self.start(
            name,
            lambda folder: store(folder, self.broker, self.topic, destination, KAFKA_NOTICES_TOPIC=self.notices),
        )

    def kill(self, *names: str) -> None:
        for name in names:
            self.running[name].process.kill()

    # What is where

    def streams(self) -> int:
        return len(asked(self.twitter))

    def phrases(self) -> set[str]:
        """What Twitter is asked for."""
        return set().union(*asked(self.twitter).values())

    def more_sent(self) -> None:
        self.twitter.wait_for_sent(self.twitter.tweets + SOME, PATIENCE_SECONDS)

    def rows(self) -> dict[str, set[str]]:
        """The rules of each tweet in PostgreSQL, by its id."""
        with psycopg.connect(self.url) as db:
            try:
                found = db.execute(
                    "SELECT id::text, array_remove(array_agg(value), NULL) FROM tweets"
                    " LEFT JOIN matches ON tweet_id = id GROUP BY id"
                ).fetchall()
            except psycopg.errors.UndefinedTable:
                return {}
        return {id_: set(values) for id_, values in found}

    def documents(self) -> dict[str, set[str]]:
        """The same in OpenSearch."""
        address = f"{self.opensearch.url}/{urlsplit(self.name).path.strip('/')}-tweets"
        requests.post(f"{address}/_refresh", timeout=30)
        answer = requests.get(f"{address}/_search?size=10000&_source=matches", timeout=30).json()
        return {
            hit["_id"]: {match["value"] for match in hit["_source"].get("matches", ())}
            for hit in answer.get("hits", {}).get("hits", ())
        }

    def in_topic(self) -> set[str]:
        return {json.loads(value)["id_str"] for _, value in self.broker.consume(self.topic, 1)}


@pytest.fixture
def flow(  # noqa: PLR0917 - the fixtures are what it is about
    tmp_path: Path,
    twitter: Simulator,
    mariadb: MariaDB,  # noqa: F811
    table: "pymysql.cursors.Cursor",  # noqa: F811
    redis_server: RedisServer,
    redis_db: redis.Redis,
    kafka_broker: KafkaBroker,
    postgresql: PostgreSQLServer,
    opensearch: OpenSearchServer,
) -> Iterator[Flow]:
    """With empty topics, and the first rules in Redis."""
    url, name = postgresql.new_database(), opensearch.new_destination()
    with contextlib.ExitStack() as stack:
        one = Flow(tmp_path, stack, twitter, mariadb, table, redis_server, kafka_broker, opensearch, url, name)
        kafka_broker.create_topic(one.topic, 3)
        kafka_broker.create_topic(one.notices)
        fill(table, *[("weather", word, "keyword") for word in sorted(FIRST)])
        one.start_loader()
        wait_until(lambda: len(list(redis_db.scan_iter("traptor-track:*"))) == len(FIRST), "the rules in Redis")
        yield one


@pytest.mark.heavy
def test_what_the_databases_have_is_what_twitter_sent(flow: Flow) -> None:
    """While it runs, a rule comes, another goes, and a Traptor and two stores are killed."""
    begin(flow)
    change_rules(flow)
    killed = kill_a_traptor(flow)
    kill_two_stores(flow)
    end(flow)
    rows = flow.rows()
    assert flow.documents() == rows
    assert rows.keys() <= set(flow.twitter.sent)
    for connection in flow.twitter.connections:
        all_are_there(connection, rows, is_killed=connection is killed)
    each_is_of_its_rule(flow.url, rows)
    for destination in (flow.url, flow.name):
        checked = run(flow.folder, "store", "check", destination, **flow.kafka)
        assert (checked.returncode, b" 0 missing" in checked.stdout) == (0, True), checked


def begin(flow: Flow) -> None:
    for number in range(2):
        flow.start_traptor(number)
        flow.start_store(f"store {number}", flow.url)
    flow.start_store("search", flow.name)
    wait_until(lambda: (flow.streams(), flow.phrases()) == (2, FIRST), "two streams with all phrases", PATIENCE_SECONDS)
    wait_until(lambda: len(flow.rows()) > SOME, "tweets in PostgreSQL", PATIENCE_SECONDS)
    wait_until(lambda: len(flow.documents()) > SOME, "tweets in OpenSearch", PATIENCE_SECONDS)


def change_rules(flow: Flow) -> None:
    fill(flow.table, ("weather", ADDED, "keyword"))
    flow.table.execute("delete from rules where value = %s", (REMOVED,))
    wait_until(lambda: flow.phrases() == FIRST - {REMOVED} | {ADDED}, "one phrase more, one less", PATIENCE_SECONDS)
    flow.more_sent()


def kill_a_traptor(flow: Flow) -> Connection:
    """Its last connection."""
    flow.kill("traptor 0")
    killed = [one for one in flow.twitter.connections if one.consumer_key == "key-0"][-1]
    flow.more_sent()
    flow.start_traptor(0)
    wait_until(lambda: flow.streams() == 2, "two streams again", PATIENCE_SECONDS)
    return killed


def kill_two_stores(flow: Flow) -> None:
    flow.kill("store 1", "search")
    flow.more_sent()
    flow.start_store("search", flow.name)
    flow.start_store("store 1", flow.url)
    flow.more_sent()


def end(flow: Flow) -> None:
    """First what sends, then, when all of the topic is in both, what stores."""
    flow.twitter.finish()
    for name in ("traptor 0", "traptor 1", "loader"):
        flow.running[name].stop()
    in_topic = flow.in_topic()
    wait_until(lambda: flow.rows().keys() == in_topic, "all of the topic in PostgreSQL", PATIENCE_SECONDS)
    wait_until(lambda: flow.documents().keys() == in_topic, "all of the topic in OpenSearch", PATIENCE_SECONDS)
    for name in ("store 0", "store 1", "search"):
        flow.running[name].process.terminate()
        assert ended(flow.running[name], 10)["set apart"] == 0


def all_are_there(connection: Connection, rows: Mapping[str, set[str]], *, is_killed: bool) -> None:
    """What this connection was sent, with rules that it asked for. A killed Traptor had not yet given its last."""
    lost = [id_ for id_ in connection.sent if id_ not in rows]
    assert lost == connection.sent[len(connection.sent) - len(lost) :]
    assert not lost or is_killed
    for id_ in set(connection.sent) - set(lost):
        assert rows[id_] <= set(connection.predicates.track)


def each_is_of_its_rule(url: str, rows: Mapping[str, set[str]]) -> None:
    with psycopg.connect(url) as db:
        texts = dict(db.execute("SELECT id::text, split_part(text, ' ', 1) FROM tweets").fetchall())
        gaps = db.execute("SELECT traptor FROM gaps WHERE last_tweet_id IS NOT NULL").fetchall()
    assert rows == {id_: {word} for id_, word in texts.items()}
    assert set(texts.values()) == set(WORDS)
    assert ("track:0",) in gaps
