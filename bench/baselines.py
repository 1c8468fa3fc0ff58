"""What Traptor is compared with: ``python -m bench.baselines relay`` and ``loop`` run under Traptor's settings."""

import json
import sys
from typing import Any

import redis
import requests
from confluent_kafka import Producer
from requests_oauthlib import OAuth1

from traptor import settings
from traptor.delivery import producers
from traptor.redaction import reveal
from traptor.rules import checked, stored
from traptor.sources.v1 import V1Source


def relay(wanted: settings.Settings, predicates: dict[str, str]) -> None:
    """The least there is to do: Traptor's own reading and framing, the same producer, the bytes as they come."""
    client = V1Source(wanted).connect(wanted)
    producer = producers.connect(wanted.KAFKA_HOSTS, wanted.KAFKA_TOPIC, {}, client=wanted.KAFKA_CLIENT)
    for message in client.stream.statuses.filter.post(**predicates).messages():
        if message is not None:
            answer = producer.send(wanted.KAFKA_TOPIC, message)
            assert answer.is_done in {True, False}  # librdkafka lets go of what it has delivered only when asked


def loop(wanted: settings.Settings, predicates: dict[str, str], rule_set: list[dict[str, str]]) -> None:
    """What one writes in an afternoon, with the fastest client for Kafka and lines read as tweepy reads them."""
    producer = Producer({"bootstrap.servers": wanted.KAFKA_HOSTS})
    url = f"{wanted.TWITTER_STREAM_URL}/1.1/statuses/filter.json"
    auth = OAuth1(*map(reveal, wanted.apikeys.values()))
    answer = requests.post(url, data=predicates, auth=auth, stream=True, timeout=90)
    rules = prepared(rule_set)
    for line in answer.iter_lines(chunk_size=512):
        if line:
            tweet = json.loads(line)
            tweet["rules"] = rules_in(tweet, rules)
            producer.produce(wanted.KAFKA_TOPIC, json.dumps(tweet).encode())
            producer.poll(0)


def prepared(rule_set: list[dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
    return [(rule["value"].lower(), rule) for rule in rule_set]


def rules_in(tweet: dict[str, Any], rules: list[tuple[str, dict[str, str]]]) -> list[dict[str, str]]:
    """Those whose value is somewhere in the text, which misses most of what the service finds."""
    text = tweet.get("extended_tweet", {}).get("full_text", tweet["text"]).lower()
    return [rule for value, rule in rules if value in text]


def main() -> None:
    wanted = settings.load()
    with redis.Redis.from_url(reveal(wanted.REDIS_URL), decode_responses=True) as conn:
        rule_set = stored.read(conn, wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID)
    predicates = {wanted.TRAPTOR_TYPE: checked.join(wanted.TRAPTOR_TYPE, rule_set)}
    if sys.argv[1] == "relay":
        relay(wanted, predicates)
    else:
        loop(wanted, predicates, rule_set)


if __name__ == "__main__":
    main()
