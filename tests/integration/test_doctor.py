"""`traptor doctor` on a real Redis, a real broker and the simulator."""

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kafka.admin import KafkaAdminClient, NewTopic

from tests.integration.daemon import APIKEYS, ROOT
from tests.servers import KafkaBroker, RedisServer
from traptor import keys
from traptor.simulator import CREDENTIAL, Simulator
from traptor.sources.lease import credential_hash

Doctor = Callable[..., tuple[int, list[dict[str, str]]]]


@pytest.fixture
def twitter() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def doctor(redis_server: RedisServer, redis_db: redis.Redis, twitter: Simulator, tmp_path: Path) -> Doctor:
    """Runs it with everything well but for what a test says; gives its exit code and findings."""
    usual = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": redis_server.url,
        "TWITTER_STREAM_URL": twitter.url,
        "KAFKA_ENABLED": "false",
        "LOG_DIR": str(tmp_path / "log"),
        "SPOOL_DIR": str(tmp_path / "spool"),
        **dict(zip(APIKEYS, CREDENTIAL, strict=True)),
    }
    redis_db.hset("traptor-track:0:1", mapping={"value": "cat"})

    def run(*arguments: str, **given: str) -> tuple[int, list[dict[str, str]]]:
        command = [sys.executable, "-m", "traptor", "doctor", "--json", *arguments]
        done = subprocess.run(command, env={**usual, **given}, capture_output=True, text=True, check=False)
        assert not done.stderr, done.stderr
        assert not any(secret in done.stdout for secret in CREDENTIAL)
        return done.returncode, json.loads(done.stdout)

    return run


def said(findings: list[dict[str, str]], subject: str) -> list[tuple[str, str]]:
    return [(one["level"], one["text"]) for one in findings if one["subject"] == subject]


def test_all_is_well(doctor: Doctor, twitter: Simulator) -> None:
    code, findings = doctor("--connect")
    assert [one for one in findings if one["level"] != "ok"] == []
    assert code == 0
    assert said(findings, "twitter")[-1] == ("ok", "lets this credential in")
    assert twitter.wait_for_close(1).status == 200


def test_it_never_connects_while_the_credential_is_in_use(
    doctor: Doctor, twitter: Simulator, redis_db: redis.Redis
) -> None:
    credential = credential_hash(dict(zip(APIKEYS, CREDENTIAL, strict=True)))
    redis_db.set(keys.lease(credential), json.dumps({"host": "ant", "pid": 7, "type": "track", "id": 0}))
    _, findings = doctor("--connect")
    assert said(findings, "twitter")[-1] == ("warning", "not tried: the credential is in use on ant (pid 7)")
    assert twitter.connections == []


def test_a_refusal_comes_with_what_to_do(doctor: Doctor) -> None:
    code, findings = doctor("--connect", ACCESS_TOKEN_SECRET="wrong")
    assert code == 1
    assert said(findings, "twitter")[-1][1].startswith("answers 401")


@pytest.mark.parametrize(
    "settings,subject,text",
    [
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "redis", "cannot be used"),
        ({"CONSUMER_KEY": ""}, "credential", "CONSUMER_KEY not set"),
        ({"RULE_CHECK_INTERVAL": "soon"}, "setting", "RULE_CHECK_INTERVAL: 'soon' is not allowed"),
        ({"KAFKA_ENABLED": "true", "KAFKA_HOSTS": "127.0.0.1:1"}, "kafka", "cannot be used at 127.0.0.1:1"),
        ({"TWITTER_STREAM_URL": "http://127.0.0.1:1"}, "twitter", "cannot be reached"),
        ({"LOG_DIR": "/dev/null/log"}, "log", "cannot be written"),
    ],
)
def test_what_is_wrong_is_an_error(doctor: Doctor, settings: dict[str, str], subject: str, text: str) -> None:
    code, findings = doctor(**settings)
    [(_, told)] = [one for one in said(findings, subject) if one[0] == "error"]
    assert text in told
    assert code == 1


def test_a_redis_that_may_throw_rules_away(doctor: Doctor, redis_db: redis.Redis) -> None:
    redis_db.config_set("maxmemory", "100mb")
    redis_db.config_set("maxmemory-policy", "allkeys-lru")
    try:
        code, findings = doctor()
    finally:
        redis_db.config_set("maxmemory", "0")
        redis_db.config_set("maxmemory-policy", "noeviction")
    assert ("error", "may throw rules away (allkeys-lru)") in said(findings, "redis")
    assert code == 1


def test_a_user_without_leave(doctor: Doctor, redis_db: redis.Redis, redis_server: RedisServer) -> None:
    redis_db.acl_setuser("limited", enabled=True, passwords=["+pass"], keys=["*"], channels=["*"],
                         commands=["+@all", "-setex", "-info"])  # fmt: skip
    try:
        _, findings = doctor(REDIS_URL=redis_server.url.replace("redis://", "redis://limited:pass@"))
    finally:
        redis_db.acl_deluser("limited")
    told = said(findings, "redis")
    assert [level for level, text in told if text.startswith("refuses SETEX track:doctor-")] == ["error"]
    assert any(level == "warning" and "does not say how it is set up" in text for level, text in told)


@pytest.mark.parametrize(
    "patterns,commands,level,texts",
    [
        (["traptor*"], ["+@all"], "error", ["SETEX track:doctor-", "SET stats:track:", "SET limit:track:"]),
        (["*"], ["+@all", "-multi", "-watch"], "error", ["WATCH and MULTI traptor:lease:"]),
        (["*"], ["+@all", "-rpush", "-mget"], "error", ["RPUSH traptor:gaps:track:", "MGET stats:track:"]),
        (
            ["*"],
            ["+@all", "-evalsha", "-blpop"],
            "error",
            ["EVALSHA traptor:brought:", "BLPOP traptor:handover:"],
        ),
        (["*"], ["+@all", "-publish", "-renamenx"], "warning", ["RENAMENX traptor-track:", "PUBLISH traptor-notify"]),
    ],
)
def test_what_a_user_may_not_do(
    *,
    doctor: Doctor,
    redis_db: redis.Redis,
    redis_server: RedisServer,
    patterns: list[str],
    commands: list[str],
    level: str,
    texts: list[str],
) -> None:
    redis_db.acl_setuser("limited", enabled=True, passwords=["+pass"], keys=patterns, channels=["*"], commands=commands)
    try:
        url = redis_server.url.replace("redis://", "redis://limited:pass@")
        _, findings = doctor(REDIS_URL=url, DEDUPE_ACROSS="true")
    finally:
        redis_db.acl_deluser("limited")
    [told] = [text for one, text in said(findings, "redis") if one == level]
    assert told.startswith("refuses")
    assert all(text in told for text in texts)


def test_kafka_and_its_topics(doctor: Doctor, kafka_broker: KafkaBroker, topic: str) -> None:
    kafka: dict[str, Any] = {"KAFKA_ENABLED": "true", "KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic}
    _, findings = doctor("--probe-topic", topic, **kafka)
    told = said(findings, "kafka")
    assert ("ok", f"answers at {kafka_broker.hosts}") in told
    assert ("ok", f"topic {topic} is there") in told
    assert told[-1][0] == "ok"
    assert [value for _, value in kafka_broker.consume(topic, 1)] == [b"traptor doctor"]

    _, findings = doctor(**{**kafka, "KAFKA_TOPIC": f"{topic}-not-there"})
    assert any("is not there" in text for _, text in said(findings, "kafka"))


@pytest.mark.heavy
def test_what_kafkas_client_does_not_like_is_one_finding(doctor: Doctor, kafka_broker: KafkaBroker) -> None:
    code, findings = doctor("--probe-topic", "x/y", KAFKA_ENABLED="true", KAFKA_HOSTS=kafka_broker.hosts)
    [told] = [each for level, each in said(findings, "kafka") if level == "error"]
    assert told.startswith("did not take a message for x/y")
    assert code == 1


def test_a_topic_that_takes_only_small_messages(doctor: Doctor, kafka_broker: KafkaBroker) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("tansu keeps no settings of topics")
    name = f"traptor-{uuid.uuid4().hex}"
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka_broker.hosts)) as admin:
        limits = {"max.message.bytes": "1000"}
        admin.create_topics([NewTopic(name=name, num_partitions=1, replication_factor=1, topic_configs=limits)])
    _, findings = doctor(KAFKA_ENABLED="true", KAFKA_HOSTS=kafka_broker.hosts, KAFKA_TOPIC=name)
    assert ("warning", f"topic {name} takes 1000 bytes at most") in said(findings, "kafka")
