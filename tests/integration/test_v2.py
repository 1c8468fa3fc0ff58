"""The daemon on X API v2; what both APIs promise is tried over both."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from tests.integration.daemon import BOTH_APIS, Daemon, others_heavy, publish, to_stdout
from tests.servers import PATIENCE_SECONDS, RedisServer, free_port, wait_until
from tests.sources.v2.differences import unexcused
from traptor import keys
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Simulator
from traptor.simulator.feed import Synthetic
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.v2 import bearer_token
from traptor.simulator.v2_rules import RuleBook
from traptor.sources.v2.client import V2Client

STORM = {"rule_id": "1", "tag": "weather", "value": "storm,flood warning"}
ROCKET = {"rule_id": "2", "tag": "space", "value": "#rocket", "colour": "red"}
BAY = {"rule_id": "1", "tag": "bay", "value": "-122.75,36.8,-121.75,37.8"}
FOLLOW = [{"rule_id": "1", "tag": "newsroom", "value": "1001"}, {"rule_id": "2", "value": "1002"}]

Collect = Callable[..., Daemon]


@pytest.fixture
def collect(tmp_path: Path, redis_server: RedisServer) -> Collect:
    """Makes a Traptor that prints what it collects from a Twitter over one of its APIs."""

    def made(twitter: Simulator, api: str, *arguments: str, **settings: object) -> Daemon:
        return to_stdout(tmp_path, redis_server, twitter.url, *arguments, TWITTER_API=api, **settings)

    return made


def held_rules(twitter: Simulator) -> list[str]:
    client = V2Client(CREDENTIAL.consumer_key, "", bearer_token(CREDENTIAL), twitter.url)
    return [rule.value for rule in client.held_rules()]


def by_id(lines: list[bytes]) -> dict[str, Any]:
    return {tweet["id_str"]: tweet for tweet in map(json.loads, lines)}


@pytest.mark.parametrize(
    "traptor_type, wanted, predicates",
    others_heavy(
        ("track", [STORM, ROCKET], Predicates(track=("storm", "flood warning", "#rocket"))),
        ("follow", FOLLOW, Predicates(follow=("1001", "1002"))),
        ("locations", [BAY], Predicates(locations=(BAY["value"],))),
    ),
)
def test_the_same_tweets_come_out_of_both(
    collect: Collect, redis_db: redis.Redis, traptor_type: str, wanted: list[dict[str, str]], predicates: Predicates
) -> None:
    """In all fields that docs/v2.md promises. A place is found by v2 only inside a box, so these have points."""
    stored.write(redis_db, traptor_type, 0, wanted)
    made = (message.body for message in Synthetic(3, Snowflakes()).messages(predicates))
    fitting = (tweet for tweet in made if traptor_type != "locations" or json.loads(tweet)["coordinates"])
    tweets = list(islice(fitting, 400))
    collected = []
    for api, names in (("1.1", "tweet"), ("2", "tweet"), ("2", "post")):
        with Simulator(tweets=tweets, rate=0, v2_names=names) as twitter:
            with collect(twitter, api, "--type", traptor_type, "--limit", "400") as daemon:
                assert daemon.wait_for_exit() == 0
                assert daemon.summary() == {"received": 400, "matched": 400, "delivered": 400}
                assert len(twitter.wait_for_sent(400)) == 400
            collected.append(by_id(daemon.stdout.lines))
    one, two, in_new_names = collected
    assert list(one) == list(two)
    assert two == in_new_names
    for id_str, tweet in one.items():
        flat, other = (
            {**block, "rules": ids_of(block["rules"])} for block in (tweet.pop("traptor"), two[id_str].pop("traptor"))
        )
        assert flat == other
        assert unexcused(tweet, two[id_str]) == []


def ids_of(listed: list[dict[str, Any]]) -> list[str]:
    return [rule["rule_id"] for rule in listed]


@BOTH_APIS
def test_a_change_of_rules_brings_the_tweets_of_the_new_ones(collect: Collect, redis_db: redis.Redis, api: str) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(rate=50) as twitter, collect(twitter, api) as daemon:
        daemon.wait_for_message(lambda tweet: tweet["traptor"]["rule_tag"] == "weather")
        redis_db.delete(keys.rule("track", 0, 1))
        stored.write(redis_db, "track", 0, [ROCKET])
        publish(redis_db, "track:0")
        tweet = daemon.wait_for_message(lambda tweet: tweet["traptor"]["rule_tag"] == "space")
        assert tweet["traptor"]["colour"] == "red"
        assert len(twitter.connections) == (2 if api == "1.1" else 1)
        daemon.stop()


@pytest.mark.parametrize(
    "traptor_type, value, predicates",
    others_heavy(
        ("track", "node.js,U.S,3.5 stars", Predicates(track=("node.js", "U.S", "3.5 stars"))),
        ("locations", "2.5,48.5,2.5,48.5", Predicates(locations=("2.5,48.5,2.5,48.5",))),
    ),
)
def test_what_v2_has_other_words_for_is_found(
    collect: Collect, redis_db: redis.Redis, traptor_type: str, value: str, predicates: Predicates
) -> None:
    """What looks like a link, in texts and in links; and what is at a point, but not in a place around it."""
    stored.write(redis_db, traptor_type, 0, [{"rule_id": "1", "value": value}])
    tweets = [message.body for message in islice(Synthetic(3, Snowflakes()).messages(predicates), 200)]
    wanted = [id_str for id_str, tweet in by_id(tweets).items() if traptor_type == "track" or tweet["coordinates"]]
    with Simulator(tweets=tweets, rate=0) as twitter, collect(twitter, "2", "--type", traptor_type) as daemon:
        daemon.messages(len(wanted))
        daemon.stop()
    assert list(by_id(daemon.stdout.lines)) == wanted


def test_what_still_comes_for_an_old_value_is_not_taken_for_the_new_one(
    collect: Collect, redis_db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twitter's rules act on for up to 20 s after they are deleted."""
    monkeypatch.setattr(RuleBook, "_delete", lambda *_: {"meta": {}})
    stored.write(redis_db, "track", 0, [STORM])
    made = Synthetic(7, Snowflakes())
    storms = [message.body for message in islice(made.messages(Predicates(track=("storm",))), 30)]
    rockets = [message.body for message in islice(made.messages(Predicates(track=("#rocket",))), 5)]
    with Simulator(tweets=[]) as twitter, collect(twitter, "2") as daemon:
        twitter.wait_for_connection(1)
        stored.write(redis_db, "track", 0, [{**ROCKET, "rule_id": "1"}])
        publish(redis_db, "track:0")
        daemon.wait_for_log("rules taken up without reconnecting")
        for tweet in storms + rockets:
            twitter.push(tweet)
        daemon.messages(5)
        daemon.stop()
    assert list(by_id(daemon.stdout.lines)) == list(by_id(rockets))


@pytest.mark.parametrize("rate", [50, 0.0001], ids=["busy", "silent"])
def test_a_notice_is_on_the_server_before_the_next_look(collect: Collect, redis_db: redis.Redis, rate: float) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(rate=rate) as twitter, collect(twitter, "2") as daemon:
        daemon.messages(1)
        stored.write(redis_db, "track", 0, [ROCKET])
        publish(redis_db, "track:0")
        wait_until(lambda: held_rules(twitter) == ["storm OR flood warning", "#rocket"], "the new rule")
        assert len(twitter.connections) == 1
        daemon.stop()


@BOTH_APIS
@pytest.mark.parametrize("number", others_heavy(signal.SIGTERM, signal.SIGINT))
def test_it_ends_when_asked(collect: Collect, redis_db: redis.Redis, api: str, number: signal.Signals) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(rate=50) as twitter, collect(twitter, api) as daemon:
        daemon.messages(5)
        daemon.signal(number)
        assert daemon.wait_for_exit() == 0
        assert daemon.summary()["delivered"] == daemon.summary()["received"]


@BOTH_APIS
@pytest.mark.parametrize("code", others_heavy(403, 404))
def test_a_refusal_for_good_ends_it_with_3(collect: Collect, redis_db: redis.Redis, api: str, code: int) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(faults=[{"fault": "status", "code": code}]) as twitter, collect(twitter, api) as daemon:
        assert daemon.wait_for_exit() == 3
        assert daemon.stdout.lines == []


@BOTH_APIS
def test_a_rate_limit_is_waited_out_as_asked(collect: Collect, redis_db: redis.Redis, api: str) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    faults = [{"fault": "status", "code": 429, "reset_after": 2}]
    with Simulator(rate=50, faults=faults) as twitter, collect(twitter, api) as daemon:
        daemon.messages(5)
        daemon.stop()
        first, second = twitter.connections
    assert (first.status, second.status) == (429, 200)
    assert second.opened_at - first.opened_at > 1.9


@BOTH_APIS
@pytest.mark.parametrize(
    "fault", others_heavy("cut", "reset", "end", "disconnect", "garbage", "duplicate", "newline", "split")
)
def test_faults_cost_no_tweet_that_was_sent(collect: Collect, redis_db: redis.Redis, api: str, fault: str) -> None:
    stored.write(redis_db, "track", 0, [STORM, ROCKET])
    faults = [{"fault": fault, "after": 20}]
    with Simulator(rate=100, limit=60, faults=faults) as twitter, collect(twitter, api) as daemon:
        sent = twitter.wait_for_sent(60, timeout_seconds=PATIENCE_SECONDS)
        found = daemon.stdout.wait_for(
            lambda lines: {json.loads(line).get("id_str") for line in lines} >= set(sent), timeout_seconds=20
        )
        assert found, daemon.said()
        daemon.stop()


@pytest.mark.parametrize(
    "field, value",
    others_heavy(
        ("data.created_at", "yesterday"), ("data.public_metrics", 7), ("data.entities", []), ("includes.users", {}),
        ("data.attachments", {"media_keys": [5]}), ("data.referenced_tweets", [{}]),
    ),
)  # fmt: skip
def test_an_odd_field_loses_no_tweet_and_is_told_once(
    collect: Collect, redis_db: redis.Redis, field: str, value: Any
) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    faults = [{"fault": "odd", "field": field, "value": value, "after": after} for after in (1, 3)]
    with Simulator(rate=100, limit=10, faults=faults) as twitter, collect(twitter, "2", "--limit", "10") as daemon:
        assert daemon.wait_for_exit() == 0
        sent = twitter.sent
    assert list(by_id(daemon.stdout.lines)) == sent
    assert all("traptor" in tweet for tweet in by_id(daemon.stdout.lines).values())
    [told] = daemon.logged("v2 sends what does not fit: left out, and counted")
    assert told["field"].startswith(field)


def test_a_disconnect_of_a_server_that_keeps_the_stream_open_is_one(collect: Collect, redis_db: redis.Redis) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    error = {"errors": [{"title": "operational-disconnect", "disconnect_type": "UpstreamOperationalDisconnect"}]}
    faults = [{"fault": "message", "message": error, "after": 5}]
    with Simulator(rate=50, faults=faults, keep_alive_seconds=0.1) as twitter, collect(twitter, "2") as daemon:
        assert twitter.wait_for_connection(2, timeout_seconds=PATIENCE_SECONDS).status == 200
        daemon.stop()
        assert twitter.connections[0].cause == "client went away"


def test_a_backfill_brings_the_tweets_of_a_gap(collect: Collect, redis_db: redis.Redis) -> None:
    """The one that was cut in half among them; those that come twice are dropped, and counted."""
    stored.write(redis_db, "track", 0, [STORM])
    made = Synthetic(5, Snowflakes()).messages(Predicates(track=("storm",)))
    tweets = [message.body for message in islice(made, 300)]
    port = free_port()
    faults = [{"fault": "cut", "after": 50}, {"fault": "status", "code": 503, "connection": 2, "retry_after": 1}]
    with (
        Simulator(tweets=tweets, rate=50, faults=faults) as twitter,
        collect(twitter, "2", V2_BACKFILL_MINUTES=2, METRICS_PORT=port) as daemon,
    ):
        daemon.messages(300)
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        daemon.stop()
        assert [json.loads(line)["id_str"] for line in daemon.stdout.lines] == list(by_id(tweets))
        first, _, second = twitter.connections
    assert (first.backfill_minutes, second.backfill_minutes) == (0, 2)
    twice = len(set(first.sent) & set(second.sent))
    assert twice > 0
    assert re.findall(r'traptor_dropped_total\{.*reason="duplicate".*\} (.+)', metrics) == [f"{twice:.1f}"]
    assert daemon.summary() == {"received": 300 + twice, "matched": 300, "delivered": 300, "dropped": twice}


def test_one_process_follows_another_without_a_gap(collect: Collect, redis_db: redis.Redis) -> None:
    """A backfill brings what was sent meanwhile, and once more what the first one has delivered, which is dropped."""
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(rate=50) as twitter, collect(twitter, "2", V2_BACKFILL_MINUTES=2) as first:
        first.messages(20)
        with collect(twitter, "2", V2_BACKFILL_MINUTES=2) as second:
            second.wait_for_log("waiting for the credential")
            first.stop()
            second.messages(20)
            second.stop()
    before, after = twitter.connections
    sent = list(dict.fromkeys(before.sent + after.sent))
    delivered = [json.loads(line)["id_str"] for line in first.stdout.lines + second.stdout.lines]
    assert delivered == sent[: len(delivered)]
    assert second.summary()["dropped"] > 0


def test_the_server_is_left_with_our_rules_and_those_of_others(collect: Collect, redis_db: redis.Redis) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(rate=50) as twitter:
        client = V2Client(CREDENTIAL.consumer_key, "", bearer_token(CREDENTIAL), twitter.url)
        client.request("POST", "tweets/search/stream/rules", add=[{"value": "espresso", "tag": "of somebody else"}])
        with collect(twitter, "2") as daemon:
            daemon.messages(20)
            tags = {json.loads(line)["traptor"]["rule_tag"] for line in daemon.stdout.lines}
            daemon.stop()
        assert held_rules(twitter) == ["espresso", "storm OR flood warning"]
    assert tags == {"weather"}


def test_rules_of_a_retired_traptor_are_told_and_can_be_removed(collect: Collect, redis_db: redis.Redis) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(rate=50) as twitter:
        client = V2Client(CREDENTIAL.consumer_key, "", bearer_token(CREDENTIAL), twitter.url)
        client.request("POST", "tweets/search/stream/rules", add=[{"value": "espresso", "tag": "of somebody else"}])
        client.synchronise("follow", 0, FOLLOW, length=1024, limit=1000)
        with collect(twitter, "2") as daemon:
            [warning] = daemon.wait_for_log("rules of others on the server: their posts are paid for, and dropped")
            assert (warning["count"], warning["of"]) == (3, ["follow:0", "others"])
            command = [*daemon.command[:3], "rules", "server", "--json"]
            for arguments, left in (
                ([], {"others": 1, "follow:0": 2, "track:0": 1}),
                (["--remove", "follow:0"], {"others": 1, "track:0": 1}),
            ):
                told = subprocess.run([*command, *arguments], env=daemon.environment, capture_output=True, check=True)
                assert json.loads(told.stdout) == left
            daemon.stop()


def test_without_a_rule_on_the_server_there_is_no_stream(
    collect: Collect, redis_db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, where others have taken all room; and when none of the changed rules is accepted."""
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(rate=50) as twitter:
        client = V2Client(CREDENTIAL.consumer_key, "", bearer_token(CREDENTIAL), twitter.url)
        client.synchronise("follow", 0, FOLLOW[:1], length=1024, limit=1000)
        with collect(twitter, "2", V2_RULE_LIMIT=1, RULE_CHECK_INTERVAL=1) as daemon:
            daemon.wait_for_log("none of the rules can be on the server: no stream")
            state = keys.status("track", 0)
            wait_until(lambda: "waiting-for-rules" in str(redis_db.get(state)), "the state")
            assert twitter.connections == []
            client.synchronise("follow", 0, [], length=1024, limit=1000)
            daemon.messages(5)
            monkeypatch.setattr("traptor.simulator.v2_rules.LONGEST_RULE_CHARACTERS", 6)
            stored.write(redis_db, "track", 0, [{"rule_id": "1", "value": "thunder"}])
            publish(redis_db, "track:0")
            twitter.wait_for_close(1)
            daemon.stop()
        assert len(twitter.connections) == 1


def test_an_account_that_is_smaller_than_set_is_told(
    collect: Collect, redis_db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traptor.simulator.v2_rules.MOST_RULES", 5)
    stored.write(redis_db, "track", 0, [{"rule_id": str(number), "value": f"word{number}"} for number in range(20)])
    with Simulator(rate=50) as twitter, collect(twitter, "2") as daemon:
        [warning] = daemon.wait_for_log("the account allows fewer rules: lower V2_RULE_LIMIT")
        assert warning["limit"] == 5
        daemon.messages(5)
        daemon.stop()
        assert daemon.logged("rule left out") == []


def test_the_payload_is_kept_and_posts_are_counted(collect: Collect, redis_db: redis.Redis) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    settings = {"KEEP_V2": True, "V2_POST_PRICE": 0.5, "BEARER_TOKEN": bearer_token(CREDENTIAL), "CONSUMER_KEY": ""}
    with Simulator(rate=50, limit=10) as twitter, collect(twitter, "2", **settings) as daemon:
        for tweet in daemon.messages(10):
            assert tweet["traptor"]["v2"]["data"]["id"] == tweet["id_str"]
        status = f"{keys.status('track', 0)}"
        wait_until(lambda: json.loads(redis_db.get(status) or "{}").get("v2", {}).get("posts") == 10, "the count")
        assert json.loads(redis_db.get(status))["v2"] == {"posts": 10, "cap": 3_000_000, "limit": 0, "cost": 5.0}
        daemon.stop()
    [key] = redis_db.keys("traptor:posts:*")
    assert 0 < redis_db.ttl(key) <= 40 * 86_400


def test_a_spent_budget_closes_the_stream(collect: Collect, redis_db: redis.Redis) -> None:
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator(rate=100) as twitter, collect(twitter, "2", V2_MONTHLY_POST_LIMIT=10) as daemon:
        (told,) = daemon.wait_for_log("no stream for now")
        assert told["reason"] == "monthly post limit reached"
        twitter.wait_for_close(1)
        daemon.stop()
    assert len(twitter.connections) == 1


@pytest.mark.parametrize("traptor_type", others_heavy("track", "follow", "locations"))
def test_the_demo_speaks_v2_and_reaches_for_nobody(tmp_path: Path, traptor_type: str) -> None:
    arguments = ("--demo", "--test", "--type", traptor_type, "--limit", "3")
    with Daemon(tmp_path, *arguments, TWITTER_API=2, BEARER_TOKEN="a-real-one") as daemon:
        assert daemon.wait_for_exit() == 0
        assert daemon.summary() == {"received": 3, "matched": 3, "delivered": 3}


@pytest.mark.parametrize("wrong", others_heavy("CONSUMER_SECRET", "BEARER_TOKEN"))
def test_wrong_keys_end_it_with_3(collect: Collect, redis_db: redis.Redis, wrong: str) -> None:
    """A refused token at the third try, after the waits between them; refused keys at once."""
    stored.write(redis_db, "track", 0, [STORM])
    with Simulator() as twitter, collect(twitter, "2", **{wrong: "wrong"}) as daemon:
        assert daemon.wait_for_exit() == 3


def test_no_keys_are_told_at_the_start(collect: Collect) -> None:
    with Simulator() as twitter, collect(twitter, "2", CONSUMER_KEY="", CONSUMER_SECRET="") as daemon:
        assert daemon.wait_for_exit() == 2
        assert b"CONSUMER_KEY, CONSUMER_SECRET: not set" in b"".join(daemon.stderr.lines)
