"""The Traptor class, used as the original's users used it."""

import inspect
import json
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import fakeredis
import pytest
import redis
from birdy.twitter import TwitterApiError, TwitterClientError
from kafka.future import Future

from scripts.rule_extract import RulesToRedis
from tests.servers import PATIENCE_SECONDS, wait_until
from traptor import keys, settings, traptor
from traptor.account.state import State
from traptor.delivery import producers
from traptor.rules import stored
from traptor.rules.checked import LIMITS
from traptor.simulator import CREDENTIAL, Simulator
from traptor.sources import backoff
from traptor.sources.stream import StreamEnded
from traptor.sources.turn import Wait
from traptor.threads import in_background
from traptor.traptor import MyBirdyClient, Traptor

APIKEYS = dict(zip(settings.APIKEY_NAMES, CREDENTIAL, strict=True))
VALUES = {"track": "happy", "follow": "17919972", "locations": "-122.75,36.8,-121.75,37.8"}
TYPES = list(VALUES)
CREATED_AT = "Mon Feb 22 01:34:53 +0000 2016"
LIMIT_NOTICE = {"limit": {"track": 14, "timestamp_ms": "1456104893000"}}
NOTICES: list[dict[str, Any]] = [
    {"delete": {"status": {"id": 701, "id_str": "701", "user_id": 3, "user_id_str": "3"}, "timestamp_ms": "1"}},
    {"warning": {"code": "FALLING_BEHIND", "message": "Your connection is falling behind", "percent_full": 60}},
    {"friends": []},
    {"unknown": "kind"},
    {},
]


def tweet(number: int = 701, **fields: Any) -> dict[str, Any]:
    """A tweet that one rule of each type holds for."""
    box = [[[-122.5, 37.7], [-122.5, 37.8], [-122.3, 37.8], [-122.3, 37.7]]]
    return {
        "created_at": CREATED_AT,
        "id": number,
        "id_str": str(number),
        "text": "So happy",
        "user": {"id": 17919972, "id_str": "17919972", "screen_name": "ana"},
        "coordinates": None,
        "place": {"full_name": "San Francisco, CA", "bounding_box": {"type": "Polygon", "coordinates": box}},
        "entities": {"hashtags": [], "urls": [], "user_mentions": [], "symbols": []},
        **fields,
    }


OTHER: dict[str, Any] = {"text": "Sad", "user": {"id": 5, "id_str": "5"}, "place": None}
"""What makes a tweet that no rule holds for."""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither this machine's settings nor its directories; logging is left as it was."""
    for one in settings.known():
        monkeypatch.delenv(one.name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOOL_DIR", str(tmp_path / "spool"))
    yield
    for name in ("traptor", "kafka"):
        for handler in list(logging.getLogger(name).handlers):
            logging.getLogger(name).removeHandler(handler)
            handler.close()


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
def conn(request: pytest.FixtureRequest) -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(decode_responses=request.param)


def made(traptor_type: str = "track", conn: Any = None, **wanted: Any) -> Traptor:
    conn = conn or fakeredis.FakeRedis()
    return Traptor(conn, conn, conn, traptor_type=traptor_type, apikeys=APIKEYS, log_dir="logs", **wanted)


def with_rules(traptor_type: str = "track", *rules: dict[str, str]) -> Traptor:
    """A Traptor that has its rules, and a Kafka that remembers what it is sent."""
    one = made(traptor_type)
    one.redis_rules = list(rules) or [{"rule_id": "0", "tag": "test", "value": VALUES[traptor_type]}]
    one.twitter_rules = one._make_twitter_rules(one.redis_rules)
    one._make_rule_counters()
    one.kafka_conn = MagicMock()
    one.kafka_conn.send.side_effect = lambda *_, **__: Future().success(None)
    return one


def sent(one: Traptor) -> list[dict[str, Any]]:
    return [json.loads(call.kwargs["value"]) for call in one.kafka_conn.send.call_args_list]


# Making one


def test_the_constructor_is_the_one_of_the_original() -> None:
    assert str(inspect.signature(MyBirdyClient)).startswith(
        "(consumer_key: str, consumer_secret: str, access_token: str, access_token_secret: str"
    )
    empty = inspect.Parameter.empty
    assert [(one.name, one.default) for one in inspect.signature(Traptor).parameters.values()] == [
        ("redis_conn", empty), ("pubsub_conn", empty), ("heartbeat_conn", empty),
        ("traptor_notify_channel", "traptor-notify"), ("rule_check_interval", 60), ("traptor_type", "track"),
        ("traptor_id", 0), ("apikeys", None), ("kafka_enabled", "true"), ("kafka_hosts", "localhost:9092"),
        ("kafka_topic", "traptor"), ("use_sentry", "false"), ("sentry_url", None), ("log_level", "INFO"),
        ("log_dir", "/var/log/traptor"), ("log_file_name", "traptor.log"), ("test", False),
        ("enable_stats_collection", "true"),
    ]  # fmt: skip


DOCUMENTED = {
    "_add_heartbeat_message_to_redis", "_add_iso_created_at", "_check_redis_pubsub_for_restart",
    "_create_birdy_stream", "_create_kafka_producer", "_create_rule_counter", "_create_traptor_obj",
    "_create_twitter_follow_stream", "_create_twitter_locations_stream", "_create_twitter_track_stream",
    "_delete_rule_counters", "_enrich_tweet", "_find_rule_matches", "_get_locations_traptor_rule",
    "_get_redis_rules", "_increment_limit_message_counter", "_increment_rule_counter", "_main_loop",
    "_make_limit_message_counter", "_make_rule_counters", "_make_twitter_rules", "_message_is_limit_message",
    "_message_is_tweet", "_send_enriched_data_to_kafka", "_send_heartbeat_message", "_setup", "_setup_birdy",
    "_setup_kafka", "_tweet_time_to_iso", "_wait_for_rules", "run",
}  # fmt: skip


def test_every_documented_method_is_there() -> None:
    assert {name for name in DOCUMENTED if not callable(getattr(Traptor, name, None))} == set()
    assert callable(traptor.main)


def test_every_documented_method_is_on_the_api_page() -> None:
    page = (Path(__file__).parent.parent / "docs/api.md").read_text(encoding="utf-8")
    assert DOCUMENTED - set(re.findall(r"^::: traptor\.traptor\.Traptor\.(\w+)$", page, re.MULTILINE)) == set()


@pytest.mark.parametrize(
    "written,expected",
    [("true", True), ("'True'", True), (True, True), ("false", False), ('"False"', False), ("0", False)],
)
def test_booleans_may_be_texts(written: bool | str, expected: bool) -> None:
    one = made(kafka_enabled=written, use_sentry=written, test=written, enable_stats_collection=written)
    assert [one.kafka_enabled, one.use_sentry, one.test, one.enable_stats_collection] == [expected] * 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"traptor_type": "geo"},
        {"traptor_id": -1},
        {"kafka_enabled": "perhaps"},
        {"log_level": "LOUD"},
        {"test": "maybe"},
    ],
)
def test_a_wrong_argument_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="allowed is"):
        made(**wrong)


@pytest.mark.parametrize("told,left_seconds", [(False, 8.0), (True, 3.0)])
def test_the_time_to_stop_begins_when_it_is_told_to(
    told: bool, left_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made()
    one._door = MagicMock()
    if told:
        earlier = time.monotonic() - 5
        with monkeypatch.context() as moved:
            moved.setattr(time, "monotonic", lambda: earlier)
            one.stop()
    one._shut_down()
    (given,) = one._door.close.call_args.args
    assert given == pytest.approx(left_seconds, abs=0.5)


def test_after_run_signals_do_what_they_did_before(monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(test=True)
    monkeypatch.setattr(one, "_live", lambda: os.kill(os.getpid(), signal.SIGTERM))
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    one.run()
    assert one._stopping
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("wanted", [{"kafka_enabled": False}, {"kafka_enabled": "false"}, {"test": True}])
def test_setup_without_kafka_reaches_for_no_network(wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", MagicMock(side_effect=AssertionError("network")))
    one = made(**wanted)
    one._setup()
    assert one.kafka_conn is None
    assert isinstance(one.birdy_conn, MyBirdyClient)


# Rules


@pytest.mark.parametrize("traptor_type", TYPES)
def test_rules_come_from_redis_and_go_to_twitter(traptor_type: str, conn: fakeredis.FakeRedis) -> None:
    RulesToRedis(conn).send_rules(traptor_type, [{"tag": "test", "value": VALUES[traptor_type]}])
    one = made(traptor_type, conn)
    redis_rules = [rule for rule in one._get_redis_rules()]  # noqa: C416 - as people wrote it
    assert redis_rules == [{"rule_id": "0", "tag": "test", "value": VALUES[traptor_type]}]
    assert one._make_twitter_rules(redis_rules) == VALUES[traptor_type]


def test_locations_report_their_rule() -> None:
    one = with_rules("locations")
    rule = one.redis_rules[0]
    assert one._get_locations_traptor_rule() == one.locations_rule
    assert one.locations_rule == {"rule_tag": "test", "rule_value": rule["value"], **rule}


@pytest.mark.parametrize(
    "traptor_type,value", [("track", "x" * 61), ("follow", "@nasa"), ("locations", "1,2,3"), ("track", "")]
)
def test_a_rule_that_twitter_would_refuse_is_left_out_loudly(
    traptor_type: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = made(traptor_type)
    RulesToRedis(one.redis_conn).send_rules(traptor_type, [{"value": value}, {"value": VALUES[traptor_type]}])
    for _ in range(2):
        assert [rule["value"] for rule in one._get_redis_rules()] == [VALUES[traptor_type]]
    assert [record.message for record in caplog.records] == ["rule left out", "rules left out in all"]
    assert vars(caplog.records[0])["rule_id"] == "0"


@pytest.mark.parametrize("traptor_type", TYPES)
def test_one_connection_asks_for_no_more_than_it_may(traptor_type: str) -> None:
    most = LIMITS[traptor_type]
    values = {"track": "word{}", "follow": "{}", "locations": "0,0,1,{}.5"}
    one = made(traptor_type)
    for number in range(most + 1):
        value = values[traptor_type].format(number)
        one.redis_conn.hset(f"traptor-{traptor_type}:0:{number}", "value", value)
    assert len(list(one._get_redis_rules())) == most


def test_waiting_for_rules_ends_as_soon_as_there_are_some() -> None:
    one = made(rule_check_interval=0.01)
    one.logger = MagicMock()
    one._get_redis_rules = MagicMock(side_effect=[{}, {}, {"Rule": "Fun"}])  # type: ignore[method-assign]
    one._wait_for_rules()
    assert one.logger.debug.call_count == 2


def test_rules_left_out_are_counted_at_each_look() -> None:
    one = with_rules()
    RulesToRedis(one.redis_conn).send_rules("track", [{"value": "happy"}, {"value": "x" * 61}])
    one._wait_for_rules()
    one._make_twitter_rules(one.redis_rules)
    assert (one._vitals.rules[1:], one._vitals.status()["left_out"]) == ((1, 1), 1)
    one.redis_conn.delete("traptor-track:0:0")
    one.restart_flag = True
    one._pulse.pause = lambda seconds, is_over: one.stop()  # type: ignore[method-assign]
    one._wait_for_rules()
    assert (one._vitals.rules[1:], one._vitals.status()["left_out"]) == ((0, 0), 1)


def test_while_redis_is_away_the_last_whole_rules_stay() -> None:
    server = fakeredis.FakeServer()
    one = made(conn=fakeredis.FakeRedis(server=server))
    RulesToRedis(one.redis_conn).send_rules("track", [{"value": "happy"}])
    one._wait_for_rules()
    server.connected = False
    one._wait_for_rules()
    assert one.redis_rules == [{"rule_id": "0", "value": "happy"}]


def test_rules_that_are_not_utf_8_harm_nobody() -> None:
    one = made(conn=fakeredis.FakeRedis(decode_responses=True, encoding_errors="surrogateescape"))
    for number, (value, tag) in enumerate([(b"happy", b"caf\xe9"), (b"caf\xe9", b"test")]):
        one.redis_conn.hset(f"traptor-track:0:{number}", mapping={"value": value, "tag": tag})
    assert list(one._get_redis_rules()) == [{"rule_id": "0", "value": "happy", "tag": "caf\ufffd"}]


# Enriching


@pytest.mark.parametrize("traptor_type", TYPES)
def test_a_tweet_is_enriched_by_its_rule(traptor_type: str) -> None:
    one = with_rules(traptor_type)
    given = tweet()
    enriched = one._enrich_tweet(given)
    rule = {"rule_id": "0", "tag": "test", "value": VALUES[traptor_type]}
    assert given == tweet()
    assert {name: value for name, value in enriched.items() if name != "traptor"} == given
    matched_in = {"track": ["text"], "follow": ["user"], "locations": ["place"]}[traptor_type]
    assert enriched["traptor"] == {
        "id": 0,
        "id_str": "0",
        "rule_type": traptor_type,
        "rule_set": one.rule_set,
        "created_at_iso": "2016-02-22T01:34:53+00:00",
        "rule_tag": "test",
        "rule_value": VALUES[traptor_type],
        **rule,
        "rules": [{**rule, "matched_in": matched_in}],
    }


@pytest.mark.parametrize("traptor_type", TYPES)
def test_a_tweet_without_a_rule_says_so(traptor_type: str) -> None:
    added = with_rules(traptor_type)._enrich_tweet(tweet(**OTHER))["traptor"]
    assert (added["rule_tag"], added["rule_value"], added["rules"]) == ("Not Found", "Not Found", [])


def test_of_several_rules_the_flat_fields_are_the_last_ones_alone() -> None:
    first = {"rule_id": "9", "tag": "nine", "value": "happy", "only_nine": "x"}
    last = {"rule_id": "10", "tag": "ten", "value": "so"}
    added = with_rules("track", last, first)._enrich_tweet(tweet())["traptor"]
    assert (added["rule_id"], added["rule_tag"], "only_nine" in added) == ("10", "ten", False)
    assert [rule["rule_id"] for rule in added["rules"]] == ["9", "10"]


@pytest.mark.parametrize("traptor_type", TYPES)
@pytest.mark.parametrize("message", [*NOTICES, LIMIT_NOTICE], ids=str)
def test_what_is_no_tweet_comes_back_equal(traptor_type: str, message: dict[str, Any]) -> None:
    one = with_rules(traptor_type)
    one.limit_counter = MagicMock()
    assert one._enrich_tweet(message) == message
    assert one._message_is_tweet(message) is False
    assert one._message_is_limit_message(message) is (message == LIMIT_NOTICE)
    assert one.limit_counter.increment.called is (message == LIMIT_NOTICE)


def test_the_small_steps() -> None:
    one = with_rules()
    assert one._message_is_tweet(tweet())
    assert one._tweet_time_to_iso(CREATED_AT) == "2016-02-22T01:34:53+00:00"
    assert one._create_traptor_obj({"id": 1})["traptor"] == {
        "id": 0, "id_str": "0", "rule_type": "track", "rule_set": one.rule_set
    }  # fmt: skip
    assert one._add_iso_created_at(tweet(traptor={"id": 0}))["traptor"] == {
        "id": 0, "created_at_iso": "2016-02-22T01:34:53+00:00"
    }  # fmt: skip
    assert one._find_rule_matches(tweet(traptor={}))["traptor"]["rule_value"] == "happy"


# Counting


def test_matches_are_counted_by_rule_id() -> None:
    one = with_rules("track", {"rule_id": "3", "value": "happy"}, {"rule_id": "4", "value": "sad"})
    for _ in range(2):
        one._enrich_tweet(tweet())
    assert {rule_id: counter.value() for rule_id, counter in one.rule_counters.items()} == {"3": 2, "4": 0}
    assert one.rule_counters["3"].get_key() == "stats:track:0:3"
    one._increment_rule_counter("unknown")
    one._delete_rule_counters()
    assert one.rule_counters == {}


def test_without_statistics_nothing_is_counted() -> None:
    one = made(enable_stats_collection="false")
    one._make_twitter_rules([{"rule_id": "3", "value": "happy"}])
    assert one._make_rule_counters() == {}
    assert one._enrich_tweet(tweet())["traptor"]["rule_id"] == "3"


@pytest.mark.parametrize("traptor_type", TYPES)
def test_limit_notices_count_their_largest_number_whatever_the_type(traptor_type: str) -> None:
    one = with_rules(traptor_type)
    one._make_limit_message_counter()
    for number in (5, 6, 10, 15, 10, 20, 14):
        one._enrich_tweet({"limit": {"track": number}})
    assert one.limit_counter.get_key() == f"limit:{traptor_type}:0"
    assert one.limit_counter.value() == 20


# Connecting


@pytest.mark.parametrize("traptor_type", TYPES)
def test_a_refused_stream_ends_with_exit_code_3(traptor_type: str) -> None:
    one = with_rules(traptor_type)
    one.birdy_conn = MagicMock()
    one.birdy_conn.stream.statuses.filter.post.side_effect = TwitterApiError("refused")
    with pytest.raises(SystemExit) as ended:
        one._create_birdy_stream()
    assert ended.value.code == 3
    one.birdy_conn.stream.statuses.filter.post.assert_called_once_with(
        stall_warnings="true", **{traptor_type: VALUES[traptor_type]}
    )


def test_a_replaced_opening_is_honoured() -> None:
    one = with_rules("follow")
    one._create_twitter_follow_stream = MagicMock(side_effect=TwitterApiError("refused"))  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        one._create_birdy_stream()


@pytest.mark.parametrize("is_told", [False, True])
def test_a_stream_that_opens_when_we_are_told_to_stop_is_closed(is_told: bool) -> None:
    one, opened, told = with_rules(), MagicMock(), threading.Event()

    def opening(*_: object, **__: object) -> Any:
        if is_told:
            one.stop()
            told.wait(60)
        return opened

    one._source.open = opening  # type: ignore[method-assign]
    one._create_birdy_stream()
    told.set()
    wait_until(lambda: one.birdy_stream is opened, "a stream")
    wait_until(lambda: opened.close.called or not is_told, "it to be closed")
    assert opened.close.called is is_told


def answer(status: int | None, **headers: str) -> TwitterApiError:
    return TwitterApiError("an answer", response=MagicMock(status_code=status, headers=headers))


REFUSED = [(code, 1) for code in (403, 404, 406, 410, 413, 416)] + [(401, 3)]


@pytest.mark.parametrize("status,tries", REFUSED)
def test_what_twitter_means_for_good_ends_after_so_many_tries(status: int, tries: int) -> None:
    one = with_rules()
    one.logger = MagicMock()
    one.birdy_conn = MagicMock()
    one.birdy_conn.stream.statuses.filter.post.side_effect = answer(status)
    for _ in range(tries - 1):
        one._create_birdy_stream()
    with pytest.raises(SystemExit) as ended:
        one._create_birdy_stream()
    assert ended.value.code == 3
    (line,) = [call.args[0] for call in one.logger.critical.call_args_list]
    assert str(status) in line
    assert backoff.REFUSALS[status] in line


@pytest.mark.parametrize(
    "error,least_seconds,most_seconds",
    [
        (answer(420), 60, 66),
        (answer(429, **{"Retry-After": "7"}), 7, 7.7),
        (answer(420, **{"Retry-After": "0"}), 60, 66),
        (answer(503, **{"Retry-After": "0"}), 5, 5.5),
        (answer(503), 5, 5.5),
        (answer(401), 5, 5.5),
        (TwitterClientError("no route"), 0.25, 0.275),
    ],
)
def test_other_failures_are_waited_out(error: Exception, least_seconds: float, most_seconds: float) -> None:
    one = with_rules()
    one.logger = MagicMock()
    one.birdy_conn = MagicMock()
    one.birdy_conn.stream.statuses.filter.post.side_effect = error
    one._create_birdy_stream()
    assert one.birdy_stream is None
    waits = [call.kwargs["extra"]["wait_seconds"] for call in one.logger.warning.call_args_list]
    assert len(waits) == 1
    assert least_seconds <= waits[0] <= most_seconds


def test_a_disconnect_message_says_nothing_of_the_next_stream() -> None:
    one = with_rules()
    one.logger = MagicMock()
    one.birdy_conn = MagicMock()
    one.birdy_conn.stream.statuses.filter.post.return_value.last_byte = 0.0
    one._intake.heed({"disconnect": {"code": 6, "stream_name": "one", "reason": "token revoked"}})
    one._create_birdy_stream()
    one._stream_ended(StreamEnded("closed"))
    assert one.logger.warning.call_args.kwargs["extra"]["cause"] == "closed"


@pytest.mark.parametrize(
    "line,least_seconds,most_seconds",
    [
        (b"Exceeded connection limit for user", 60, 66),
        (b"<html>", 0.25, 0.275),
        (b'{"friends":[]}', 0, 0),
    ],
)
def test_a_stream_that_brings_no_message_is_a_failure(line: bytes, least_seconds: float, most_seconds: float) -> None:
    one = with_rules()
    one.logger = MagicMock()
    one.birdy_conn = MagicMock()
    one.birdy_conn.stream.statuses.filter.post.return_value.last_byte = 0.0
    one._create_birdy_stream()
    one._handle_bytes([line])
    one._stream_ended(StreamEnded("closed"))
    assert least_seconds <= one.logger.warning.call_args.kwargs["extra"]["wait_seconds"] <= most_seconds


@pytest.mark.parametrize("kind,least_seconds", [(backoff.Kind.HTTP, 5), (backoff.Kind.RATE_LIMITED, 60)])
def test_a_page_in_the_place_of_a_stream_is_waited_out_as_an_error(kind: backoff.Kind, least_seconds: float) -> None:
    one = with_rules()
    one.birdy_conn = MagicMock()
    one.birdy_conn.stream.statuses.filter.post.return_value.last_byte = 0.0
    one._create_birdy_stream()
    one._stream_ended(StreamEnded("not-a-stream", "<html>", kind))
    assert least_seconds <= one._turn.credential.wait_seconds() + 0.5 <= least_seconds * 1.1 + 0.5
    assert not one._turn.credential.may_connect_early


def test_a_storm_of_notices_cuts_one_wait_short() -> None:
    one = made()
    one._turn.credential.take()
    for is_cut_short in (True, False):
        one._turn.credential.failed(backoff.Kind.NETWORK)
        one.restart_flag = True
        one._wait_for_turn()
        assert (one._turn.credential.wait_seconds() > 0) == is_cut_short


# Collecting


def test_the_main_loop_takes_any_stream_of_dicts() -> None:
    one = with_rules()
    one.birdy_stream = MagicMock()
    one.birdy_stream.stream.return_value = [tweet(1), None, LIMIT_NOTICE, tweet(2, **OTHER), *NOTICES]
    one._main_loop()
    assert [message.get("id_str") for message in sent(one)] == ["1", None, "2", *[None] * len(NOTICES)]
    assert [message["traptor"]["rule_value"] for message in sent(one) if "traptor" in message] == ["happy", "Not Found"]
    assert sent(one)[1] == LIMIT_NOTICE


def test_any_stand_in_for_the_producer_will_do() -> None:
    one = with_rules()
    one.kafka_conn = MagicMock()
    one.birdy_stream = MagicMock()
    one.birdy_stream.stream.return_value = [tweet(1), tweet(2), tweet(3)]
    one._main_loop()
    one._door.tick()
    assert [message["id"] for message in sent(one)] == [1, 2, 3]


def test_replaced_methods_are_honoured_with_any_stream() -> None:
    one = with_rules()
    one.birdy_stream = MagicMock()
    one.birdy_stream.stream.return_value = [tweet()]
    one._enrich_tweet = MagicMock(return_value={"mine": True})  # type: ignore[method-assign]
    one._send_enriched_data_to_kafka = MagicMock()  # type: ignore[method-assign]
    one._main_loop()
    one._send_enriched_data_to_kafka.assert_called_once_with(tweet(), {"mine": True})


class Shouting(Traptor):
    def _enrich_tweet(self, tweet: Any) -> Any:
        return {**super()._enrich_tweet(tweet), "text": "HAPPY"}


@pytest.mark.parametrize("how", ["instance", "subclass", "sending", "not at all"])
def test_replaced_methods_are_honoured_on_a_real_stream(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [{"fault": "end", "after": 2}]
    with Simulator(tweets=[tweet(1), tweet(2)], rate=0, faults=faults) as twitter:
        monkeypatch.setenv("TWITTER_STREAM_URL", twitter.url)
        one = with_rules()
        if how == "subclass":
            one.__class__ = Shouting
        elif how == "instance":
            one._enrich_tweet = MagicMock(return_value={"text": "HAPPY"})  # type: ignore[method-assign]
        elif how == "sending":
            one._send_enriched_data_to_kafka = MagicMock()  # type: ignore[method-assign]
        one._setup_birdy()
        one._create_birdy_stream()
        with closing(one.birdy_stream), pytest.raises(StreamEnded, match="closed"):
            one._main_loop()
    if how == "sending":
        calls = cast(MagicMock, one._send_enriched_data_to_kafka).call_args_list
        assert [call.args[1]["traptor"]["rule_value"] for call in calls] == ["happy", "happy"]
    else:
        assert [message["text"] for message in sent(one)] == (["So happy"] if how == "not at all" else ["HAPPY"]) * 2


@pytest.mark.parametrize("kind", [Traptor, Shouting])
def test_a_silent_stream_stops_when_it_is_told_to(kind: type[Traptor], monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulator(tweets=[]) as twitter:
        monkeypatch.setenv("TWITTER_STREAM_URL", twitter.url)
        one = with_rules()
        one.__class__ = kind
        one._setup_birdy()
        one._create_birdy_stream()
        looping = threading.Thread(target=one._main_loop, daemon=True)
        looping.start()
        one.stop()
        looping.join(PATIENCE_SECONDS)
        assert not looping.is_alive()


@pytest.mark.parametrize("kind", [Traptor, Shouting])
def test_what_is_no_message_is_counted_and_logged(
    kind: type[Traptor], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = [{"fault": "garbage"}, {"fault": "oversized"}, {"fault": "end", "after": 3}]
    with Simulator(tweets=[tweet()], rate=0, faults=faults) as twitter:
        monkeypatch.setenv("TWITTER_STREAM_URL", twitter.url)
        one = with_rules()
        one.__class__ = kind
        one._setup_birdy()
        one._create_birdy_stream()
        with closing(one.birdy_stream), pytest.raises(StreamEnded):
            one._main_loop()
    one._door.tick()
    counts = one.account.counts
    assert (counts["received:unreadable"], counts["dropped:not_json"], counts["dropped:too_long"]) == (2, 1, 1)
    told = [vars(record)["reason"] for record in caplog.records if record.message == "message skipped"]
    assert told == ["not_json", "too_long"]
    assert len(sent(one)) == 1


def test_both_ways_send_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = [tweet(1), tweet(2, **OTHER), LIMIT_NOTICE, tweet(1), *NOTICES, tweet(3, text="hap\ud83dpy happy")]
    both = []
    for stand_in in (False, True):
        with Simulator(tweets=[], rate=0) as twitter:
            monkeypatch.setenv("TWITTER_STREAM_URL", twitter.url)
            one = with_rules()
            if stand_in:
                one.birdy_stream = MagicMock()
                one.birdy_stream.stream.return_value = stream
                one._main_loop()
            else:
                one._setup_birdy()
                one._create_birdy_stream()
                for message in stream:
                    twitter.push(message)
                twitter.faults.append({"fault": "end"})
                with closing(one.birdy_stream), pytest.raises(StreamEnded):
                    one._main_loop()
            one._door.tick()
            both.append((sent(one), one.account.counts, one.limit_counter.value(), one.rule_counters["0"].value()))
    assert both[0] == both[1]
    assert both[0][2:] == (14, 2)


@pytest.mark.parametrize("flag", ["stopping", "limit"])
def test_the_main_loop_ends_when_it_is_told_to(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulator(rate=0) as twitter:
        monkeypatch.setenv("TWITTER_STREAM_URL", twitter.url)
        one = with_rules()
        one._setup_birdy()
        one._create_birdy_stream()
        if flag == "stopping":
            one.stop()
        else:
            one._tweet_limit = 3
        with closing(one.birdy_stream):
            one._main_loop()
        assert flag == "stopping" or len(sent(one)) == 3
        assert one._gaps.open
        assert one._gaps.open.cause == "stopped"


def test_a_changed_rule_restarts_and_a_changed_tag_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulator(tweets=[]) as twitter:
        monkeypatch.setenv("TWITTER_STREAM_URL", twitter.url)
        one = with_rules()
        one._setup_birdy()
        one._create_birdy_stream()
        one.redis_conn.hset("traptor-track:0:0", mapping={"value": "happy", "tag": "new"})
        one.restart_flag = True
        wait_until(lambda: not one._is_restart_due() and one._watch._looking is None, "a look at the rules")
        assert one._enrich_tweet(tweet())["traptor"]["rule_tag"] == "new"
        one.redis_conn.hset("traptor-track:0:1", mapping={"value": "sad"})
        one.restart_flag = True
        with closing(one.birdy_stream):
            one._main_loop()
        assert one.restart_flag is False


def test_a_look_at_the_rules_that_hangs_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    with Simulator(tweets=[tweet()], rate=0) as twitter:
        monkeypatch.setenv("TWITTER_STREAM_URL", twitter.url)
        one = with_rules()
        one._get_redis_rules = MagicMock(side_effect=hanging.wait)  # type: ignore[method-assign]
        one._setup_birdy()
        one._create_birdy_stream()
        one.restart_flag = True
        looping = threading.Thread(target=one._main_loop, daemon=True)
        looping.start()
        wait_until(lambda: one._get_redis_rules.called, "a look at the rules")  # type: ignore[attr-defined]
        twitter.push(tweet(702))
        wait_until(lambda: one.account.counts["delivered"] == 2, "a tweet")
        one.stop()
        looping.join(PATIENCE_SECONDS)
        assert not looping.is_alive()
    hanging.set()


# Delivering


def test_what_is_sent_to_kafka() -> None:
    one = with_rules()
    enriched = one._enrich_tweet(tweet())
    one._send_enriched_data_to_kafka(tweet(), enriched)
    value = json.dumps(enriched, separators=(",", ":")).encode()
    one.kafka_conn.send.assert_called_once_with("traptor", value=value, key=b"701")


def test_what_is_written_for_test(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    one = made(test=True)
    one._setup_kafka()
    one._send_enriched_data_to_kafka(tweet(), {"text": "é", "id_str": "701"})
    assert capsysbinary.readouterr().out == b'{"text":"\\u00e9","id_str":"701"}\n'


@pytest.mark.parametrize("returned", [True, False])
def test_a_replaced_making_of_the_producer_is_honoured(returned: bool) -> None:
    mine = MagicMock()

    class Mine(Traptor):
        def _create_kafka_producer(self) -> Any:
            if not returned:
                self.kafka_conn = mine
            return mine if returned else None

    one = Mine(*[fakeredis.FakeRedis()] * 3, apikeys=APIKEYS)
    one._setup_kafka()
    wait_until(lambda: one.kafka_conn is mine, "the producer")
    assert producers.cautiously(one._make_producer) is mine


def test_only_the_producer_that_is_to_be_cautious_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made side by side, one for each topic, all by the method that people replace."""
    made_with: list[dict[str, Any]] = []
    monkeypatch.setattr(producers, "KafkaProducer", lambda **options: made_with.append(options) or MagicMock())
    one = Traptor.from_settings(settings.load({**APIKEYS, "KAFKA_OPTIONS": '{"linger_ms": 7}'}))
    producers.cautiously(lambda: [one._make_producer(), in_background(one._make_producer, lambda: None).result(10)])
    one._make_producer()
    assert [options["linger_ms"] for options in made_with] == [0, 7, 7]


def test_a_making_that_makes_no_producer_is_an_error() -> None:
    one = made()
    one._create_kafka_producer = MagicMock(return_value=None)  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="kafka_conn"):
        one._make_producer()


def test_a_change_of_state_is_logged_without_redis(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    one = made()
    one._vitals.enter(State.WAITING_FOR_RULES)
    one._tick()
    told = [vars(record).get("state") for record in caplog.records if record.name == one.logger.name]
    assert told == ["waiting-for-rules"]


# The end


def test_the_credential_is_handed_over_with_the_stream_and_the_name_with_the_spool(conn: fakeredis.FakeRedis) -> None:
    """And the sign of life tells by then since when there is no stream."""
    one = made(conn=conn)
    one._turn.credential.take()
    one._journal.knows_last_life = True
    one.birdy_stream = MagicMock()
    one._door = MagicMock()
    (lease, name, life) = (conn.keys("traptor:lease:*")[0], keys.name("track", 0), keys.life("track", 0))
    at_close: list[Any] = []
    one._door.close.side_effect = lambda timeout_seconds: at_close.extend(map(conn.get, (lease, name, life)))
    one.stop()
    one._end_stream("stopped")
    one._shut_down()
    one.birdy_stream.close.assert_called()
    assert not at_close[0]
    assert json.loads(at_close[1])["leaves"] is True
    assert json.loads(at_close[2])["gap"]["cause"] == "stopped"
    assert (bool(conn.get(lease)), bool(conn.get(name))) == (False, False)


@pytest.mark.parametrize(
    "is_stopping,silent_seconds,stop_timeout,is_renewed",
    [(False, 1, 60, True), (False, 20, 60, False), (True, 20, 60, True), (True, 20, 0, False)],
)
def test_the_lease_is_ours_for_as_long_as_we_deliver_at_the_end(
    conn: fakeredis.FakeRedis, *, is_stopping: bool, silent_seconds: float, stop_timeout: float, is_renewed: bool
) -> None:
    """The main loop waits for the door then, however long STOP_TIMEOUT is."""
    one = made(conn=conn)
    one.settings = settings.load({"STOP_TIMEOUT": stop_timeout, **APIKEYS})
    one._turn.credential.take()
    conn.expire(keys.name("track", 0), 5)
    one._vitals.progress_at -= silent_seconds
    if is_stopping:
        one.stop()
    one._hold_credential()
    assert (conn.ttl(keys.name("track", 0)) > 5) is is_renewed


def test_it_is_ours_as_well_where_nobody_has_told_us_to_stop(conn: fakeredis.FakeRedis) -> None:
    """Twitter has refused us, say."""
    one = made(conn=conn)
    one._turn.credential.take()
    one._door = MagicMock()
    left: list[Any] = []

    def deliver(timeout_seconds: float) -> None:
        one._vitals.progress_at -= 20
        conn.expire(keys.name("track", 0), 5)
        one._hold_credential()
        left.extend([conn.ttl(keys.name("track", 0)), timeout_seconds])

    one._door.close.side_effect = deliver
    one._shut_down()
    assert left[0] > 5
    assert 0 < left[1] <= one.settings.STOP_TIMEOUT


def test_who_is_held_back_leaves_the_spool_to_whoever_still_uses_it(conn: fakeredis.FakeRedis) -> None:
    """It has the credential already, and waits out a back-off."""
    first, one = made(conn=conn), made(conn=conn)
    first._turn.credential.take()
    first._turn.credential.hand_over()
    one._door = MagicMock()
    for is_left in (False, True):
        one._turn.credential.take()
        one._hold_back(Wait("", 0.01))
        one._report()
        assert (one._door.take_up.called, bool(conn.exists(keys.status("track", 0)))) == (is_left, is_left)
        first._turn.credential.release()


def test_who_knows_of_no_rules_has_the_name_before_it_waits_for_them(conn: fakeredis.FakeRedis) -> None:
    """Else it would say nothing of itself for as long as it waits."""
    first, one = made(conn=conn), made(conn=conn)
    first._turn.credential.take()
    first._turn.credential.hand_over()

    def left() -> None:
        first._turn.credential.release()
        one._turn._listening.result(10)  # type: ignore[union-attr]

    waits = MagicMock(wait=left, result=lambda look: look())
    waits.pause.side_effect = lambda *_: one.stop()
    one._pulse = waits
    one._collect()
    assert waits.pause.called
    assert one._turn.credential.has_name()


def test_rules_are_known_before_it_is_our_turn(conn: fakeredis.FakeRedis) -> None:
    """They are read while another has the credential, and again once there is a stream."""
    first, one = made(conn=conn), made(conn=conn)
    first._turn.credential.take()
    stored.write(conn, "track", 0, [{"rule_id": "1", "value": "storm"}])
    one._listener.may_have_missed = True
    for wait in one._turn.waits(lambda: ""):
        one._hold_back(wait)
        if one._knows_rules:
            break
    first._turn.credential.hand_over()
    one._get_redis_rules = MagicMock(side_effect=AssertionError)  # type: ignore[method-assign]
    one._wait_for_turn()
    one._wait_for_rules()
    assert [rule["value"] for rule in one.redis_rules] == ["storm"]
    assert one._turn.credential.has_namesake()
    assert one._is_noticed()


def test_rules_that_are_removed_before_it_is_our_turn_are_known_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    one = made()
    for found, is_known in (([{"rule_id": "1", "value": "storm"}], True), (None, True), ([], False)):
        monkeypatch.setattr(one._watch, "found", lambda found=found: found)
        one._stand_by()
        assert one._knows_rules is is_known
    assert one.redis_rules == []


# Side roads


@pytest.mark.parametrize("data", ["track:0", b"track:0"])
def test_a_notice_sets_the_restart_flag(data: object) -> None:
    one = made(conn=MagicMock())
    get_message = one.pubsub_conn.pubsub.return_value.get_message
    get_message.side_effect = [{"type": "subscribe", "data": 1}, None, {"data": "track:1"}, {"data": data}]
    one.settings = settings.load({"PUBSUB_CHECK_INTERVAL": 0.01, **APIKEYS})
    one._check_redis_pubsub_for_restart()
    assert one.restart_flag is True
    one.pubsub_conn.pubsub.return_value.subscribe.assert_called_once_with("traptor-notify")


@pytest.mark.parametrize("since_seconds,expected", [(10.0, 0.0), (2.0, 3.0)])
def test_a_notice_says_for_how_long_it_is_put_off(since_seconds: float, expected: float) -> None:
    one = made(conn=MagicMock())
    one.logger = MagicMock()
    one._watch.answered(time.monotonic() - since_seconds)
    one.pubsub_conn.pubsub.return_value.get_message.return_value = {"type": "message", "data": "track:0"}
    one._check_redis_pubsub_for_restart()
    assert one.logger.info.call_args.kwargs["extra"]["put_off_seconds"] == pytest.approx(expected, abs=0.5)


def test_a_notice_that_is_always_there_is_taken_each_time() -> None:
    one = made(conn=MagicMock())
    one.pubsub_conn.pubsub.return_value.get_message.return_value = {"type": "message", "data": "track:0"}
    for _ in range(2):
        one.restart_flag = False
        one._check_redis_pubsub_for_restart()
        assert one.restart_flag is True


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_heartbeats(conn: fakeredis.FakeRedis) -> None:
    one = made("follow", conn, traptor_id=2)
    one._add_heartbeat_message_to_redis(conn)
    (key,) = conn.keys("follow:2:*")
    assert conn.get(key) in ("alive", b"alive")
    assert 9 <= conn.ttl(key) <= 10


def test_a_heartbeat_that_redis_refuses_is_raised_after_retries() -> None:
    one = made()
    refusing = MagicMock()
    refusing.setex.side_effect = redis.ConnectionError("refused")
    with pytest.raises(redis.ConnectionError):
        one._add_heartbeat_message_to_redis(refusing)
    assert refusing.setex.call_count == 3
