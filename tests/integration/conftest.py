"""Every test in this folder is marked `integration` and may ask for a real Redis and a real broker.

Those that ask for a broker are marked `kafka`.
"""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.certificates import Certificates

# On SIGTERM, as on Ctrl-C, the fixtures end and take their servers with them.
signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if "kafka_broker" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.kafka)


def missing(error: servers.ServerMissing) -> None:
    """At home the tests are skipped with the reason; under CI=true they fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RedisServer]:
    try:
        with servers.RedisServer(tmp_path_factory.mktemp("redis")) as server:
            yield server
    except servers.ServerMissing as error:
        missing(error)


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
