"""Faults of links, disks and brokers, done to the door alone, on a real Kafka."""

import contextlib
import os
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from bench.faults import SecondBroker
from scripts import apache_kafka
from tests.proxy import Proxy
from tests.servers import ApacheKafka, free_port
from traptor.delivery import producers
from traptor.delivery.kafka_door import Kafka
from traptor.delivery.spool import Message, Spool
from traptor.settings import KAFKA_CLIENTS, KAFKA_PYTHON

SLOW_BYTES = 80_000
"""What a slow link carries in a second."""
TEXT = "x" * 4000


class Link(NamedTuple):
    """A broker, and the slow way to it."""

    broker: ApacheKafka
    proxy: Proxy

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.proxy.port}"


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    if not apache_kafka.at_hand():
        pytest.skip("Apache Kafka is needed: `make kafka`")
    broker, second_port = ApacheKafka(tmp_path_factory.mktemp("kafka")), free_port()
    with Proxy(second_port) as proxy:
        path = apache_kafka.properties(broker.folder)
        text = path.read_text().replace("listeners=PLAINTEXT:", f"listeners=SLOW://127.0.0.1:{second_port},PLAINTEXT:")
        path.write_text(
            f"{text}advertised.listeners=SLOW://127.0.0.1:{proxy.port},PLAINTEXT://{broker.hosts}\n"
            "listener.security.protocol.map=SLOW:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            "inter.broker.listener.name=PLAINTEXT\nauto.create.topics.enable=false\n"
        )
        with broker:
            yield Link(broker, proxy)


@pytest.fixture
def topic(link: Link) -> Iterator[str]:
    """With two partitions."""
    name = f"traptor-{uuid.uuid4().hex}"
    create(link.broker.hosts, NewTopic(name, 2, 1))
    yield name
    link.proxy.mend()
    link.proxy.bytes_per_second = 1e9


def create(hosts: str, topic: NewTopic) -> None:
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=hosts)) as admin:
        admin.create_topics([topic])


def arrived(hosts: str, topic: str, partitions: int = 2) -> Counter[bytes]:
    """How often the topic has each key."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    keys: Counter[bytes] = Counter()
    with contextlib.closing(KafkaConsumer(bootstrap_servers=hosts, group_id=None)) as consumer:
        consumer.assign(places)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(places)
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(timeout_ms=200).values():
                keys.update(record.key for record in records)
    return keys


class Sender:
    """A door that collects from nobody: its main loop is ``until``."""

    def __init__(self, hosts: str, topic: str, folder: Path, client: str = KAFKA_PYTHON) -> None:
        self.topic = topic
        self.counts: Counter[str] = Counter()
        self.spool = Spool(folder / "track-0.spool", 1 << 30)
        options = {"bootstrap_timeout_ms": 3000}
        self.door = Kafka(
            lambda: producers.connect(hosts, topic, options, client=client),
            self.spool,
            self.counts,
            connect_cautiously=lambda: producers.connect(
                hosts, topic, {**options, **producers.CAUTIOUS}, client=client
            ),
            topic=topic,
        )
        self.door.open()
        self.door.take_up()

    def send(self, numbers: range, topic: str = "") -> None:
        self.door.send(
            [
                Message(b"%d" % number, b'{"id_str":"%d","text":"%s"}' % (number, TEXT.encode()), topic or self.topic)
                for number in numbers
            ]
        )

    def until(self, condition: Callable[[], bool], timeout_seconds: float = 30) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, (self.counts, self.door.waiting(), self.door.spool_trouble())
            self.door.tick()
            time.sleep(0.02)

    def connected(self) -> "Sender":
        self.until(lambda: self.door.producer is not None)
        return self

    def is_drained(self) -> bool:
        return self.door.waiting() == 0


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_a_slow_link_drains_what_an_outage_has_left(link: Link, topic: str, tmp_path: Path, client: str) -> None:
    link.proxy.bytes_per_second = SLOW_BYTES
    sender = Sender(link.hosts, topic, tmp_path, client).connected()
    sender.send(range(10))
    sender.until(sender.is_drained)
    link.proxy.cut()
    for first in range(10, 210, 10):
        sender.send(range(first, first + 10))
        sender.door.tick()
    sender.until(lambda: sender.counts["spooled"] >= 200)
    link.proxy.mend()
    sender.until(sender.is_drained, 60)
    sender.door.close(5)
    keys = arrived(link.broker.hosts, topic)
    assert (len(keys), sender.counts["delivered"]) == (210, 210)
    assert keys.total() - len(keys) <= 0.05 * len(keys)


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_notices_without_a_topic_stop_no_tweet(link: Link, topic: str, tmp_path: Path, client: str) -> None:
    notices = f"{topic}-notices"
    sender = Sender(link.hosts, topic, tmp_path, client).connected()
    sender.send(range(100, 105), notices)
    for first in range(0, 100, 10):
        sender.send(range(first, first + 10))
        sender.until(lambda first=first: sender.counts["delivered"] >= first)
    sender.until(lambda: sender.door.waiting() == 5)
    assert sender.door.is_down()
    create(link.broker.hosts, NewTopic(notices, 1, 1))
    sender.until(sender.is_drained)
    assert len(arrived(link.broker.hosts, notices, 1)) == 5
    sender.door.close(5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    if os.geteuid():
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """What is left of the disk, with a file of another program's."""
    with (folder / "other").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("ending", ["none", "restart", "close"])
def test_a_full_disk_keeps_nothing_back(link: Link, topic: str, small_disk: Path, ending: str) -> None:
    link.proxy.cut()
    sender = Sender(link.hosts, topic, small_disk)
    sender.send(range(400))
    sender.until(lambda: sender.spool.count == 400)
    fill(small_disk)
    sender.send(range(400, 500))
    sender.until(lambda: "full" in sender.door.spool_trouble())
    if ending == "restart":
        sender.door.close(1)
        assert sender.counts["dropped:unsaved"] == 100
        sender = Sender(link.hosts, topic, small_disk)
        assert (sender.counts["taken_up"], sender.door.waiting()) == (400, 400)
        sender.send(range(400, 500))
    link.proxy.mend()
    if ending == "close":
        sender.connected()
        sender.door.close(8)
        assert sender.counts["dropped:unsaved"] == 0
    else:
        sender.until(sender.is_drained)
    assert sorted(map(int, arrived(link.broker.hosts, topic))) == list(range(500))
    assert not sender.spool.path.exists()
    sender.door.close(5)


@pytest.mark.heavy
@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_a_partition_without_a_leader_delays_itself_alone(tmp_path: Path, client: str) -> None:
    if not apache_kafka.at_hand():
        pytest.skip("Apache Kafka is needed: `make kafka`")
    name = f"traptor-{uuid.uuid4().hex}"
    with ApacheKafka(tmp_path / "first") as first, SecondBroker(tmp_path / "second", first) as second:
        second.create_topic(f"{name}-ready")
        create(second.hosts, NewTopic(name, replica_assignments={0: [1], 1: [2]}))
        sender = Sender(second.hosts, name, tmp_path, client).connected()
        sender.send(range(20))
        sender.until(sender.is_drained)
        second.stop()
        sound = sender.door._main.lanes[0]
        for number in range(20, 420, 20):
            sender.send(range(number, number + 20))
            sender.until(lambda: sound.is_clear() and not sound.on_way)
        assert 150 < sender.door.waiting() < 250
        second.start()
        sender.until(sender.is_drained, 60)
        sender.door.close(5)
        keys = arrived(second.hosts, name)
    assert (len(keys), keys.total()) == (420, 420)
