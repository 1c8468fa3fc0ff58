"""Every test in this folder is marked `integration` and may ask for real servers, which start once for each worker.

Those that ask for a broker are marked `kafka`. What is COSTLY starts in one worker alone; what asks for one of the
BROKERS_APART takes long, and is `heavy`.
"""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import redis

from tests import servers
from tests.certificates import Certificates

# On SIGTERM, as on Ctrl-C, the fixtures end and take their servers with them.
signal.signal(signal.SIGTERM, signal.default_int_handler)

BROKERS_APART = ("cluster", "guarded", "link", "tls_kafka")
"""Fixtures that start a Kafka of their own kind."""
COSTLY = ("opensearch", "postgresql", "mariadb", *BROKERS_APART)
"""Fixtures of which there is one in a run: their tests are a group for pytest-xdist."""

_S = TypeVar("_S", bound=servers.Server)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)
            wanted = getattr(item, "fixturenames", ())
            if "kafka_broker" in wanted:
                item.add_marker(pytest.mark.kafka)
            for name in filter(wanted.__contains__, COSTLY):
                item.add_marker(pytest.mark.xdist_group(name))
            if not set(BROKERS_APART).isdisjoint(wanted):
                item.add_marker(pytest.mark.heavy)


def missing(error: servers.ServerMissing) -> None:
    """At home the tests are skipped with the reason; under CI=true they fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))


def running(kind: type[_S], folders: pytest.TempPathFactory) -> Iterator[_S]:
    """A server of this kind in a folder of its own."""
    try:
        with kind(folders.mktemp(kind.kind)) as server:
            yield server
    except servers.ServerMissing as error:
        missing(error)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RedisServer]:
    yield from running(servers.RedisServer, tmp_path_factory)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.PostgreSQLServer]:
    yield from running(servers.PostgreSQLServer, tmp_path_factory)


@pytest.fixture(scope="session")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.OpenSearchServer]:
    yield from running(servers.OpenSearchServer, tmp_path_factory)


@pytest.fixture
def redis_db(redis_server: servers.RedisServer) -> Iterator[redis.Redis]:
    """A client of an empty Redis that answers in text."""
    with redis_server.client(decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.KafkaBroker]:
    try:
        with servers.kafka(tmp_path_factory.mktemp("kafka")) as broker:
            yield broker
    except servers.ServerMissing as error:
        missing(error)


@pytest.fixture
def topic(kafka_broker: servers.KafkaBroker) -> str:
    """The name of a new, empty topic with one partition."""
    name = f"traptor-{uuid.uuid4().hex}"
    kafka_broker.create_topic(name)
    return name


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))
