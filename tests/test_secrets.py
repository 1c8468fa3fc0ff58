"""No secret is ever shown: in logs, reports, texts of errors, or in what stands for an object."""

import json
import logging
import threading
import traceback
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import MagicMock

import fakeredis
import pytest
from birdy.twitter import TwitterApiError
from click.testing import CliRunner

from traptor import cli, logs, settings
from traptor.cli import command
from traptor.connections import connect_to_redis
from traptor.reports import Reporter
from traptor.settings import Settings
from traptor.simulator import Credential, Simulator
from traptor.sources.v1 import MyBirdyClient
from traptor.traptor import Traptor

SECRETS = [
    "c0nsumerK3y", "c0nsumerS3cr3t", "acc3ssT0ken", "acc3ssT0kenS3cr3t", 'r3dis-pass w"ord\\é', "sentryPubl1c",
    "sentryPr1vate", 'kafka"p\\ss\twörd',
]  # fmt: skip
APIKEYS = dict(zip(settings.APIKEY_NAMES, SECRETS, strict=False))
ENVIRON = {
    **APIKEYS,
    "REDIS_URL": "redis://user:r3dis-pass%20w%22ord%5C%C3%A9@127.0.0.1:9/0",
    "SENTRY_URL": "http://sentryPubl1c:sentryPr1vate@127.0.0.1:9/1",
    "KAFKA_OPTIONS": json.dumps(
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "ana",
            "sasl_plain_password": 'kafka"p\\ss\twörd',
        }
    ),
}


def leaks(text: str) -> list[str]:
    """The secrets in a text, as they are or as JSON, Python or a URL would write them."""
    found = [secret for secret in [*SECRETS, "r3dis-pass%20w%22ord%5C%C3%A9"] if secret in text]
    for secret in SECRETS:
        python = repr(secret)[1:-1]
        found += [one for one in (python, json.dumps(secret)[1:-1], json.dumps(python)[1:-1]) if one in text]
    return found


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name, value in {**ENVIRON, "LOG_DIR": "logs", "SPOOL_DIR": "spool"}.items():
        monkeypatch.setenv(name, value)
    yield
    for name in ("traptor", "kafka"):
        for handler in list(logging.getLogger(name).handlers):
            logging.getLogger(name).removeHandler(handler)
            handler.close()


@pytest.fixture
def wanted() -> Settings:
    return settings.load()


@pytest.fixture
def reports() -> Iterator[tuple[str, list[str]]]:
    """A Sentry's DSN, and the events that have arrived there."""
    events: list[str] = []

    class Sentry(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(zlib.decompress(self.rfile.read(int(self.headers["Content-Length"]))).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    with HTTPServer(("127.0.0.1", 0), Sentry) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://sentryPubl1c:sentryPr1vate@127.0.0.1:{server.server_port}/1", events
        server.shutdown()
        thread.join()


def test_the_check_finds_leaks() -> None:
    for secret in SECRETS:
        for text in (secret, json.dumps({"a": secret}), repr({"a": secret})):
            assert leaks(f"before {text} after") != []
    assert leaks("nothing here") == []


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
def test_logs(as_json: bool, level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOG_JSON", str(as_json))
    monkeypatch.setenv("LOG_LEVEL", level)
    logs.set_up(settings.load())
    for number in range(logging.DEBUG, logging.CRITICAL + 1, 10):
        for secret in SECRETS:
            logger = logging.getLogger("traptor.test")
            logger.log(number, f"one {secret} two", extra={"fact": secret, "facts": {"x": [secret]}})
            logger.log(number, "%s", secret)
            try:
                raise ValueError(secret) from KeyError(secret)
            except ValueError:
                logger.log(number, "failed", exc_info=True)
    shown = capsys.readouterr().err
    assert "***" in shown
    assert leaks(shown) == []
    assert leaks(Path("logs/traptor.log").read_text(encoding="utf-8")) == []


def test_what_stands_for_an_object(wanted: Settings) -> None:
    conn = fakeredis.FakeRedis()
    one = Traptor(conn, conn, conn, apikeys=APIKEYS)
    shown = [wanted, one, MyBirdyClient(*APIKEYS.values()), Reporter(wanted.SENTRY_URL), connect_to_redis(wanted)]
    assert leaks(" ".join([*map(repr, shown), *map(str, shown), settings.markdown_table()])) == []


@pytest.mark.parametrize("error", [ValueError, TwitterApiError, OSError])
def test_reports(
    error: type[Exception], wanted: Settings, reports: tuple[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    dsn, events = reports
    reporter = Reporter(dsn, wanted.secrets)
    for secret in SECRETS:
        try:
            raise error(f"cannot use {secret}")
        except error as raised:
            reporter.report(raised)
    assert len(events) == len(SECRETS)
    assert leaks(" ".join(events)) == []
    assert leaks(caplog.text) == []


def test_the_end_of_a_refused_traptor(
    reports: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn, events = reports
    for name, value in {"USE_SENTRY": "true", "SENTRY_URL": dsn, "LOG_LEVEL": "DEBUG"}.items():
        monkeypatch.setenv(name, value)
    fault = {"fault": "status", "code": 403, "body": f"not welcome: {APIKEYS['ACCESS_TOKEN']}"}
    with Simulator(credentials=[Credential(*APIKEYS.values())], faults=[fault]) as twitter:
        monkeypatch.setenv("TWITTER_STREAM_URL", twitter.url)
        conn = fakeredis.FakeRedis()
        one = Traptor(
            conn, conn, conn, apikeys=APIKEYS, kafka_enabled=False, use_sentry=True, sentry_url=dsn, log_dir="logs",
            log_level="DEBUG",
        )  # fmt: skip
        one._setup()
        one.twitter_rules = "happy"
        with pytest.raises(SystemExit) as ended:
            one._create_birdy_stream()
    assert ended.value.code == 3
    assert len(events) == 1
    shown = "".join(capsys.readouterr())
    assert "refuses" in shown
    assert leaks(shown + events[0]) == []


@pytest.mark.parametrize("name", ["REDIS_URL", "SENTRY_URL", "KAFKA_OPTIONS"])
@pytest.mark.parametrize("source", ["environment", "localsettings", "file"])
def test_errors_of_wrong_settings(
    name: str, source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = f"ftp://{SECRETS[1]}:{SECRETS[1]}@host"
    monkeypatch.delenv(name)
    if source == "environment":
        monkeypatch.setenv(name, wrong)
    elif source == "file":
        Path("secret").write_text(wrong)
        monkeypatch.setenv(f"{name}_FILE", "secret")
    else:
        Path("localsettings.py").write_text(f"{name} = {wrong!r}")
    monkeypatch.setattr("sys.argv", ["traptor"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    shown = "".join(capsys.readouterr())
    assert name in shown
    assert leaks(shown) == []


def test_help() -> None:
    for arguments in (["--help"], *[[name, "--help"] for name in command.commands]):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0
        assert leaks(result.output) == []


def test_errors_of_redis(wanted: Settings) -> None:
    with pytest.raises(Exception, match=r"127\.0\.0\.1") as raised:
        connect_to_redis(wanted).ping()
    assert leaks("".join(traceback.format_exception(raised.value))) == []


def test_the_reason_that_nothing_connects(wanted: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    one = Traptor.from_settings(wanted)
    logs.set_up(wanted)
    one.redis_conn = MagicMock()
    one._setup_birdy()
    one._turn.credential.take()
    one._create_birdy_stream()
    assert leaks("".join(capsys.readouterr())) == []
