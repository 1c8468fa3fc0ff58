"""Whatever becomes of standard error, a Traptor collects, and its exit code says how it ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.integration.daemon import environment
from tests.servers import RedisServer
from traptor.rules import stored
from traptor.simulator import Simulator

PATIENCE_SECONDS = 30.0
REFUSED = [{"fault": "status", "code": 403, "times": 0, "body": "no coffee here"}]


@pytest.fixture
def settings(tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis) -> dict[str, str]:
    stored.write(redis_db, "track", 0, [{"rule_id": "1", "tag": "drinks", "value": "coffee"}])
    return environment(tmp_path, {"REDIS_URL": redis_server.url, "LOG_LEVEL": "DEBUG"})


def start(how: str, wanted: dict[str, str], twitter: Simulator, folder: Path) -> "subprocess.Popen[bytes]":
    """A Traptor whose standard error is redirected as a shell has it."""
    command = f'exec "{sys.executable}" -m traptor --test --delay 0 {how}'
    pipe = subprocess.PIPE
    wanted = {**wanted, "TWITTER_STREAM_URL": twitter.url}
    return subprocess.Popen(["bash", "-c", command], cwd=folder, env=wanted, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", "2> >(exec true)", ""])
def test_a_refusal_ends_with_exit_3(how: str, settings: dict[str, str], tmp_path: Path) -> None:
    with Simulator(faults=REFUSED) as twitter, start(how, settings, twitter, tmp_path) as process:
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 3


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-"])
def test_a_wrong_setting_ends_with_exit_2(how: str, settings: dict[str, str], tmp_path: Path) -> None:
    with Simulator() as twitter, start(f"--id nine {how}", settings, twitter, tmp_path) as process:
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2


def test_a_pipe_that_nobody_reads_does_not_stop_it(settings: dict[str, str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    filled = b"x" * 65_536
    os.write(writing, filled)
    with Simulator(rate=200.0) as twitter:
        process = subprocess.Popen(
            [sys.executable, "-m", "traptor", "--test", "--delay", "0"],
            cwd=tmp_path,
            env={**settings, "TWITTER_STREAM_URL": twitter.url},
            stdout=subprocess.PIPE,
            stderr=writing,
        )
        with process:
            assert process.stdout
            assert process.stdout.readline().startswith(b"{")
            process.send_signal(signal.SIGTERM)
            process.stdout.read()
            assert process.wait(PATIENCE_SECONDS) == 0
    os.close(writing)
    with open(reading, "rb") as rest:
        assert rest.read() == filled
