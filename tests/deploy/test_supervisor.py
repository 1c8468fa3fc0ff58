"""The shipped program group under a real supervisord: what is restarted, what is not, and what a stop keeps."""

import json
import os
import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.deploy.conftest import TOPIC
from tests.deploy.supervisord import Supervisord
from tests.servers import KafkaBroker, RedisServer, wait_until
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Credential, Simulator
from traptor.simulator.connection import Connection

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.xdist_group("supervisor")]

UNKNOWN = Credential("unknown-key", "unknown-secret", "unknown-token", "unknown-token-secret")
LEASE_SECONDS = 30.0
"""After a crash the credential is free again by then."""
BUSY = "sleep 2\n"
"""On a machine that is, a process takes longer than ``startsecs`` to see what is wrong."""
RULES = [{"rule_id": "1", "tag": "weather", "value": "storm"}]


@pytest.fixture(scope="module")
def twitter() -> Iterator[Simulator]:
    with Simulator(rate=200) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def supervisor(
    tmp_path_factory: pytest.TempPathFactory, twitter: Simulator, broker: KafkaBroker
) -> Iterator[Supervisord]:
    """Three track Traptors: with Twitter's key, with one that Twitter does not know, and with wrong settings."""
    folder = tmp_path_factory.mktemp("supervisor")
    (tmp_path_factory.getbasetemp() / "redis").mkdir()
    with RedisServer(tmp_path_factory.getbasetemp() / "redis") as redis_server:
        for traptor_id in (0, 1):
            stored.write(redis_server.client(), "track", traptor_id, RULES)
        made = Supervisord(folder, track_processes=3)
        made.write_settings(
            TWITTER_STREAM_URL=twitter.url,
            REDIS_URL=redis_server.url,
            KAFKA_HOSTS=broker.hosts,
            KAFKA_TOPIC=TOPIC,
            KAFKA_OPTIONS=json.dumps({"linger_ms": 5}),
            LOG_DIR=folder / "log",
            SPOOL_DIR=folder / "spool",
        )
        made.write_key("track:0", CREDENTIAL)
        made.write_key("track:1", UNKNOWN)
        (made.settings / "track:2.env").write_text(f"{BUSY}KAFKA_OPTIONS='no JSON'\n")
        with made:
            yield made


def test_a_process_runs_for_each_key(supervisor: Supervisord) -> None:
    for process in ("track-0", "track-1"):
        supervisor.wait_for_state(process, "RUNNING")
    assert supervisor.ctl("status").count("\n") == 4


def test_the_rules_of_the_dead_are_looked_after(supervisor: Supervisord) -> None:
    wait_until(lambda: " RUNNING " in supervisor.ctl("status", "traptor-rebalance"), "traptor-rebalance RUNNING")
    first = supervisor.ctl("pid", "traptor-rebalance")
    os.kill(int(first), signal.SIGKILL)
    wait_until(lambda: supervisor.ctl("pid", "traptor-rebalance") not in {first, "0\n"}, "another process")


def test_no_part_of_a_key_is_on_a_command_line(supervisor: Supervisord) -> None:
    command = Path(f"/proc/{supervisor.pid('track-0')}/cmdline").read_text().split("\0")
    assert command[1:-1] == ["-m", "traptor", "--type", "track", "--id", "0"]


def test_a_crash_is_restarted(supervisor: Supervisord, twitter: Simulator) -> None:
    supervisor.wait_for_state("track-0", "RUNNING")
    twitter.wait_for_sent(50)
    crashed = supervisor.pid("track-0")
    os.kill(crashed, signal.SIGKILL)
    wait_until(lambda: supervisor.pid("track-0") not in {0, crashed}, "another process")
    twitter.wait_for_sent(twitter.tweets + 50, LEASE_SECONDS)


def test_a_stop_loses_nothing_that_was_received(
    supervisor: Supervisord, twitter: Simulator, broker: KafkaBroker
) -> None:
    supervisor.ctl("stop", "traptor:track-0")
    before = len(broker.consume(TOPIC, 1))
    supervisor.ctl("start", "traptor:track-0")
    twitter.wait_for_sent(twitter.tweets + 300)
    supervisor.ctl("stop", "traptor:track-0")
    summary = (supervisor.folder / "track-0.out").read_text().splitlines()[-1]
    received = int(re.search(r"received (\d+)", summary)[1])  # type: ignore[index]
    collected = [key.decode() for key, _ in broker.consume(TOPIC, before + received)[before:] if key]
    stream = [connection for connection in twitter.connections if connection.sent][-1]
    assert received >= 300
    assert collected == stream.sent[:received]


def test_a_restart_hands_the_stream_over_and_back(supervisor: Supervisord, twitter: Simulator) -> None:
    """By a process that stands by meanwhile, and leaves nothing behind."""
    supervisor.ctl("start", "traptor:track-0")
    supervisor.wait_for_state("track-0", "RUNNING")
    twitter.wait_for_sent(twitter.tweets + 50)
    first, before = supervisor.pid("track-0"), len(streams(twitter))
    told = supervisor.restart("track:0")
    wait_until(lambda: len(streams(twitter)) == before + 2, f"two more streams: {told}")
    assert supervisor.pid("track-0") not in {0, first}
    gaps = [after.opened_at - (before.closed_at or 0) for before, after in pairwise(streams(twitter)[-3:])]
    print([f"{1000 * seconds:.0f} ms without a stream" for seconds in gaps])
    assert list(supervisor.temporary.iterdir()) == []


def test_who_does_not_run_is_started_by_a_restart(supervisor: Supervisord, twitter: Simulator) -> None:
    supervisor.ctl("stop", "traptor:track-0")
    before = len(streams(twitter))
    supervisor.restart("track:0")
    wait_until(lambda: len(streams(twitter)) == before + 1, "one more stream")


def streams(twitter: Simulator) -> list[Connection]:
    """Those that have brought something; others are refused."""
    return [connection for connection in twitter.connections if connection.sent]


def test_a_refused_credential_is_not_restarted(supervisor: Supervisord) -> None:
    supervisor.wait_for_state("track-1", "EXITED", timeout_seconds=90)
    assert "exited: track-1 (exit status 3; expected)" in supervisor.log()
    assert supervisor.log().count("spawned: 'track-1'") == 1


def test_wrong_settings_are_not_tried_again(supervisor: Supervisord) -> None:
    supervisor.wait_for_state("track-2", "EXITED")
    assert "exited: track-2 (exit status 2; expected)" in supervisor.log()
    assert supervisor.log().count("spawned: 'track-2'") == 1


def test_each_traptor_has_a_log_of_its_own(supervisor: Supervisord) -> None:
    names = {"traptor-track-0.log", "traptor-track-1.log"}
    wait_until(lambda: {path.name for path in supervisor.folder.glob("log/*")} == names, f"the logs {names}")
