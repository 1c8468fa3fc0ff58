"""The stream of v2 against the simulator, over real HTTP, and what its messages become."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from birdy.twitter import TwitterApiError

from tests.sources.v2.clients import RULES, client, opened, rule_ids, synchronise, take
from traptor.simulator import Simulator
from traptor.simulator.feed import Synthetic
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.sources.stream import FilterStream, StreamEnded
from traptor.sources.v2 import stream as v2_stream
from traptor.sources.v2.stream import LAST_SECONDS, Disconnect, FilteredStream, Translated, keep, translated
from traptor.tweets import fields


def test_tweets_come_in_the_shape_of_v1_with_the_tags_of_their_rules(twitter: Simulator) -> None:
    api = client(twitter)
    synchronise(api, *RULES)
    stream = api.open()
    message = take(stream, lambda message: isinstance(message, Translated))
    stream.close()
    tweet = json.loads(message)
    assert tweet["id_str"] == json.loads(message.payload)["data"]["id"]
    assert re.fullmatch(r"traptor:track:0:[12]=\w{4}", message.tags[0])
    assert tweet["user"]["screen_name"]
    assert stream.headers["Content-Encoding"] == "gzip"


def test_a_change_of_rules_takes_effect_on_the_open_stream(twitter: Simulator) -> None:
    api = client(twitter)
    synchronise(api, RULES[0])
    stream = api.open()
    take(stream, lambda message: rule_ids(message.tags[0]) == ["1"])
    synchronise(api, RULES[1])
    take(stream, lambda message: rule_ids(message.tags[0]) == ["2"])
    stream.close()
    assert len(twitter.connections) == 1


def test_a_backfill_brings_what_was_missed_in_a_gap(twitter: Simulator) -> None:
    """And some of what came before it once more; without one the stream goes on."""
    api = client(twitter)
    synchronise(api, RULES[0])
    sent = []
    for number, minutes in enumerate([0, 2, 0], 1):
        stream = api.open(minutes)
        take(stream, lambda message: isinstance(message, Translated))
        stream.close()
        connection = twitter.wait_for_close(number)
        assert connection.backfill_minutes == minutes
        sent.append(connection.sent)
    first, second, third = sent
    assert second[: len(first)] == first
    assert len(set(first) & set(third)) == 0


@pytest.mark.parametrize("gap_seconds, tweets", [(50, 50), (1000, 120)])
def test_a_backfill_brings_the_tweets_of_the_gap_at_once(gap_seconds: float, tweets: int) -> None:
    with Simulator(rate=1) as slow:
        api = client(slow)
        synchronise(api, RULES[0])
        api.open().close()
        first = slow.wait_for_close(1)
        first.closed_at = time.time() - gap_seconds
        stream = api.open(2)
        slow.wait_for_sent(tweets, timeout_seconds=5)
        stream.close()
    assert len(set(slow.connections[1].sent)) < tweets + 10


@pytest.mark.parametrize("minutes", [6, -1, "some"])
def test_a_wrong_backfill_is_refused(twitter: Simulator, minutes: Any) -> None:
    with pytest.raises(TwitterApiError, match="backfill_minutes"):
        opened(twitter, minutes)


def test_a_quiet_stream_yields_none_and_closes_at_once() -> None:
    with Simulator(tweets=[]) as quiet:
        stream = opened(quiet)
        assert next(stream.messages()) is None
        stream.close()
        assert [message for message in stream.messages() if message] == []


def test_the_end_is_announced_as_v1_did(twitter: Simulator) -> None:
    twitter.faults.append({"fault": "disconnect", "code": 12})
    stream = opened(twitter)
    message = json.loads(take(stream, lambda message: b'"disconnect"' in message))
    assert message["disconnect"]["code"] == 12
    assert message["disconnect"]["reason"].startswith("OperationalDisconnect: ")
    with pytest.raises(StreamEnded):
        take(stream, bool)


def test_a_disconnect_ends_the_stream_though_the_server_keeps_it_open() -> None:
    """Keep-alives may follow; they are no life. What came with it is still handed over."""
    error = {"errors": [{"title": "operational-disconnect", "detail": "for reasons"}]}
    with Simulator(tweets=[], keep_alive_seconds=0.05) as quiet:
        stream = opened(quiet)
        quiet.wait_for_connection(1)
        quiet.push(error)
        with pytest.raises(StreamEnded, match="closed: operational-disconnect: for reasons"):
            take(stream, lambda message: not isinstance(message, Disconnect))
        assert quiet.wait_for_close(1).cause == "client went away"


DISCONNECT = b'{"errors":[{"title":"operational-disconnect"}]}'
KEPT = b'{"meta":1}'


@pytest.mark.parametrize(
    "reads, closes_at",
    [
        ([(0.0, [DISCONNECT]), (0.1, [KEPT]), (0.1, [KEPT]), (0.1, [])], 3),
        ([(0.0, [DISCONNECT]), (LAST_SECONDS / 2, [KEPT]), (LAST_SECONDS / 2, [KEPT])], 2),
        ([(0.0, [KEPT]), (LAST_SECONDS, []), (0.0, [DISCONNECT]), (LAST_SECONDS, [KEPT])], 3),
        ([(0.0, [DISCONNECT]), (0.4, [DISCONNECT]), (0.2, [KEPT])], 2),
    ],
    ids=["quiet", "soon", "not before", "the first counts"],
)
def test_when_a_stream_that_ends_is_closed(
    reads: list[tuple[float, list[bytes]]], closes_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``reads`` are what comes, each after so many seconds."""
    now, closed, taken = [50.0], [], []
    monkeypatch.setattr(v2_stream, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(FilteredStream, "close", lambda self: closed.append(len(taken) - 1))
    monkeypatch.setattr(FilterStream, "__init__", lambda self, response, method: None)

    def come(self: FilterStream) -> Iterator[list[bytes]]:
        for seconds, read in reads:
            now[0] += seconds
            yield read

    monkeypatch.setattr(FilterStream, "reads", come)
    with pytest.raises(StreamEnded, match="operational-disconnect"):
        taken += FilteredStream(MagicMock(), "GET").reads()
    assert closed == [closes_at]


def test_a_stream_that_is_closed_closes_its_recovery() -> None:
    with Simulator(tweets=[]) as quiet:
        stream, beside = opened(quiet), MagicMock()
        beside.reads.return_value = iter(())
        stream.recover_by(beside)
        stream.close()
        beside.close.assert_called_once_with()


def test_what_does_not_fit_is_counted_and_told_once(twitter: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    twitter.faults.append({"fault": "odd", "field": "data.public_metrics.like_count", "value": "many"})
    twitter.faults.append({"fault": "odd", "field": "data.public_metrics.like_count", "value": "lots", "after": 3})
    twitter.faults.append({"fault": "odd", "field": "data.public_metrics.like_count", "value": "some", "after": 5})
    api = client(twitter)
    synchronise(api, RULES[0])
    stream = api.open()
    found = list(islice((message for message in stream.messages() if isinstance(message, Translated)), 10))
    stream.close()
    assert api.left_out == {"data.public_metrics.like_count": 3}
    assert [json.loads(message)["favorite_count"] for message in found if message.left_out] == [0, 0, 0]
    told = [record.__dict__["field"] for record in caplog.records if "does not fit" in record.message]
    assert told == ["data.public_metrics.like_count"]


def test_a_gap_is_recovered_beside_the_stream() -> None:
    with Simulator(rate=100) as twitter:
        api = client(twitter)
        synchronise(api, RULES[0])
        now = datetime.now(UTC)
        stream = api.open(missed=(now - timedelta(seconds=3), now))
        recovery = twitter.wait_for_close(2)
        assert recovery.cause == "recovered"
        assert 300 <= recovery.tweets < 350
        wanted = set(recovery.sent)
        take(stream, lambda message: wanted.discard(fields.decode(message).id_str) or not wanted)
        for _ in stream.reads():
            if not stream.recovery:
                break
        stream.close()


def test_the_end_of_a_recovery_is_not_that_of_the_stream() -> None:
    faults = [{"fault": "disconnect", "after": 5, "connection": 2}]
    with Simulator(rate=100, faults=faults) as twitter:
        api = client(twitter)
        synchronise(api, RULES[0])
        now = datetime.now(UTC)
        stream = api.open(missed=(now - timedelta(seconds=30), now))
        twitter.wait_for_close(2)
        for messages in stream.reads():
            assert not any(isinstance(message, Disconnect) for message in messages)
            if not stream.recovery:
                break
        assert take(stream, lambda message: isinstance(message, Translated))
        stream.close()


def test_a_gap_that_cannot_be_recovered_is_told(twitter: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    api = client(twitter)
    synchronise(api, RULES[0])
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    stream = api.open(missed=(long_ago, long_ago + timedelta(hours=1)))
    assert take(stream, lambda message: isinstance(message, Translated))
    stream.close()
    [record] = [record for record in caplog.records if record.message == "gap not recovered"]
    assert record.__dict__["start_time"] == "2026-01-01T00:00:00Z"
    assert "start_time has to be within the last 24 hours" in record.__dict__["error"]


def test_a_stream_without_keep_alives_is_stalled(twitter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traptor.sources.v2.client.STALL_SECONDS", 0.3)
    twitter.faults.append({"fault": "stall", "seconds": 10})
    with pytest.raises(StreamEnded, match="stalled"):
        take(opened(twitter), bool)


@pytest.mark.parametrize(
    "raw, messages",
    [
        (b"garbage", [b"garbage"]),
        (b'{"meta":1}', [b'{"meta":1}']),
        (b'{"data":{"id":"20"}}', [b'{"data":{"id":"20"}}']),
        (b'{"data":{"id":"x","text":"y"}}', [b'{"data":{"id":"x","text":"y"}}']),
        (
            b'{"errors":[{"title":"ConnectionException","disconnect_type":"SlowReader","detail":"too slow"}]}',
            [b'{"disconnect":{"code":4,"stream_name":"v2","reason":"SlowReader: too slow"}}'],
        ),
        (
            b'{"errors":[{"title":"operational-disconnect"}]}',
            [b'{"disconnect":{"code":12,"stream_name":"v2","reason":"operational-disconnect"}}'],
        ),
        (b'{"errors":[{"title":"what"}]}', [b'{"disconnect":{"code":10,"stream_name":"v2","reason":"what"}}']),
        (b'{"errors":7}', [b'{"errors":7}']),
        (b"[" * 100_000, [b"[" * 100_000]),
    ],
)
def test_what_is_no_tweet(raw: bytes, messages: list[bytes]) -> None:
    assert translated(raw) == messages


def test_a_tweet_with_partial_errors_is_a_tweet() -> None:
    """Of a tweet that refers to one which is gone, v2 tells so under errors."""
    raw = b'{"data":{"id":"20","text":"x","author_id":"7"},"errors":[{"title":"Not Found Error"}]}'
    [message] = translated(raw)
    assert json.loads(message)["id_str"] == "20"


@pytest.mark.parametrize(
    "matching_rules, tags",
    [
        ('[{"id":"1","tag":"a"},{"id":"2","tag":"b"}]', ("a", "b")),
        ('[{"id":"1"},{"id":"2","tag":null},{"tag":7},{"id":"3","tag":"a"}]', ("a",)),
        ('["1",null,[]]', ()),
        ('{"id":"1"}', ()),
        ("7", ()),
        ("null", ()),
    ],
)
def test_odd_matching_rules_are_those_of_others(matching_rules: str, tags: tuple[str, ...]) -> None:
    raw = f'{{"data":{{"id":"20","text":"x","author_id":"7"}},"matching_rules":{matching_rules}}}'
    [message] = translated(raw.encode())
    assert isinstance(message, Translated)
    assert message.tags == tags


def test_the_payload_can_be_kept() -> None:
    raw = b'{"data":{"id":"20","text":"x","author_id":"7"}}'
    [message] = translated(raw)
    assert isinstance(message, Translated)
    kept = json.loads(keep(message[:-1] + b',"traptor":{"id":0}}', message))
    assert kept["traptor"] == {"id": 0, "v2": json.loads(raw)}


def test_pushed_tweets_have_the_rules_that_they_fit() -> None:
    message = next(Synthetic(1, Snowflakes()).messages(Predicates(track=("storm",)))).body
    with Simulator(tweets=[]) as quiet:
        api = client(quiet)
        synchronise(api, RULES[0])
        stream = api.open()
        quiet.wait_for_connection(1)
        assert quiet.push(message) == 1
        pushed = take(stream, lambda message: isinstance(message, Translated))
        stream.close()
    assert [rule_ids(tag) for tag in pushed.tags] == [["1"]]
    assert json.loads(pushed)["id"] == json.loads(message)["id"]
