"""``--demo``: a simulated Twitter and an embedded Redis on free ports, with sample rules in it."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import click
import redis
from fakeredis import TcpFakeServer

from traptor import keys, rules, settings
from traptor.logs import NO_FILE
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
    """Start both servers; yields settings that point at them. Everything else is as the user has set it."""
    wanted = settings.load({**command_line, **dict(zip(settings.APIKEY_NAMES, CREDENTIAL, strict=True))})
    with _redis() as url, Simulator(rate=TWEETS_PER_SECOND) as twitter:
        made = dataclasses.replace(
            wanted,
            TWITTER_STREAM_URL=twitter.url,
            TWITTER_API_URL=twitter.url,
            BEARER_TOKEN="",
            REDIS_URL=url,
            LOG_DIR=NO_FILE,
        )
        with contextlib.closing(redis.Redis.from_url(url, protocol=2)) as conn:
            rules.write(conn, made.TRAPTOR_TYPE, made.TRAPTOR_ID, RULES[made.TRAPTOR_TYPE])
        _tell(made)
        yield made


@contextlib.contextmanager
def _redis() -> Iterator[str]:
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


def _tell(made: settings.Settings) -> None:
    port = made.REDIS_URL.rsplit(":", 1)[1].split("/")[0]
    rule = {"track": "chocolate", "follow": "1003", "locations": "2.2,48.8,2.5,48.95"}[made.TRAPTOR_TYPE]
    key = keys.rule(made.TRAPTOR_TYPE, made.TRAPTOR_ID, 9)
    notice = f"publish {made.REDIS_PUBSUB_CHANNEL} {keys.notice(made.TRAPTOR_TYPE, made.TRAPTOR_ID)}"
    values = "; ".join(rule["value"] for rule in RULES[made.TRAPTOR_TYPE])
    click.echo(
        f"demo: simulated Twitter on {made.TWITTER_STREAM_URL}, Redis on 127.0.0.1:{port}, rules: {values}\n"
        f"demo: next, in another terminal, add a rule and see its tweets come:\n"
        f"  redis-cli -p {port} hset {key} value '{rule}' tag mine\n"
        f"  redis-cli -p {port} {notice}\n"
        "demo: end it with Ctrl-C",
        err=True,
    )


def has_kafka(made: settings.Settings) -> bool:
    """Has the user named a Kafka? The demo itself has none."""
    return made.sources.get("KAFKA_HOSTS", "default") != "default"
