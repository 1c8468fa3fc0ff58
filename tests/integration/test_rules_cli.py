"""`traptor rules` on a real Redis: what it prints, what it changes, whom it tells, how it ends."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.daemon import CHANNEL, ROOT
from tests.servers import RedisServer
from traptor import keys
from traptor.rules import stored

Traptor = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def traptor(redis_server: RedisServer, redis_db: redis.Redis, tmp_path: Path) -> Traptor:
    """Runs `traptor` with these arguments on an empty Redis."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": redis_server.url}

    def run(*arguments: object, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "traptor", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env={**environ, **settings}, input=stdin, capture_output=True, text=True, check=False
        )

    return run


def told(conn: redis.Redis, run: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What this returns, and the notices that are published meanwhile."""
    with contextlib.closing(conn.pubsub(ignore_subscribe_messages=True)) as pubsub:
        pubsub.subscribe(CHANNEL)
        pubsub.get_message(timeout=1)
        result = run()
        notices = []
        while message := pubsub.get_message(timeout=0.2):
            notices.append(message["data"])
    return result, notices


def hold(conn: redis.Redis, name: str, *held: dict[str, str]) -> None:
    traptor_type, traptor_id = name.split(":")
    stored.write(conn, traptor_type, int(traptor_id), held)


def live(conn: redis.Redis, *names: str) -> None:
    for name in names:
        conn.set(f"{name}:{datetime.now(UTC):%Y%m%d%H%M%S}", "alive", ex=30)


CAT = {"rule_id": "1", "value": "cat", "tag": "pets"}
DOG = {"rule_id": "2", "value": "dog", "tag": "pets", "note": "loud"}


def test_load_shows_first_then_writes_and_tells(traptor: Traptor, redis_db: redis.Redis, tmp_path: Path) -> None:
    hold(redis_db, "track:0", CAT)
    hold(redis_db, "follow:1", {"rule_id": "5", "value": "12"})
    (tmp_path / "rules.csv").write_text("value,tag,type\ncat,animals,keyword\nbird,,keyword\n12,,username\n")

    shown, notices = told(redis_db, lambda: traptor("rules", "load", "rules.csv", "--dry-run"))
    assert shown.stdout.splitlines() == [
        "~ track:0 1 'cat' [animals]",
        "+ track:0 7a5179eecc0fe187 'bird'",
        "1 added, 1 changed (dry run: nothing was written)",
    ]
    assert (shown.returncode, notices, redis_db.dbsize()) == (0, [], 2)

    done, notices = told(redis_db, lambda: traptor("rules", "load", "rules.csv"))
    assert done.stdout.splitlines()[-2:] == ["1 added, 1 changed", "told: track:0"]
    assert (done.returncode, notices, redis_db.dbsize()) == (0, ["track:0"], 3)
    assert redis_db.hgetall("traptor-track:0:1") == {"rule_id": "1", "value": "cat", "tag": "animals"}

    again, notices = told(redis_db, lambda: traptor("rules", "load", "rules.csv"))
    assert (again.stdout, notices) == ("nothing to change\n", [])


@pytest.mark.parametrize(
    "options,left",
    [
        ((), {"1", "2", "3"}),
        (("--prune",), {"3", "1"}),
        (("--prune", "--type", "follow"), {"1", "2"}),
        (("--prune", "--strict"), {"1", "2"}),
    ],
)
def test_only_pruning_removes_and_only_what_the_source_no_longer_has(
    traptor: Traptor, redis_db: redis.Redis, options: tuple[str, ...], left: set[str]
) -> None:
    hold(redis_db, "track:0", CAT, DOG)
    source = '{"value": "bird", "rule_id": "3", "type": "track"}\n{"value": ",", "rule_id": "1", "type": "track"}\n'
    done = traptor("rules", "load", "-", *options, stdin=source)
    assert done.returncode == (0 if "follow" in options else 1)
    assert {keys.parse(key).rest for key in redis_db.scan_iter()} == left


def test_a_strict_load_writes_nothing_and_says_where(traptor: Traptor, redis_db: redis.Redis) -> None:
    done = traptor("rules", "load", "-", "--type", "track", "--strict", stdin='{"value": "cat"}\n{"value": ""}\n')
    assert done.returncode == 1
    assert "standard input, line 2: '' has no value" in done.stderr
    assert redis_db.dbsize() == 0

    asked_for_json = traptor(
        "rules", "load", "-", "--type", "track", "--strict", "--json", stdin='{"value": "cat"}\n{"value": ""}\n'
    )
    assert (asked_for_json.returncode, redis_db.dbsize()) == (1, 0)
    found = json.loads(asked_for_json.stdout)
    assert [problem["place"] for problem in found["problems"]] == ["standard input, line 2"]


def test_pruning_a_type_that_the_source_has_lost_is_asked_for_by_name(traptor: Traptor, redis_db: redis.Redis) -> None:
    hold(redis_db, "track:0", CAT, DOG)
    source = '{"value": "12", "type": "follow"}\n'
    told_only = traptor("rules", "load", "-", "--prune", stdin=source)
    assert "- has no track rules: the 2 in Redis stay, but for --type track --prune" in told_only.stderr
    assert len(list(redis_db.scan_iter("traptor-track:*"))) == 2
    pruned = traptor("rules", "load", "-", "--prune", "--type", "track", stdin=source)
    assert (pruned.returncode, pruned.stderr) == (0, "")
    assert [key.split(":")[0] for key in redis_db.scan_iter()] == ["traptor-follow"]


def test_rules_are_spread_before_any_traptor_lives(traptor: Traptor, redis_db: redis.Redis) -> None:
    lines = "".join(f'{{"value": "word{n}"}}\n' for n in range(9))
    traptor("rules", "load", "-", "--type", "track", "--traptors", 3, stdin=lines)
    assert sorted(key.split(":")[1] for key in redis_db.scan_iter()) == sorted("012" * 3)


def test_add_change_list_and_remove(traptor: Traptor, redis_db: redis.Redis) -> None:
    done, notices = told(
        redis_db, lambda: traptor("rules", "add", "track", "storm,flood warning", "--tag", "w", "--field", "note=a=b")
    )
    assert (done.returncode, notices) == (0, ["track:0"]), done.stderr
    [key] = redis_db.scan_iter()
    rule_id = keys.parse(key).rest
    assert redis_db.hgetall(key) == {"rule_id": rule_id, "value": "storm,flood warning", "tag": "w", "note": "a=b"}

    assert traptor("rules", "add", "track", "snow", "--rule-id", rule_id).returncode == 0
    redis_db.set(keys.stats("track", 0, rule_id), 12)
    listed = traptor("rules", "list")
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["Traptor", "rule_id", "value", "tag", "matches"],
        ["track:0", rule_id, "snow", "w", "12"],
    ]
    [rule] = json.loads(traptor("rules", "list", "--type", "track", "--id", 0, "--json").stdout)
    assert rule == {
        "traptor": "track:0",
        "type": "track",
        "traptor_id": 0,
        "rule_id": rule_id,
        "value": "snow",
        "tag": "w",
        "note": "a=b",
        "matches": 12,
    }
    assert json.loads(traptor("rules", "list", "--id", 1, "--json").stdout) == []

    done, notices = told(redis_db, lambda: traptor("rules", "remove", "track", rule_id))
    assert (done.returncode, notices) == (0, ["track:0"])
    assert list(redis_db.scan_iter("traptor-*")) == []


@pytest.mark.parametrize(
    "arguments,said",
    [
        (("add", "follow", "jack"), "'jack' is not a user id"),
        (("remove", "track", "1", "77", "78"), "no track rule has the rule_id 77, 78"),
        (("load", "nothing.csv"), "nothing.csv cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    traptor: Traptor, redis_db: redis.Redis, arguments: tuple[str, ...], said: str
) -> None:
    hold(redis_db, "track:0", CAT)
    done = traptor("rules", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert redis_db.hgetall("traptor-track:0:1") == CAT


def test_what_would_act_on_the_terminal_is_shown_as_text(traptor: Traptor, redis_db: redis.Redis) -> None:
    hold(redis_db, "track:0", {"rule_id": "1", "value": "a\x1b[31mb\nc", "tag": "é👩‍🚀"})
    shown = traptor("rules", "list").stdout.splitlines()[1]
    assert shown.split() == ["track:0", "1", r"a\x1b[31mb\nc", "é👩‍🚀", "0"]
    hold(redis_db, "track:0", {"rule_id": "1", "value": "a\x1b[31mb" * 20})
    assert r"\x1b[31m" in traptor("rules", "check").stdout


@pytest.mark.parametrize("options", [("--metrics-port", 0), ("--watch", "--json")])
def test_options_of_rebalance_that_do_nothing_are_refused(traptor: Traptor, options: tuple[object, ...]) -> None:
    assert traptor("rules", "rebalance", *options).returncode == 2


@pytest.mark.parametrize("field", ["type=follow", "tag=x", "team", "team=", "=x"])
def test_a_field_that_would_be_lost_is_refused(traptor: Traptor, redis_db: redis.Redis, field: str) -> None:
    done = traptor("rules", "add", "track", "hail", "--field", field)
    assert (done.returncode, redis_db.dbsize()) == (2, 0)
    assert f"'{field.partition('=')[0]}'" in done.stderr


def test_without_redis_there_is_one_line(traptor: Traptor) -> None:
    done = traptor("rules", "list", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Redis cannot be used: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("as_format", ["jsonl", "csv"])
def test_what_is_exported_loads_back(traptor: Traptor, redis_db: redis.Redis, tmp_path: Path, as_format: str) -> None:
    hold(redis_db, "track:0", CAT, {**DOG, "traptor_id": "9", "matches": "many"})
    redis_db.hset("traptor-track:0:7", mapping={"rule_id": "abc", "value": "storm"})
    hold(redis_db, "track:1", {"rule_id": "1", "value": "bird"})
    hold(redis_db, "locations:3", {"rule_id": "x", "value": "1,2,3,4", "tag": 'a "b", c'})
    exported = traptor("rules", "export", "--format", as_format).stdout
    lines = list(csv.DictReader(io.StringIO(exported))) if as_format == "csv" else exported.splitlines()
    assert len(lines) == 5
    (tmp_path / f"rules.{as_format}").write_text(exported)
    assert traptor("rules", "load", f"rules.{as_format}", "--as-is", "--prune").stdout == "nothing to change\n"


def test_a_rule_is_removed_by_its_key_and_from_the_traptor_that_is_named(
    traptor: Traptor, redis_db: redis.Redis
) -> None:
    hold(redis_db, "track:0", CAT)
    hold(redis_db, "track:1", {**DOG, "rule_id": "1"})
    redis_db.hset("traptor-track:1:7", mapping={"rule_id": "abc", "value": "storm"})
    ambiguous = traptor("rules", "remove", "track", "7", "1")
    assert (ambiguous.returncode, redis_db.dbsize()) == (1, 3)
    assert "the rule_id 1 is on the Traptors 0, 1: say which with --id" in ambiguous.stderr
    assert traptor("rules", "remove", "track", "7", "1", "--id", 1).returncode == 0
    assert list(redis_db.scan_iter()) == ["traptor-track:0:1"]


CHECKS: list[tuple[str, dict[str, list[dict[str, str]]], list[str], str, int]] = [
    ("all is well", {"track:0": [CAT]}, ["track:0"], "all well", 0),
    ("refused", {"track:0": [{"rule_id": "1", "value": "x" * 61}]}, ["track:0"], "has 61 bytes", 1),
    ("no value", {"track:0": [{"rule_id": "1", "tag": "t"}]}, ["track:0"], "has no value", 1),
    ("none lives", {"track:0": [CAT, DOG]}, [], "no track Traptor lives: nobody collects its 2 rules", 1),
    ("the wrong type lives", {"track:0": [CAT]}, ["follow:0"], "no track Traptor lives", 1),
    ("to be moved", {"track:0": [CAT]}, ["track:1"], "would move it from track:0 to track:1", 0),
    ("doubles", {"track:0": [CAT], "track:1": [{**DOG, "value": "CAT"}]}, ["track:0", "track:1"],
     "track:0:1, track:1:2 ask for the same, 'cat'", 0),
    ("one rule_id", {"track:0": [CAT], "track:1": [{**DOG, "rule_id": "1"}]}, ["track:0", "track:1"],
     "track:0, track:1 have the same rule_id 1", 0),
]  # fmt: skip


@pytest.mark.parametrize("held,living,said,code", [check[1:] for check in CHECKS], ids=[check[0] for check in CHECKS])
def test_check_says_what_is_wrong(
    traptor: Traptor,
    redis_db: redis.Redis,
    *,
    held: dict[str, list[dict[str, str]]],
    living: list[str],
    said: str,
    code: int,
) -> None:
    for name, some in held.items():
        hold(redis_db, name, *some)
    live(redis_db, *living)
    done = traptor("rules", "check")
    assert said in done.stdout
    assert done.returncode == code
    found = json.loads(traptor("rules", "check", "--json").stdout)
    assert bool(found["errors"]) == bool(code)


@pytest.mark.parametrize("source,code", [('{"value": "cat"}', 0), ('{"value": "cat"}\n{"value": ""}', 1)])
def test_check_of_a_source_needs_no_redis(traptor: Traptor, source: str, code: int) -> None:
    done = traptor("rules", "check", "-", "--type", "track", stdin=source, REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == code, done.stderr


def test_plan_of_a_source(traptor: Traptor, tmp_path: Path) -> None:
    lines = [f'{{"value": "{10**6 + n}", "type": "follow"}}' for n in range(5500)]
    lines += [f'{{"value": "word{n}", "type": "track"}}' for n in range(352)]
    (tmp_path / "rules.jsonl").write_text("\n".join(lines))
    done = traptor("rules", "plan", "rules.jsonl", REDIS_URL="redis://127.0.0.1:1/0")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["follow", "5500", "5500", "5000", "2"],
        ["track", "352", "352", "400", "1"],
    ]


def test_plan_of_what_redis_has_says_how_full_and_busy(traptor: Traptor, redis_db: redis.Redis) -> None:
    hold(redis_db, "track:0", CAT, DOG)
    hold(redis_db, "track:1", *({"rule_id": str(n), "value": f"word{n}"} for n in range(100, 300)))
    live(redis_db, "track:0")
    redis_db.mset({keys.stats("track", 0, "1"): 30, keys.stats("track", 0, "2"): 45})
    found = json.loads(traptor("rules", "plan", "--json").stdout)
    assert found["needed"] == [{"type": "track", "rules": 202, "asked_for": 202, "limit": 400, "traptors": 1}]
    assert [(one["traptor"], one["lives"], one["used"], one["full"]) for one in found["traptors"]] == [
        ("track:0", "yes", 2, 0.005),
        ("track:1", "no", 200, 0.5),
    ]
    shown = traptor("rules", "plan").stdout
    assert "50%" in shown


def test_rebalance_moves_once_silence_has_lasted(traptor: Traptor, redis_db: redis.Redis) -> None:
    hold(redis_db, "track:0", CAT)
    live(redis_db, "track:1")
    first = traptor("rules", "rebalance")
    assert "track:0 is silent; its rules move in 60 s" in first.stdout
    assert redis_db.exists("traptor-track:0:1")

    done, notices = told(redis_db, lambda: traptor("rules", "rebalance", "--after", 0, "--json"))
    assert json.loads(done.stdout)["moved"] == [{"type": "track", "from": "track:0", "to": "track:1", "rule_id": "1"}]
    assert (done.returncode, notices) == (0, ["track:0", "track:1"])
    assert redis_db.hgetall("traptor-track:1:1") == CAT
    assert not redis_db.exists("traptor-track:0:1")


def test_orphans_need_a_person(traptor: Traptor, redis_db: redis.Redis) -> None:
    hold(redis_db, "locations:0", CAT | {"value": "1,2,3,4"})
    hold(redis_db, "locations:1", *({"rule_id": str(n), "value": f"{n},1,150,2"} for n in range(100, 125)))
    live(redis_db, "locations:1")
    done = traptor("rules", "rebalance", "--after", 0)
    assert done.returncode == 1
    assert "ORPHANS: 1 locations rule;" in done.stderr


def test_a_writer_waits_for_another(redis_server: RedisServer, redis_db: redis.Redis, tmp_path: Path) -> None:
    redis_db.set(keys.RULES_LOCK, "somebody else")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": redis_server.url}
    command = [sys.executable, "-m", "traptor", "rules", "add", "track", "cat"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr
        assert waiting.stderr.readline() == "waits for somebody else, who changes rules\n"
        assert not redis_db.exists("traptor-track:0:1", "traptor-track:0:0")
        redis_db.delete(keys.RULES_LOCK)
        assert (waiting.wait(30), waiting.stderr.read()) == (0, "")
    assert list(redis_db.scan_iter("traptor-track:*"))
