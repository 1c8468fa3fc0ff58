"""The faults that a collector meets, each as a function that does it to a Traptor at work.

``seconds`` is how long the fault lasts; what follows, the recovery and the account, is the same for all of them.
"""

import contextlib
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)

from bench.trial import RATE, Outcome, Servers, Trial
from tests.servers import FarKafka, KafkaCluster, wait_until
from traptor.delivery.spool_file import BESIDE

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


def cluster(replicas: Mapping[int, Sequence[int]]) -> Callable[[Servers], contextlib.AbstractContextManager[Servers]]:
    """Three nodes instead of one; the topic's partitions are on the nodes with these numbers."""

    @contextlib.contextmanager
    def prepare(servers: Servers) -> Iterator[Servers]:
        with tempfile.TemporaryDirectory(dir=servers.folder) as folder, KafkaCluster(Path(folder)) as nodes:
            yield servers._replace(broker=nodes, replicas=replicas)

    return prepare


def leaders_move(trial: Trial, seconds: float) -> None:
    """One node after the other goes and comes back, the last one by a kill."""
    assert isinstance(trial.broker, KafkaCluster)
    first, second, third = trial.broker.nodes
    for node, end in ((first, first.stop), (second, second.stop), (third, third.kill)):
        trial.wait_for_tweets(RATE)
        end()
        time.sleep(seconds)
        node.start()
        wait_until(trial.broker.answers, "all nodes")
    trial.wait_for_tweets(RATE)


@contextlib.contextmanager
def far(servers: Servers) -> Iterator[Servers]:
    """A broker that only a link leads to."""
    with tempfile.TemporaryDirectory(dir=servers.folder) as folder, FarKafka(Path(folder)) as broker:
        yield servers._replace(broker=broker, settings={**servers.settings, "KAFKA_HOSTS": broker.far_hosts})


def link(**quality: float) -> Callable[[Trial, float], None]:
    """It gets so slow or bad once much has gone over it quickly; then an outage, and then it has to carry all."""

    def happens(trial: Trial, seconds: float) -> None:
        assert isinstance(trial.broker, FarKafka)
        trial.wait_for_tweets(RATE)
        vars(trial.broker.proxy).update(quality)
        trial.wait_for_tweets(RATE)
        trial.broker.proxy.cut()
        time.sleep(seconds)
        trial.broker.proxy.mend()
        trial.wait_for_tweets(RATE)

    return happens


def topic_forbidden(trial: Trial, seconds: float) -> None:
    trial.wait_for_tweets(RATE)
    forbid(trial.broker.hosts, trial.topic, is_forbidden=True)
    time.sleep(seconds)
    forbid(trial.broker.hosts, trial.topic, is_forbidden=False)
    trial.wait_for_tweets(RATE)


def forbid(hosts: str, topic: str, *, is_forbidden: bool) -> None:
    """That anybody writes to it."""
    pattern = ResourcePattern(ResourceType.TOPIC, topic)
    acl = ACL("User:ANONYMOUS", "*", ACLOperation.WRITE, ACLPermissionType.DENY, pattern)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=hosts)) as admin:
        if is_forbidden:
            admin.create_acls([acl])
        else:
            admin.delete_acls([acl])


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
        yield servers._replace(settings={**servers.settings, "SPOOL_DIR": folder})
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# The spool, while the broker is away


def spool_suffers(what: Callable[[Path, float], None]) -> Callable[[Trial, float], None]:
    """From another program, in the middle of an outage three times as long."""

    def happens(trial: Trial, seconds: float) -> None:
        trial.wait_for_tweets(RATE)
        trial.broker.stop()
        time.sleep(seconds)
        what(trial.spool, seconds)
        time.sleep(seconds)
        trial.broker.start()
        trial.wait_for_tweets(RATE)

    return happens


def lock(spool: Path, seconds: float) -> None:
    with contextlib.closing(sqlite3.connect(spool)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)


def delete(spool: Path, seconds: float) -> None:
    spool.unlink()


def delete_latest(spool: Path, seconds: float) -> None:
    """What SQLite keeps beside the file, as a cleaner does that goes by the age of files."""
    for suffix in BESIDE:
        Path(f"{spool}{suffix}").unlink()


def replace(spool: Path, seconds: float) -> None:
    """By an older state of itself, as a restored backup is."""
    older = spool.with_name("older")
    with contextlib.closing(sqlite3.connect(spool)) as db, contextlib.closing(sqlite3.connect(older)) as copy:
        db.backup(copy)
    time.sleep(seconds)
    older.replace(spool)


def empty_rows(spool: Path, seconds: float) -> None:
    with contextlib.closing(sqlite3.connect(spool)) as other, other:
        other.execute("DELETE FROM waiting")


def fill_disk(spool: Path, seconds: float) -> None:
    with (spool.parent / "other").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


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


def hangup_with_frozen_broker(trial: Trial, seconds: float) -> None:
    trial.wait_for_tweets(RATE)
    trial.broker.freeze()
    trial.wait_for_tweets(2 * RATE)
    trial.stop(signal.SIGHUP)
    trial.broker.thaw()
    trial.start()
    trial.wait_for_tweets(RATE)


def frozen(trial: Trial, seconds: float) -> None:
    """As a machine is that sleeps, or whose disk hangs."""
    trial.wait_for_tweets(RATE)
    trial.daemon.signal(signal.SIGSTOP)
    time.sleep(seconds)
    trial.daemon.signal(signal.SIGCONT)
    trial.wait_for_tweets(RATE)


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
    Fault("the partition's leader gone, another broker there", broker_stopped, 20, prepare=cluster({0: [2]})),
    Fault("one of two partitions without a leader", broker_stopped, 120, prepare=cluster({0: [1], 1: [2]})),
    Fault("leaders move: each of three nodes away for", leaders_move, 10,
          prepare=cluster({0: [1, 2, 3], 1: [2, 3, 1]})),
    Fault("a link of 100 KB a second after a quick one, cut", link(bytes_per_second=100_000), 20, rate=25,
          prepare=far),
    Fault("a link of 300 ms that loses 2 %, cut", link(latency_seconds=0.15, loss=0.02), 20, rate=50, prepare=far),
    Fault("topic forbidden", topic_forbidden, 20, prepare=far),
    Fault("3 messages too large for the topic", too_large),
    Fault("spool full (SPOOL_MAX_BYTES), broker stopped", broker_stopped, 20,
          settings={"SPOOL_MAX_BYTES": SMALL_SPOOL_BYTES}),
    Fault("disk of the spool full, broker stopped", broker_stopped, 20, rate=1500, prepare=small_disk),
    Fault("disk of the spool filled by another, broker stopped", spool_suffers(fill_disk), 5, prepare=small_disk),
    Fault("spool locked by another, broker stopped", spool_suffers(lock), 10),
    Fault("spool deleted by another, broker stopped", spool_suffers(delete), 5),
    Fault("spool's latest transactions deleted by another, broker stopped", spool_suffers(delete_latest), 5),
    Fault("spool replaced by an older one, broker stopped", spool_suffers(replace), 5),
    Fault("spool emptied by another, broker stopped", spool_suffers(empty_rows), 5),
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
    Fault("SIGHUP with a frozen broker", hangup_with_frozen_broker),
    Fault("frozen itself (SIGSTOP)", frozen, 60),
    Fault("two processes with one credential, one killed", two_with_one_credential),
]
FAULTS = [*KAFKA, *REDIS, *TWITTER, *PROCESS]
