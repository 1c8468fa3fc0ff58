"""The command itself: the demo, pipes, limits, wrong settings, and what must not be shown."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import redis

from tests.integration.daemon import BOTH_APIS, Daemon, environment, others_heavy, to_stdout
from tests.servers import RedisServer
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Simulator

COFFEE = {"rule_id": "1", "tag": "drinks", "value": "coffee"}
DEMO = f"{sys.executable} -m traptor --demo --test"

needs_jq = pytest.mark.skipif(not shutil.which("jq"), reason="no jq in PATH")

Collect = Callable[..., Daemon]


@pytest.fixture
def collect(tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis) -> Collect:
    """Makes a Traptor that prints what it collects from a Twitter with the rules in `redis_db`."""
    return partial(to_stdout, tmp_path, redis_server)


@pytest.mark.parametrize("traptor_type", others_heavy("track", "follow", "locations"))
def test_the_demo_needs_nothing_and_ends_by_ctrl_c(tmp_path: Path, traptor_type: str) -> None:
    proxy = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    with Daemon(tmp_path, "--demo", "--test", "--type", traptor_type, **proxy) as demo:
        demo.messages(3)
        demo.signal(signal.SIGINT)
        assert demo.wait_for_exit() == 0
        enriched = [json.loads(line)["traptor"] for line in demo.stdout.lines]
        assert {traptor["rule_type"] for traptor in enriched} == {traptor_type}
        assert all(traptor["rules"] for traptor in enriched)
        assert demo.summary() == {"received": len(enriched), "matched": len(enriched), "delivered": len(enriched)}


def test_a_limit_is_kept_exactly(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--demo", "--test", "--limit", "7") as demo:
        assert demo.wait_for_exit() == 0
        assert len(demo.stdout.lines) == 7
        assert len({json.loads(line)["id_str"] for line in demo.stdout.lines}) == 7
        assert demo.summary()["received"] == 7


@pytest.mark.parametrize(
    "pipeline,lines",
    [
        (f"{DEMO} | head -1", 1),
        (f"{DEMO} --limit 3 | cat", 3),
        pytest.param(f"{DEMO} --limit 3 | jq --compact-output .", 3, marks=needs_jq),
    ],
)
def test_a_pipe_ends_quietly(tmp_path: Path, pipeline: str, lines: int) -> None:
    script = f"{pipeline}; exit ${{PIPESTATUS[0]}}"
    env = environment(tmp_path, {})
    ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    assert len(ended.stdout.splitlines()) == lines
    assert_quiet(ended.stderr)


@needs_jq
def test_ctrl_c_ends_both_sides_of_a_pipe_quietly(tmp_path: Path) -> None:
    """A terminal sends SIGINT to both, and jq is the first to go."""
    stderr = tmp_path / "stderr"
    with (
        stderr.open("wb") as said,
        subprocess.Popen(
            DEMO.split(),
            cwd=tmp_path,
            env=environment(tmp_path, {}),
            stdout=subprocess.PIPE,
            stderr=said,
            process_group=0,
        ) as demo,
    ):
        with subprocess.Popen(
            ["jq", "--unbuffered", "."], stdin=demo.stdout, stdout=subprocess.PIPE, process_group=demo.pid
        ) as jq:
            assert demo.stdout
            assert jq.stdout
            demo.stdout.close()
            assert jq.stdout.readline() == b"{\n"
            os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(10) == 0
    assert_quiet(stderr.read_bytes())


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    command = ["sh", "-c", f"{DEMO} --delay 0 --limit 1 >/dev/full"]
    env = environment(tmp_path, {})
    ended = subprocess.run(command, env=env, cwd=tmp_path, timeout=30, check=False, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
    assert ended.stderr.endswith(b"Error: standard output cannot be written: No space left on device\n")


def assert_quiet(stderr: bytes) -> None:
    assert b"Traceback" not in stderr
    assert b"Broken" not in stderr
    assert stderr.splitlines()[-1].startswith(b"traptor: received ")


WRONG_SETTINGS = [
    ("TRAPTOR_TYPE", "people", "track, follow or locations"),
    ("TRAPTOR_ID", "-1", "whole number from 0"),
    ("TWITTER_STREAM_URL", "ftp://example.com", "https://"),
    ("RULE_CHECK_INTERVAL", "soon", "number of seconds"),
    ("REDIS_PORT", "65536", "1 to 65535"),
    ("REDIS_DB", "first", "whole number from 0"),
    ("PUBSUB_CHECK_INTERVAL", "0", "from 0.01 to a year"),
    ("HEARTBEAT_INTERVAL", "nan", "from 0.5 to a year"),
    ("ENABLE_STATS_COLLECTION", "maybe", "true/false"),
    ("STATS_COLLECTION_WINDOW", "0", "whole number from 1"),
    ("KAFKA_ENABLED", "perhaps", "true/false"),
    ("KAFKA_HOSTS", "one:9092,,two:9092", "host:port"),
    ("KAFKA_TOPIC", "bad topic!", "letters, digits"),
    ("LOG_LEVEL", "loud", "DEBUG"),
    ("LOG_MAX_BYTES", "10MB", "whole number"),
]


@pytest.mark.parametrize("name,value,allowed", WRONG_SETTINGS)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str, allowed: str) -> None:
    with Daemon(tmp_path, **{name: value}) as daemon:
        assert daemon.wait_for_exit() == 2
        (line,) = daemon.stderr.lines
        assert [part for part in (name, value, allowed) if part not in line.decode()] == []
        assert daemon.stdout.lines == []


@pytest.mark.parametrize(
    "settings,named",
    [
        ({"CONSUMER_SECRET": ""}, "CONSUMER_SECRET"),
        ({"KAFKA_OPTIONS": '{"sasl_plain_password": "hush"'}, "KAFKA_OPTIONS"),
        ({"KAFKA_OPTIONS": '{"acknowledge": "hush"}'}, "acknowledge"),
        ({"REDIS_URL": "http://user:hush@127.0.0.1"}, "REDIS_URL"),
        ({"SENTRY_URL": "hush"}, "SENTRY_URL"),
        ({"ACCESS_TOKEN": "", "ACCESS_TOKEN_FILE": "nowhere"}, "nowhere"),
    ],
)
def test_a_wrong_secret_is_named_and_not_shown(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    with Daemon(tmp_path, **settings) as daemon:
        assert daemon.wait_for_exit() == 2
        assert named in daemon.stderr.lines[-1].decode()
        assert b"hush" not in b"".join(daemon.stderr.lines)


@pytest.mark.parametrize("arguments", [["--id", "first"], ["--limit", "0"], ["--type", "people"], ["--loud"], ["run"]])
def test_wrong_usage_is_told(tmp_path: Path, arguments: list[str]) -> None:
    with Daemon(tmp_path, *arguments) as daemon:
        assert daemon.wait_for_exit() == 2
        assert arguments[0] in daemon.stderr.lines[-1].decode()


def test_a_log_directory_that_cannot_be_written_is_a_warning(
    tmp_path: Path, collect: Collect, redis_db: redis.Redis
) -> None:
    stored.write(redis_db, "track", 0, [COFFEE])
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "log"
    with Simulator() as twitter, collect(twitter.url, "--limit", "1", LOG_DIR=folder) as daemon:
        assert daemon.wait_for_exit() == 0
        (warning,) = daemon.logged("no log file: set LOG_DIR to a directory that can be written")
        assert (warning["level"], warning["log_dir"]) == ("WARNING", str(folder))


@pytest.mark.parametrize("json_lines", [True, False])
def test_the_log_stands_on_standard_error_and_in_its_file(
    tmp_path: Path, collect: Collect, redis_db: redis.Redis, json_lines: bool
) -> None:
    stored.write(redis_db, "track", 0, [COFFEE])
    with (
        Simulator() as twitter,
        collect(twitter.url, "--limit", "1", LOG_JSON=json_lines, LOG_FILE="one.log") as daemon,
    ):
        assert daemon.wait_for_exit() == 0
        *logged, _ = daemon.stderr.lines
        assert (tmp_path / "log" / "one.log").read_bytes().splitlines(keepends=True) == logged
        assert all(line.startswith(b"{") for line in logged) == json_lines


@BOTH_APIS
def test_no_secret_is_shown(
    tmp_path: Path, collect: Collect, redis_server: RedisServer, redis_db: redis.Redis, api: str
) -> None:
    """Not to who lists the processes, and not in the logs at their most talkative, where much goes wrong."""
    stored.write(redis_db, "track", 0, [COFFEE])
    redis_db.acl_setuser("guard", enabled=True, passwords=["+hush"], categories=["+@all"], keys=["*"], channels=["*"])
    url = redis_server.url.replace("//", "//guard:hush@")
    faults = [{"fault": "drop"}, {"fault": "status", "code": 401, "retry_after": 1, "connection": 2}]
    try:
        with (
            Simulator(faults=faults) as twitter,
            collect(twitter.url, "--debug", REDIS_URL=url, LOG_JSON="false", TWITTER_API=api) as daemon,
        ):
            daemon.messages(1)
            shown = Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()
            redis_db.acl_setuser("guard", enabled=False)
            redis_db.client_kill_filter(user="guard")
            daemon.stderr.wait_for(lambda lines: [line for line in lines if b"Redis fails" in line])
            daemon.stop()
    finally:
        redis_db.acl_deluser("guard")
    shown += b"".join(daemon.stderr.lines) + (tmp_path / "log" / "traptor.log").read_bytes()
    assert [secret for secret in (*CREDENTIAL, "hush") if secret.encode() in shown] == []
