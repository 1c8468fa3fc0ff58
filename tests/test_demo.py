"""The demo: both its servers, its rules, and a Traptor that collects from them."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from traptor import demo, settings
from traptor.rules import stored
from traptor.traptor import Traptor


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for one in settings.known():
        monkeypatch.delenv(one.name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("traptor", "kafka"):
        for handler in list(logging.getLogger(name).handlers):
            logging.getLogger(name).removeHandler(handler)
            handler.close()


@pytest.mark.parametrize("traptor_type", ["track", "follow", "locations"])
def test_its_rules_are_in_redis_and_its_tweets_satisfy_them(
    traptor_type: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "TWEETS_PER_SECOND", 200.0)
    with demo.running({"TRAPTOR_TYPE": traptor_type}) as made:
        with redis.Redis.from_url(made.REDIS_URL, protocol=2) as conn:
            assert stored.read(conn, traptor_type, 0) == demo.RULES[traptor_type]
        one = Traptor.from_settings(made, test=True)
        one.run(tweet_limit=5)
        for conn in (one.redis_conn, one.pubsub_conn, one.heartbeat_conn):
            conn.close()
    shown = capsys.readouterr()
    tweets = [json.loads(line) for line in shown.out.splitlines()]
    assert len(tweets) == 5
    assert {tweet["traptor"]["rule_tag"] for tweet in tweets} <= {rule["tag"] for rule in demo.RULES[traptor_type]}
    hints = "\n".join(demo.hints(made))
    assert made.TWITTER_STREAM_URL in hints
    assert f"REDIS_URL={made.REDIS_URL} {sys.executable} -m traptor rules add {traptor_type} " in hints


def test_it_has_nothing_to_do_with_the_real_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "localsettings.py").write_text("KAFKA_HOSTS = 'kafka.example.com:9092'\nUSE_SENTRY = True\n")
    monkeypatch.setenv("USE_SENTRY", "true")
    with demo.running({}) as made:
        assert not demo.has_kafka(made)
        assert made.USE_SENTRY is False


@pytest.mark.parametrize("environ,expected", [({}, False), ({"KAFKA_HOSTS": "localhost:9092"}, True)])
def test_kafka_is_used_when_it_is_named(environ: dict[str, str], expected: bool) -> None:
    assert demo.has_kafka(settings.load({}, environ, {})) is expected
