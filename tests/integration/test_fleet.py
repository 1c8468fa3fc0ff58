"""Several real Traptors on one simulator: one is killed, and its rules are collected by the others."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.daemon import APIKEYS, ROOT, Daemon, to_stdout
from tests.servers import PATIENCE_SECONDS, RedisServer, wait_until
from traptor.rules import stored
from traptor.simulator import Credential, Simulator

CREDENTIALS = [Credential(f"key-{n}", f"secret-{n}", f"token-{n}", f"token-secret-{n}") for n in range(3)]
BEAT_SECONDS = 1.0
TTL_SECONDS = 2 * BEAT_SECONDS
RULES = [{"rule_id": str(n), "value": f"word{n}", "tag": "t"} for n in range(30)]


@pytest.fixture
def twitter() -> Iterator[Simulator]:
    with Simulator(credentials=CREDENTIALS, rate=20) as simulator:
        yield simulator


def traptor(folder: Path, twitter: Simulator, redis_server: RedisServer, traptor_id: int) -> Daemon:
    """A track Traptor with a credential of its own."""
    home = folder / str(traptor_id)
    home.mkdir(exist_ok=True)
    keys = dict(zip(APIKEYS, CREDENTIALS[traptor_id], strict=True))
    quick = {"HEARTBEAT_INTERVAL": BEAT_SECONDS, "RESTART_MIN_INTERVAL": 1}
    return to_stdout(home, redis_server, twitter.url, "--id", str(traptor_id), **quick, **keys)


@contextlib.contextmanager
def rebalancing(redis_server: RedisServer, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """`traptor rules rebalance --watch`; ended by SIGTERM, with exit code 0."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": redis_server.url}
    command = [sys.executable, "-m", "traptor", "rules", "rebalance", "--watch", "--after", "0", *options]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said


def held(conn: redis.Redis) -> dict[int, set[str]]:
    return {i: {rule["value"] for rule in some.values()} for i, some in stored.read_all(conn, "track").items()}


def asked(twitter: Simulator) -> dict[str, set[str]]:
    """What Twitter is asked for on each open connection, by consumer key."""
    return {
        one.consumer_key: set(one.predicates.track)
        for one in list(twitter.connections)
        if one.status == 200 and one.closed_at is None
    }


def collected(twitter: Simulator) -> Counter[str]:
    """On how many open streams each phrase is asked for."""
    return Counter(phrase for phrases in asked(twitter).values() for phrase in phrases)


@contextlib.contextmanager
def observed(redis_server: RedisServer) -> Iterator[list[list[str]]]:
    """The rule_ids in Redis, again and again until the end; KEYS is one command, so each look is one moment."""
    looks: list[list[str]] = []
    over = threading.Event()

    def observe() -> None:
        with redis_server.client(decode_responses=True) as conn:
            while not over.wait(0.001):
                looks.append(sorted(key.rsplit(":", 1)[1] for key in conn.keys("traptor-track:*")))

    observer = threading.Thread(target=observe)
    observer.start()
    try:
        yield looks
    finally:
        over.set()
        observer.join()


CHANNEL = "traptor-notify"
ALL_ONCE = Counter(rule["value"] for rule in RULES)


def test_the_rules_of_a_killed_traptor_are_collected_by_the_others(
    tmp_path: Path, twitter: Simulator, redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    for traptor_id in range(3):
        stored.write(redis_db, "track", traptor_id, RULES[traptor_id::3])
    before = held(redis_db)
    with contextlib.ExitStack() as stack:
        fleet = [stack.enter_context(traptor(tmp_path, twitter, redis_server, n)) for n in range(3)]
        wait_until(lambda: collected(twitter) == ALL_ONCE, "three streams with ten phrases each")
        # Two may watch: each look is made by one of them.
        stack.enter_context(rebalancing(redis_server))
        stack.enter_context(rebalancing(redis_server))
        looks = stack.enter_context(observed(redis_server))
        fleet[1].signal(signal.SIGKILL)
        killed_at = time.monotonic()
        wait_until(
            lambda: collected(twitter) == ALL_ONCE and len(asked(twitter)) == 2, "all phrases on two streams", 30
        )
        assert time.monotonic() - killed_at < TTL_SECONDS + 10
        after = held(redis_db)
        assert set(after) == {0, 2}
        assert all(after[stayed] >= before[stayed] for stayed in (0, 2))
        # At no moment was a rule on two, or on none.
        assert all(look == sorted(rule["rule_id"] for rule in RULES) for look in looks)
        # Nothing moves any more.
        connections = len(twitter.connections)
        tweets = twitter.tweets
        wait_until(lambda: twitter.tweets > tweets + 40, "more tweets")
        assert len(twitter.connections) == connections


def test_rules_go_home_when_their_traptor_lives_again(
    tmp_path: Path, twitter: Simulator, redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    for traptor_id in range(2):
        stored.write(redis_db, "track", traptor_id, RULES[traptor_id::2])
    before = held(redis_db)
    with traptor(tmp_path, twitter, redis_server, 1), rebalancing(redis_server, "--return"):
        wait_until(lambda: collected(twitter) == ALL_ONCE, "one stream with all phrases")
        with traptor(tmp_path, twitter, redis_server, 0):
            wait_until(lambda: held(redis_db) == before, "every rule at home")
            wait_until(lambda: collected(twitter) == ALL_ONCE and len(asked(twitter)) == 2, "two streams")


def test_a_frozen_traptor_counts_as_dead_and_finds_its_rules_gone(
    tmp_path: Path, twitter: Simulator, redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    for traptor_id in range(2):
        stored.write(redis_db, "track", traptor_id, RULES[traptor_id::2])
    with traptor(tmp_path, twitter, redis_server, 0) as frozen, traptor(tmp_path, twitter, redis_server, 1):
        wait_until(lambda: collected(twitter) == ALL_ONCE and len(asked(twitter)) == 2, "two streams")
        wait_until(lambda: redis_db.pubsub_numsub(CHANNEL) == [(CHANNEL, 2)], "two that hear notices")
        with rebalancing(redis_server):
            frozen.signal(signal.SIGSTOP)
            wait_until(lambda: set(held(redis_db)) == {1}, "all rules on the other")
            frozen.signal(signal.SIGCONT)
            # It hears of it, or looks, and lets its stream go: no phrase stays on two.
            wait_until(
                lambda: collected(twitter) == ALL_ONCE and len(asked(twitter)) == 1, "one stream with all phrases"
            )
