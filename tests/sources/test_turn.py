"""Whose turn it is to connect, and what the end of a stream or an answer means for the next try."""

import time
from typing import Any
from unittest.mock import MagicMock

import fakeredis
import pytest
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor.sources import backoff
from traptor.sources.backoff import Kind
from traptor.sources.credential import Credential
from traptor.sources.stream import StreamEnded
from traptor.sources.turn import GOOD_STRETCH_SECONDS, Turn

APIKEYS = {"CONSUMER_KEY": "the-key", "ACCESS_TOKEN": "the-token"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def turn(clock: Clock) -> Turn:
    return made(fakeredis.FakeServer())


def made(server: fakeredis.FakeServer, traptor_id: int = 0) -> Turn:
    return Turn(Credential(fakeredis.FakeRedis(server=server), APIKEYS, "track", traptor_id))


def answer(status: int | None, **headers: str) -> TwitterApiError:
    return TwitterApiError("an answer", response=MagicMock(status_code=status, headers=headers))


def test_first_the_credential_is_waited_for_then_the_source_then_the_back_off(clock: Clock) -> None:
    server = fakeredis.FakeServer()
    first, second = made(server), made(server, 7)
    assert list(first.waits(lambda: "")) == []
    closed = ["the budget is spent", ""]
    second.credential.failed(Kind.NETWORK)
    waits = second.waits(lambda: closed[0])
    held = next(waits)
    assert (held.is_held, held.seconds) == (True, float("inf"))
    assert held.reason.startswith("credential in use by ")
    assert held.reason.endswith(", track:0")
    first.credential.release()
    assert next(waits) == ("the budget is spent", float("inf"), False)
    closed.pop(0)
    reason, seconds, is_held = next(waits)
    assert (reason, is_held) == ("", False)
    assert 0.25 <= seconds <= 0.275
    clock.now += 1
    assert list(waits) == []


def test_each_reason_to_wait_is_logged_once_and_a_back_off_is_none(caplog: pytest.LogCaptureFixture) -> None:
    server = fakeredis.FakeServer()
    first, second = made(server), made(server, 7)
    list(first.waits(lambda: ""))
    closed = ["the budget is spent"] * 2 + [""]
    second.credential.failed(Kind.NETWORK)
    waits = second.waits(lambda: closed.pop(0))
    held = [next(waits) for _ in range(2)]
    first.credential.release()
    assert [next(waits).reason for _ in range(3)] == ["the budget is spent"] * 2 + [""]
    told = [(one.message, vars(one)["reason"]) for one in caplog.records if hasattr(one, "reason")]
    assert told == [("waiting for the credential", held[0].reason), ("no stream for now", "the budget is spent")]


@pytest.mark.parametrize(
    "error,cause", [(None, None), (answer(503), "http-503"), (TwitterClientError("no route"), "network")]
)
def test_a_try_to_connect_fails_with_a_verdict(turn: Turn, error: Exception | None, cause: str | None) -> None:
    verdict = turn.attempt(MagicMock(side_effect=error))
    assert (verdict and verdict.cause) == cause
    assert (turn.credential.wait_seconds() > 0) is (error is not None)


def test_a_refusal_comes_with_its_answer(turn: Turn) -> None:
    error = answer(403)
    verdict = turn.attempt(MagicMock(side_effect=error))
    assert verdict
    assert (bool(verdict.refusal), verdict.answer) == (True, error)


def test_another_credential_takes_the_place_of_one_that_is_let_go() -> None:
    server = fakeredis.FakeServer()
    turn, other = made(server), made(server, 7)
    list(turn.waits(lambda: ""))
    new = Credential(fakeredis.FakeRedis(server=server), {**APIKEYS, "ACCESS_TOKEN": "new"}, "track", 0)
    turn.exchange(new)
    assert turn.credential is new
    assert list(other.waits(lambda: "")) == []


@pytest.mark.parametrize(
    "code,has_received,cause,least,most",
    [
        (None, True, "cut", 0, 0),
        (None, False, "cut", 0.25, 0.275),
        (2, True, "disconnect-2", 60, 66),
        (4, False, "disconnect-4", 0, 0),
        (7, True, "disconnect-7", 60, 66),
        (10, True, "disconnect-10", 0.25, 0.275),
        (12, False, "disconnect-12", 0, 0),
        (99, True, "disconnect-99", 0.25, 0.275),
    ],
)
def test_how_a_stream_ended_says_how_long_to_wait(
    turn: Turn, *, code: int | None, has_received: bool, cause: str, least: float, most: float
) -> None:
    turn.opened()
    if has_received:
        turn.received()
    turn.disconnected(code)
    verdict = turn.ended(StreamEnded("cut", "in the middle"))
    assert (verdict.cause, verdict.facts["detail"], verdict.refusal) == (cause, "in the middle", "")
    assert least <= verdict.wait_seconds <= most
    assert verdict.facts["wait_seconds"] == round(verdict.wait_seconds, 2)
    assert turn.credential.wait_seconds() == pytest.approx(verdict.wait_seconds)


@pytest.mark.parametrize("code", [6, 9])
def test_some_disconnects_are_for_good(turn: Turn, code: int) -> None:
    turn.opened()
    turn.disconnected(code)
    verdict = turn.ended(StreamEnded("closed"))
    assert verdict.refusal == f"disconnect {code}: {backoff.FINAL_DISCONNECTS[code]}"
    assert turn.credential.wait_seconds() == 0


def test_how_long_a_stream_lasted_is_told(turn: Turn, clock: Clock) -> None:
    clock.now += 100
    turn.opened()
    clock.now += 2.04
    assert turn.ended(StreamEnded("closed")).facts["lasted_seconds"] == 2.0


def test_what_a_stream_said_and_brought_says_nothing_of_the_next(turn: Turn) -> None:
    turn.opened()
    turn.received()
    turn.disconnected(6)
    assert turn.ended(StreamEnded("closed")).cause == "disconnect-6"
    assert turn.ended(StreamEnded("closed")).cause == "closed"
    turn.disconnected(6)
    turn.opened()
    verdict = turn.ended(StreamEnded("closed"))
    assert verdict.cause == "closed"
    assert verdict.wait_seconds >= 0.25


@pytest.mark.parametrize(
    "lasted_seconds,has_received,next_wait_seconds",
    [
        (GOOD_STRETCH_SECONDS, True, 5),
        (GOOD_STRETCH_SECONDS - 1, True, 10),
        (GOOD_STRETCH_SECONDS, False, 10),
    ],
)
def test_a_good_stretch_makes_earlier_failures_forgotten(
    turn: Turn, clock: Clock, lasted_seconds: float, has_received: bool, next_wait_seconds: float
) -> None:
    turn.answered(answer(503))
    turn.opened()
    if has_received:
        turn.received()
    clock.now += lasted_seconds
    turn.tick()
    assert next_wait_seconds <= turn.answered(answer(503)).wait_seconds <= next_wait_seconds * 1.1


def test_a_stretch_is_good_once(turn: Turn, clock: Clock) -> None:
    turn.credential = MagicMock()
    for expected in (1, 2):
        turn.opened()
        turn.received()
        clock.now += GOOD_STRETCH_SECONDS
        turn.tick()
        turn.tick()
        assert turn.credential.succeeded.call_count == expected


@pytest.mark.parametrize(
    "error,cause,least,most",
    [
        (answer(420), "http-420", 60, 66),
        (answer(429, **{"Retry-After": "7"}), "http-429", 7, 7.7),
        (answer(503), "http-503", 5, 5.5),
        (answer(401), "http-401", 5, 5.5),
    ],
)
def test_an_answer_that_is_waited_out(
    turn: Turn, error: TwitterApiError, cause: str, least: float, most: float
) -> None:
    verdict = turn.answered(error)
    assert (verdict.cause, verdict.refusal, verdict.facts["answer"]) == (cause, "", str(error))
    assert least <= verdict.wait_seconds <= most


def test_a_network_that_fails_is_waited_out(turn: Turn) -> None:
    verdict = turn.unreachable(TwitterClientError("no route"))
    assert (verdict.cause, verdict.facts["error"], verdict.refusal) == ("network", "no route", "")
    assert 0.25 <= verdict.wait_seconds <= 0.275


@pytest.mark.parametrize("status", [403, 404, 406, 410, 413, 416])
def test_an_answer_that_is_meant_for_good(turn: Turn, status: int) -> None:
    verdict = turn.answered(answer(status))
    assert verdict.refusal == f"{status} an answer: {backoff.REFUSALS[status]}"
    assert turn.credential.wait_seconds() == 0


def test_an_answer_that_cannot_be_read_is_meant_for_good(turn: Turn) -> None:
    assert turn.answered(TwitterApiError("an answer")).refusal.endswith("its answer cannot be read")


@pytest.mark.parametrize(
    "answers,is_refused",
    [
        ([401], False),
        ([401, 401], False),
        ([401, 401, 401], True),
        ([401, 401, 503, 401], False),
        ([401, 401, None, 401], False),
    ],
)
def test_three_in_a_row_are_unauthorized_for_good(turn: Turn, answers: list[int | None], is_refused: bool) -> None:
    """None stands for a stream that was opened."""
    verdict: Any = None
    for status in answers:
        if status is None:
            turn.opened()
        else:
            verdict = turn.answered(answer(status))
    assert bool(verdict.refusal) is is_refused


def test_a_wrong_clock_is_named(turn: Turn) -> None:
    for _ in range(3):
        verdict = turn.answered(answer(401, Date="Mon, 22 Feb 2016 01:34:53 GMT"))
    assert "the clock of this machine is +" in verdict.refusal
