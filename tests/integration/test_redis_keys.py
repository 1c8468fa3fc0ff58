"""What a Traptor leaves in Redis: signs of life, counts, and nothing for ever."""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.daemon import APIKEYS, BOTH_APIS, Daemon, to_stdout
from tests.servers import RedisServer, wait_until
from traptor import keys
from traptor.account import claims
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Simulator
from traptor.sources.lease import credential_hash

RULES = [
    {"rule_id": "1", "tag": "drinks", "value": "coffee"},
    {"rule_id": "2", "tag": "drinks", "value": "tea,coffee"},
]

Collect = Callable[..., Daemon]


@pytest.fixture
def collect(tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis) -> Collect:
    """Makes a Traptor that has rules, and prints what it collects from a Twitter."""
    stored.write(redis_db, "track", 0, RULES)
    return partial(to_stdout, tmp_path, redis_server)


@BOTH_APIS
def test_a_heartbeat_says_when_and_lives_for_two_intervals(collect: Collect, redis_db: redis.Redis, api: str) -> None:
    look = "local k = redis.call('keys', 'track:0:*')[1]; return k and {k, redis.call('get', k), redis.call('pttl', k)}"
    began = datetime.now(UTC).replace(microsecond=0)
    with Simulator() as twitter, collect(twitter.url, HEARTBEAT_INTERVAL=2, TWITTER_API=api) as daemon:
        seen: list[Any] = []
        wait_until(lambda: bool(seen.append(redis_db.eval(look, 0)) or seen[-1]), "a heartbeat")
        key, value, left_ms = seen[-1]
        assert re.fullmatch(r"track:0:\d{14}", key)
        assert began <= datetime.strptime(key, "track:0:%Y%m%d%H%M%S").replace(tzinfo=UTC) <= datetime.now(UTC)
        assert value == "alive"
        assert 0 < left_ms <= 4000
        wait_until(lambda: key not in (beats := redis_db.keys("track:0:*")) and bool(beats), "the next heartbeats")
        daemon.stop()


@BOTH_APIS
def test_matches_are_counted_by_rule(collect: Collect, redis_db: redis.Redis, api: str) -> None:
    settings = {"STATS_COLLECTION_WINDOW": 60, "TWITTER_API": api}
    with Simulator(rate=100) as twitter, collect(twitter.url, "--limit", "100", **settings) as daemon:
        assert daemon.wait_for_exit() == 0
        tweets = [json.loads(line) for line in daemon.stdout.lines]
        matches = Counter(rule["rule_id"] for tweet in tweets for rule in tweet["traptor"]["rules"])
        assert len(matches) == 2
        for rule_id, count in matches.items():
            assert int(redis_db.get(f"stats:track:0:{rule_id}")) == count
            assert 0 < redis_db.ttl(f"stats:track:0:{rule_id}") <= 60


def test_what_another_traptor_has_brought_is_marked(collect: Collect, redis_db: redis.Redis) -> None:
    """Twice the same Traptor, as after a restart, and then another."""
    stored.write(redis_db, "track", 1, RULES)
    tweets = [{"id_str": str(1_950_000_000_000_000_001 + number), "text": "coffee"} for number in range(3)]
    marks = []
    for traptor_id in ("0", "0", "1"):
        with (
            Simulator(tweets=tweets, rate=0) as twitter,
            collect(twitter.url, "--limit", "3", "--id", traptor_id, DEDUPE_ACROSS="true") as daemon,
        ):
            assert daemon.wait_for_exit() == 0
            marks.append([json.loads(line)["traptor"].get("already_brought_by") for line in daemon.stdout.lines])
    assert marks == [[None] * 3, [None] * 3, ["track:0"] * 3]
    (key,) = redis_db.scan_iter(keys.brought("*"))
    assert redis_db.hgetall(key) == {tweet["id_str"]: "track:0" for tweet in tweets}
    assert 0 < redis_db.ttl(key) <= claims.WINDOW_SECONDS


@BOTH_APIS
def test_without_statistics_there_are_no_counts(collect: Collect, redis_db: redis.Redis, api: str) -> None:
    settings = {"ENABLE_STATS_COLLECTION": "'False'", "TWITTER_API": api}
    with Simulator(rate=100) as twitter, collect(twitter.url, "--limit", "5", **settings) as daemon:
        assert daemon.wait_for_exit() == 0
        assert redis_db.keys("stats:*") == []


@pytest.mark.parametrize(
    "traptor_type,value", [("track", "coffee"), ("follow", "1001"), ("locations", "-74,40,-73,41")]
)
def test_what_twitter_withheld_is_the_largest_number_of_each_connection(
    collect: Collect, redis_db: redis.Redis, traptor_type: str, value: str
) -> None:
    faults = [
        {"fault": "limit", "connection": 1, "after": 3, "track": [5, 6, 10, 15, 10, 20]},
        {"fault": "end", "connection": 1, "after": 12},
        {"fault": "limit", "connection": 2, "after": 3, "track": [3, 7, 4]},
    ]
    stored.write(redis_db, traptor_type, 1, [{"rule_id": "1", "value": value}])
    with (
        Simulator(rate=50, faults=faults) as twitter,
        collect(twitter.url, "--type", traptor_type, "--id", "1", LIMIT_COUNT_COLLECTION_WINDOW=60) as daemon,
    ):
        wait_until(lambda: redis_db.get(f"limit:{traptor_type}:1") == "27", "the count of both connections")
        assert 0 < redis_db.ttl(f"limit:{traptor_type}:1") <= 60
        daemon.stop()


@pytest.mark.parametrize("api, counts", [("1.1", ["stats:*", "limit:*"]), ("2", ["stats:*", "traptor:posts:*"])])
def test_nothing_stays_for_ever(collect: Collect, redis_db: redis.Redis, api: str, counts: list[str]) -> None:
    faults = [{"fault": "limit", "after": 3}, {"fault": "end", "after": 15}]
    with Simulator(rate=50, faults=faults) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        daemon.messages(50)
        wait_until(lambda: all(map(redis_db.keys, counts)), "the counts")
        while_it_runs = forever(redis_db)
        daemon.stop()
        assert while_it_runs == forever(redis_db) == ["traptor-track:0:1", "traptor-track:0:2"]


def forever(conn: redis.Redis) -> list[str]:
    """The keys without a TTL."""
    return sorted(key for key in conn.scan_iter() if conn.ttl(key) == -1)


def test_what_is_of_another_type_is_written_over(collect: Collect, redis_db: redis.Redis) -> None:
    """Another program's lists stand where the lease, the name, the wait and the last sign of life of ours do."""
    credential = credential_hash(dict(zip(APIKEYS, CREDENTIAL, strict=True)))
    ours = [keys.lease(credential), keys.name("track", 0), keys.life("track", 0), keys.status("track", 0)]
    for key in (*ours, keys.backoff(credential)):
        redis_db.rpush(key, "of another")
    with Simulator() as twitter, collect(twitter.url) as daemon:
        wait_until(lambda: {redis_db.type(key) for key in ours} == {"string"}, "keys of ours")
        daemon.stop()
        assert daemon.logged("a lease that none of ours has written is taken")
