"""The report of a running fleet, from a real broker."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from kafka import KafkaProducer

from tests.integration.daemon import environment
from tests.servers import KafkaBroker, RedisServer
from traptor import keys
from traptor.account import gaps


def run(folder: Path, *arguments: str, **wanted: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "traptor", "report", *arguments]
    settings = environment(folder, wanted)
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, timeout=120, check=False)


def test_the_page_tells_of_the_window_and_nothing_before_it(
    tmp_path: Path, kafka_broker: KafkaBroker, topic: str, redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("tansu does not find offsets by time; `make kafka` brings Apache Kafka")
    now_ms = int(time.time() * 1000)
    block = {
        "id": 0,
        "id_str": "0",
        "rule_type": "track",
        "rules": [{"rule_id": "1", "tag": "weather", "value": "storm"}],
    }
    producer = KafkaProducer(bootstrap_servers=kafka_broker.hosts)
    for number in range(100):
        value = json.dumps({"id_str": str(number), "created_at": "Tue Jan 26 14:00:00 +0000 2021", "traptor": block})
        is_old = number < 40
        producer.send(topic, value.encode(), timestamp_ms=now_ms - 7_200_000 if is_old else now_ms)
        if number in (39, 99):
            producer.flush()
    producer.close()
    ago = [gaps.iso(datetime.now(UTC) - timedelta(minutes=minutes)) for minutes in (20, 10)]
    gaps.store(redis_db, keys.gaps("track", 0), gaps.Gap("track", 0, *ago, "cut", None))
    addresses = {"KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic, "REDIS_URL": redis_server.url}
    done = run(tmp_path, "--last", "1", "page.html", **addresses)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.startswith(b"report: 60 tweets, matched 60, in page.html"), done.stderr.decode()
    page = (tmp_path / "page.html").read_text()
    assert "track:0 had no stream (cut)" in page
    assert '<dd id="matched">60</dd>' in page
    assert "track:0:1" in page


def test_a_topic_that_is_not_there_is_named(tmp_path: Path, kafka_broker: KafkaBroker) -> None:
    (tmp_path / "page.html").write_text("<!DOCTYPE html>of yesterday")
    done = run(tmp_path, "page.html", KAFKA_HOSTS=kafka_broker.hosts, KAFKA_TOPIC="nowhere")
    assert (done.returncode, b"there is no topic nowhere" in done.stderr) == (1, True), done.stderr.decode()
    assert (tmp_path / "page.html").read_text() == "<!DOCTYPE html>of yesterday"


@pytest.mark.heavy
def test_a_broker_that_is_away_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "page.html", KAFKA_HOSTS="127.0.0.1:1")
    assert done.returncode == 1
    assert b"Kafka cannot be read" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()
