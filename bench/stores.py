"""Do two stores share the work? ``python -m bench.stores``: three partitions into PostgreSQL, by one and by two.

All of it, Kafka and PostgreSQL too, on this machine: with two cores, two stores cannot quite be twice as fast.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
from kafka import KafkaProducer

from bench.store import enriched
from tests.servers import KafkaBroker, PostgreSQLServer, kafka

TOPIC = "bench"
PARTITIONS = 3
LOOK_SECONDS = 0.05


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tweets", type=int, default=60_000)
    wanted = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name in ("kafka", "postgresql"):
            (Path(folder) / name).mkdir()
        broker = stack.enter_context(kafka(Path(folder) / "kafka"))
        server = stack.enter_context(PostgreSQLServer(Path(folder) / "postgresql"))
        send(broker, wanted.tweets)
        print(f"{wanted.tweets:,} tweets in {PARTITIONS} partitions, {os.cpu_count()} cores\n")
        for stores in (1, 2):
            rate = wanted.tweets / seconds(broker, server.new_database(), stores, wanted.tweets)
            print(f"{stores} into PostgreSQL {rate:>10,.0f} tweets/s", flush=True)


def send(broker: KafkaBroker, count: int) -> None:
    broker.create_topic(TOPIC, PARTITIONS)
    producer = KafkaProducer(bootstrap_servers=broker.hosts, linger_ms=50, batch_size=1 << 18)
    for at, line in enumerate(enriched(count)):
        producer.send(TOPIC, line, partition=at % PARTITIONS)
    producer.close()


def seconds(broker: KafkaBroker, url: str, stores: int, count: int) -> float:
    """As for all of the tweets, by those behind the first fifth, when every store has its part."""
    environ = {"PATH": os.environ["PATH"], "KAFKA_HOSTS": broker.hosts, "KAFKA_TOPIC": TOPIC, "LOG_DIR": "none"}
    command = [sys.executable, "-m", "traptor", "store", url]
    with ExitStack() as stack, psycopg.connect(url, autocommit=True) as client:
        for _ in range(stores):
            process = stack.enter_context(subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL))
            stack.callback(process.terminate)
        first, began_at = _look(client, count // 5)
        last, ended_at = _look(client, count)
    return (ended_at - began_at) * count / (last - first)


def _look(client: "psycopg.Connection[tuple[int]]", count: int) -> tuple[int, float]:
    """How many are stored once there are so many, and when that was."""
    while (stored := _stored(client)) < count:
        time.sleep(LOOK_SECONDS)
    return stored, time.monotonic()


def _stored(client: "psycopg.Connection[tuple[int]]") -> int:
    try:
        row = client.execute('SELECT coalesce(sum("offset"), 0) FROM progress').fetchone()
    except psycopg.errors.UndefinedTable:
        return 0
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()
