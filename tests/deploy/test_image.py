"""The image, built on a Debian that stands for the one that the Dockerfile names, and run."""

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import podman
from tests.deploy.conftest import PLANTED, TOPIC
from tests.deploy.podman import Container
from tests.servers import KafkaBroker, RedisServer
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Simulator

pytestmark = pytest.mark.integration

MOST_BYTES = 120_000_000
SPOOL = "/var/spool/traptor"
PLACES = ("/", "/tmp", "/opt/traptor", "/var/log", "/var/lib", "/home", "/etc", SPOOL)
WRITABLE = "import os, sys; print([place for place in sys.argv[1:] if os.access(place, os.W_OK)])"


def test_it_is_small(image: str) -> None:
    added = podman.inspect(image)["Size"] - podman.inspect(podman.STAND_IN)["Size"]
    print(f"the image has {added / 1e6:.0f} MB above its base")
    assert added < MOST_BYTES


def test_no_secret_is_in_its_layers_or_its_history(image: str, tmp_path: Path) -> None:
    podman.podman("save", "--format=docker-dir", f"--output={tmp_path}/saved", image)
    for layer in (tmp_path / "saved").iterdir():
        assert PLANTED.encode() not in layer.read_bytes()
        if tarfile.is_tarfile(layer):
            with tarfile.open(layer) as files:
                kept = [one.name for one in files if re.search(r"localsettings\.py|\.env$|\.git/", one.name)]
            assert kept == []
    assert PLANTED not in podman.podman("history", "--no-trunc", "--format=json", image)
    environment = "\n".join(podman.inspect(image)["Config"]["Env"])
    assert not re.search("KEY|SECRET|TOKEN|PASSWORD", environment)


def test_the_demo_needs_nothing(image: str) -> None:
    printed = podman.podman("run", "--rm", "--network=host", image, "--demo", "--test", "--limit", "3")
    assert [json.loads(line)["traptor"]["rule_type"] for line in printed.splitlines()] == ["track"] * 3


@pytest.fixture(scope="module")
def twitter() -> Iterator[Simulator]:
    with Simulator(rate=50) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def traptor(
    image: str, tmp_path_factory: pytest.TempPathFactory, broker: KafkaBroker, twitter: Simulator
) -> Iterator[Container]:
    """One that streams, on a root that nobody can write."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as redis_server:
        stored.write(redis_server.client(), "track", 0, [{"rule_id": "1", "tag": "weather", "value": "storm"}])
        settings = {
            "TWITTER_STREAM_URL": twitter.url,
            "REDIS_URL": redis_server.url,
            "KAFKA_HOSTS": broker.hosts,
            "KAFKA_TOPIC": TOPIC,
            **{name.upper(): value for name, value in CREDENTIAL._asdict().items()},
        }
        with Container("traptor", image, "--delay", "0", volumes={"spool": SPOOL}, **settings) as container:
            yield container


def test_it_runs_without_rights_and_writes_its_spool_alone(traptor: Container, twitter: Simulator) -> None:
    twitter.wait_for_sent(50)
    status = traptor.run("cat", "/proc/1/status")
    assert re.findall(r"^(Uid|Gid|CapEff):\s+(.+)$", status, re.MULTILINE) == [
        ("Uid", "\t".join(["10001"] * 4)),
        ("Gid", "\t".join(["10001"] * 4)),
        ("CapEff", "0" * 16),
    ]
    assert traptor.run("python", "-c", WRITABLE, *PLACES).strip() == f"['{SPOOL}']"


def test_its_health_follows_kafka(traptor: Container, broker: KafkaBroker) -> None:
    traptor.wait_for_health(True)
    broker.freeze()
    traptor.wait_for_health(False)
    broker.thaw()
    traptor.wait_for_health(True)


def test_sigterm_ends_it_in_good_order(traptor: Container, broker: KafkaBroker, twitter: Simulator) -> None:
    twitter.wait_for_sent(twitter.tweets + 50)
    code, said = traptor.stop()
    account = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", said.splitlines()[-1])}
    assert (code, account.keys() <= {"received", "matched", "delivered"}) == (0, True), said
    collected = {key for key, _ in broker.consume(TOPIC, account["delivered"]) if key}
    assert len(collected) == account["received"] > 100
