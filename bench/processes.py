"""The processes of a bench, and what the operating system says of them."""

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import requests
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from tests.servers import KafkaBroker, RedisServer, kafka, wait_until
from traptor import settings
from traptor.rules import stored
from traptor.simulator import CREDENTIAL

STILL_SECONDS = 0.4
IDLE_SHARE = 0.1
"""Of one core: what a waiting process uses at most."""


class Servers(NamedTuple):
    """A real Redis and a real broker, and a folder of their own."""

    folder: Path
    redis: RedisServer
    kafka: KafkaBroker

    def environment(self, twitter_url: str, rule_type: str, topic: str) -> dict[str, str]:
        """The settings under which Traptor and the baselines run. Logs and counters are on."""
        return {
            **dict(zip(settings.APIKEY_NAMES, CREDENTIAL, strict=True)),
            "TWITTER_STREAM_URL": twitter_url,
            "REDIS_URL": self.redis.url,
            "KAFKA_HOSTS": self.kafka.hosts,
            "KAFKA_TOPIC": topic,
            "TRAPTOR_TYPE": rule_type,
            "LOG_DIR": str(self.folder / "logs"),
            "SPOOL_DIR": str(self.folder / "spool"),
        }

    def load(self, rule_type: str, rule_set: list[dict[str, str]]) -> None:
        """These rules, and nothing else, into Redis."""
        with contextlib.closing(self.redis.client()) as client:
            client.flushall()
            stored.write(client, rule_type, 0, rule_set)


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    (folder / "redis").mkdir()
    (folder / "kafka").mkdir()
    with RedisServer(folder / "redis") as redis_server, kafka(folder / "kafka") as broker:
        yield Servers(folder, redis_server, broker)


class Twitter:
    """A simulator in a process of its own, asked over its control interface."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()

    def sent(self) -> int:
        """Tweets whose last byte went to a socket."""
        return int(self._session.get(f"{self.url}/simulator/", timeout=10).json()["tweets"])


@contextlib.contextmanager
def twitter(*options: str) -> Iterator[Twitter]:
    command = [sys.executable, "-m", "traptor", "simulate", *options]
    with _ended(subprocess.Popen(command, stderr=subprocess.PIPE)) as process:
        assert process.stderr
        yield Twitter(process.stderr.readline().decode().split()[-1])


@contextlib.contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose standard error goes to ``log``, and its standard output nowhere."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=file)
    with _ended(process):
        yield process


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Asked to end when the ``with`` does."""
    with process:
        try:
            yield process
        finally:
            process.terminate()


def stall(after: int, seconds: float, path: Path) -> str:
    """A file of faults for the simulator: not a byte for so long after so many messages."""
    path.write_text(json.dumps([{"fault": "stall", "after": after, "seconds": seconds}]))
    return str(path)


class Watch:
    """What a process has used so far."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        """User and system time of all threads; the system counts in hundredths."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def threads(self) -> int:
        return int(self._process.num_threads())

    def cpu_seconds_when_still(self) -> float:
        """Wait until it has nothing to do any more."""
        used = self.cpu_seconds()
        while True:
            time.sleep(STILL_SECONDS)
            before, used = used, self.cpu_seconds()
            if used - before <= IDLE_SHARE * STILL_SECONDS:
                return used


def wait_for_sent(simulated: Twitter, tweets: int, timeout_seconds: float) -> None:
    wait_until(lambda: simulated.sent() >= tweets, f"{tweets} tweets from the simulator", timeout_seconds)


@contextlib.contextmanager
def new_topic(broker: KafkaBroker) -> Iterator[str]:
    """A topic with one partition for one run."""
    topic = f"bench-{uuid.uuid4().hex}"
    broker.create_topic(topic)
    try:
        yield topic
    finally:
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=broker.hosts)) as admin:
            admin.delete_topics([topic])


class Records(NamedTuple):
    """So many messages, of which the one at ``first`` and the last were sent so many seconds apart."""

    messages: int
    seconds: float


def records(broker: KafkaBroker, topic: str, first: int) -> Records:
    """What the broker holds of a topic."""
    partition = TopicPartition(topic, 0)
    with contextlib.closing(KafkaConsumer(bootstrap_servers=broker.hosts, group_id=None)) as consumer:
        consumer.assign([partition])
        count = int(consumer.end_offsets([partition])[partition])
        began_ms, ended_ms = (_timestamp_ms(consumer, partition, offset) for offset in (first, count - 1))
    return Records(count, (ended_ms - began_ms) / 1000)


def wait_for_records(broker: KafkaBroker, topic: str, messages: int, timeout_seconds: float) -> None:
    """Until the broker holds so many messages."""
    partition = TopicPartition(topic, 0)
    with contextlib.closing(KafkaConsumer(bootstrap_servers=broker.hosts, group_id=None)) as consumer:
        wait_until(
            lambda: consumer.end_offsets([partition])[partition] >= messages,
            f"{messages} messages at the broker",
            timeout_seconds,
        )


def _timestamp_ms(consumer: KafkaConsumer, partition: TopicPartition, offset: int) -> int:
    consumer.seek(partition, offset)
    while not (polled := consumer.poll(timeout_ms=1000, max_records=1)):
        pass
    return int(polled[partition][0].timestamp)
