"""Rules into Redis, spread over Traptors."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from click.testing import CliRunner

from scripts import rule_extract
from scripts.rule_extract import RulesToRedis


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
def conn(request: pytest.FixtureRequest) -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(decode_responses=request.param)


def text(found: Any) -> str:
    return found.decode() if isinstance(found, bytes) else found


@pytest.mark.parametrize("traptor_type,most", [("follow", 5000), ("track", 400), ("locations", 25)])
def test_rules_fill_one_traptor_after_the_other(conn: fakeredis.FakeRedis, traptor_type: str, most: int) -> None:
    to_redis = RulesToRedis(conn)
    assert to_redis.rule_max(traptor_type) == most

    to_redis.send_rules(traptor_type, [{"tag": "test", "value": str(index)} for index in range(most + 2)])

    shards = [f"traptor-{traptor_type}:{index // most}:{index}" for index in range(most + 2)]
    assert sorted(map(text, conn.keys())) == sorted(shards)
    for index in (0, most - 1, most, most + 1):
        found = {text(name): text(value) for name, value in conn.hgetall(shards[index]).items()}
        assert found == {"tag": "test", "value": str(index)}


def test_numbers_and_no_rules_are_fine(conn: fakeredis.FakeRedis) -> None:
    RulesToRedis(conn).send_rules("track", [])
    assert conn.keys() == []
    RulesToRedis(conn).send_rules("follow", iter([{"value": 17919972, "rule_id": 7}]))
    assert text(conn.hget("traptor-follow:0:0", "value")) == "17919972"
    assert text(conn.hget("traptor-follow:0:0", "rule_id")) == "7"


@pytest.mark.parametrize("wrong", ["", "Track", "geo", "tracks"])
def test_a_type_that_is_none_is_named_with_what_is_allowed(conn: fakeredis.FakeRedis, wrong: str) -> None:
    for call in (RulesToRedis(conn).rule_max, lambda name: RulesToRedis(conn).send_rules(name, [])):
        with pytest.raises(ValueError, match=f"'{wrong}'.*follow, track, locations"):
            call(wrong)


def test_the_script_runs_in_a_checkout(tmp_path: Path) -> None:
    command = [sys.executable, "-E", rule_extract.__file__, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sqldb" in done.stdout


@pytest.mark.parametrize(
    "database,url,password",
    [
        ("{}", "mysql://@localhost:3306/traptor", ""),
        ('{"USER": null, "PASSWD": 5}', "mysql://@localhost:3306/traptor", "5"),
        ('{"USER": "a@b", "HOST": "db", "PORT": "1", "DB": "d"}', "mysql://a%40b@db:1/d", ""),
    ],
)
def test_the_database_is_the_settings(monkeypatch: pytest.MonkeyPatch, database: str, url: str, password: str) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr(rule_extract, "load_source", lambda *arguments: loaded.extend(arguments))
    done = CliRunner().invoke(rule_extract.cli, ["sqldb", "--settings", database, "track"])
    assert done.exit_code == 0, done.output
    wanted, *rest = loaded
    assert (wanted.MYSQL_PASSWORD, rest) == (password, [url, None, "track"])


@pytest.mark.parametrize("database", ["{", "[]", "5"])
def test_what_is_no_database_is_refused(database: str) -> None:
    done = CliRunner().invoke(rule_extract.cli, ["sqldb", "--settings", database, "track"])
    assert done.exit_code == 2
    assert "JSON object" in done.output
