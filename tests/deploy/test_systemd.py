"""docs/production.md without Ansible, on each Debian, booted: what supervisor runs, and what systemd does instead.

Of its units: what is started, what restarted, what left alone, and in which sandbox.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.deploy.booted import BootedHost
from tests.deploy.hosts import DEBIANS, copy_checkout
from tests.deploy.test_production import block
from tests.servers import KafkaBroker, RedisServer, wait_until
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Credential, Simulator

pytestmark = pytest.mark.integration

UNITS = ("traptor@track:0", "traptor-rebalance", "traptor-store")
RULES = [{"rule_id": "1", "tag": "weather", "value": "storm"}]
PROCESSES = {"traptor:track-0": "RUNNING", "traptor-rebalance": "RUNNING"}
UNKNOWN = Credential("unknown-key", "unknown-secret", "unknown-token", "unknown-token-secret")
STORE = "[Service]\nExecStart=\nExecStart=/usr/local/bin/traptor-run store tweets.db\n"
"""A place for tweets that needs no server."""
COUNT = """
import sqlite3
place = "file:/var/lib/traptor/tweets.db?mode=ro"
print(*sqlite3.connect(place, uri=True).execute("SELECT count(*) FROM tweets").fetchone())
"""
APT = 'APT::Get::Assume-Yes "true";\\nAPT::Install-Recommends "false";\\n'
RULES_CSV = "type,value,tag\\ntrack,storm,weather\\n"
ALONE = {"ActiveState": "failed", "SubState": "failed", "NRestarts": "0"}


@pytest.fixture(scope="module")
def twitter() -> Iterator[Simulator]:
    with Simulator(rate=50) as simulator:
        yield simulator


@pytest.fixture(scope="module", params=DEBIANS, ids=lambda debian: debian.name)
def installed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    twitter: Simulator,
    broker: KafkaBroker,
) -> Iterator[BootedHost]:
    """Set up by the commands of docs/production.md, with settings and keys of ours. Its topic has its name."""
    debian: Path = request.param
    folder = tmp_path_factory.mktemp("systemd")
    copy_checkout(folder / "checkout")
    broker.create_topic(debian.name)
    with (
        RedisServer(tmp_path_factory.mktemp("redis")) as redis_server,
        BootedHost(folder, debian.name, debian, checkout=folder / "checkout") as host,
    ):
        # pip builds where the source stands.
        host.run("cp", "--recursive", "/checkout", "/tmp/checkout")
        host.run("sh", "-ec", f"printf '{APT}' >/etc/apt/apt.conf.d/unattended")
        give(host, "apt install")
        settings = {
            "TWITTER_STREAM_URL": twitter.url,
            "REDIS_URL": redis_server.url,
            "KAFKA_HOSTS": broker.hosts,
            "KAFKA_TOPIC": debian.name,
            "REBALANCE_AFTER": 3600,  # track:1 keeps its rules until it is started
        }
        write_settings(host, "traptor", settings)
        write_settings(host, "track:0", of(CREDENTIAL))
        write_settings(host, "track:1", of(UNKNOWN))
        write_settings(host, "track:2", {"KAFKA_OPTIONS": "no JSON"})
        host.run("sh", "-ec", f"printf '{RULES_CSV}' >/tmp/checkout/rules.csv")
        give(host, "supervisorctl update")
        stored.write(redis_server.client(), "track", 1, RULES)
        yield host


def give(host: BootedHost, words: str) -> None:
    """The commands of the page's block that has these words."""
    host.run("sh", "-ec", "cd /tmp/checkout\n" + block(words))


@pytest.fixture(scope="module")
def machine(installed: BootedHost) -> BootedHost:
    """With systemd instead of supervisor, and a store."""
    installed.run("systemctl", "stop", "supervisor")
    give(installed, "systemctl enable --now")
    installed.run("install", "-m", "644", "/checkout/systemd/traptor-store.service", "/etc/systemd/system/")
    place = "/etc/systemd/system/traptor-store.service.d"
    installed.run("sh", "-ec", f"mkdir {place}; printf '{STORE}' >{place}/place.conf; systemctl daemon-reload")
    installed.run("systemctl", "start", "traptor-store")
    return installed


def write_settings(host: BootedHost, name: str, settings: Mapping[str, object]) -> None:
    lines = "".join(f"{setting}='{value}'\n" for setting, value in settings.items())
    path = f"/etc/traptor/{name}.env"
    host.run("sh", "-ec", f'install -m 600 -o traptor -g traptor /dev/null {path}; cat >{path} <<"END"\n{lines}END\n')


def of(credential: Credential) -> dict[str, str]:
    return {name.upper(): value for name, value in credential._asdict().items()}


def test_supervisor_runs_it(installed: BootedHost, broker: KafkaBroker) -> None:
    def states() -> dict[str, str]:
        return {name: state for name, (state, _) in installed.processes().items()}

    wait_until(lambda: states() == PROCESSES, f"{PROCESSES}")
    assert len(broker.consume(installed.name, 20)) >= 20


@pytest.mark.parametrize("unit", UNITS)
def test_it_runs(machine: BootedHost, unit: str) -> None:
    machine.wait_for(unit, ActiveState="active", SubState="running", NRestarts="0")


def test_its_tweets_come_to_kafka_and_into_the_store(machine: BootedHost, broker: KafkaBroker) -> None:
    before = len(broker.consume(machine.name))
    assert len(broker.consume(machine.name, before + 20)) >= before + 20
    wait_until(lambda: stored_tweets(machine) >= 20, "tweets in the store")


def stored_tweets(machine: BootedHost) -> int:
    """As its user sees it, who only reads. Until the store has made its tables an error stands for a number."""
    told = machine.run("runuser", "-u", "traptor", "--", "python3", "-c", COUNT, check=False).strip()
    return int(told) if told.isdigit() else 0


@pytest.mark.parametrize("unit", UNITS)
def test_its_sandbox_is_tight(machine: BootedHost, unit: str) -> None:
    said = machine.run("systemd-analyze", "security", "--no-pager", "--threshold=30", f"{unit}.service")
    print(said.splitlines()[-1])


@pytest.mark.parametrize("unit", UNITS)
def test_a_crash_is_restarted(machine: BootedHost, unit: str) -> None:
    pid = machine.show(unit, "MainPID")["MainPID"]
    machine.run("kill", "-KILL", pid)
    machine.wait_for(unit, ActiveState="active", SubState="running", NRestarts="1")
    assert machine.show(unit, "MainPID")["MainPID"] != pid


def test_it_streams_again(machine: BootedHost, twitter: Simulator) -> None:
    """The credential is free again by then."""
    twitter.wait_for_sent(twitter.tweets + 50)


@pytest.mark.parametrize("unit", UNITS)
def test_a_stop_is_in_good_order(machine: BootedHost, unit: str) -> None:
    machine.run("systemctl", "stop", unit)
    machine.wait_for(unit, ActiveState="inactive", Result="success", ExecMainStatus="0")


def test_a_stop_loses_nothing_that_was_received(machine: BootedHost) -> None:
    last = machine.run("journalctl", "--unit=traptor@track:0", "--output=cat", "--grep=^traptor: ").splitlines()[-1]
    account = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", last)}
    assert account["delivered"] >= account["received"] > 0
    assert account.keys() <= {"received", "matched", "delivered", "taken_up"}


@pytest.mark.parametrize("unit, status", [("traptor@track:2", "2"), ("traptor@track:1", "3")])
def test_what_another_start_would_not_mend_is_left_alone(machine: BootedHost, unit: str, status: str) -> None:
    machine.run("systemctl", "start", unit)
    machine.wait_for(unit, 240, **ALONE, ExecMainStatus=status)
