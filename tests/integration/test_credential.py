"""One credential: its back-off, its lease, and its secrets, seen over several processes."""

import contextlib
import json
from datetime import datetime
from pathlib import Path

import pytest
import redis

from tests.integration.daemon import APIKEYS, BOTH_APIS, Daemon, others_heavy, to_stdout
from tests.servers import PATIENCE_SECONDS, RedisServer, wait_until
from traptor import keys
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Credential, Simulator
from traptor.simulator.v2 import bearer_token
from traptor.sources import lease

COFFEE = {"rule_id": "1", "tag": "drinks", "value": "coffee"}
OTHER = Credential("other-key", "other-secret", "other-token", "other-token-secret")


@pytest.fixture(autouse=True)
def _rules(redis_db: redis.Redis) -> None:
    for traptor_id in range(2):
        stored.write(redis_db, "track", traptor_id, [COFFEE])


def a_traptor(
    tmp_path: Path, redis_server: RedisServer, twitter: Simulator, traptor_id: int = 0, **settings: object
) -> Daemon:
    folder = tmp_path / str(traptor_id)
    folder.mkdir(exist_ok=True)
    return to_stdout(folder, redis_server, twitter.url, "--id", str(traptor_id), **settings)


@BOTH_APIS
@pytest.mark.parametrize("next_id", [0, 1], ids=["the same Traptor", "another with its credential"])
def test_a_420_is_waited_out_by_whoever_comes_next(
    tmp_path: Path, redis_server: RedisServer, next_id: int, api: str
) -> None:
    """However long its own start takes."""
    with Simulator(faults=[{"fault": "status", "code": 420, "retry_after": 600}]) as twitter:
        with a_traptor(tmp_path, redis_server, twitter, TWITTER_API=api) as first:
            first.wait_for_log("no stream")
            first.stop()
        with a_traptor(tmp_path, redis_server, twitter, next_id, TWITTER_API=api) as second:
            (told,) = second.wait_for_log("earlier back-off goes on")
            (refused,) = twitter.connections
            until = datetime.fromisoformat(told["timestamp"]).timestamp() + told["wait_seconds"]
            assert 599 <= until - refused.opened_at <= 690
            second.stop()


@pytest.mark.parametrize("api", others_heavy("1.1", "2"))
def test_sigterm_hands_the_stream_over(tmp_path: Path, redis_server: RedisServer, api: str) -> None:
    """Nothing comes twice, and nothing is missing but what was on its way when a stream was closed; the gap is told."""
    with (
        Simulator(rate=50) as twitter,
        a_traptor(tmp_path, redis_server, twitter, TWITTER_API=api) as first,
    ):
        first.messages(1)
        with a_traptor(tmp_path, redis_server, twitter, TWITTER_API=api) as second:
            (told, *_) = second.wait_for_log("waiting for the credential")
            assert f"pid {first.process.pid}, track:0" in told["reason"]
            first.stop()
            second.messages(1)
            (gap,) = second.wait_for_log("gap")
            second.stop()
    before, after = twitter.connections
    assert before.closed_at
    print(f"{(after.opened_at - before.closed_at) * 1000:.0f} ms without a stream")
    delivered = [[json.loads(line)["id_str"] for line in one.stdout.lines] for one in (first, second)]
    assert delivered == [one.sent[: len(ids)] for one, ids in zip((before, after), delivered, strict=True)]
    told = gap["cause"], gap["last_tweet_id"], gap["first_tweet_id"]
    assert told == ("stopped", delivered[0][-1], delivered[1][0])


def test_who_takes_over_delivers_nothing_until_whoever_was_before_has_delivered(
    tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    """Its stream is open all the while, and what it brings is delivered then, from the first tweet on."""
    name = lease.credential_hash(dict(zip(APIKEYS, CREDENTIAL, strict=True)))
    before = lease.Lease(redis_db, [keys.lease(name), keys.name("track", 0)], "track", 0)
    before.take()
    before.hand_over(keys.lease(name))
    with (
        Simulator(rate=100) as twitter,
        a_traptor(tmp_path, redis_server, twitter) as after,
    ):
        wait_until(lambda: twitter.tweets >= 50, "tweets")
        assert after.stdout.lines == []
        before.release()
        delivered = [message["id_str"] for message in after.messages(50)]
        assert delivered[:50] == twitter.sent[:50]
        after.stop()


@pytest.mark.heavy
def test_one_traptor_with_two_credentials_runs_once(
    tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis
) -> None:
    """Both are told; the second one takes over when the first is gone, though it was killed."""
    others: dict[str, object] = dict(zip(APIKEYS, OTHER, strict=True))
    with (
        Simulator(rate=50, credentials=[CREDENTIAL, OTHER]) as twitter,
        a_traptor(tmp_path, redis_server, twitter) as first,
    ):
        first.messages(1)
        with a_traptor(tmp_path, redis_server, twitter, **others) as second:
            second.wait_for_log("this Traptor runs already, with another credential: not twice")
            (told, *_) = second.wait_for_log("waiting for the credential")
            assert told["reason"].startswith("name in use by ")
            assert f"pid {first.process.pid}, track:0" in told["reason"]
            (told, *_) = first.wait_for_log("a second process would run as this Traptor, with another credential")
            assert f"pid {second.process.pid}" in told["holder"]
            status = "a status that speaks of it"
            waits = f"pid {second.process.pid} waits to run as this Traptor too"
            wait_until(lambda: waits in str(redis_db.get("traptor:status:track:0")), status)
            assert (len(twitter.connections), second.stdout.lines) == (1, [])
            first.process.kill()
            second.messages(1)
            assert [one.consumer_key for one in twitter.connections] == [CREDENTIAL[0], OTHER[0]]
            second.stop()


@pytest.mark.heavy
def test_a_frozen_redis_does_not_bring_two_streams(tmp_path: Path, redis_server: RedisServer) -> None:
    """Not even for longer than the lease lasts."""
    with (
        Simulator(rate=50) as twitter,
        a_traptor(tmp_path, redis_server, twitter) as first,
    ):
        first.messages(1)
        with a_traptor(tmp_path, redis_server, twitter, 1) as second:
            second.wait_for_log("waiting for the credential")
            redis_server.freeze()
            try:
                first.messages(len(first.stdout.lines) + 50 * (lease.TTL_SECONDS + 3))
            finally:
                redis_server.thaw()
            first.messages(len(first.stdout.lines) + 50 * (lease.TTL_SECONDS + 3))
            assert len(twitter.connections) == 1
            second.stop()
        first.stop()


@BOTH_APIS
def test_secrets_in_files_are_read_again_at_the_next_connection(
    tmp_path: Path, redis_server: RedisServer, api: str
) -> None:
    paths = {name: tmp_path / name.lower() for name in APIKEYS}
    in_files: dict[str, object] = {f"{name}_FILE": path for name, path in paths.items()}
    in_files.update(dict.fromkeys(APIKEYS, ""))

    def write(credential: Credential) -> None:
        for path, secret in zip(paths.values(), credential, strict=True):
            path.write_text(f"{secret}\n")

    write(CREDENTIAL)
    with (
        Simulator(credentials=[CREDENTIAL, OTHER]) as twitter,
        a_traptor(tmp_path, redis_server, twitter, TWITTER_API=api, **in_files) as daemon,
    ):
        daemon.messages(1)
        write(OTHER)
        twitter.faults.append({"fault": "end"})
        twitter.wait_for_connection(2, PATIENCE_SECONDS)
        assert [one.consumer_key for one in twitter.connections] == [CREDENTIAL[0], OTHER[0]]
        daemon.stop()
        shown = b"".join(daemon.stderr.lines)
        assert [secret for secret in OTHER if secret.encode() in shown] == []


@BOTH_APIS
def test_nothing_secret_stands_in_redis_or_the_metrics(
    tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis, api: str
) -> None:
    with (
        Simulator(rate=50, faults=[{"fault": "status", "code": 420, "retry_after": 1}]) as twitter,
        a_traptor(tmp_path, redis_server, twitter, TWITTER_API=api) as daemon,
    ):
        daemon.messages(1)
        wait_until(lambda: redis_db.exists("traptor:status:track:0") == 1, "a status")
        shown = json.dumps([[key, _value(redis_db, key)] for key in redis_db.scan_iter()])
        assert [secret for secret in (*CREDENTIAL, bearer_token(CREDENTIAL)) if secret in shown] == []
        assert all(redis_db.ttl(key) > 0 for key in redis_db.scan_iter("traptor:*"))
        daemon.stop()


def _value(conn: redis.Redis, key: str) -> object:
    with contextlib.suppress(redis.ResponseError):
        return conn.get(key)
    with contextlib.suppress(redis.ResponseError):
        return conn.lrange(key, 0, -1)
    return conn.hgetall(key)


def test_a_disconnect_that_is_final_ends_with_exit_3(tmp_path: Path, redis_server: RedisServer) -> None:
    with (
        Simulator(faults=[{"fault": "disconnect", "after": 1, "code": 6}]) as twitter,
        a_traptor(tmp_path, redis_server, twitter) as daemon,
    ):
        assert daemon.wait_for_exit() == 3
        assert "revoked" in "".join(map(str, daemon.stderr.lines))


def test_who_is_thrown_out_does_not_come_back_at_once(tmp_path: Path, redis_server: RedisServer) -> None:
    """Code 7: a newer stream has taken our place, of somebody who knows nothing of our lease."""
    with (
        Simulator(faults=[{"fault": "disconnect", "after": 1, "code": 7}]) as twitter,
        a_traptor(tmp_path, redis_server, twitter) as daemon,
    ):
        (told, *_) = daemon.wait_for_log("no stream")
        assert told["cause"] == "disconnect-7"
        assert told["wait_seconds"] >= 60
        daemon.stop()
