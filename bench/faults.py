"""The faults that a collector meets, each as a function that does it to a Traptor at work.

``seconds`` is how long the fault lasts; what follows, the recovery and the account, is the same for all of them.
"""

import contextlib
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from bench.trial import RATE, Outcome, Servers, Trial
from scripts import apache_kafka
from tests.servers import ApacheKafka, OwnBroker, wait_until

LARGE_BYTES = 600_000
SMALL_SPOOL_BYTES = 200_000


class Fault(NamedTuple):
    """``faults`` are the simulator's; ``settings`` Traptor's."""

    name: str
    do: Callable[[Trial, float], None]
    seconds: float = 0.0
    rate: float = RATE
    faults: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, object] = {}
    prepare: Callable[[Servers], contextlib.AbstractContextManager[Servers]] = contextlib.nullcontext

    def happens(self, servers: Servers, scale: float = 1.0) -> Outcome:
        """Do it, and say what became of every tweet."""
        with (
            self.prepare(servers) as prepared,
            Trial(prepared, rate=self.rate, faults=self.faults, **self.settings) as trial,
        ):
            self.do(trial, self.seconds * scale)
            return trial.outcome()


def nothing(trial: Trial, seconds: float) -> None:
    trial.wait_for_tweets(2 * RATE)


# Kafka


def broker_stopped(trial: Trial, seconds: float) -> None:
    trial.wait_for_tweets(RATE)
    trial.broker.stop()
    time.sleep(seconds)
    trial.broker.start()
    trial.wait_for_tweets(RATE)


def broker_frozen(trial: Trial, seconds: float) -> None:
    trial.wait_for_tweets(RATE)
    trial.broker.freeze()
    time.sleep(seconds)
    trial.broker.thaw()
    trial.wait_for_tweets(RATE)


@contextlib.contextmanager
def broker_away(servers: Servers) -> Iterator[Servers]:
    servers.broker.stop()
    try:
        yield servers
    finally:
        if not servers.broker.answers():
            servers.broker.start()


def broker_comes(trial: Trial, seconds: float) -> None:
    time.sleep(seconds)
    trial.broker.start()
    trial.wait_for_tweets(RATE)


def broker_restarted_often(trial: Trial, seconds: float) -> None:
    for _ in range(4):
        trial.wait_for_tweets(RATE)
        trial.broker.kill()
        time.sleep(seconds)
        trial.broker.start()
    trial.wait_for_tweets(RATE)


class SecondBroker(OwnBroker):
    """A node that joins the cluster of another, and leads the topics that are made through it."""

    kind = "second broker"

    def __init__(self, folder: Path, first: ApacheKafka) -> None:
        super().__init__(folder)
        folder.mkdir()
        text = apache_kafka.properties(first.folder).read_text().replace(str(first.folder), str(folder))
        text = text.replace("process.roles=broker,controller", "process.roles=broker").replace("node.id=1", "node.id=2")
        text = re.sub("^listeners=.*$", f"listeners=PLAINTEXT://{self.hosts}", text, flags=re.MULTILINE)
        apache_kafka.properties(folder).write_text(text)
        meta = (first.folder / "store" / "meta.properties").read_text()
        (cluster,) = re.findall("^cluster.id=(.*)$", meta, re.MULTILINE)
        tool = ["kafka.tools.StorageTool", "format", "--no-initial-controllers", "--cluster-id", cluster]
        properties = str(apache_kafka.properties(folder))
        subprocess.run(apache_kafka.java(*tool, "--config", properties), check=True, stdout=subprocess.DEVNULL)
        self.hosts = f"{first.hosts},{self.hosts}"

    def command(self) -> list[str]:
        return apache_kafka.node(self.folder)

    def answers(self) -> bool:
        try:
            with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.hosts)) as admin:
                return len(admin.describe_cluster()["brokers"]) == 2
        except KafkaError:
            return False

    def create_topic(self, topic: str) -> None:
        wait_until(lambda: self._has_created(topic), f"{topic} on the second broker")

    def _has_created(self, topic: str) -> bool:
        """Not before both brokers answer, and the controller trusts the second one with it."""
        try:
            with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.hosts)) as admin:
                admin.create_topics([NewTopic(topic, replica_assignments={0: [2]})])
        except TopicAlreadyExistsError:
            return True
        except KafkaError:
            return False
        return True


@contextlib.contextmanager
def led_by_a_second_broker(servers: Servers) -> Iterator[Servers]:
    """The broker that goes leads the only partition; the other one stays and says so."""
    assert isinstance(servers.broker, ApacheKafka)
    with SecondBroker(servers.folder / "second", servers.broker) as second:
        yield servers._replace(broker=second)
        second.stop()  # it signs off: a broker that is killed is taken for alive a while longer


def too_large(trial: Trial, seconds: float) -> None:
    set_largest(trial, LARGE_BYTES // 2)
    for number in range(3):
        trial.wait_for_tweets(RATE)
        trial.twitter.push({"id_str": str(number), "created_at": "", "text": "x" * LARGE_BYTES, "user": {}})
    trial.wait_for_tweets(RATE)


def set_largest(trial: Trial, max_bytes: int) -> None:
    """What the topic takes."""
    resource = ConfigResource(ConfigResourceType.TOPIC, trial.topic, configs={"max.message.bytes": max_bytes})
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=trial.broker.hosts)) as admin:
        assert admin.alter_configs([resource], raise_on_unknown=False)["topic"][trial.topic] == "OK"


@contextlib.contextmanager
def small_disk(servers: Servers) -> Iterator[Servers]:
    """A file system of four megabytes; needs root."""
    folder = servers.folder / "small-disk"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield servers._replace(settings={"SPOOL_DIR": folder})
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# Redis


def redis_stopped(trial: Trial, seconds: float) -> None:
    trial.wait_for_tweets(RATE)
    trial.redis.stop()
    time.sleep(seconds)
    trial.redis.start()
    trial.write_rules()
    trial.wait_for_status()
    trial.wait_for_tweets(RATE)


def redis_empty(trial: Trial, seconds: float) -> None:
    """It comes back without the rules, and stays so for a while."""
    trial.wait_for_tweets(RATE)
    trial.redis.stop()
    trial.redis.start()
    time.sleep(seconds)
    trial.write_rules()
    trial.wait_for_tweets(RATE)


def redis_frozen(trial: Trial, seconds: float) -> None:
    trial.wait_for_tweets(RATE)
    trial.redis.freeze()
    time.sleep(seconds)
    trial.redis.thaw()
    trial.wait_for_tweets(10 * RATE)


# Twitter


def reconnects(number: int) -> Callable[[Trial, float], None]:
    """Until Twitter's faults have brought about this many connections, refused ones too."""

    def wait(trial: Trial, seconds: float) -> None:
        wait_until(lambda: len(trial.twitter.connections) >= number, f"{number} connections", 900)
        trial.twitter.wait_for_connection(number)
        trial.wait_for_tweets(2 * RATE)

    return wait


# The process


def sigterm_at_any_moment(times: int) -> Callable[[Trial, float], None]:
    def stop_often(trial: Trial, seconds: float) -> None:
        trial.wait_for_tweets(1)
        for _ in range(times):
            time.sleep(random.uniform(0.0, 3.0))
            trial.stop()
            trial.start()
        trial.wait_for_tweets(RATE)

    return stop_often


def sigkill(times: int, *, with_broker: bool) -> Callable[[Trial, float], None]:
    def kill_often(trial: Trial, seconds: float) -> None:
        for _ in range(times):
            trial.wait_for_tweets(RATE)
            if not with_broker:
                trial.broker.freeze()
                trial.wait_for_tweets(2 * RATE)
            time.sleep(random.uniform(0.0, 1.0))
            trial.kill()
            if not with_broker:
                trial.broker.thaw()
            trial.start()
        trial.wait_for_tweets(RATE)

    return kill_often


def two_with_one_credential(trial: Trial, seconds: float) -> None:
    """The second waits; killed, the first leaves it the credential once the lease has run out."""
    trial.wait_for_tweets(RATE)
    first = trial.daemon
    trial.start()
    trial.daemon.wait_for_log("waiting for the credential")
    trial.wait_for_tweets(5 * RATE)
    assert len(trial.twitter.connections) == 1
    trial.daemon, second = first, trial.daemon
    trial.kill()
    trial.daemon = second
    trial.twitter.wait_for_connection(2, 30)
    trial.wait_for_tweets(RATE)


KAFKA = [
    Fault("nothing goes wrong", nothing),
    Fault("broker stopped", broker_stopped, 60),
    Fault("broker frozen (SIGSTOP)", broker_frozen, 30),
    Fault("broker not there at the start", broker_comes, 30, prepare=broker_away),
    Fault("broker killed and started 4 times", broker_restarted_often, 3),
    Fault("the partition's leader gone, another broker there", broker_stopped, 20, prepare=led_by_a_second_broker),
    Fault("3 messages too large for the topic", too_large),
    Fault("spool full (SPOOL_MAX_BYTES), broker stopped", broker_stopped, 20,
          settings={"SPOOL_MAX_BYTES": SMALL_SPOOL_BYTES}),
    Fault("disk of the spool full, broker stopped", broker_stopped, 20, rate=1500, prepare=small_disk),
]  # fmt: skip
REDIS = [
    Fault("Redis stopped", redis_stopped, 60),
    Fault("Redis back without the rules", redis_empty, 10),
    Fault("Redis frozen (SIGSTOP)", redis_frozen, 30),
]
TWITTER = [
    Fault("stream cut in the middle of a message", reconnects(2), faults=({"fault": "cut", "after": RATE},)),
    Fault("stream stalled, no byte for 95 s", reconnects(2), faults=({"fault": "stall", "after": RATE},)),
    Fault("stream reset 20 times", reconnects(21), faults=({"fault": "reset", "after": RATE, "times": 20},)),
    Fault("420, 3 times, Retry-After 2 s", reconnects(4),
          faults=({"fault": "status", "code": 420, "retry_after": 2, "times": 3},)),
    Fault("503, 5 times", reconnects(6), faults=({"fault": "status", "code": 503, "times": 5},)),
    Fault("401 once", reconnects(2), faults=({"fault": "status", "code": 401},)),
    Fault("disconnect with code 12", reconnects(2), faults=({"fault": "disconnect", "after": RATE},)),
    Fault("garbage, and a message of 2 MB", nothing,
          faults=({"fault": "garbage", "after": 50}, {"fault": "oversized", "after": 100})),
    Fault("chunks of 1 byte, gzip", nothing, rate=20, faults=({"fault": "split", "bytes": 1},)),
    Fault("tweets sent twice, and in disorder", nothing,
          faults=({"fault": "duplicate", "after": 100, "copies": 5}, {"fault": "disorder", "after": 200})),
    Fault("limit notices whose numbers go up and down", nothing, faults=({"fault": "limit", "after": 100},)),
]  # fmt: skip
PROCESS = [
    Fault("SIGTERM at any moment, 8 times", sigterm_at_any_moment(8)),
    Fault("SIGKILL under load, 20 times", sigkill(20, with_broker=True)),
    Fault("SIGKILL under load with a frozen broker, 5 times", sigkill(5, with_broker=False)),
    Fault("two processes with one credential, one killed", two_with_one_credential),
]
FAULTS = [*KAFKA, *REDIS, *TWITTER, *PROCESS]
