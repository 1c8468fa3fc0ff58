"""Faults of links, disks and brokers, done to the door alone, on a real Kafka."""

import os
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import faults
from scripts import apache_kafka
from tests.servers import FarKafka, KafkaCluster, Readable
from traptor.delivery import producers
from traptor.delivery.door import Trouble
from traptor.delivery.kafka_door import Kafka
from traptor.delivery.spool import Message, Spool
from traptor.settings import KAFKA_CLIENTS, KAFKA_PYTHON

SLOW_BYTES = 80_000
"""What a slow link carries in a second."""
TEXT = "x" * 4000


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarKafka]:
    if not apache_kafka.at_hand():
        pytest.skip("Apache Kafka is needed: `make kafka`")
    with FarKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def topic(link: FarKafka) -> Iterator[str]:
    """With two partitions."""
    name = f"traptor-{uuid.uuid4().hex}"
    link.create_topic(name, 2)
    yield name
    link.proxy.mend()
    link.proxy.heal()


def arrived(broker: Readable, topic: str, count: int) -> Counter[bytes | None]:
    """How often the topic has each key, of so many."""
    return Counter(key for key, _ in broker.consume(topic, count))


class Sender:
    """A door that collects from nobody: its main loop is ``until``."""

    def __init__(self, hosts: str, topic: str, folder: Path, client: str = KAFKA_PYTHON, **wanted: object) -> None:
        self.topic = topic
        self.counts: Counter[str] = Counter()
        self.spool = Spool(folder / "track-0.spool", 1 << 30)
        options: dict[str, Any] = {"bootstrap_timeout_ms": 3000, **wanted}
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
            assert time.monotonic() < deadline, (self.counts, self.door.waiting(), self.door.troubles())
            self.door.tick()
            time.sleep(0.02)

    def connected(self) -> "Sender":
        self.until(lambda: self.door.producer is not None)
        return self

    def is_drained(self) -> bool:
        return self.door.waiting() == 0


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_a_slow_link_drains_what_an_outage_has_left(link: FarKafka, topic: str, tmp_path: Path, client: str) -> None:
    link.proxy.bytes_per_second = SLOW_BYTES
    sender = Sender(link.far_hosts, topic, tmp_path, client).connected()
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
    keys = arrived(link, topic, 210)
    assert (len(keys), sender.counts["delivered"]) == (210, 210)
    assert keys.total() - len(keys) <= 0.05 * len(keys)


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_notices_without_a_topic_stop_no_tweet(link: FarKafka, topic: str, tmp_path: Path, client: str) -> None:
    notices = f"{topic}-notices"
    sender = Sender(link.far_hosts, topic, tmp_path, client).connected()
    sender.send(range(100, 105), notices)
    for first in range(0, 100, 10):
        sender.send(range(first, first + 10))
        sender.until(lambda first=first: sender.counts["delivered"] >= first)
    sender.until(lambda: sender.door.waiting() == 5)
    assert sender.door.is_down()
    link.create_topic(notices)
    sender.until(sender.is_drained)
    assert len(arrived(link, notices, 5)) == 5
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


@pytest.mark.parametrize("ending", ["none", "restart", "close"])
def test_a_full_disk_keeps_nothing_back(link: FarKafka, topic: str, small_disk: Path, ending: str) -> None:
    link.proxy.cut()
    sender = Sender(link.far_hosts, topic, small_disk)
    sender.send(range(400))
    sender.until(lambda: sender.spool.count == 400)
    faults.fill_disk(sender.spool.path, 0)
    sender.send(range(400, 500))
    sender.until(lambda: "full" in sender.door.troubles().get(Trouble.SPOOL_FAILS, ""))
    if ending == "restart":
        sender.door.close(1)
        assert sender.counts["dropped:unsaved"] == 100
        sender = Sender(link.far_hosts, topic, small_disk)
        assert (sender.counts["taken_up"], sender.door.waiting()) == (400, 400)
        sender.send(range(400, 500))
    link.proxy.mend()
    if ending == "close":
        sender.connected()
        sender.door.close(8)
        assert sender.counts["dropped:unsaved"] == 0
    else:
        sender.until(sender.is_drained)
    assert sorted(int(key or 0) for key in arrived(link, topic, 500)) == list(range(500))
    assert not sender.spool.path.exists()
    sender.door.close(5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    if not apache_kafka.at_hand():
        pytest.skip("Apache Kafka is needed: `make kafka`")
    with KafkaCluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_a_partition_without_a_leader_delays_itself_alone(cluster: KafkaCluster, tmp_path: Path, client: str) -> None:
    name = f"traptor-{uuid.uuid4().hex}"
    cluster.create_topic(name, {0: [1], 1: [2]})
    sender = Sender(cluster.hosts, name, tmp_path, client).connected()
    sender.send(range(20))
    sender.until(sender.is_drained)
    cluster.stop()
    sound = sender.door._main.lanes[0]
    for number in range(20, 420, 20):
        sender.send(range(number, number + 20))
        sender.until(lambda: sound.is_clear() and not sound.on_way)
    assert 150 < sender.door.waiting() < 250
    cluster.start()
    sender.until(sender.is_drained, 60)
    sender.door.close(5)
    keys = arrived(cluster, name, 420)
    assert (len(keys), keys.total()) == (420, 420)


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
@pytest.mark.parametrize("how", [("stop", "start", 0), ("freeze", "thaw", 10)])
def test_messages_that_expire_are_sent_again_and_stop_no_other_partition(
    cluster: KafkaCluster, tmp_path: Path, client: str, how: tuple[str, str, int], caplog: pytest.LogCaptureFixture
) -> None:
    fault, mend, again = how
    name = f"traptor-{uuid.uuid4().hex}"
    cluster.create_topic(name, {0: [1], 1: [2]})
    impatient = {"request_timeout_ms": 4_000, "delivery_timeout_ms": 8_000}
    sender = Sender(cluster.hosts, name, tmp_path, client, **impatient).connected()
    sender.send(range(20))
    sender.until(sender.is_drained)
    getattr(cluster, fault)()
    sound = sender.door._main.lanes[0]
    try:
        for expired in (1, 2, 3):
            sender.send(range(20 * expired, 20 * expired + 20))
            sender.until(lambda expired=expired: caplog.text.count("Kafka does not take messages") >= expired, 60)
            sender.until(lambda: sound.is_clear() and not sound.on_way)
        sender.send(range(80, 100))
        sender.until(lambda: sound.is_clear() and not sound.on_way)
    finally:
        getattr(cluster, mend)()
    sender.until(sender.is_drained, 60)
    sender.door.close(5)
    keys = arrived(cluster, name, 100)
    assert (len(keys), sender.counts["delivered"]) == (100, 100)
    assert keys.total() <= 100 + again


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_leaders_that_move_cost_nothing(cluster: KafkaCluster, tmp_path: Path, client: str) -> None:
    name = f"traptor-{uuid.uuid4().hex}"
    cluster.create_topic(name, {0: [2, 3, 1], 1: [3, 2, 1]})
    sender = Sender(cluster.hosts, name, tmp_path, client).connected()
    for turn, happens in enumerate((cluster.stop, cluster.start, cluster.kill, cluster.start)):
        happens()
        for number in range(200 * turn, 200 * (turn + 1), 20):
            sender.send(range(number, number + 20))
            sender.until(lambda: sender.door.waiting() < 100)
    sender.until(sender.is_drained, 60)
    sender.door.close(5)
    keys = arrived(cluster, name, 800)
    assert (len(keys), keys.total()) == (800, 800)


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_a_topic_that_is_forbidden_keeps_its_own_messages_back(
    link: FarKafka, topic: str, tmp_path: Path, client: str
) -> None:
    notices = f"{topic}-notices"
    link.create_topic(notices)
    sender = Sender(link.far_hosts, topic, tmp_path, client).connected()
    sender.send(range(5))
    sender.send(range(100, 105), notices)
    sender.until(sender.is_drained)
    for forbidden, sound, first in ((notices, topic, 200), (topic, notices, 300)):
        faults.forbid(link.hosts, forbidden, is_forbidden=True)
        sender.send(range(first, first + 10), forbidden)
        for number in range(first + 10, first + 60, 10):
            sender.send(range(number, number + 10), sound)
            sender.until(lambda: sender.door.waiting() == 10)
        faults.forbid(link.hosts, forbidden, is_forbidden=False)
        sender.until(sender.is_drained)
    sender.door.close(5)
    assert [arrived(link, name, 65).total() for name in (topic, notices)] == [65, 65]


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_a_far_and_unsound_link_carries_the_stream(link: FarKafka, topic: str, tmp_path: Path, client: str) -> None:
    """300 ms there, 300 ms back, and every fiftieth packet lost: 120 KB a second, and what an outage has left."""
    link.proxy.latency_seconds, link.proxy.loss = 0.3, 0.02
    sender = Sender(link.far_hosts, topic, tmp_path, client, bootstrap_timeout_ms=5_000).connected()
    link.proxy.cut()
    sender.send(range(300))
    sender.until(lambda: sender.spool.count == 300)
    link.proxy.mend()
    began = time.monotonic()
    for number in range(300, 1500, 30):
        sender.send(range(number, number + 30))
        sender.until(lambda number=number: time.monotonic() >= began + (number - 300) / 30)
    sender.until(sender.is_drained, 120)
    sender.door.close(5)
    keys = arrived(link, topic, 1500)
    assert (len(keys), sender.counts["delivered"]) == (1500, 1500)
    assert keys.total() - len(keys) <= 0.05 * len(keys)


@pytest.mark.parametrize("client", KAFKA_CLIENTS)
def test_a_link_that_gets_slow_after_a_high_rate(link: FarKafka, topic: str, tmp_path: Path, client: str) -> None:
    sender = Sender(link.far_hosts, topic, tmp_path, client).connected()
    for number in range(0, 4000, 100):
        sender.send(range(number, number + 100))
        sender.until(lambda: sender.door.waiting() < 500)
    sender.send(range(4000, 6000))
    link.proxy.bytes_per_second = 1_000_000
    sender.send(range(6000, 7000))
    link.proxy.bytes_per_second = 100_000
    before = sender.counts["delivered"]
    sender.until(lambda: sender.counts["delivered"] >= before + 250)
    link.proxy.heal()
    sender.until(sender.is_drained, 60)
    sender.door.close(5)
    keys = arrived(link, topic, 7000)
    assert len(keys) == 7000
    assert keys.total() - len(keys) <= 0.05 * len(keys)
