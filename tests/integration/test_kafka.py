"""From Twitter to Kafka: every message is accounted for, by id and byte for byte."""

import json
import signal
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import redis

from tests.integration.daemon import BOTH_APIS, PATIENCE_SECONDS, Daemon, addresses, others_heavy, to_stdout
from tests.servers import KafkaBroker, RedisServer
from traptor.rules import stored
from traptor.settings import CONFLUENT, KAFKA_PYTHON
from traptor.simulator import Simulator
from traptor.simulator.feed import Synthetic
from traptor.simulator.predicates import parse
from traptor.simulator.snowflakes import Snowflakes

COFFEE = {"rule_id": "1", "tag": "drinks", "value": "coffee"}
RULES = {
    "track": [COFFEE, {"rule_id": "2", "tag": "space", "value": "#rocket launch,月"}],
    "follow": [
        {"rule_id": "1", "tag": "newsroom", "value": "1001"},
        {"rule_id": "2", "tag": "observatory", "value": "98765432101234567"},
    ],
    "locations": [
        {"rule_id": "1", "tag": "San Francisco", "value": "-122.75,36.8,-121.75,37.8"},
        {"rule_id": "2", "tag": "Fiji", "value": "177,-19,179,-16"},
    ],
}

NOT_TWEETS = [
    b'{"delete":{"status":{"id":1234,"id_str":"1234","user_id":3,"user_id_str":"3"},"timestamp_ms":"1456104893000"}}',
    b'{ "scrub_geo": {"user_id": 14090452, "up_to_status_id": 23260136625} }',
    b'{"limit":{"track":5,"timestamp_ms":"1456104893000"}}',
    b'{"status_withheld":{"id":1234567890,"user_id":123456,"withheld_in_countries":["DE","AR"]}}',
    b'{"warning":{"code":"FALLING_BEHIND","message":"\\u2615 slow","percent_full":60}}',
    b'{"what_comes_next_year":[1.50,2e3]}',
    b"[]",
]


Collect = Callable[..., Daemon]


@pytest.fixture(params=others_heavy(KAFKA_PYTHON, CONFLUENT))
def collect(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer, kafka_broker: KafkaBroker, topic: str
) -> Collect:
    """Makes a Traptor that sends what it collects from a Twitter to the topic, with either client."""
    kafka = {"KAFKA_CLIENT": request.param, "KAFKA_HOSTS": kafka_broker.hosts, "KAFKA_TOPIC": topic}

    def made(twitter_url: str, *arguments: str, **settings: object) -> Daemon:
        wanted = {"REDIS_URL": redis_server.url, **kafka, **settings}
        return Daemon(tmp_path, *arguments, **addresses(twitter_url), **wanted)

    return made


def sample(traptor_type: str, count: int) -> list[bytes]:
    """Tweets on which these rules hold, as Twitter writes them."""
    values = ",".join(rule["value"] for rule in RULES[traptor_type])
    messages = Synthetic(traptor_type, Snowflakes()).messages(parse(urlencode({traptor_type: values})))
    return [message.body for message in islice(messages, count)]


@pytest.mark.parametrize(
    "options", others_heavy({"compression_type": "lz9"}, {"delivery_timeout_ms": 10}, {"linger_ms": "soon"})
)
def test_options_that_no_producer_can_have_end_it(collect: Collect, options: dict[str, Any]) -> None:
    with collect("http://127.0.0.1:1", KAFKA_OPTIONS=json.dumps(options)) as daemon:
        assert daemon.process.wait(PATIENCE_SECONDS) == 2
        daemon.stderr.join()
        assert daemon.stderr.lines[-1].decode().startswith("traptor: KAFKA_OPTIONS: "), daemon.said()


@pytest.mark.parametrize(
    "api, traptor_type",
    [("1.1", "track"), *others_heavy(("2", "follow"), ("1.1", "follow"), ("1.1", "locations"), ("2", "track"))],
)
def test_kafka_has_what_twitter_sent_and_nothing_else(
    collect: Collect, redis_db: redis.Redis, kafka_broker: KafkaBroker, topic: str, *, api: str, traptor_type: str
) -> None:
    """v2 takes fewer tweets to be inside a box; it has no bytes to keep, nor the tweet that a retweet quotes."""
    stored.write(redis_db, traptor_type, 3, RULES[traptor_type])
    tweets = sample(traptor_type, 300)
    with (
        Simulator(tweets=tweets, rate=600) as twitter,
        collect(twitter.url, "--type", traptor_type, "--id", "3", "--limit", "300", TWITTER_API=api) as daemon,
    ):
        assert daemon.wait_for_exit() == 0
        assert daemon.summary() == {"received": 300, "matched": 300, "delivered": 300}
        assert daemon.stdout.lines == []
        assert "gzip" in twitter.connections[0].headers["Accept-Encoding"]
        sent = twitter.wait_for_sent(300)
    messages = kafka_broker.consume(topic, 300)
    assert [key for key, _ in messages] == [tweet_id.encode() for tweet_id in sent]
    for tweet, (_, value) in zip(tweets, messages, strict=True):
        traptor = json.loads(value)["traptor"]
        check_traptor(traptor, traptor_type)
        if api == "1.1":
            assert value.startswith(tweet[:-1] + b',"traptor":{')
            assert traptor["rules"][-1]["matched_in"]


def check_traptor(traptor: dict[str, Any], traptor_type: str) -> None:
    assert (traptor["rule_type"], traptor["id"], traptor["id_str"]) == (traptor_type, 3, "3")
    assert traptor["created_at_iso"].endswith("+00:00")
    last = traptor["rules"][-1]
    assert (traptor["rule_tag"], traptor["rule_value"]) == (last["tag"], last["value"])
    assert {field: last[field] for field in ("rule_id", "tag", "value")} in RULES[traptor_type]


def test_what_is_no_tweet_passes_through_untouched(
    collect: Collect, redis_db: redis.Redis, kafka_broker: KafkaBroker, topic: str
) -> None:
    stored.write(redis_db, "track", 0, [COFFEE])
    with Simulator(tweets=[]) as twitter, collect(twitter.url) as daemon:
        twitter.wait_for_connection(timeout_seconds=PATIENCE_SECONDS)
        for message in NOT_TWEETS:
            twitter.push(message)
        assert kafka_broker.consume(topic, len(NOT_TWEETS)) == [(None, message) for message in NOT_TWEETS]
        daemon.stop()
        assert daemon.summary() == {"received": 0, "matched": 0, "delivered": len(NOT_TWEETS)}


@BOTH_APIS
def test_what_is_no_message_is_told_and_skipped(
    tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis, api: str
) -> None:
    """However Twitter cuts its chunks; and a message with a line feed in it is one line all the same."""
    stored.write(redis_db, "track", 0, RULES["track"])
    faults = [
        {"fault": "split", "bytes": 50},
        {"fault": "newline", "after": 2},
        {"fault": "garbage", "after": 5, "text": '{"id_str":"7",' + "x" * 300},
        {"fault": "oversized", "after": 8},
    ]
    with (
        Simulator(tweets=sample("track", 20), rate=0, faults=faults) as twitter,
        to_stdout(tmp_path, redis_server, twitter.url, "--limit", "20", TWITTER_API=api) as daemon,
    ):
        assert daemon.wait_for_exit() == 0
        assert [json.loads(line)["id_str"] for line in daemon.stdout.lines] == twitter.wait_for_sent(20)
        garbage, oversized = daemon.logged("message skipped")
        assert (garbage["reason"], oversized["reason"]) == ("not_json", "too_long")
        assert '{"id_str":"7",xxx' in garbage["head"]
        assert len(garbage["head"]) < 250


def test_tweets_wait_for_a_kafka_that_is_away(
    collect: Collect, redis_db: redis.Redis, kafka_broker: KafkaBroker, topic: str
) -> None:
    stored.write(redis_db, "track", 0, [COFFEE])
    kafka_broker.stop()
    with Simulator(rate=100, limit=200) as twitter, collect(twitter.url) as daemon:
        try:
            sent = twitter.wait_for_sent(200, 60)
            (told, *_) = daemon.wait_for_log(
                "Kafka cannot be reached: trying again; tweets wait in the spool meanwhile"
            )
            assert told["level"] == "WARNING"
        finally:
            kafka_broker.start()
        kafka_broker.create_topic(topic)
        daemon.wait_for_log("Kafka connected")
        assert [key for key, _ in kafka_broker.consume(topic, 200)] == [tweet_id.encode() for tweet_id in sent]
        daemon.stop()
        assert daemon.summary()["delivered"] == 200


@BOTH_APIS
def test_what_was_received_is_delivered_on_sigterm(
    collect: Collect, redis_db: redis.Redis, kafka_broker: KafkaBroker, topic: str, api: str
) -> None:
    """Twitter may have sent more than was read by then."""
    stored.write(redis_db, "track", 0, RULES["track"])
    with Simulator(rate=0) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        twitter.wait_for_sent(2000, 60)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_for_exit() == 0
        received = daemon.summary()["received"]
        assert received > 0
        first_sent = twitter.sent[:received]
        keys = [key for key, _ in kafka_broker.consume(topic, received)]
        assert set(keys) == {tweet_id.encode() for tweet_id in first_sent}
        assert len(set(keys)) == daemon.summary()["delivered"] == received
