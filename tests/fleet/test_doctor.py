"""What the doctor finds, piece by piece."""

import json
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import requests
from kafka.admin import KafkaAdminClient

from traptor import keys, settings
from traptor.delivery import producers
from traptor.fleet import doctor, kafka_check
from traptor.fleet.finding import Finding
from traptor.rules import stored
from traptor.sources.choices import CHOICES
from traptor.sources.lease import credential_hash

APIKEYS = {name: f"{name.lower()}-value" for name in settings.APIKEY_NAMES}


@pytest.fixture
def conn() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(decode_responses=True) as made:
        yield made


def wanted(**values: Any) -> settings.Settings:
    return settings.load({**APIKEYS, **values}, environ={}, local={})


def lines(found: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in found]


def test_settings_come_with_their_source_and_without_their_secrets() -> None:
    made = settings.load({"TRAPTOR_ID": 3}, environ={"CONSUMER_KEY": "hidden"}, local={"KAFKA_TOPIC": "tweets"})
    found = lines(doctor.settings_and_sources(made))
    assert ("ok", "TRAPTOR_ID = 3 (command line)") in found
    assert ("ok", "CONSUMER_KEY = '***' (environment)") in found
    assert ("ok", "KAFKA_TOPIC = 'tweets' (localsettings.py)") in found
    assert found[-1] == ("ok", f"the other {len(settings.known()) - 3} settings have their defaults")
    every = lines(doctor.settings_and_sources(made, every_setting=True))
    assert ("ok", "REDIS_PORT = 6379 (default)") in every
    assert len(every) == len(settings.known())
    assert "hidden" not in str(found + every)


@pytest.mark.parametrize(
    "values,level,said",
    [
        ({}, "ok", "all keys are set"),
        ({"ACCESS_TOKEN": ""}, "error", "ACCESS_TOKEN not set"),
        ({"TWITTER_API": "2", "ACCESS_TOKEN": ""}, "ok", "all keys are set"),
    ],
)
def test_keys(values: dict[str, str], level: str, said: str) -> None:
    [(found, text)] = lines(doctor.credentials(wanted(**values)))
    assert (found, said in text) == (level, True)


def test_without_any_key_the_ways_to_tweets_are_named() -> None:
    nothing = dict.fromkeys(("CONSUMER_KEY", "CONSUMER_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"), "")
    findings = list(doctor.credentials(wanted(**nothing)))
    assert [(found.subject, found.text) for found in findings[1:]] == [
        ("api", f"{one.name} {one.text}") for one in CHOICES
    ]


@pytest.mark.parametrize("key", ["", "k3y"])
def test_the_keys_of_a_server_of_v1_1_come_from_whoever_runs_it(key: str) -> None:
    keys = {"CONSUMER_KEY": key, **dict.fromkeys(("CONSUMER_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"), "")}
    [found] = doctor.credentials(wanted(**keys, TWITTER_STREAM_URL="http://127.0.0.1:8080"))
    assert found.advice == "take them from whoever runs http://127.0.0.1:8080; `traptor simulate` prints its own"


class Away(fakeredis.FakeRedis):
    def execute_command(self, *args: Any, **options: Any) -> Any:
        raise redis.ConnectionError("away")


def test_without_redis_what_needs_it_is_not_looked_at() -> None:
    found = list(doctor.examine(wanted(KAFKA_ENABLED=False, TWITTER_STREAM_URL="http://127.0.0.1:1"), Away()))
    by_subject = {(finding.subject, finding.level) for finding in found}
    assert {("redis", "error"), ("rules", "warning"), ("credential", "warning"), ("twitter", "error")} <= by_subject
    assert "not looked at: away" in [finding.text for finding in found if finding.subject == "rules"]


@pytest.mark.parametrize(
    "held,said",
    [
        ([], [("warning", "none for track:0")]),
        ([{"rule_id": "1", "value": "cat,dog"}], [("ok", "1 for track:0: 2 of 400 that one connection takes")]),
        (
            [{"rule_id": "1", "value": "cat"}, {"rule_id": "2", "value": "x" * 61}],
            [("ok", "1 for track:0: 1 of 400"), ("warning", "2 'xxx")],
        ),
        (
            [{"rule_id": str(n), "value": f"word{n}"} for n in range(425)],
            [("ok", "400 for track:0: 400 of 400"), *[("warning", "over the limit")] * 20, ("warning", "25 would be")],
        ),
    ],
    ids=["none", "one", "refused", "too many"],
)
def test_rules(conn: fakeredis.FakeRedis, held: list[dict[str, str]], said: list[tuple[str, str]]) -> None:
    stored.write(conn, "track", 0, held)
    found = lines(doctor.rules_in_redis(conn, wanted()))
    assert [level for level, _ in found] == [level for level, _ in said]
    assert all(expected in text for (_, expected), (_, text) in zip(said, found, strict=True))


@pytest.mark.parametrize("limit,levels", [(1000, ["ok"]), (1, ["ok", *["warning"] * 21])])
def test_rules_on_the_server_of_v2(conn: fakeredis.FakeRedis, limit: int, levels: list[str]) -> None:
    stored.write(conn, "track", 0, [{"rule_id": str(n), "value": f"word{n}"} for n in range(500)])
    found = lines(doctor.rules_in_redis(conn, wanted(TWITTER_API="2", V2_RULE_LIMIT=limit)))
    assert [level for level, _ in found] == levels
    assert found[0][1].endswith(" of 1000 that the server takes" if limit == 1000 else "1 of 1 that the server takes")


LEASE = {"host": "ant", "pid": 7, "type": "track"}


@pytest.mark.parametrize(
    "lease,status,said",
    [
        (None, None, []),
        (json.dumps({**LEASE, "id": 0}), None, [("ok", "track:0 runs, on ant (pid 7)")]),
        (json.dumps({**LEASE, "id": 5}), None, [("warning", "in use by track:5 on ant (pid 7)")]),
        ("garbage", None, [("warning", "in use by None:None on unknown (pid None)")]),
        (None, "track:5", [("warning", "also that of track:5")]),
        (None, "track:0", []),
        (
            json.dumps({**LEASE, "id": 0}),
            "track:5",
            [("ok", "track:0 runs, on ant (pid 7)"), ("warning", "also that of track:5")],
        ),
        (json.dumps({**LEASE, "id": 5}), "track:5", [("warning", "in use by track:5 on ant (pid 7)")]),
    ],
)
def test_other_holders(
    conn: fakeredis.FakeRedis, lease: str | None, status: str | None, said: list[tuple[str, str]]
) -> None:
    credential = credential_hash(APIKEYS)
    if lease:
        conn.set(keys.lease(credential), lease)
    if status:
        conn.set(keys.status(*status.split(":")), json.dumps({"credential": credential}))
    assert lines(doctor.other_holders(conn, wanted())) == said


@pytest.mark.parametrize("key", [keys.name("track", 0), keys.rival("track", 0)])
def test_a_namesake_with_another_credential_is_an_error(conn: fakeredis.FakeRedis, key: str) -> None:
    conn.set(key, json.dumps({**LEASE, "id": 0, "credential": credential_hash(APIKEYS)}))
    assert lines(doctor.other_holders(conn, wanted())) == []
    conn.set(key, json.dumps({**LEASE, "id": 0, "credential": "another"}))
    text = "track:0 runs or waits on ant (pid 7) with another credential"
    assert lines(doctor.other_holders(conn, wanted())) == [("error", text)]


def test_the_credential_of_v2_is_the_app(conn: fakeredis.FakeRedis) -> None:
    app = wanted(TWITTER_API="2")
    conn.set(keys.lease(credential_hash({**APIKEYS, "ACCESS_TOKEN": "v2"})), json.dumps({**LEASE, "id": 5}))
    assert lines(doctor.other_holders(conn, app)) == [("warning", "in use by track:5 on ant (pid 7)")]


def test_the_probes_leave_nothing_behind_and_are_no_traptor(conn: fakeredis.FakeRedis) -> None:
    assert lines(doctor._permissions(conn, wanted())) == [
        ("ok", "allows what a Traptor does"),
        ("ok", "allows what `rules` does"),
    ]
    assert conn.keys() == []
    seen = []
    execute = conn.execute_command
    conn.execute_command = lambda *command, **options: seen.append(command) or execute(*command, **options)
    list(doctor._permissions(conn, wanted()))
    assert not [key for command in seen for key in command if isinstance(key, str) and keys.parse(key)]


@pytest.mark.parametrize("raised", [ValueError("odd"), TypeError("odd"), AssertionError("odd"), OSError("odd")])
def test_whatever_a_library_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    class Odd(KafkaAdminClient):
        def __init__(self, **_: Any) -> None:
            raise raised

    monkeypatch.setattr(kafka_check, "KafkaAdminClient", Odd)
    found = list(doctor.examine(wanted(TWITTER_STREAM_URL="http://127.0.0.1:1"), Away()))
    assert doctor.error("kafka", f"cannot be looked at: {type(raised).__name__}: odd", "correct its settings") in found
    assert found[-1].subject == "twitter"


@pytest.mark.parametrize(
    "policy,max_memory_bytes,level",
    [("noeviction", 100, "ok"), ("allkeys-lru", 0, "ok"), ("volatile-lru", 100, "ok"), ("allkeys-lru", 100, "error")],
)
def test_eviction(policy: str, max_memory_bytes: int, level: str) -> None:
    assert doctor._eviction(policy, max_memory_bytes).level == level


@pytest.mark.parametrize(
    "off_seconds,level", [(0, "ok"), (-30, "ok"), (100, "warning"), (-100, "warning"), (400, "error"), (-4000, "error")]
)
def test_the_clock(monkeypatch: pytest.MonkeyPatch, off_seconds: float, level: str) -> None:
    answer = requests.Response()
    answer.headers["Date"] = format_datetime(datetime.now(UTC) - timedelta(seconds=off_seconds), usegmt=True)
    monkeypatch.setattr(requests, "head", lambda *_, **__: answer)
    assert [finding.level for finding in doctor.clock("https://twitter.example")] == ["ok", level]
    del answer.headers["Date"]
    assert lines(doctor.clock("https://twitter.example"))[-1] == ("warning", "the answer has no Date to compare with")


def test_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    usual = {"SPOOL_DIR": tmp_path / "not" / "yet", "SPOOL_MAX_BYTES": 1, "LOG_DIR": tmp_path, "LOG_MAX_BYTES": 1}
    assert [level for level, _ in lines(doctor.disk(wanted(**usual)))] == ["ok", "ok"]
    assert [level for level, _ in lines(doctor.disk(wanted(**usual, KAFKA_ENABLED=False)))] == ["ok"]
    huge = {**usual, "SPOOL_MAX_BYTES": 10**15}
    assert [level for level, _ in lines(doctor.disk(wanted(**huge)))] == ["warning", "ok"]
    assert [level for level, _ in lines(doctor.disk(wanted(**{**usual, "LOG_DIR": "none"})))] == ["ok"]
    odd = {**usual, "SPOOL_DIR": tmp_path / "file" / "below"}
    assert lines(doctor.disk(wanted(**odd)))[0] == ("error", f"{tmp_path}/file/below cannot be written")
    assert lines(doctor.disk(wanted(SPOOL_DIR="/proc/spool")))[0] == ("error", "/proc/spool cannot be written")


def test_unknown_options_of_kafka_are_told() -> None:
    found = lines(kafka_check.examine(wanted(KAFKA_CLIENT="confluent", KAFKA_OPTIONS={"max_block_ms": 1}), None))
    assert found == [("error", "KAFKA_OPTIONS: confluent has nothing for max_block_ms: take it out")]


def test_a_client_of_kafka_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers, "find_spec", lambda name: None)
    [(level, text)] = lines(kafka_check.examine(wanted(KAFKA_CLIENT="confluent"), None))
    assert level == "error"
    assert text.startswith("KAFKA_CLIENT: confluent is not installed")


@pytest.mark.parametrize("is_known", [True, False])
def test_no_short_connection_while_a_wait_goes_on(conn: fakeredis.FakeRedis, is_known: bool) -> None:
    remembered = json.dumps({"not_before": time.time() + 90} if is_known else {})
    conn.set(keys.backoff(credential_hash(APIKEYS)), remembered, ex=90)
    [(level, text)] = lines(doctor.twitter(conn, wanted()))
    assert level == "warning"
    assert re.fullmatch(r"not tried: this credential has to wait for \d\d s more", text)
