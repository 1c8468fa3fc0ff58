"""No secret is ever shown: in logs, reports, texts of errors, or in what stands for an object."""

import base64
import json
import logging
import threading
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import MagicMock
from urllib.parse import quote

import fakeredis
import pytest
from birdy.twitter import TwitterApiError
from click.testing import CliRunner

from traptor import cli, keys, logs, settings
from traptor.cli import SUBCOMMANDS, command
from traptor.connections import connect_to_redis
from traptor.fleet import doctor
from traptor.reports import Reporter
from traptor.settings import Settings
from traptor.simulator import Credential, Simulator
from traptor.sources.lease import credential_hash
from traptor.sources.v1 import MyBirdyClient
from traptor.sources.v2.source import V2Source
from traptor.store.destinations import destination
from traptor.traptor import Traptor

SECRETS = [
    "c0nsumerK3y", "c0nsumerS3cr3t", "acc3ssT0ken", "acc3ssT0kenS3cr3t", 'r3dis-pass w"ord\\é', "sentryPubl1c",
    "sentryPr1vate", 'kafka"p\\ss\twörd', "st0rePassw0rd", "mysqlPassw0rd", "b3arerT0ken",
]  # fmt: skip
APIKEYS = dict(zip(settings.APIKEY_NAMES, SECRETS, strict=False))
ENVIRON = {
    **APIKEYS,
    "REDIS_URL": "redis://user:r3dis-pass%20w%22ord%5C%C3%A9@127.0.0.1:9/0",
    "STORE_PASSWORD": "st0rePassw0rd",
    "MYSQL_PASSWORD": "mysqlPassw0rd",
    "BEARER_TOKEN": "b3arerT0ken",
    "SENTRY_URL": "http://sentryPubl1c:sentryPr1vate@127.0.0.1:9/1",
    "KAFKA_OPTIONS": json.dumps(
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "traptor",
            "sasl_plain_password": 'kafka"p\\ss\twörd',
            "bootstrap_timeout_ms": 500,
        }
    ),
}


def spellings(secret: str) -> list[str]:
    """As it is, and as JSON, Python, a URL or the header of a login would write it."""
    python = repr(secret)[1:-1]
    percent = quote(secret, safe="")
    packed = [base64.b64encode(f"{user}{secret}".encode()).decode() for user in ("", "user:", "traptor:")]
    return [
        secret,
        python,
        json.dumps(secret)[1:-1],
        json.dumps(python)[1:-1],
        percent,
        quote(percent, safe=""),
        *packed,
    ]


def leaks(text: str) -> list[str]:
    """The secrets in a text, in whatever spelling."""
    return [one for secret in SECRETS for one in spellings(secret) if one in text]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**ENVIRON, "LOG_DIR": "logs", "SPOOL_DIR": "spool"}.items():
        monkeypatch.setenv(name, value)


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
    second = V2Source(wanted, Counter())
    shown = [wanted, one, MyBirdyClient(*APIKEYS.values()), Reporter(wanted.SENTRY_URL), connect_to_redis(wanted)]
    shown += [second, second.connect(wanted), *(destination(f"{url}/db", "st0rePassw0rd") for url in DATABASES)]
    assert leaks(" ".join([*map(repr, shown), *map(str, shown), settings.markdown_table()])) == []


@pytest.mark.usefixtures("wanted")
@pytest.mark.parametrize("error", [ValueError, TwitterApiError, OSError])
def test_reports(error: type[Exception], reports: tuple[str, list[str]], caplog: pytest.LogCaptureFixture) -> None:
    dsn, events = reports
    reporter = Reporter(dsn)
    for secret in SECRETS:
        try:
            raise error(f"cannot use {secret}")
        except error as raised:
            reporter.report(raised)
    assert len(events) == len(SECRETS)
    assert leaks(" ".join(events)) == []
    assert leaks(caplog.text) == []


@pytest.mark.parametrize("said", [spellings(secret) for secret in APIKEYS.values()])
def test_the_end_of_a_refused_traptor(
    said: list[str], reports: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn, events = reports
    for name, value in {"USE_SENTRY": "true", "SENTRY_URL": dsn, "LOG_LEVEL": "DEBUG"}.items():
        monkeypatch.setenv(name, value)
    fault = {"fault": "status", "code": 403, "body": "not welcome: " + " ".join(said)[:480]}
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
    told = json.dumps(
        [one._vitals.status(), one._vitals.gauges(), one._vitals.counts(), vars(one._vitals)], default=str
    )
    assert "not welcome: ***" in told
    assert leaks(shown + events[0] + told + Path("logs/traptor.log").read_text(encoding="utf-8")) == []


def test_what_doctor_and_status_show(wanted: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything there says every secret, in each spelling: Redis, its keys, and what stands in them."""
    said = [one for secret in SECRETS for one in spellings(secret)]
    conn = fakeredis.FakeRedis(decode_responses=True)
    name = ("track", 0)
    conn.set(keys.status(*name), json.dumps({"type": "track", "id": 0, "state": "refused", "reason": " ".join(said)}))
    conn.set(keys.lease(credential_hash(wanted.credential)), json.dumps({"host": said[4], "type": "track", "id": 1}))
    conn.hset(keys.rule(*name, "1"), mapping={"value": said[0], "tag": said[1]})
    for module in ("traptor.commands.console", "traptor.commands.doctor"):
        monkeypatch.setattr(f"{module}.connect_to_redis", lambda _wanted: conn)
    for arguments in (
        ["doctor"],
        ["doctor", "--json"],
        ["status"],
        ["status", "track:0"],
        ["rules", "list"],
        ["stats"],
    ):
        result = CliRunner().invoke(command, arguments)
        assert result.output
        assert leaks(result.output) == [], arguments


DATABASES = [
    f"{scheme}://ana:urlPassw0rd@127.0.0.1:1" for scheme in ("postgresql", "opensearch+http", "elasticsearch+https")
]


@pytest.mark.parametrize(
    "arguments",
    [
        *[["export", f"{url}/db"] for url in DATABASES],
        *[["store", "apart", f"{url}/db", "list"] for url in DATABASES],
        *[["store", "check", f"{url}/db"] for url in DATABASES],
        *[["report", f"{url}/db"] for url in DATABASES],
        ["store", "mongo://ana:urlPassw0rd@h/db", "-"],
        ["store", "postgresql://ana:urlPassw0rd@[::1/db", "-"],
        ["rules", "load", "mysql://ana:urlPassw0rd@127.0.0.1:1/db"],
        ["rules", "load", "mysql://ana:urlPassw0rd@h:x/db"],
        ["rules", "load", "postgres://ana:urlPassw0rd@h/db"],
    ],
    ids=" ".join,
)
def test_a_password_that_was_typed(arguments: list[str]) -> None:
    """It is shown nowhere but in the list of processes, which is told."""
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert "urlPassw0rd" not in result.output
    assert "[::1" in arguments[1] or "others can read this password in the list of processes" in result.output
    assert leaks(result.output) == []


def test_an_unexpected_end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own traceback."""
    settings.load()
    try:
        raise ValueError(" ".join(SECRETS)) from KeyError(SECRETS[0])
    except ValueError as error:
        cli._tell_unexpected(ValueError, error, error.__traceback__)
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert leaks(shown) == []


@pytest.mark.parametrize("name", ["TWITTER_STREAM_URL", "TWITTER_API_URL"])
@pytest.mark.parametrize(
    "url", ["https://ana:c0nsumerS3cr3t@host", "ftp://ana:c0nsumerS3cr3t@host", "ana:c0nsumerS3cr3t@h"]
)
def test_a_password_in_a_url_of_twitter(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, url)
    try:
        made = settings.load()
    except settings.SettingError as error:
        shown = str(error)
    else:
        logs.set_up(made)
        logging.getLogger("traptor.test").warning("no stream", extra={"url": getattr(made, name), "error": url})
        findings = [*doctor.settings_and_sources(made), *doctor.clock(getattr(made, name))]
        shown = f"{made} {[str(one) for one in findings]}" + "".join(capsys.readouterr())
    assert name in shown
    assert leaks(shown) == []


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
    for arguments in (["--help"], *[[name, "--help"] for name in SUBCOMMANDS]):
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
