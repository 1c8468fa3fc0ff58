"""Every setting: where its value comes from, what is allowed, and what is shown of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from traptor import folders, settings
from traptor.redaction import redact
from traptor.settings import SettingError, Settings


def load(
    command_line: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    local: dict[str, Any] | None = None,
) -> Settings:
    return settings.load(command_line or {}, environ or {}, local or {})


def test_the_defaults_are_those_of_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "can_be_written", lambda path: True)
    made = load()
    originals = {
        "TRAPTOR_TYPE": "track", "TRAPTOR_ID": 0, "RULE_CHECK_INTERVAL": 60, "KAFKA_ENABLED": True,
        "KAFKA_HOSTS": "localhost:9092", "KAFKA_TOPIC": "traptor", "REDIS_HOST": "localhost", "REDIS_PORT": 6379,
        "REDIS_DB": 0, "REDIS_PUBSUB_CHANNEL": "traptor-notify", "ENABLE_STATS_COLLECTION": True,
        "STATS_COLLECTION_WINDOW": 900, "LIMIT_COUNT_COLLECTION_WINDOW": 900, "USE_SENTRY": False,
        "LOG_LEVEL": "INFO", "LOG_DIR": "/var/log/traptor", "LOG_FILE": "traptor.log", "LOG_JSON": False,
        "TWITTER_STREAM_URL": "https://stream.twitter.com", "HEARTBEAT_INTERVAL": 5,
    }  # fmt: skip
    assert {name: getattr(made, name) for name in originals} == originals
    assert set(made.sources.values()) == {"default"}


@pytest.mark.parametrize(
    "command_line,environ,local,topic,source",
    [
        ({"KAFKA_TOPIC": "a"}, {"KAFKA_TOPIC": "b"}, {"KAFKA_TOPIC": "c"}, "a", "command line"),
        ({"KAFKA_TOPIC": None}, {"KAFKA_TOPIC": "b"}, {"KAFKA_TOPIC": "c"}, "b", "environment"),
        ({}, {}, {"KAFKA_TOPIC": "c", "__file__": "/x/localsettings.py"}, "c", "/x/localsettings.py"),
        ({}, {"KAFKA_TOPIC": ""}, {"KAFKA_TOPIC": "c"}, "c", "localsettings.py"),
        ({}, {"KAFKA_TOPIC": ""}, {"KAFKA_TOPIC": ""}, "traptor", "default"),
        ({}, {"OTHER": "x"}, {"os": object()}, "traptor", "default"),
    ],
)
def test_the_first_source_that_has_it_wins(
    command_line: dict[str, Any], environ: dict[str, str], local: dict[str, Any], topic: str, source: str
) -> None:
    made = load(command_line, environ, local)
    assert (made.KAFKA_TOPIC, made.sources["KAFKA_TOPIC"]) == (topic, source)


@pytest.mark.parametrize(
    "written,expected",
    [
        *[(word, True) for word in ("true", "True", "TRUE", "1", "yes", "on", "'true'", '"True"', " true ", True, 1)],
        *[(word, False) for word in ("false", "False", "0", "no", "off", "'false'", '"0"', False, 0)],
    ],
)
def test_booleans_are_read_as_people_write_them(written: Any, expected: bool) -> None:
    assert settings.boolean("test", written) is expected
    assert load({"KAFKA_ENABLED": written}).KAFKA_ENABLED is expected


@pytest.mark.parametrize(
    "name,written,expected",
    [
        ("TRAPTOR_TYPE", "Follow", "follow"),
        ("TRAPTOR_ID", "7", 7),
        ("TRAPTOR_ID", "'7'", 7),
        ("RULE_CHECK_INTERVAL", "2.5", 2.5),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("KAFKA_HOSTS", "a:1, b:2", "a:1,b:2"),
        ("KAFKA_HOSTS", ["a:1", "b:2"], "a:1,b:2"),
        ("KAFKA_OPTIONS", '{"acks": 1}', {"acks": 1, "enable_idempotence": False}),
        ("KAFKA_OPTIONS", {"acks": 1}, {"acks": 1, "enable_idempotence": False}),
        ("TWITTER_STREAM_URL", "http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("REDIS_URL", "rediss://user:password@redis/1", "rediss://user:password@redis/1"),
        ("LOG_FILE_NAME", "mine.log", "mine.log"),
    ],
)
def test_values_are_read(name: str, written: Any, expected: Any) -> None:
    made = load(local={name: written})
    assert getattr(made, {"LOG_FILE_NAME": "LOG_FILE"}.get(name, name)) == expected


@pytest.mark.parametrize(
    "name,wrong,allowed",
    [
        ("TRAPTOR_TYPE", "geo", "track, follow or locations"),
        ("TRAPTOR_ID", "-1", "a whole number from 0 to 999999999"),
        ("TRAPTOR_ID", "one", "a whole number from 0 to 999999999"),
        ("TRAPTOR_ID", "9" * 30, "a whole number from 0 to 999999999"),
        ("DEDUPE_WINDOW", "9" * 30, "a whole number from 0 to 10^15"),
        ("STATS_COLLECTION_WINDOW", "9" * 30, "a whole number from 1 to 31622400"),
        ("REDIS_PORT", "65536", "a whole number from 1 to 65535"),
        ("RULE_CHECK_INTERVAL", "0", "a number of seconds from 0.01 to a year"),
        ("RULE_CHECK_INTERVAL", "nan", "a number of seconds from 0.01 to a year"),
        ("HEARTBEAT_INTERVAL", "inf", "a number of seconds from 0.5 to a year"),
        ("STOP_TIMEOUT", "1e18", "a number of seconds from 0 to a year"),
        ("REDIS_HOST", "redis://h", "the name of a host, or an address, without a port"),
        ("REDIS_HOST", "h:6379", "the name of a host, or an address, without a port"),
        ("METRICS_ADDRESS", "a b", "the name of a host, or an address, without a port"),
        ("TWITTER_STREAM_URL", "https://h h", "https://host:port or http://host:port, without a path"),
        ("TWITTER_STREAM_URL", "https://h#f", "https://host:port or http://host:port, without a path"),
        ("KAFKA_ENABLED", "maybe", "true/false, yes/no, on/off or 1/0"),
        ("KAFKA_HOSTS", "a:1,,b:2", "host:port, several separated by commas"),
        ("TWITTER_STREAM_URL", "stream.twitter.com", "https://host:port or http://host:port, without a path"),
        ("TWITTER_STREAM_URL", "http://host/1.1", "https://host:port or http://host:port, without a path"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ],
)
def test_a_wrong_value_is_told_with_its_setting_and_what_is_allowed(name: str, wrong: str, allowed: str) -> None:
    with pytest.raises(SettingError) as told:
        load(environ={name: wrong})
    assert str(told.value) == f"{name}: {wrong!r} is not allowed; allowed is {allowed}"


def test_all_that_is_wrong_is_told() -> None:
    environ = {"KAFKA_HOSTS": "h:x", "REDIS_PORT": "0", "ACCESS_TOKEN": "a token", "TRAPTOR_TYPE": "tracks"}
    with pytest.raises(SettingError) as told:
        settings.load({}, environ, {})
    assert [name for name in environ if f"{name}: " not in str(told.value)] == []
    assert "a token" not in str(told.value)


@pytest.mark.parametrize(
    "name,wrong",
    [
        ("REDIS_URL", "http://:s3cr3t@redis"),
        ("SENTRY_URL", "s3cr3t"),
        ("KAFKA_OPTIONS", '{"sasl_plain_password": "s3cr3t"'),
        ("KAFKA_OPTIONS", '["s3cr3t"]'),
        ("REDIS_URL", "redis://:s3cr3t@redis:0"),
        ("CONSUMER_KEY", "s3cr3t\r\nX: y"),
        ("CONSUMER_KEY", "s3cr3t é"),
        ("BEARER_TOKEN", b"s3cr3t"),
        ("MYSQL_PASSWORD", ["s3cr3t"]),
        ("APIKEYS", ["s3cr3t"]),
        ("APIKEYS", "s3cr3t"),
    ],
)
def test_a_wrong_secret_is_not_shown(name: str, wrong: Any) -> None:
    with pytest.raises(SettingError, match=f"^{name}: its value is not allowed; allowed is ") as told:
        load(local={name: wrong})
    assert "s3cr3t" not in str(told.value)


def test_api_keys_come_one_by_one_or_as_a_dict() -> None:
    flat = {name: f"flat-{name}" for name in settings.APIKEY_NAMES}
    kept = {name: f"dict-{name}" for name in settings.APIKEY_NAMES}
    assert load(local={"APIKEYS": kept}).apikeys == kept
    assert load(local={"APIKEYS": kept, **flat}).apikeys == flat
    assert load(environ=flat, local={"APIKEYS": kept}).apikeys == flat
    assert load(local={"APIKEYS": None}).apikeys == dict.fromkeys(flat, "")


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cr3t\n")
    made = load(environ={"CONSUMER_SECRET_FILE": str(path)})
    assert (made.CONSUMER_SECRET, made.sources["CONSUMER_SECRET"]) == ("s3cr3t", f"file {path}")
    assert load({"CONSUMER_SECRET": "mine"}, {"CONSUMER_SECRET_FILE": str(path)}).CONSUMER_SECRET == "mine"
    assert load(environ={"KAFKA_TOPIC_FILE": str(path)}).KAFKA_TOPIC == "traptor"


@pytest.mark.parametrize(
    "environ,told",
    [
        ({"CONSUMER_SECRET_FILE": "/no/such/file"}, "CONSUMER_SECRET_FILE: '/no/such/file' cannot be read"),
        ({"CONSUMER_SECRET_FILE": "/"}, "CONSUMER_SECRET_FILE: '/' cannot be read"),
        ({"CONSUMER_SECRET_FILE": "/dev/zero"}, "CONSUMER_SECRET_FILE: '/dev/zero' is empty"),
        ({"CONSUMER_SECRET": "a", "CONSUMER_SECRET_FILE": "/b"}, "CONSUMER_SECRET and CONSUMER_SECRET_FILE are both"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_told(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        load(environ=environ)


def test_localsettings_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "localsettings.py"
    path.write_text("import os\nTRAPTOR_ID = 2 + 1\nAPIKEYS = {'CONSUMER_KEY': 'k3y'}\n")
    made = settings.load({}, {})
    assert (made.TRAPTOR_ID, made.CONSUMER_KEY, made.sources["TRAPTOR_ID"]) == (3, "k3y", str(path))


@pytest.mark.parametrize("broken", ["CONSUMER_SECRET = s3cr3t", "CONSUMER_SECRET = 's3cr3t", "raise OSError('s3cr3t')"])
def test_a_broken_localsettings_is_told_without_its_text(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "localsettings.py").write_text(broken)
    with pytest.raises(SettingError, match=r"localsettings\.py cannot be read: \w+Error") as told:
        settings.load({}, {})
    assert "s3cr3t" not in str(told.value)


def test_no_secret_is_shown_and_all_are_known() -> None:
    login = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_username": "me"}
    made = load(
        environ={
            **dict(zip(settings.APIKEY_NAMES, ("k3y-k3y", "s3cr3t", "t0ken-t", "t0ken-s3cr3t"), strict=True)),
            "REDIS_URL": "redis://user:p%40ssword@redis/0",
            "SENTRY_URL": "https://public:private@sentry/1",
            "TWITTER_STREAM_URL": "https://user:passw0rd@host",
            "KAFKA_OPTIONS": json.dumps({**login, "sasl_plain_password": "sasl-pass", "ssl_password": "tls-pass"}),
        }
    )
    secrets = [
        *("k3y-k3y", "s3cr3t", "t0ken-t", "t0ken-s3cr3t", "p%40ssword", 'p@ssword"', "public", "private", "passw0rd"),
        *("sasl-pass", "tls-pass"),
    ]
    shown = f"{made} {made!r} {made.KAFKA_OPTIONS} {made.apikeys}"
    assert [secret for secret in secrets if secret in shown] == []
    assert redact("k3y-k3y p@ssword passw0rd p%40ssword public private sasl-pass tls-pass") == " ".join(["***"] * 8)
    assert "redis://***@redis/0" in shown


def test_every_setting_is_documented_once() -> None:
    rows = settings.markdown_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [one.name for one in settings.known()]
    assert "| `RULE_CHECK_INTERVAL` | `60.0` s | wait between looks for rules while there are none" in "\n".join(rows)
    assert all(one.metadata["meaning"] for one in settings.known())


@pytest.mark.parametrize("around", ["{}\r", "'{}'", '"{}"', " {} ", "\ufeff{}", "'\"{}\"'\r\n"])
@pytest.mark.parametrize(
    "name,value",
    [
        ("REDIS_PUBSUB_CHANNEL", "traptor-notify"),
        ("REDIS_HOST", "redis.example"),
        ("CONSUMER_KEY", "k3y"),
        ("LOG_DIR", "/var/log/traptor"),
        ("KAFKA_HOSTS", "one:9092,two:9092"),
        ("KAFKA_TOPIC", "tweets"),
        ("TWITTER_STREAM_URL", "https://stream.example"),
        ("REDIS_URL", "redis://redis.example:6379/0"),
    ],
)
def test_what_files_and_shells_leave_around_a_value_is_taken_off(name: str, value: str, around: str) -> None:
    assert getattr(settings.load({}, {name: around.format(value)}, {}), name) == value


def test_quotes_inside_a_text_stay() -> None:
    query = "select * from rules where type = 'track'"
    assert query == settings.load({}, {"RULES_QUERY": query}, {}).RULES_QUERY
