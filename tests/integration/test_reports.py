"""Error reports arrive at Sentry over HTTP, without secrets."""

import json
import queue
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import redis

from tests.integration.daemon import to_stdout
from tests.servers import RedisServer
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Simulator


@contextmanager
def sentry() -> Iterator[tuple[str, "queue.Queue[bytes]"]]:
    """A Sentry of our own: its DSN, and the events as they arrive."""
    events: queue.Queue[bytes] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on standard error."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://public:hush@127.0.0.1:{server.server_port}/1", events
        server.shutdown()
        thread.join()


def test_a_refusal_is_reported(tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis) -> None:
    stored.write(redis_db, "track", 0, [{"rule_id": "1", "value": "coffee"}])
    body = f"Not with {CREDENTIAL.consumer_key}"
    with sentry() as (dsn, events), Simulator(faults=[{"fault": "status", "code": 403, "body": body}]) as twitter:
        with to_stdout(tmp_path, redis_server, twitter.url, USE_SENTRY="true", SENTRY_URL=dsn) as daemon:
            assert daemon.wait_for_exit() == 3
        event = zlib.decompress(events.get(timeout=5)).decode()
    assert events.empty()
    assert "Not with ***" in json.loads(event)["exception"]["values"][0]["value"]
    assert [secret for secret in (*CREDENTIAL, "hush") if secret in event] == []


def test_nothing_is_reported_unasked(tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis) -> None:
    stored.write(redis_db, "track", 0, [{"rule_id": "1", "value": "coffee"}])
    with sentry() as (dsn, events), Simulator(faults=[{"fault": "status", "code": 403}]) as twitter:
        with to_stdout(tmp_path, redis_server, twitter.url, USE_SENTRY="false", SENTRY_URL=dsn) as daemon:
            assert daemon.wait_for_exit() == 3
        assert events.empty()
