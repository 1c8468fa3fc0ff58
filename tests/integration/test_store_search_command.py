"""`traptor store opensearch+http://…` as a process, on a real broker and a real OpenSearch."""

import json
import random
import signal
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests.integration.test_store import LEFT, WHOLE, ended, run, send, store, two_stores, values
from tests.servers import KafkaBroker, OpenSearchServer, wait_until
from tests.store.facts import ids
from tests.store.samples import tweet
from traptor.store.destination import Selection
from traptor.store.destinations import destination


def count(opensearch: OpenSearchServer, name: str) -> int:
    """0 while a server that has just come back has not opened its indices."""
    pattern = f"{opensearch.url}/{name.rpartition('/')[2]}-tweets-*"
    requests.post(f"{pattern}/_refresh", timeout=5)
    return int(requests.get(f"{pattern}/_count", timeout=5).json().get("count", 0))


@pytest.mark.heavy
def test_stores_share_three_partitions_and_a_server_goes_away(
    tmp_path: Path, kafka_broker: KafkaBroker, opensearch: OpenSearchServer
) -> None:
    topic, name = f"traptor-{uuid.uuid4().hex}", opensearch.new_destination()
    did = two_stores(tmp_path, kafka_broker, topic, name, server=opensearch, count=lambda: count(opensearch, name))
    assert did["read"] >= sum(did[word] for word in ("stored", "merged", "deleted", "set apart", "notices"))
    database = destination(name)
    with closing(database):
        assert ids(database) == LEFT
        assert len(list(database.apart())) == WHOLE // 100
    settings = {"KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic}
    checked = run(tmp_path, "store", "check", name, **settings)
    assert (checked.returncode, checked.stdout.count(b" 0 missing")) == (0, 1), checked


def test_what_is_stored_comes_out_again(tmp_path: Path, opensearch: OpenSearchServer) -> None:
    name = opensearch.new_destination()
    given = json.dumps(tweet(1)).encode() + b"\nno JSON\n"
    stored = run(tmp_path, "store", name, "-", given=given)
    assert b"read 2, stored 1, merged 0, deleted 0, set apart 1" in stored.stderr, stored
    assert run(tmp_path, "export", name, "--format", "ids").stdout == b"1\n"
    assert run(tmp_path, "store", "apart", name, "resend").stdout == b"store: 1 tried again, 0 stored\n"
    assert run(tmp_path, "report", name, "page.html").returncode == 0


@pytest.mark.heavy
def test_a_frozen_server_does_not_hold_up_the_end(
    tmp_path: Path, kafka_broker: KafkaBroker, topic: str, opensearch: OpenSearchServer
) -> None:
    name = opensearch.new_destination()
    with store(tmp_path, kafka_broker, topic, name, LOG_JSON=True) as daemon:
        send(kafka_broker, topic, [json.dumps(tweet(1)).encode()])
        wait_until(lambda: count(opensearch, name) == 1, "the first tweet")
        opensearch.freeze()
        try:
            send(kafka_broker, topic, [json.dumps(tweet(2)).encode()])
            daemon.signal(signal.SIGTERM)
            ended(daemon, 10)
        finally:
            opensearch.thaw()
    with store(tmp_path, kafka_broker, topic, "--once", "--group", f"{topic}-again", name) as daemon:
        ended(daemon)
    with closing(destination(name)) as database:
        assert ids(database) == [1, 2]


@pytest.mark.heavy
def test_killed_at_random_moments_it_loses_nothing_and_has_nothing_twice(
    tmp_path: Path, kafka_broker: KafkaBroker, topic: str, opensearch: OpenSearchServer
) -> None:
    send(kafka_broker, topic, values(WHOLE))
    name = opensearch.new_destination()
    source = random.Random(1)
    for time in range(10):
        # A group of its own does not wait for the one that was killed; how far it was stands beside the documents.
        arguments = ["--group", f"{topic}-{time}", name]
        with store(tmp_path, kafka_broker, topic, *arguments) as daemon:
            wanted = min(count(opensearch, name) + source.randrange(1, 250), 2900)
            wait_until(lambda: count(opensearch, name) >= wanted, "tweets")  # noqa: B023
            daemon.process.kill()
    with store(tmp_path, kafka_broker, topic, "--once", "--group", f"{topic}-last", name) as daemon:
        ended(daemon)
    with closing(destination(name)) as database:
        assert ids(database) == LEFT
        assert len(list(database.apart())) == WHOLE // 100
        twice = [row["id"] for row in database.tweets(Selection()) if row["rules"] == "track:0:1 track:1:1"]
    assert len(twice) == WHOLE // 100
