"""How the command ends when whoever it talks to does not let go: within ten seconds, with exit code 0."""

import array
import fcntl
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import redis

from tests.integration.daemon import BOTH_APIS, PATIENCE_SECONDS, ROOT, Daemon, environment, others_heavy, to_stdout
from tests.servers import RedisServer, wait_until
from traptor.rules import stored
from traptor.simulator import Simulator

STOP_SECONDS = 10.0


def write_rule(conn: "redis.Redis") -> None:
    stored.write(conn, "track", 0, [{"rule_id": "1", "tag": "weather", "value": "storm"}])


@BOTH_APIS
@pytest.mark.parametrize("spelling", others_heavy("REDIS_URL", "REDIS_HOST"))
def test_a_frozen_redis_does_not_keep_it(
    tmp_path: Path, redis_server: RedisServer, redis_db: "redis.Redis", spelling: str, api: str
) -> None:
    """Not even while it is asked for the rules."""
    write_rule(redis_db)
    url = redis_server.url if spelling == "REDIS_URL" else ""
    place = {"REDIS_URL": url, "REDIS_HOST": redis_server.host, "REDIS_PORT": redis_server.port}
    always_looking = {"TWITTER_API": api, "RULE_REFRESH_INTERVAL": 0.1, "RULE_CHECK_INTERVAL": 0.01}
    with (
        Simulator(rate=20) as twitter,
        to_stdout(tmp_path, redis_server, twitter.url, **place, **always_looking) as daemon,
    ):
        daemon.messages(1)
        redis_server.freeze()
        try:
            daemon.wait_for_log("Redis cannot be read: the last rules stay")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait_for_exit(STOP_SECONDS) == 0
        finally:
            redis_server.thaw()


@BOTH_APIS
def test_a_reader_that_does_not_read_does_not_keep_it(
    tmp_path: Path, redis_server: RedisServer, redis_db: "redis.Redis", api: str
) -> None:
    write_rule(redis_db)
    with Simulator(rate=0) as twitter:
        wanted = to_stdout(tmp_path, redis_server, twitter.url, STOP_TIMEOUT=1, TWITTER_API=api)
        process = subprocess.Popen(wanted.command, env=wanted.environment, cwd=tmp_path, stdout=subprocess.PIPE)
        try:
            assert process.stdout
            capacity = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ)
            wait_until(lambda: _unread_bytes(process.stdout) > capacity // 2, "a pipe that fills")
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 0
        finally:
            process.kill()
            process.communicate()


def _unread_bytes(pipe: object) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)  # type: ignore[call-overload]
    return count[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_it_is_ready_ends_it_as_asked(number: signal.Signals, tmp_path: Path) -> None:
    code = "import os, traptor.cli as cli; cli.run = lambda *_, **__: os.kill(os.getpid(), %d); cli.main()"
    process = subprocess.run(
        [sys.executable, "-c", code % number],
        env={**environment(tmp_path, {}), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        timeout=PATIENCE_SECONDS,
        check=False,
        capture_output=True,
    )
    assert (process.returncode, b"Traceback" in process.stderr) == (0, False)


def test_without_standard_output_it_serves_kafka_all_the_same(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, KAFKA_HOSTS="127.0.0.1:1", REDIS_HOST="127.0.0.1", REDIS_PORT="1")
    daemon.command = ["sh", "-c", 'exec "$@" >&-', "sh", *daemon.command]
    with daemon:
        daemon.wait_for_log("Redis cannot be read: check REDIS_HOST and REDIS_PORT, or REDIS_URL")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_for_exit(STOP_SECONDS) == 0
