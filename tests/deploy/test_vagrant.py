"""The provisioning of the Vagrant machine, run twice in a root of each Debian, and what a user then sees there."""

import json
from collections.abc import Iterator

import pytest

from tests.deploy.hosts import DEBIANS, KAFKA, Host, copy_checkout, kafka_sha256
from tests.servers import wait_until

pytestmark = pytest.mark.integration

SETTLED = ("/etc", "/opt", "/usr", "/var/lib/dpkg", "/var/spool", "/vagrant")
INTERRUPTED = """
eval "$(grep ^PACKAGES= /vagrant/vagrant/provision.sh)"
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${PACKAGES[@]}"
service redis-server start
"""
"""A first run that came as far as the packages, with Debian's own Redis on the port."""
CONSOLE_CONSUMER = ("java", "-cp", "/opt/kafka/libs/*", "org.apache.kafka.tools.consumer.ConsoleConsumer")
FROM_THE_FIRST = ("--topic", "traptor", "--from-beginning", "--max-messages", "3")


@pytest.fixture(scope="module", params=DEBIANS, ids=lambda debian: debian.name)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A Debian with the checkout in /vagrant, provisioned once after a run that was interrupted."""
    host = Host(tmp_path_factory.mktemp("vagrant"), "traptor", "192.0.2.30", request.param)
    copy_checkout(host.changes / "vagrant")
    with host:
        host.run("bash", "-ec", INTERRUPTED)
        print("provisioned:", provision(host)[-400:], sep="\n")
        yield host


def provision(host: Host) -> str:
    return host.run("bash", "/vagrant/vagrant/provision.sh", KAFKA_URL=f"file://{KAFKA}", KAFKA_SHA256=kafka_sha256())


def test_everything_is_running(machine: Host) -> None:
    wait_until(lambda: {state for state, _ in machine.processes().values()} == {"RUNNING"}, "all processes")
    assert set(machine.processes()) == {"redis", "kafka", "simulator", "traptor:track-0", "traptor-rebalance"}


def test_kcat_shows_tweets(machine: Host) -> None:
    arguments = ("-b", "localhost:9092", "-C", "-t", "traptor", "-o", "beginning", "-c", "3")
    wait_until(lambda: "traptor" in machine.run("kcat", "-b", "localhost:9092", "-L", check=False), "the topic")
    tweets = [json.loads(line) for line in machine.run("kcat", "-q", *arguments).splitlines()]
    assert {tweet["traptor"]["rule_tag"] for tweet in tweets} <= {"weather", "coffee"}
    assert len(tweets) == 3


def test_kafkas_console_consumer_shows_tweets(machine: Host) -> None:
    printed = machine.run(*CONSOLE_CONSUMER, "--bootstrap-server", "localhost:9092", *FROM_THE_FIRST)
    assert printed.count('"rule_type":"track"') == 3


def test_keys_are_for_the_service_alone(machine: Host) -> None:
    assert machine.run("stat", "-c", "%a %U", "/etc/traptor/track:0.env").split() == ["600", "traptor"]
    assert "simulator-secret" not in machine.run("ps", "-A", "-o", "args")


@pytest.mark.parametrize("unit", ["traptor@", "traptor-rebalance", "traptor-store"])
def test_a_systemd_unit_is_valid(machine: Host, unit: str) -> None:
    assert machine.run("systemd-analyze", "verify", f"/vagrant/systemd/{unit}.service") == ""


def test_a_second_run_changes_nothing(machine: Host) -> None:
    files, processes = machine.files(*SETTLED), machine.processes()
    provision(machine)
    assert machine.files(*SETTLED) == files
    assert machine.processes() == processes


def test_an_archive_that_was_tampered_with_is_not_installed(machine: Host) -> None:
    said = machine.run(
        "bash", "/vagrant/vagrant/provision.sh", check=False, KAFKA_URL=f"file://{KAFKA}", KAFKA_SHA256="0" * 64
    )
    assert "did NOT match" in said
    assert machine.processes()["kafka"][0] == "RUNNING"
