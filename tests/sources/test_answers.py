"""Answers that are no stream, and servers that take for ever: told, waited out, and never held for one."""

import socket
import threading
from collections.abc import Callable
from itertools import islice, takewhile
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from birdy.twitter import TwitterApiError, TwitterClientError, TwitterRateLimitError
from hypothesis import given
from hypothesis import strategies as st

from tests.servers import wait_until
from tests.sources.trickle import Recorded, response, sending, serving, trickling
from traptor.simulator import CREDENTIAL
from traptor.sources import answers, connecting, stream
from traptor.sources.backoff import Kind
from traptor.sources.stream import StreamEnded
from traptor.sources.v1 import MyBirdyClient
from traptor.sources.v2 import answers as v2_answers
from traptor.sources.v2.client import V2Client

TWEET = b'{"id_str":"1","text":"storm"}'


def v1(url: str) -> Any:
    return MyBirdyClient(*CREDENTIAL, url).stream.statuses.filter.post(track="storm")


def v2(url: str) -> Any:
    return V2Client("key", "secret", "bearer", url).open()


both = pytest.mark.parametrize("opened", [v1, v2], ids=["v1", "v2"])


def ended(url: str, opened: Callable[[str], Any] = v1) -> tuple[list[bytes], StreamEnded]:
    """What the stream brought, and how it ended."""
    received: list[bytes] = []
    reads = opened(url).reads()
    with pytest.raises(StreamEnded) as told:
        received.extend(message for messages in reads for message in messages)
    return received, told.value


@both
@pytest.mark.parametrize(
    "body,kind,detail",
    [
        (b"<html>\r\n<title>Log in</title></html>", Kind.HTTP, "<html> <title>Log in</title></html>"),
        (b"\r\n  <!DOCTYPE html>", Kind.HTTP, "<!DOCTYPE html>"),
        (b'{"errors":[{"code":130,"message":"Over capacity"}]}', Kind.HTTP, '{"errors":[{"code":130,'),
        (b'{"errors":[{"code":130}]}\r\n', Kind.HTTP, '{"errors":[{"code":130}]}'),
        (b'{\r\n  "error": "no"\r\n}\r\n', Kind.HTTP, "{"),
        (b'{"error":"Not authorized"}', Kind.HTTP, '{"error":"Not authorized"}'),
        (b'{"title":"ConnectionException","connection_issue":"TooManyConnections"}\r\n', Kind.RATE_LIMITED, "Too"),
        (b"Exceeded connection limit for user\r\n", Kind.RATE_LIMITED, "Exceeded connection limit for user"),
        (b"Easy there, Turbo. Too many requests recently.", Kind.RATE_LIMITED, "Easy there, Turbo."),
        (b"\x1b]0;mine\x07 hello\x00\xff", Kind.HTTP, "]0;mine hello"),
        (b"x" * 100_000, Kind.HTTP, "x" * 500),
        (b"[]", Kind.HTTP, "[]"),
        (b"null", Kind.HTTP, "null"),
        (b"", Kind.HTTP, "an empty answer"),
    ],
)  # fmt: skip
def test_a_200_that_is_no_stream_is_told_and_waited_out(
    opened: Callable[[str], Any], body: bytes, kind: Kind, detail: str
) -> None:
    with serving(sending(response(body, "200 OK", "Content-Type: application/json"))) as url:
        received, end = ended(url, opened)
    assert (received, end.cause, end.kind) == ([], "not-a-stream", kind)
    assert detail in end.detail
    assert len(end.detail) <= 500
    assert end.detail.isprintable()


def test_what_cannot_be_unpacked_is_no_stream_either() -> None:
    with serving(sending(response(b"no gzip", "200 OK", "Content-Encoding: gzip"))) as url:
        received, end = ended(url)
    assert (received, end.cause, end.kind) == ([], "garbled", Kind.HTTP)


@pytest.mark.parametrize(
    "body,messages,cause",
    [
        (TWEET, [TWEET], "closed"),
        (TWEET + b"\r", [TWEET], "closed"),
        (TWEET + b"\r\n" + TWEET, [TWEET, TWEET], "closed"),
        (TWEET + b"\r\n", [TWEET], "closed"),
        (b"\r\n\r\n", [], "closed"),
        (TWEET + b"\r\n" + TWEET[:-1], [TWEET], "cut"),
        (TWEET[:-1], [], "cut"),
        (TWEET + b'\r\n{"errors":[]}\r\n', [TWEET, b'{"errors":[]}'], "closed"),
        (TWEET + b"\r\n<html>\r\n", [TWEET, b"<html>"], "closed"),
        (b'{"id_str":"1","errors":[]}\r\n', [b'{"id_str":"1","errors":[]}'], "closed"),
        (b'{"disconnect":{"code":1}}', [b'{"disconnect":{"code":1}}'], "closed"),
    ],
)
def test_a_stream_is_one_by_its_first_message_and_whole_to_its_last(
    body: bytes, messages: list[bytes], cause: str
) -> None:
    with serving(sending(response(body, "200 OK", "Content-Type: text/html"))) as url:
        received, end = ended(url)
    assert (received, end.cause, end.kind) == (messages, cause, None)


def test_what_nobody_takes_stays_in_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ARRIVED_BYTES", 10 * len(TWEET))
    monkeypatch.setattr(stream, "READ_BYTES", 5 * len(TWEET))
    with serving(sending(response((TWEET + b"\r\n") * 10_000))) as url:
        opened = v1(url)
        opened._reader.join(0.3)
        assert opened._reader.is_alive()
        assert opened.received_bytes <= 20 * len(TWEET)
        received = [message for read in islice(opened.reads(), 100) for message in read]
        opened.close()
    assert received == [TWEET] * len(received)
    assert len(received) > 20


def test_a_page_without_end_is_told_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "BEGINNING_SECONDS", 0.2)
    with serving(trickling(b"HTTP/1.1 200 OK\r\n\r\n<html>", b"")) as url:
        _, end = ended(url)
    assert (end.cause, end.detail) == ("not-a-stream", "<html>")


@both
@pytest.mark.parametrize(
    "begin,again",
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Slow: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"1"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200", b""),
    ],
)
def test_headers_that_trickle_are_a_network_error(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], Any], begin: bytes, again: bytes
) -> None:
    monkeypatch.setattr(connecting, "DEADLINE_SECONDS", 0.3)
    with serving(trickling(begin, again)) as url, pytest.raises(TwitterClientError) as told:
        opened(url)
    assert "no answer within 0.3 s" in str(told.value)


def test_a_connection_that_stands_too_late_is_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a name of many addresses that do not answer."""
    monkeypatch.setattr(connecting, "DEADLINE_SECONDS", 0)
    watch = connecting._Watch()
    watch._timer.join(5)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watch.take(ours)
        assert theirs.recv(1) == b""


def test_a_tls_handshake_that_trickles_is_a_network_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "DEADLINE_SECONDS", 0.3)
    with serving(trickling(b"", b"")) as url, pytest.raises(TwitterClientError, match="no answer within"):
        v1(url.replace("http:", "https:"))


@both
@pytest.mark.parametrize("again", [b"x", b""])
def test_the_status_is_believed_without_the_body(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], Any], again: bytes
) -> None:
    monkeypatch.setattr(answers, "BEGINNING_SECONDS", 0.2)
    monkeypatch.setattr(v2_answers, "connecting", SimpleNamespace(DEADLINE_SECONDS=0.2))
    begin = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 400\r\n\r\nnot "
    with serving(trickling(begin, again)) as url, pytest.raises(TwitterApiError) as told:
        opened(url)
    assert told.value.status_code == 403


def test_a_connection_that_was_in_use_before_is_watched_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_rules_then_nothing(line: socket.socket) -> None:
        line.sendall(response(b'{"meta":{}}'))
        line.recv(1 << 16)
        trickling(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n")(line)

    monkeypatch.setattr(connecting, "DEADLINE_SECONDS", 0.5)
    with serving(first_rules_then_nothing) as url:
        api = V2Client("key", "secret", "bearer", url)
        assert api.held_rules() == []
        with pytest.raises(TwitterClientError, match="no answer within"):
            api.held_rules()


def test_the_deadline_of_one_request_does_not_end_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_rules_then_a_stream(line: socket.socket) -> None:
        line.sendall(response(b'{"meta":{}}'))
        line.recv(1 << 16)
        trickling(b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n")(line)

    monkeypatch.setattr(connecting, "DEADLINE_SECONDS", 0.3)
    with serving(first_rules_then_a_stream) as url:
        api = V2Client("key", "secret", "bearer", url)
        api.held_rules()
        opened = api.open()
        began_at = opened.last_byte
        assert not any(takewhile(lambda _: opened.last_byte < began_at + 0.6, opened.reads()))
        opened.close()


@pytest.mark.parametrize("status", ["403 Forbidden", "401 Unauthorized", "503 Busy", "420 Calm", "429 Many"])
@pytest.mark.parametrize(
    "body", [b"Exceeded connection limit for user", b"Easy there, TURBO.", b"<p>Rate limit exceeded"]
)
def test_too_many_connections_is_420_whatever_the_status(status: str, body: bytes) -> None:
    with (
        serving(sending(response(body, status, "Retry-After: 7"))) as url,
        pytest.raises(TwitterRateLimitError) as told,
    ):
        v1(url)
    assert told.value.status_code == (429 if status == "429 Many" else 420)
    assert told.value.headers["Retry-After"] == "7"
    assert body.decode() in str(told.value)


def test_an_error_leaves_no_connection_open() -> None:
    recorded = Recorded(response(b"no" * answers.BEGINNING_BYTES, "503 Busy"))
    with serving(recorded) as url, pytest.raises(TwitterApiError) as told:
        v1(url)
    assert recorded.closed.wait(5)
    assert told.value.status_code == 503


@pytest.mark.parametrize("most_bytes", [1, 999, 100_000, 200_000])
def test_no_more_of_a_body_is_read_than_is_wanted(most_bytes: int) -> None:
    body = b"0123456789" * 10_000
    with serving(sending(response(body))) as url:
        answer = requests.get(url, stream=True, timeout=5)
        assert answers.read(answer, most_bytes, 5) == body[:most_bytes]


class Body:
    """A response whose body comes three bytes at a time; notes how many were asked for."""

    def __init__(self, body: bytes) -> None:
        self.left = body
        self.asked: list[int] = []
        self.raw = self

    def read1(self, most: int, decode_content: bool) -> bytes:
        self.asked.append(most)
        read, self.left = self.left[: min(most, 3)], self.left[min(most, 3) :]
        return read

    def close(self) -> None:
        """It has no socket."""


def test_a_body_in_pieces_is_read_up_to_what_is_wanted_and_nobody_waits_for_it_any_more() -> None:
    body: Any = Body(b"0123456789" * 100)
    assert (answers.read(body, 10, 1000.0), body.asked) == (b"0123456789", [10, 7, 4, 1])
    wait_until(
        lambda: not any(isinstance(one, threading.Timer) and one.args == (body,) for one in threading.enumerate()),
        "the end of the timer",
    )


def test_nobody_watches_a_request_that_is_answered() -> None:
    with serving(sending(response(b"{}"))) as url:
        assert connecting.in_time(requests.Session()).get(url).content == b"{}"
    wait_until(
        lambda: (
            not any(
                isinstance(one, threading.Timer)
                and isinstance(getattr(one.function, "__self__", None), connecting._Watch)
                for one in threading.enumerate()
            )
        ),
        "the end of the watch",
        10,
    )


def test_of_an_answer_that_has_begun_only_what_is_missing_of_its_beginning_is_read() -> None:
    body: Any = Body(b"y" * 1000)
    begun = b"x" * (answers.BEGINNING_BYTES - 4)
    assert (answers.said(body, begun), body.asked) == (begun.decode() + "yyyy", [4, 1])


@given(st.binary(max_size=600))
def test_any_body_is_shown_on_one_bounded_line(body: bytes) -> None:
    shown = answers.shown(body)
    assert len(shown) <= answers.BEGINNING_BYTES
    assert shown == shown.strip()
    assert not shown or shown.isprintable()
