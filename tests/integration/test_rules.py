"""Rules while a Traptor runs: at the start, at a notice, and while Redis is away."""

import json
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import redis

from tests.integration.daemon import BOTH_APIS, Daemon, publish, to_stdout, wait_for_listener
from tests.servers import PATIENCE_SECONDS, RedisServer
from traptor.rules import stored
from traptor.simulator import Simulator

COFFEE = {"rule_id": "1", "tag": "drinks", "value": "coffee"}
TEA = {"rule_id": "2", "tag": "drinks", "value": "tea"}

Collect = Callable[..., Daemon]


@pytest.fixture
def collect(tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis) -> Collect:
    """Makes a Traptor that prints what it collects from a Twitter with the rules in `redis_db`."""
    return partial(to_stdout, tmp_path, redis_server)


@pytest.mark.parametrize("rate", [50, 0.0001], ids=["busy", "silent"])
def test_a_notice_takes_effect_before_the_next_look(collect: Collect, redis_db: redis.Redis, rate: float) -> None:
    stored.write(redis_db, "track", 0, [COFFEE])
    with Simulator(rate=rate) as twitter, collect(twitter.url) as daemon:
        daemon.messages(1)
        stored.write(redis_db, "track", 0, [TEA])
        publish(redis_db, "track:0")
        assert twitter.wait_for_connection(2, PATIENCE_SECONDS).predicates.track == ("coffee", "tea")
        assert twitter.wait_for_close(1).cause != "replaced by connection 2"
        daemon.stop()


def test_a_burst_of_notices_is_one_restart(collect: Collect, redis_db: redis.Redis) -> None:
    stored.write(redis_db, "track", 0, [COFFEE])
    with Simulator() as twitter, collect(twitter.url, RESTART_MIN_INTERVAL=1) as daemon:
        daemon.messages(1)
        stored.write(redis_db, "track", 0, [TEA])
        publish(redis_db, *["track:0"] * 50)
        assert twitter.wait_for_connection(2, PATIENCE_SECONDS).predicates.track == ("coffee", "tea")
        redis_db.delete("traptor-track:0:1")
        publish(redis_db, "track:0")
        assert twitter.wait_for_connection(3, PATIENCE_SECONDS).predicates.track == ("tea",)
        daemon.stop()


def test_a_notice_that_comes_while_the_stream_is_opened_counts(collect: Collect, redis_db: redis.Redis) -> None:
    """Twitter is played by hand: it takes its time to answer."""
    stored.write(redis_db, "track", 0, [COFFEE])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        with collect(f"http://127.0.0.1:{listener.getsockname()[1]}") as daemon:
            with accepted(listener, b"coffee") as first:
                stored.write(redis_db, "track", 0, [TEA])
                publish(redis_db, "track:0")
                daemon.wait_for_log("restart notice")
                first.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                accepted(listener, b"coffee%2Ctea").close()
            daemon.stop()


def accepted(listener: socket.socket, wanted: bytes) -> socket.socket:
    """The next connection, once the request on it has these bytes."""
    connection, _ = listener.accept()
    connection.settimeout(30)
    request = b""
    while wanted not in request:
        received = connection.recv(4096)
        assert received, f"no {wanted!r} in {request!r}"
        request += received
    return connection


@BOTH_APIS
def test_a_new_tag_shows_without_a_reconnect(collect: Collect, redis_db: redis.Redis, api: str) -> None:
    stored.write(redis_db, "track", 0, [COFFEE])
    with Simulator(rate=50) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        daemon.messages(1)
        stored.write(redis_db, "track", 0, [{**COFFEE, "tag": "hot drinks", "team": "north"}])
        publish(redis_db, "track:0")
        tweet = daemon.wait_for_message(lambda tweet: tweet["traptor"]["rule_tag"] == "hot drinks")
        assert tweet["traptor"]["team"] == tweet["traptor"]["rules"][0]["team"] == "north"
        assert len(twitter.connections) == 1
        daemon.stop()


@BOTH_APIS
def test_only_a_notice_for_this_traptor_counts(collect: Collect, redis_db: redis.Redis, api: str) -> None:
    strangers = ["track:1", "follow:0", "track:00", "", "track", "{", b"\xff\xfe", b"\x00" * 9000, "x" * 100_000]
    stored.write(redis_db, "track", 0, [COFFEE])
    with Simulator(rate=50) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        daemon.messages(1)
        stored.write(redis_db, "track", 0, [TEA])
        publish(redis_db, *strangers, "track:0")
        daemon.wait_for_message(lambda tweet: tweet["traptor"]["rule_value"] == "tea")
        assert len(daemon.wait_for_log("restart notice")) == 1
        daemon.stop()


@BOTH_APIS
@pytest.mark.parametrize("interval_seconds,is_published", [(0.5, False), (600, True)])
def test_rules_may_come_later(
    collect: Collect, redis_db: redis.Redis, interval_seconds: float, is_published: bool, api: str
) -> None:
    settings = {"RULE_CHECK_INTERVAL": interval_seconds, "TWITTER_API": api}
    with Simulator() as twitter, collect(twitter.url, **settings) as daemon:
        (waiting,) = daemon.wait_for_log("waiting for rules")
        assert waiting["keys"] == "traptor-track:0:*"
        stored.write(redis_db, "track", 0, [COFFEE])
        if is_published:
            publish(redis_db, "track:0")
        assert daemon.messages(1)[0]["traptor"]["rule_value"] == "coffee"
        daemon.stop()


@BOTH_APIS
def test_bad_rules_are_left_out_loudly(collect: Collect, redis_db: redis.Redis, api: str) -> None:
    long_phrase = "x" * 61
    stored.write(
        redis_db,
        "track",
        0,
        [
            COFFEE,
            {"rule_id": "2", "tag": "nothing", "value": ""},
            {"rule_id": "3", "tag": "long", "value": long_phrase},
            {"rule_id": "4", "tag": "no value"},
            {**TEA, "rule_id": "5"},
        ],
    )
    redis_db.set("traptor-track:0:6", "no hash")
    redis_db.hset("traptor-track:0:7", "value", b"caf\xe9")
    with Simulator() as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        for value in ("coffee", "tea"):
            daemon.wait_for_message(lambda tweet, value=value: tweet["traptor"]["rule_value"] == value)
        left_out = daemon.logged("rule left out")
        assert {record["level"] for record in left_out} == {"WARNING"}
        assert [record["rule_id"] for record in left_out] == ["2", "3", "4", "6", "7"]
        assert long_phrase in left_out[1]["reason"]
        assert "61 bytes" in left_out[1]["reason"]
        (in_all,) = daemon.logged("rules left out in all")
        assert in_all["count"] == 5
        daemon.stop()


@pytest.mark.parametrize(
    "traptor_type,values",
    [
        ("follow", [str(number) for number in range(1, 5003)]),
        ("locations", [f"{west}.0,10.0,{west}.5,11.0" for west in range(27)]),
    ],
)
def test_rules_over_the_limit_are_left_out_loudly(
    collect: Collect, redis_db: redis.Redis, traptor_type: str, values: list[str]
) -> None:
    over = [{"rule_id": str(number), "value": value} for number, value in enumerate(values)]
    stored.write(redis_db, traptor_type, 0, over)
    with Simulator(tweets=[]) as twitter, collect(twitter.url, TRAPTOR_TYPE=traptor_type) as daemon:
        twitter.wait_for_connection(timeout_seconds=PATIENCE_SECONDS)
        assert list(getattr(twitter.connections[0].predicates, traptor_type)) == values[:-2]
        left_out = daemon.logged("rule left out")
        assert [record["rule_id"] for record in left_out] == [rule["rule_id"] for rule in over[-2:]]
        daemon.stop()


@BOTH_APIS
def test_the_stream_outlives_a_redis_that_goes_and_comes_back(
    collect: Collect, redis_server: RedisServer, redis_db: redis.Redis, api: str
) -> None:
    stored.write(redis_db, "track", 0, [COFFEE])
    with Simulator(rate=50) as twitter, collect(twitter.url, TWITTER_API=api) as daemon:
        daemon.messages(1)
        redis_server.stop()
        try:
            daemon.wait_for_log("Redis fails: trying again")
            daemon.messages(len(daemon.stdout.lines) + 50)
            assert len(twitter.connections) == 1
        finally:
            redis_server.start()
        stored.write(redis_db, "track", 0, [COFFEE])
        wait_for_listener(redis_db)
        stored.write(redis_db, "track", 0, [TEA])
        publish(redis_db, "track:0")
        daemon.wait_for_message(lambda tweet: tweet["traptor"]["rule_value"] == "tea")
        daemon.stop()
        ids = [json.loads(line)["id_str"] for line in daemon.stdout.lines]
        assert len(ids) == len(set(ids)) == daemon.summary()["received"]
