"""When Twitter does not give a stream: which answers end the process, which are waited out, and how it is stopped."""

import re
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import redis

from tests.integration.daemon import BOTH_APIS, Daemon, others_heavy, publish, to_stdout
from tests.servers import PATIENCE_SECONDS, RedisServer, free_port
from traptor.rules import stored
from traptor.simulator import Simulator

Collect = Callable[..., Daemon]


@pytest.fixture
def collect(tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis) -> Collect:
    """Makes a Traptor that has a rule, and prints what it collects from a Twitter."""
    stored.write(redis_db, "track", 0, [{"rule_id": "1", "tag": "drinks", "value": "coffee"}])
    return partial(to_stdout, tmp_path, redis_server)


@pytest.mark.parametrize(
    "status,tries,what_to_do",
    others_heavy(
        (401, 3, "credentials"),
        (403, 1, "account"),
        (404, 1, "TWITTER_STREAM_URL"),
        (406, 1, "check the rules"),
        (410, 1, "retired"),
        (413, 1, "rules"),
        (416, 1, "parameter"),
    ),
)
def test_an_answer_for_good_ends_with_exit_3(collect: Collect, status: int, tries: int, what_to_do: str) -> None:
    faults = [{"fault": "status", "code": status, "times": 0, "retry_after": 1, "body": "No coffee here"}]
    with Simulator(faults=faults) as twitter, collect(twitter.url, LOG_JSON="false") as daemon:
        assert daemon.wait_for_exit() == 3
        assert len(twitter.connections) == tries
        (told,) = [line.decode() for line in daemon.stderr.lines if b" CRITICAL " in line]
        assert [part for part in (str(status), what_to_do, "No coffee here") if part not in told] == []
        assert daemon.stdout.lines == []


@pytest.mark.parametrize("seconds", others_heavy(3600, -900))
def test_a_wrong_clock_is_named(collect: Collect, seconds: int) -> None:
    faults = [
        {"fault": "status", "code": 401, "times": 2, "retry_after": 1},
        {"fault": "clock", "seconds": seconds},
    ]
    with Simulator(faults=faults) as twitter, collect(twitter.url, LOG_JSON="false") as daemon:
        assert daemon.wait_for_exit() == 3
        (told,) = [line.decode() for line in daemon.stderr.lines if b" CRITICAL " in line]
        found = re.search(r"the clock of this machine is ([+-]\d+) s off Twitter's", told)
        assert found, told
        assert float(found[1]) == pytest.approx(-seconds, abs=5)


@BOTH_APIS
def test_one_401_is_no_refusal(collect: Collect, api: str) -> None:
    faults = [{"fault": "status", "code": 401, "times": 2, "retry_after": 1}]
    with Simulator(faults=faults) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        daemon.messages(1)
        assert [connection.status for connection in twitter.connections] == [401, 401, 200]
        daemon.stop()


@BOTH_APIS
@pytest.mark.parametrize("status", others_heavy(420, 429, 503))
def test_other_answers_are_tried_again(collect: Collect, api: str, status: int) -> None:
    faults = [{"fault": "status", "code": status, "times": 2, "retry_after": 1}]
    with Simulator(faults=faults) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        daemon.messages(1)
        assert [connection.status for connection in twitter.connections] == [status, status, 200]
        told = daemon.logged("no stream")
        assert [(record["level"], record["cause"]) for record in told] == [("WARNING", f"http-{status}")] * 2
        daemon.stop()


@BOTH_APIS
@pytest.mark.parametrize("status,least_seconds", others_heavy((420, 60), (429, 60), (503, 5)))
def test_twitter_s_waits_are_kept_and_cut_short_by_sigterm(
    collect: Collect, api: str, status: int, least_seconds: int
) -> None:
    faults = [{"fault": "status", "code": status}]
    with Simulator(faults=faults) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        (told,) = daemon.wait_for_log("no stream")
        assert least_seconds <= told["wait_seconds"] <= 1.2 * least_seconds
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_for_exit() == 0
        assert len(twitter.connections) == 1


@BOTH_APIS
def test_a_notice_does_not_cut_short_the_wait_that_twitter_asked_for(
    collect: Collect, redis_db: redis.Redis, api: str
) -> None:
    faults = [{"fault": "status", "code": 420, "retry_after": 2}]
    with Simulator(faults=faults) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        first = twitter.wait_for_connection(1, PATIENCE_SECONDS)
        publish(redis_db, "track:0")
        daemon.wait_for_log("restart notice")
        assert twitter.wait_for_connection(2, PATIENCE_SECONDS).opened_at - first.opened_at >= 2
        daemon.stop()


@BOTH_APIS
@pytest.mark.parametrize(
    "fault,cause", others_heavy(("cut", "cut"), ("reset", "reset"), ("end", "closed"), ("disconnect", "disconnect-12"))
)
def test_a_stream_that_ends_is_opened_again_at_once(collect: Collect, api: str, fault: str, cause: str) -> None:
    faults = [{"fault": fault, "after": 5}]
    with Simulator(rate=50, faults=faults) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        daemon.messages(10)
        assert len(twitter.connections) == 2
        (told,) = daemon.logged("no stream")
        assert (told["cause"], told["wait_seconds"]) == (cause, 0)
        daemon.stop()


def test_a_twitter_that_cannot_be_reached_is_tried_again(collect: Collect) -> None:
    port = free_port()
    with collect(f"http://127.0.0.1:{port}") as daemon:
        (told, *_) = daemon.wait_for_log("no stream")
        assert told["cause"] == "network"
        with Simulator(port=port):
            daemon.messages(1)
            daemon.stop()


def test_sigterm_is_obeyed_while_twitter_does_not_answer(collect: Collect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        with collect(f"http://127.0.0.1:{listener.getsockname()[1]}") as daemon:
            connected, _ = listener.accept()
            with connected:
                connected.settimeout(30)
                assert connected.recv(4) == b"POST"
                daemon.signal(signal.SIGTERM)
                assert daemon.wait_for_exit() == 0
