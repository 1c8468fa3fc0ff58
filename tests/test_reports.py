"""Error reports, as they arrive at a Sentry that listens here."""

import json
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from traptor.redaction import Secret
from traptor.reports import Reporter

EVENTS: list[dict[str, Any]] = []


class Sentry(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        EVENTS.append(json.loads(zlib.decompress(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def dsn() -> Iterator[str]:
    EVENTS.clear()
    with HTTPServer(("127.0.0.1", 0), Sentry) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://public:private@127.0.0.1:{server.server_port}/1"
        server.shutdown()
        thread.join()


def raised(text: str) -> Exception:
    local = f"a local {text}"
    try:
        raise ValueError(f"cannot use {text}") from KeyError(local)
    except ValueError as error:
        return error


def test_an_error_has_arrived_when_report_returns(dsn: str) -> None:
    Reporter(dsn).report(raised("it"))
    (event,) = EVENTS
    told = event["exception"]["values"]
    types = [(one["type"], one["value"]) for one in told]
    assert types == [("KeyError", "'a local it'"), ("ValueError", "cannot use it")]
    assert "raised" in [frame["function"] for frame in told[-1]["stacktrace"]["frames"]]


def test_each_error_is_reported(dsn: str) -> None:
    reporter = Reporter(dsn)
    for number in range(10):
        reporter.report(raised(str(number)))
    values = [event["exception"]["values"][-1]["value"] for event in EVENTS]
    assert values == [f"cannot use {number}" for number in range(10)]


@pytest.mark.parametrize("text", ["s3cr3t", "s3cr3t-longer", "longer"])
def test_secrets_and_local_variables_are_left_out(dsn: str, text: str) -> None:
    for secret in ("s3cr3t", "s3cr3t-longer", "longer"):
        Secret(secret)
    Reporter(dsn).report(raised(text))
    (event,) = EVENTS
    assert text not in json.dumps(event)
    assert "***" in event["exception"]["values"][-1]["value"]
    assert all("vars" not in frame for frame in event["exception"]["values"][-1]["stacktrace"]["frames"])


@pytest.mark.parametrize("nowhere", [None, ""])
def test_without_a_dsn_nothing_happens(nowhere: str | None) -> None:
    Reporter(nowhere).report(raised("it"))


def test_a_sentry_that_is_away_is_no_trouble(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    Secret("private")
    Reporter(f"{dsn.rsplit(':', 1)[0]}:9/1").report(raised("it"))
    assert "private" not in caplog.text
