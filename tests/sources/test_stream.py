"""Bytes to messages, and a filter stream against the simulator with its faults."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice, pairwise, takewhile
from typing import Any

import pytest
from birdy.twitter import TwitterApiError, TwitterAuthError, TwitterClientError, TwitterRateLimitError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.servers import wait_until
from traptor.simulator import CREDENTIAL, Simulator
from traptor.sources import stream, v1
from traptor.sources.stream import FilterStream, Framer, StreamEnded
from traptor.sources.v1 import MyBirdyClient

SOON_SECONDS = 0.5


def chunks(data: bytes, *cuts: int) -> list[bytes]:
    edges = [0, *cuts, len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def framed(data: list[bytes], max_bytes: int = 100) -> list[bytes]:
    framer = Framer(max_bytes)
    return [message for chunk in data for message in framer.feed(chunk)]


@pytest.mark.parametrize(
    "data,messages",
    [
        ([], []),
        ([b"one\r\n"], [b"one"]),
        ([b"one\r\ntwo\r\n"], [b"one", b"two"]),
        ([b"one"], []),
        ([b"one\r"], []),
        ([b"one", b"\r\n"], [b"one"]),
        ([b"one\r", b"\ntwo\r\n"], [b"one", b"two"]),
        ([b"one\r", b"", b"\n"], [b"one"]),
        ([b"o", b"n", b"e", b"\r", b"\n"], [b"one"]),
        ([b"\r\n", b"\r\n\r\n"], []),
        ([b"\r", b"\n", b"\r", b"\none\r\n"], [b"one"]),
        ([b"one\r\n\r\n\r\ntwo\r\n\r\n"], [b"one", b"two"]),
        ([b"o\nne\r\n"], [b"o\nne"]),
        ([b"o\n", b"ne\r\n"], [b"o\nne"]),
        ([b"o\rne\r\n"], [b"o\rne"]),
        ([b"o\r", b"ne\r\n"], [b"o\rne"]),
        ([b"one\r\r\n"], [b"one\r"]),
        ([b"one\r", b"\r\n"], [b"one\r"]),
        ([b"\n", b"one\r\n"], [b"\none"]),
        ([b" \r\n"], [b" "]),
    ],
    ids=repr,
)
def test_messages_end_with_crlf_wherever_it_is_cut(data: list[bytes], messages: list[bytes]) -> None:
    assert framed(data) == messages


@pytest.mark.parametrize(
    "data",
    [
        [b"x" * 12 + b"\r\ntwo\r\n"],
        [b"x" * 12, b"\r\ntwo\r\n"],
        [b"x" * 12 + b"\r", b"\ntwo\r\n"],
        [b"x" * 10 + b"\r", b"x" * 30, b"\r\ntwo\r\n"],
        [b"x" * 11 + b"\r", b"\n", b"two\r\n"],
        [b"x" * 11, b"\r", b"\n", b"two\r\n"],
        [b"x" * 11, b"x", b"\r", b"\ntwo\r\n"],
        [b"x" * 9, b"x" * 50, b"\r", b"\n", b"two\r\n"],
        [b"x"] * 40 + [b"\r\ntwo\r\n"],
        [b"x" * 40 + b"\n", b"x\r", b"\ntwo\r\n"],
    ],
    ids=repr,
)
def test_a_message_that_is_too_long_is_cut_to_one_byte_more(data: list[bytes]) -> None:
    cut, after = framed(data, max_bytes=10)
    assert len(cut) == 11
    assert cut.startswith(b"x" * 10)
    assert after == b"two"


def test_a_message_of_just_the_size_is_whole() -> None:
    assert framed([b"x" * 10 + b"\r", b"\n"], max_bytes=10) == [b"x" * 10]


@pytest.mark.parametrize(
    "data,pending",
    [([], b""), ([b"one\r\n"], b""), ([b"\r\n"], b""), ([b"on", b"e"], b"one"), ([b"one\r\n", b"t"], b"t")],
    ids=repr,
)
def test_a_message_that_has_not_ended_is_pending(data: list[bytes], pending: bytes) -> None:
    framer = Framer()
    for chunk in data:
        framer.feed(chunk)
    assert framer.pending() == pending


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b"xyz", b"x" * 9]), max_size=30).map(b"".join),
    st.lists(st.integers(0, 100), max_size=12).map(sorted),
    st.sampled_from([1, 4, 100]),
)
@example(b"\r\rx\n\n", [4], 1)
def test_any_chunks_give_the_same_messages(data: bytes, cuts: list[int], max_bytes: int) -> None:
    expected = [line[: max_bytes + 1] for line in data.split(b"\r\n")[:-1] if line]
    assert framed(chunks(data, *cuts), max_bytes) == expected


def test_the_client_keeps_its_keys_and_gives_plain_dicts() -> None:
    client = MyBirdyClient(*CREDENTIAL)
    assert repr(client) == "MyBirdyClient('https://stream.twitter.com')"
    assert MyBirdyClient.get_json_object_hook(given := {"a": 1}) is given


def opened(twitter: Simulator, **predicates: str) -> FilterStream:
    client = MyBirdyClient(*CREDENTIAL, twitter.url)
    predicates = predicates or {"track": "coffee"}
    found: FilterStream = client.stream.statuses.filter.post(stall_warnings="true", **predicates)
    return found


def tweet(number: int) -> dict[str, Any]:
    return {"id": number, "id_str": str(number), "text": "coffee", "user": {"id": 7, "id_str": "7"}, "entities": {}}


TWEETS = [tweet(number) for number in range(1, 8)]


@contextmanager
def streaming(*faults: dict[str, Any], **options: Any) -> Iterator[tuple[Simulator, FilterStream]]:
    with (
        Simulator(**{"tweets": TWEETS, "rate": 0, **options}, faults=faults) as twitter,
        closing(opened(twitter)) as filter_stream,
    ):
        yield twitter, filter_stream


def whole(received: Iterator[bytes | None]) -> Iterator[bytes]:
    """The messages, as long as they come: five quiet seconds are too many."""
    quiet = 0
    for message in received:
        quiet = quiet + 1 if message is None else 0
        assert quiet < 50
        if message is not None:
            yield message


def ids(received: Iterator[bytes | None], count: int) -> list[int]:
    return [json.loads(message)["id"] for message in islice(whole(received), count)]


def test_the_request_is_the_one_that_twitter_wants() -> None:
    with Simulator(tweets=[]) as twitter, closing(opened(twitter, track="flood warning,été,#日本&=+")) as opened_stream:
        connection = twitter.wait_for_connection()
        assert (connection.status, connection.consumer_key) == (200, CREDENTIAL.consumer_key)
        assert list(connection.predicates.track) == ["flood warning", "été", "#日本&=+"]
        assert connection.headers["Accept-Encoding"] == "gzip"
        assert opened_stream._response.headers["Content-Encoding"] == "gzip"
        assert connection.headers["User-Agent"].startswith("Traptor/")


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [{"fault": "split", "bytes": 1}],
        [{"fault": "split", "bytes": 3}],
        [{"fault": "slow", "bytes": 200, "pause_seconds": 0.001}],
        [{"fault": "newline"}],
    ],
    ids=str,
)
def test_messages_arrive_whole_however_they_are_cut(faults: list[dict[str, Any]]) -> None:
    with streaming(*faults) as (twitter, filter_stream):
        assert ids(filter_stream.messages(), 7) == list(range(1, 8))
        assert twitter.wait_for_sent(7) == [str(number) for number in range(1, 8)]
        assert filter_stream.received_bytes >= sum(len(json.dumps(one, separators=(",", ":"))) + 2 for one in TWEETS)


@pytest.mark.parametrize("fault,cause", [("end", "closed"), ("cut", "cut"), ("reset", "reset")])
def test_how_a_stream_ended_is_told_after_what_arrived(fault: str, cause: str) -> None:
    received: list[bytes] = []
    with streaming({"fault": fault, "after": 3}) as (_, filter_stream):
        with pytest.raises(StreamEnded) as ended:
            received.extend(whole(filter_stream.messages()))
        assert ended.value.cause == cause
        # A reset throws away what the machine has not handed on yet.
        assert len(received) == 3 or fault == "reset"
        assert [json.loads(message)["id"] for message in received] == [1, 2, 3][: len(received)]


def test_a_stall_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v1, "STALL_SECONDS", 1.0)
    with streaming({"fault": "stall", "after": 2, "seconds": 30}, keep_alive_seconds=0.02) as (_, filter_stream):
        messages = whole(filter_stream.messages())
        assert [json.loads(next(messages))["id"] for _ in range(2)] == [1, 2]
        with pytest.raises(StreamEnded, match=r"^stalled: no byte, not even a keep-alive$"):
            next(messages)


def test_keep_alives_hold_a_quiet_stream_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v1, "STALL_SECONDS", 2.0)
    with streaming(tweets=[], keep_alive_seconds=0.05) as (_, filter_stream):
        opened_at = filter_stream.last_byte
        idle = takewhile(lambda _: filter_stream.last_byte < opened_at + 2.5, filter_stream.messages())
        assert set(idle) == {None}


def test_an_idle_stream_yields_none_and_then_what_is_pushed() -> None:
    with streaming(tweets=[]) as (twitter, filter_stream):
        messages = filter_stream.messages()
        assert next(messages) is None
        twitter.push({"limit": {"track": 5}})
        assert json.loads(next(whole(messages))) == {"limit": {"track": 5}}


def test_close_on_a_silent_stream_returns_at_once() -> None:
    with streaming(tweets=[]) as (twitter, filter_stream):
        messages = filter_stream.messages()
        assert next(messages) is None
        began = time.monotonic()
        filter_stream.close()
        assert list(messages) == []
        assert time.monotonic() - began < SOON_SECONDS
        twitter.push(tweet(1))
        filter_stream.close()


def test_what_arrived_before_close_is_still_yielded() -> None:
    with streaming({"fault": "end", "after": 7}) as (_, filter_stream):
        filter_stream._reader.join(5)
        filter_stream.close()
        assert [json.loads(message)["id"] for message in whole(filter_stream.messages())] == list(range(1, 8))


def test_what_is_not_json_is_handed_on_as_it_is() -> None:
    with streaming({"fault": "garbage", "after": 1}) as (_, filter_stream):
        first, garbage, second = islice(whole(filter_stream.messages()), 3)
        assert (json.loads(first)["id"], json.loads(second)["id"]) == (1, 2)
        with pytest.raises(ValueError, match="Expecting"):
            json.loads(garbage)


def test_an_oversized_message_is_cut_and_the_next_one_is_whole() -> None:
    with streaming({"fault": "oversized", "after": 1}) as (_, filter_stream):
        first, oversized, second = islice(whole(filter_stream.messages()), 3)
        assert (json.loads(first)["id"], json.loads(second)["id"]) == (1, 2)
        assert len(oversized) == stream.MAX_MESSAGE_BYTES + 1


def test_as_birdy_it_yields_dicts_and_leaves_out_what_is_not_json() -> None:
    with streaming({"fault": "garbage", "after": 1}) as (_, filter_stream):
        assert [message["id"] for message in islice(filter_stream.stream(), 7)] == list(range(1, 8))


@pytest.mark.parametrize(
    "code,error",
    [
        (401, TwitterAuthError), (403, TwitterApiError), (406, TwitterApiError), (413, TwitterApiError),
        (420, TwitterRateLimitError), (429, TwitterRateLimitError), (503, TwitterApiError),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_stream_is_birdys_error(code: int, error: type[TwitterApiError]) -> None:
    fault = {"fault": "status", "code": code, "body": "Easy\r\n there", "retry_after": 7}
    with Simulator(faults=[fault]) as twitter, pytest.raises(error) as told:
        opened(twitter)
    assert type(told.value) is error
    assert (told.value.status_code, told.value.headers["Retry-After"]) == (code, "7")
    assert "Easy there" in str(told.value)


def test_a_server_that_closes_or_is_away_is_birdys_client_error() -> None:
    with Simulator(faults=[{"fault": "drop"}]) as twitter, pytest.raises(TwitterClientError) as dropped:
        opened(twitter)
    with pytest.raises(TwitterClientError) as away:
        opened(twitter)
    assert not isinstance(dropped.value, TwitterApiError)
    assert not isinstance(away.value, TwitterApiError)


class Raw:
    """A socket with messages enough; remembers how many bytes it was asked for, and whether it was put away."""

    def __init__(self, message: bytes, count: int) -> None:
        self.left = [message] * count
        self.is_closed = False
        self.status_code, self.headers, self.reason, self.url = 503, {}, "Unavailable", "http://localhost"
        self.raw = self

    def read1(self, most: int, decode_content: bool) -> bytes:
        return self.left.pop() if self.left else b""

    def shutdown(self) -> None:
        """There is no socket."""

    iter_lines = shutdown

    def close(self) -> None:
        self.is_closed = True


def test_what_waits_unread_is_bounded_and_nothing_is_lost() -> None:
    """The rest stays in the socket, so that Twitter sees a reader that is slow."""
    raw: Any = Raw(b'{"x":"' + b"x" * (stream.READ_BYTES - 10) + b'"}\r\n', 100)
    most = stream.ARRIVED_BYTES // stream.READ_BYTES + 2
    filter_stream = FilterStream(raw, "POST")
    wait_until(lambda: len(raw.left) <= 100 - most + 2, "the reader")
    filter_stream._reader.join(3 * stream.IDLE_SECONDS)
    assert 100 - most <= len(raw.left) <= 100 - most + 2
    read: list[bytes] = []
    with pytest.raises(StreamEnded, match="closed"):
        read.extend(whole(filter_stream.messages()))
    assert len(read) == 100
    assert raw.is_closed


def test_the_answer_to_a_refused_request_is_put_away() -> None:
    response: Any = Raw(b"", 0)
    with pytest.raises(TwitterApiError, match="Unavailable"):
        MyBirdyClient(*CREDENTIAL).handle_response("POST", response)
    assert response.is_closed
