"""What Traptor is compared with: ``python -m bench.baselines relay`` and ``loop`` run under Traptor's settings."""

import json
import sys
from typing import Any

import redis
import requests
from kafka import KafkaProducer
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
    """What one writes in an afternoon, with the libraries that one finds first, as they come."""
    producer = KafkaProducer(bootstrap_servers=wanted.KAFKA_HOSTS)
    url = f"{wanted.TWITTER_STREAM_URL}/1.1/statuses/filter.json"
    auth = OAuth1(*map(reveal, wanted.apikeys.values()))
    answer = requests.post(url, data=predicates, auth=auth, stream=True, timeout=90)
    for line in answer.iter_lines():
        if line:
            tweet = json.loads(line)
            tweet["rules"] = rules_in(tweet, rule_set)
            producer.send(wanted.KAFKA_TOPIC, json.dumps(tweet).encode())


def rules_in(tweet: dict[str, Any], rule_set: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rules all of whose words are somewhere in the tweet."""
    text = " ".join(_searched(tweet)).lower()
    return [rule for rule in rule_set if all(term in text for term in rule["value"].lower().split())]


def _searched(tweet: dict[str, Any]) -> list[str]:
    """Texts, hashtags, links, and the ids of the users, also of the tweet that is retweeted or quoted."""
    whole = tweet.get("extended_tweet", tweet)
    found = [whole.get("full_text") or tweet["text"], tweet["user"]["id_str"], tweet["in_reply_to_user_id_str"] or ""]
    found += [f"#{hashtag['text']}" for hashtag in whole["entities"]["hashtags"]]
    found += [f"@{mention['screen_name']}" for mention in whole["entities"]["user_mentions"]]
    found += [link["expanded_url"] for link in whole["entities"]["urls"]]
    for nested in ("retweeted_status", "quoted_status"):
        found += _searched(tweet[nested]) if nested in tweet else []
    return found


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
