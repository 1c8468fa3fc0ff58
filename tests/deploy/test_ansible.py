"""A fleet from bare hosts of both Debians: built, changed, upgraded under load, and taken down again, in the order of a
life. ``store`` and ``node-a`` are Debian 13, ``spare`` and ``node-b`` Debian 12."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from contextlib import ExitStack, closing

import pytest
import redis
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from tests.deploy import hosts
from tests.deploy.fleet import ADDRESSES, DEBIAN, KEYS, SECRETS, SERVERS, SIMULATOR_PORT, Fleet
from tests.deploy.hosts import CONTROL, KAFKA, Host, kafka_sha256
from tests.servers import wait_until
from traptor.rules import stored
from traptor.simulator import Simulator
from traptor.simulator.connection import Connection

pytestmark = pytest.mark.integration

RULES = {
    "track": [{"rule_id": "1", "tag": "weather", "value": "storm"}],
    "follow": [{"rule_id": "1", "tag": "newsroom", "value": "1001"}],
    "locations": [{"rule_id": "1", "tag": "New York", "value": "-74,40,-73,41"}],
}
TWO_NODES = {"follow": ["node-a", "node-b"], "track": ["node-a"], "location": ["node-b"]}
FOUR = {"follow:0", "follow:1", "track:0", "locations:0"}
ONE_MORE = {**TWO_NODES, "track": ["node-a", "node-b"]}
ONE_NODE_LEFT = {"follow": ["node-a"], "track": ["node-a"], "retired": ["node-b"]}
OTHER_PROGRAM = "[program:other]\ncommand=sleep 100000"
OF_THE_HOST = {"numprocs": "", "numprocs_start": ""}
PATIENCE_SECONDS = 180.0

COLLECTED_BEFORE = """
apt-get install --quiet=2 --yes --no-install-recommends redis-server
service redis-server start
until redis-cli hset traptor-track:0:1 rule_id 1 tag weather value storm; do sleep 0.1; done
"""
"""Debian's Redis with a rule, as it stood before Ansible came."""

Machines = dict[str, Host]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("ansible"), f"file://{KAFKA}", kafka_sha256())


@pytest.fixture(scope="module")
def machines(fleet: Fleet) -> Iterator[Machines]:
    """Bare Debians that take our ssh key."""
    names = hosts.name_addresses(ADDRESSES, fleet.folder)
    with ExitStack() as stack:
        started = {}
        for name, address in ADDRESSES.items():
            host = Host(fleet.folder / name, name, address, DEBIAN[name])
            host.write("/root/.ssh/authorized_keys", (fleet.folder / "ssh.pub").read_text(), mode=0o600)
            host.write("/etc/hosts", names)
            started[name] = stack.enter_context(host)
        yield started


@pytest.fixture(scope="module")
def twitter() -> Iterator[Simulator]:
    with Simulator(credentials=KEYS, rate=20, host=CONTROL, port=SIMULATOR_PORT) as simulator:
        yield simulator


@pytest.fixture
def redis_db(fleet: Fleet) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(fleet.redis_url(), decode_responses=True) as client:
        yield client


def running(machines: Machines) -> set[str]:
    """The names of the Traptors that run somewhere."""
    return {name.removeprefix("traptor:").replace("-", ":") for _, name in pids(machines)}


def pids(machines: Machines) -> dict[tuple[str, str], int]:
    """Of the Traptors that run, by node and supervisor's name."""
    return {
        (node, name): pid
        for node in ("node-a", "node-b")
        for name, (state, pid) in machines[node].processes().items()
        if state == "RUNNING" and name.startswith("traptor:")
    }


def wait_for(machines: Machines, traptors: set[str]) -> None:
    wait_until(lambda: running(machines) == traptors, f"{traptors} to run", PATIENCE_SECONDS)


def collecting(twitter: Simulator) -> set[str]:
    """The consumer keys with an open stream."""
    return {connection.consumer_key for connection in open_streams(twitter)}


def open_streams(twitter: Simulator) -> list[Connection]:
    return [one for one in twitter.connections if one.status == 200 and one.closed_at is None]


def collected(fleet: Fleet) -> list[dict[str, object]]:
    """What stands in the topic."""
    found = []
    with closing(KafkaConsumer(group_id=None, **fleet.kafka_options())) as consumer:
        partition = TopicPartition("my_traptor", 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        while consumer.position(partition) < end:
            found += [json.loads(one.value) for batch in consumer.poll(timeout_ms=500).values() for one in batch]
    return found


def collectors(fleet: Fleet, since: float) -> set[str]:
    """The Traptors whose tweets of this time stand in the topic."""
    newer = [tweet for tweet in collected(fleet) if int(str(tweet["timestamp_ms"])) >= since * 1000]
    return {f"{tweet['traptor']['rule_type']}:{tweet['traptor']['id']}" for tweet in newer}  # type: ignore[index]


def test_too_few_keys_is_an_error_before_anything_changes(fleet: Fleet, machines: Machines) -> None:
    fleet.write_inventory(TWO_NODES, KEYS[:3])
    refused = fleet.play("site.yml")
    assert refused.code != 0
    assert "4 Traptors, and apikeys only 3 keys" in refused.output
    assert set(refused.changed.values()) == {0}
    assert "traptor" not in machines["node-a"].run("cat", "/etc/passwd")


def test_a_fleet_comes_up(fleet: Fleet, machines: Machines, twitter: Simulator) -> None:
    for name in SERVERS:
        machines[name].run("sh", "-ec", COLLECTED_BEFORE)
    started = time.monotonic()
    fleet.write_inventory(TWO_NODES, KEYS[:4], SERVERS)
    built = fleet.play("site.yml")
    assert built.code == 0, built.output
    print(f"\na fleet of four on four hosts after {time.monotonic() - started:.0f} s, changes: {built.changed}")
    wait_for(machines, FOUR)


@pytest.mark.parametrize("server", SERVERS)
def test_redis_and_kafka_serve_who_has_the_password(fleet: Fleet, machines: Machines, server: str) -> None:
    with redis.Redis.from_url(fleet.redis_url(server), decode_responses=True) as client:
        assert client.hgetall("traptor-track:0:1") == RULES["track"][0]
    with closing(KafkaConsumer(**fleet.kafka_options(server))) as consumer:
        assert consumer.topics() <= {"my_traptor"}


@pytest.mark.parametrize("server", SERVERS)
def test_nothing_listens_for_everybody_without_a_password(fleet: Fleet, machines: Machines, server: str) -> None:
    listening = {line.split()[3] for line in machines[server].run("ss", "-Hltn").splitlines()}
    assert {address for address in listening if address.startswith(("0.0.0.0", "*", "[::]"))} == {
        "0.0.0.0:22",
        "[::]:22",
    }
    anonymous = redis.Redis(server, ssl=True, ssl_ca_certs=str(fleet.folder / "ca.crt"))
    with pytest.raises(redis.AuthenticationError), anonymous:
        anonymous.ping()
    with pytest.raises(KafkaError):
        KafkaConsumer(**{**fleet.kafka_options(server), "sasl_plain_password": "wrong"}, bootstrap_timeout_ms=3000)


def test_each_collects_with_a_key_of_its_own(fleet: Fleet, twitter: Simulator, redis_db: redis.Redis) -> None:
    write_rules(redis_db, FOUR)
    wait_until(lambda: len(collecting(twitter)) == 4, "four streams")
    wait_until(lambda: collectors(fleet, 0) == FOUR, "tweets of all four")


def write_rules(redis_db: redis.Redis, traptors: set[str]) -> None:
    for name in traptors:
        kind, number = name.split(":")
        stored.write(redis_db, kind, int(number), RULES[kind])


def test_status_on_the_control_host_shows_the_fleet(fleet: Fleet) -> None:
    placed = {"follow:0": "node-a", "track:0": "node-a", "follow:1": "node-b", "locations:0": "node-b"}
    wanted = {name: ("streaming", node) for name, node in placed.items()}
    wait_until(lambda: states(fleet) == wanted, "four that stream")


def states(fleet: Fleet) -> dict[str, tuple[str, str]]:
    """State and host of each Traptor, as `status` tells them."""
    command = [sys.executable, "-m", "traptor", "status", "--json"]
    environment = {"PATH": hosts.PATH, "REDIS_URL": fleet.redis_url()}
    shown = json.loads(
        subprocess.run(command, check=False, cwd=hosts.ROOT, env=environment, capture_output=True).stdout
    )
    return {one["traptor"]: (one["status"]["state"], one["status"]["host"]) for one in shown["traptors"]}


def test_a_second_run_changes_nothing(fleet: Fleet, machines: Machines) -> None:
    before = [machine.processes() for machine in machines.values()]
    again = fleet.play("site.yml")
    assert (again.code, set(again.changed.values())) == (0, {0}), again.output
    assert [machine.processes() for machine in machines.values()] == before


def test_changed_settings_are_applied_whatever_else_changes(fleet: Fleet, machines: Machines) -> None:
    before = pids(machines)
    machines["node-a"].run("sh", "-ec", f"echo '{OTHER_PROGRAM}' > /etc/supervisor/conf.d/other.conf")
    fleet.write_inventory(TWO_NODES, KEYS[:4], RULE_CHECK_INTERVAL=2)
    tried = fleet.play("site.yml", "--check")
    assert (tried.code, pids(machines)) == (0, before), tried.output
    applied = fleet.play("site.yml")
    assert applied.code == 0, applied.output
    assert pids(machines).keys() == before.keys()
    assert not set(pids(machines).values()) & set(before.values())


def test_what_a_failed_run_has_stopped_is_started_by_the_next(fleet: Fleet, machines: Machines) -> None:
    mistyped = KEYS[0]._replace(consumer_secret="mistyped")
    fleet.write_inventory(TWO_NODES, [mistyped, KEYS[1], KEYS[4], KEYS[3]])
    failed = fleet.play("site.yml")
    assert failed.code != 0
    assert "follow:0 did not come up" in failed.output
    fleet.write_inventory(TWO_NODES, [KEYS[0], KEYS[1], KEYS[4], KEYS[3]])
    mended = fleet.play("site.yml")
    assert mended.code == 0, mended.output
    wait_for(machines, FOUR)


def test_nobody_leaves_tweets_behind(fleet: Fleet, machines: Machines) -> None:
    machines["store"].run("supervisorctl", "signal", "STOP", "kafka")
    fleet.write_inventory(ONE_NODE_LEFT, KEYS)
    left = fleet.play("site.yml")
    machines["store"].run("supervisorctl", "signal", "CONT", "kafka")
    assert left.code != 0
    assert "tweets wait for Kafka in the spool of" in left.output
    wait_for(machines, FOUR)


@pytest.mark.parametrize("node, names", [("node-a", ["follow:0", "track:0"]), ("node-b", ["follow:1", "locations:0"])])
def test_keys_are_for_the_service_alone(machines: Machines, node: str, names: list[str]) -> None:
    listed = machines[node].run("find", "/etc/traptor", "-name", "*.env", "-printf", "%f %m %u\n").splitlines()
    assert set(listed) == {f"{name}.env 600 traptor" for name in [*names, "traptor"]}
    commands = machines[node].run("ps", "-A", "-o", "args")
    assert [secret for secret in SECRETS if secret in commands] == []


def test_the_programs_are_those_that_are_shipped(machines: Machines) -> None:
    """But for the number of processes and the first one's id."""
    written, shipped = ConfigParser(interpolation=None), ConfigParser(interpolation=None)
    written.read_string(machines["node-b"].run("cat", "/etc/supervisor/conf.d/traptor.conf"))
    shipped.read(hosts.ROOT / "supervisor/traptor.conf")
    assert written.sections() == ["group:traptor", "program:follow", "program:locations", "program:traptor-rebalance"]
    for section in written.sections()[1:]:
        assert {**written[section], **OF_THE_HOST} == {**shipped[section], **OF_THE_HOST}
    assert written["program:follow"]["numprocs_start"] == "1"


def test_one_more_traptor_needs_one_more_key(fleet: Fleet, machines: Machines, twitter: Simulator) -> None:
    fleet.write_inventory(ONE_MORE, KEYS[:4])
    assert fleet.play("site.yml").code != 0
    wait_for(machines, FOUR)
    fleet.write_inventory(ONE_MORE, KEYS)
    grown = fleet.play("site.yml")
    assert grown.code == 0, grown.output
    wait_for(machines, {*FOUR, "track:1"})


def test_an_upgrade_under_load_loses_nothing(
    fleet: Fleet, machines: Machines, twitter: Simulator, redis_db: redis.Redis
) -> None:
    # follow:0 was dead for long enough to lose its rules to follow:1.
    write_rules(redis_db, {*FOUR, "track:1"})
    wait_until(lambda: len(collecting(twitter)) == 5, "five streams", PATIENCE_SECONDS)
    upgraded = fleet.play("upgrade.yml", "-e", "traptor_version=7.1")
    assert upgraded.code == 0, upgraded.output
    assert versions(redis_db) == ["7.1"] * 5
    wait_until(lambda: len(collecting(twitter)) == 5, "five streams again", PATIENCE_SECONDS)
    twitter.finish()
    wait_until(lambda: not any(lost(fleet, open_streams(twitter))), "all tweets of the open streams")
    unread = lost(fleet, twitter.connections)
    print(f"\n{twitter.tweets} tweets over {len(twitter.connections)} connections, last ones never read: {unread}")
    assert sum(unread) <= len(unread)


def lost(fleet: Fleet, connections: Sequence[Connection]) -> list[int]:
    """How many tweets at the end of each were on the wire when it was closed. No others are missing in Kafka."""
    ids = {tweet["id_str"] for tweet in collected(fleet)}
    missing = [[tweet_id for tweet_id in connection.sent if tweet_id not in ids] for connection in connections]
    for connection, ends in zip(connections, missing, strict=True):
        assert ends == connection.sent[connection.tweets - len(ends) :]
    return [len(ends) for ends in missing]


def versions(redis_db: redis.Redis) -> list[str]:
    return [json.loads(redis_db.get(key) or "{}")["version"] for key in redis_db.scan_iter("traptor:status:*")]


@pytest.mark.parametrize("version", ["7.2", "7.3"])
def test_an_upgrade_that_fails_leaves_all_as_it_was(
    version: str, fleet: Fleet, machines: Machines, redis_db: redis.Redis
) -> None:
    failed = fleet.play("upgrade.yml", "-e", f"traptor_version={version}")
    assert failed.code != 0
    assert f"follow:0 did not come up with {version}" in failed.output
    assert len(running(machines)) == 5
    assert versions(redis_db) == ["7.1"] * 5
    assert machines["node-a"].run("readlink", "/opt/traptor/current") == "/opt/traptor/7.1\n"


def test_an_upgrade_to_what_runs_already_restarts_nobody(fleet: Fleet, machines: Machines) -> None:
    before = pids(machines)
    again = fleet.play("upgrade.yml", "-e", "traptor_version=7.1")
    assert (again.code, pids(machines)) == (0, before), again.output


def test_other_content_needs_another_version(fleet: Fleet) -> None:
    other = f"{hosts.ROOT}/.deploy/dist/traptor-7.2-py3-none-any.whl"
    refused = fleet.play("upgrade.yml", "-e", "traptor_version=7.1", "-e", f"traptor_wheel={other}")
    assert refused.code != 0
    assert "raise __version__" in refused.output


def test_a_rollback_is_one_command(fleet: Fleet, machines: Machines, redis_db: redis.Redis) -> None:
    back = fleet.play("upgrade.yml", "-e", "traptor_version=7.0")
    assert back.code == 0, back.output
    assert versions(redis_db) == ["7.0"] * 5


def test_a_node_that_still_runs_must_not_be_left_out(fleet: Fleet, machines: Machines) -> None:
    fleet.write_inventory({**ONE_NODE_LEFT, "retired": []}, KEYS)
    refused = fleet.play("site.yml")
    assert refused.code != 0
    assert "node-b runs follow:1" in refused.output
    assert set(refused.changed.values()) == {0}


def test_a_retired_node_gives_its_keys_back(fleet: Fleet, machines: Machines, twitter: Simulator) -> None:
    fleet.write_inventory(ONE_NODE_LEFT, KEYS)
    left = fleet.play("site.yml")
    assert left.code == 0, left.output
    wait_for(machines, {"follow:0", "track:0"})
    assert machines["node-b"].run("find", "/etc/traptor", "-name", "*:*") == ""
    wait_until(lambda: collecting(twitter) == {"key-0", "key-1"}, "streams with the first two keys", PATIENCE_SECONDS)


def test_ansible_never_showed_a_secret(fleet: Fleet) -> None:
    assert [secret for secret in SECRETS if secret in fleet.said] == []
