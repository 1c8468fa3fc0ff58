"""`traptor status` and `traptor stats`, of real Traptors and of dead ones."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.daemon import BOTH_APIS, ROOT, Output, to_stdout
from tests.servers import PATIENCE_SECONDS, RedisServer, wait_until
from traptor import keys
from traptor.fleet import overview
from traptor.rules import stored
from traptor.simulator import Simulator

Traptor = Callable[..., subprocess.CompletedProcess[str]]
RULES = [{"rule_id": "1", "value": "storm", "tag": "weather"}, {"rule_id": "2", "value": "election", "tag": "news"}]


@pytest.fixture
def environ(redis_server: RedisServer, redis_db: redis.Redis) -> dict[str, str]:
    stored.write(redis_db, "track", 0, RULES)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": redis_server.url}


@pytest.fixture
def traptor(environ: dict[str, str]) -> Traptor:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "traptor", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    return run


def one(traptor: Traptor, name: str = "track:0") -> dict[str, Any]:
    return json.loads(traptor("status", name, "--json").stdout)


@BOTH_APIS
def test_a_life_as_status_tells_it(
    traptor: Traptor, tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis, api: str
) -> None:
    assert one(traptor)["seen_as"] == "never seen"
    assert traptor("status").returncode == 1

    settings = {"HEARTBEAT_INTERVAL": 1, "TWITTER_API": api}
    with Simulator(rate=50) as twitter, to_stdout(tmp_path, redis_server, twitter.url, **settings) as daemon:
        status = keys.status("track", 0)
        wait_until(lambda: '"streaming"' in str(redis_db.get(status)), "a streaming Traptor")
        wait_until(lambda: redis_db.exists(*(keys.stats("track", 0, n) for n in "12")) == 2, "counts of both rules")
        seen = one(traptor)
        assert (seen["living"], seen["seen_as"]) == (True, "streaming")
        assert seen["needs"] == []
        assert (seen["status"]["pid"], seen["status"]["predicates"]) == (daemon.process.pid, 2)

        shown = traptor("status")
        assert shown.returncode == 0, shown.stdout
        header, line, *spent = shown.stdout.splitlines()
        assert header.split()[:3] == ["Traptor", "state", "since"]
        assert line.startswith("track:0  streaming")
        assert f"/{daemon.process.pid} " in line
        assert {"1.1": "2/400", "2": "2/1000"}[api] in line
        assert [" posts read this month" in text for text in spent] == ([True] if api == "2" else [])

        first, second = csv.DictReader(io.StringIO(traptor("stats", "--csv").stdout))
        assert {first["tag"], second["tag"]} == {"weather", "news"}
        assert int(first["matches"]) >= int(second["matches"]) > 0
        daemon.stop()

    # What it wrote last is left to end with its TTL.
    redis_db.delete(keys.status("track", 0), *redis_db.keys("track:0:*"))
    assert one(traptor)["seen_as"] == "stopped"
    assert traptor("status").returncode == 1
    assert "nobody collects its 2 rules" in traptor("status", "track:0").stdout


def test_one_traptor_with_its_rules_and_gaps(traptor: Traptor, redis_db: redis.Redis) -> None:
    gap = {"from": "2026-01-01T00:00:00+00:00", "to": "2026-01-01T00:05:00+00:00", "cause": "stalled", "reconnects": 3}
    redis_db.rpush(keys.gaps("track", 0), json.dumps(gap))
    redis_db.set(keys.stats("track", 0, "2"), 30)
    shown = traptor("status", "track:0").stdout.splitlines()
    assert ["track:0", "2", "news", "election", "30", "2.0"] in [line.split() for line in shown]
    assert ["2026-01-01T00:00:00", "5", "min", "stalled", "3", "-", "-"] in [line.split() for line in shown]
    assert one(traptor)["gaps"] == [gap]


@pytest.mark.parametrize(
    "arguments,code,said",
    [
        (("status", "track:9"), 1, "Redis knows nothing of track:9"),
        (("status", "tweets:0"), 2, "'tweets:0' is no Traptor"),
        (("status", "track"), 2, "'track' is no Traptor"),
    ],
)
def test_what_is_no_traptor_is_told(traptor: Traptor, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = traptor(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


@pytest.mark.parametrize("name,value", [("traptor:status:track:0", "garbage"), ("traptor:life:track:0", '{"at": 5}')])
def test_what_somebody_else_wrote_does_not_end_it(
    traptor: Traptor, redis_db: redis.Redis, name: str, value: str
) -> None:
    redis_db.set(name, value)
    done = traptor("status")
    assert "track:0" in done.stdout, done.stderr


def test_watching_refreshes_until_it_is_told_to_stop(environ: dict[str, str], redis_db: redis.Redis) -> None:
    command = [sys.executable, "-m", "traptor", "status", "--watch"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout
        output = Output(process.stdout)
        try:
            wait_until(lambda: any(b"never seen" in line for line in output.lines), "a first look")
            redis_db.set("track:0:20260101000000", "alive")
            wait_until(lambda: any(b" alive " in line for line in output.lines), "a second look")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            output.join()


def test_one_traptor_is_watched_as_json(environ: dict[str, str], redis_db: redis.Redis) -> None:
    command = [sys.executable, "-m", "traptor", "status", "track:0", "--watch", "--json"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout
        output = Output(process.stdout)
        try:
            wait_until(lambda: len(output.lines) > 1, "two looks")
            looks = [json.loads(line) for line in output.lines[:2]]
            assert [(look["traptor"], len(look["rules"])) for look in looks] == [("track:0", 2)] * 2
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            output.join()


def test_the_columns_are_as_documented() -> None:
    text = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    assert all(f"`{column.strip('>')}`" in text for column in overview.COLUMNS)
