"""``--demo``: a simulated Twitter and an embedded Redis on free ports, with sample rules in it."""

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis
from fakeredis import TcpFakeServer

from traptor import settings
from traptor.logs import NO_FILE
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Simulator

TWEETS_PER_SECOND = 5.0
RULES = {
    "track": [
        {"rule_id": "1", "tag": "weather", "value": "storm,flood warning,hurricane"},
        {"rule_id": "2", "tag": "space", "value": "#rocket launch,orbit"},
        {"rule_id": "3", "tag": "coffee", "value": "espresso"},
    ],
    "follow": [
        {"rule_id": "1", "tag": "newsroom", "value": "1001"},
        {"rule_id": "2", "tag": "observatory", "value": "1002"},
    ],
    "locations": [
        {"rule_id": "1", "tag": "San Francisco", "value": "-122.75,36.8,-121.75,37.8"},
        {"rule_id": "2", "tag": "New York", "value": "-74,40,-73,41"},
    ],
}


@contextlib.contextmanager
def running(command_line: Mapping[str, Any]) -> Iterator[settings.Settings]:
    """Start both servers; yields settings that point at them.

    What else the environment sets holds, a Kafka too; localsettings.py is for the real thing.
    """
    wanted = settings.load({**command_line, **dict(zip(settings.APIKEY_NAMES, CREDENTIAL, strict=True))}, local={})
    with redis_server() as url, Simulator(rate=TWEETS_PER_SECOND) as twitter:
        made = dataclasses.replace(
            wanted,
            TWITTER_STREAM_URL=twitter.url,
            TWITTER_API_URL=twitter.url,
            BEARER_TOKEN=settings.NONE,
            REDIS_URL=url,
            LOG_DIR=NO_FILE,
            USE_SENTRY=False,
        )
        with contextlib.closing(redis.Redis.from_url(url, protocol=2)) as conn:
            stored.write(conn, made.TRAPTOR_TYPE, made.TRAPTOR_ID, RULES[made.TRAPTOR_TYPE])
        yield made


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """fakeredis' server on a free port; yields its URL."""
    server = TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="demo-redis", daemon=True)
    thread.start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    finally:
        server.shutdown()
        server.server_close()


def hints(made: settings.Settings) -> list[str]:
    """What runs where, and what to try next, line by line."""
    rule = {"track": "chocolate", "follow": "1003", "locations": "2.2,48.8,2.5,48.95"}[made.TRAPTOR_TYPE]
    values = "; ".join(rule["value"] for rule in RULES[made.TRAPTOR_TYPE])
    return [
        f"demo: simulated Twitter on {made.TWITTER_STREAM_URL}, Redis on {made.REDIS_URL}, rules: {values}",
        "demo: next, in another terminal, add a rule and see its tweets come:",
        f"  REDIS_URL={made.REDIS_URL} {_python()} -m traptor rules add {made.TRAPTOR_TYPE} {rule} --tag mine",
    ]


def _python() -> str:
    """This Python as one would call it from here."""
    return os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable


def has_kafka(made: settings.Settings) -> bool:
    """Does the environment name a Kafka? The demo itself has none."""
    return made.sources.get("KAFKA_HOSTS", "default") != "default"
