"""What goes on beside the main loop, and how the main loop waits."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest
import redis

from tests.servers import wait_until
from traptor import threads
from traptor.threads import BEAT_SECONDS, Pulse, SideRoads, in_background, say_farewell


class Clock:
    """Time that passes while a Pulse waits, and no other."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def timed(pulse: Pulse, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Pulse:
    """Its waits take no time but that of the clock."""

    class Calls:
        def empty(self) -> bool:
            return True

        def get(self, timeout: float) -> None:
            clock.waits.append(timeout)
            clock.now += timeout

    monkeypatch.setattr(pulse, "_calls", Calls())
    return pulse


@pytest.mark.parametrize(
    "seconds,waits",
    [(0.0, []), (0.5, [0.5]), (1.0, [1.0]), (2.25, [1.0, 1.0, 0.25]), (-1.0, [])],
)
def test_a_pause_is_as_long_as_it_is_to_be_and_beats_meanwhile(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float, waits: list[float]
) -> None:
    beats: list[float] = []
    pulse = timed(Pulse(lambda: beats.append(clock.now), lambda: False), clock, monkeypatch)
    pulse.pause(seconds, lambda: False)
    assert clock.waits == waits
    assert len(beats) == 2 * len(waits)
    assert not waits or (beats[0], beats[-1]) == (1000.0, clock.now)


@pytest.mark.parametrize("stops,is_over", [(True, False), (False, True)])
def test_a_pause_ends_when_it_is_over_or_all_is(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, stops: bool, is_over: bool
) -> None:
    later = lambda: len(clock.waits) == 2  # noqa: E731
    pulse = timed(Pulse(lambda: None, lambda: stops and later()), clock, monkeypatch)
    pulse.pause(60, lambda: is_over and later())
    assert clock.waits == [BEAT_SECONDS, BEAT_SECONDS]


def test_a_wake_cuts_one_wait_short_however_often_it_was_called() -> None:
    pulse = Pulse(lambda: None, lambda: False)
    pulse.wake()
    pulse.wake()
    pulse.wait(0.01)
    assert pulse._calls.empty()
    woken = threading.Event()
    waiting = threading.Thread(target=lambda: pulse.pause(60, woken.is_set), daemon=True)
    waiting.start()
    woken.set()
    pulse.wake()
    waiting.join(10)
    assert not waiting.is_alive()


def test_the_result_of_what_blocks_or_its_error() -> None:
    pulse = Pulse(lambda: None, lambda: False)
    assert pulse.result(lambda: 7) == 7
    with pytest.raises(KeyError):
        pulse.result(lambda: {}["no such"])


def test_what_blocks_is_left_alone_when_all_is_to_stop() -> None:
    hanging, beats = threading.Event(), []
    pulse = Pulse(lambda: beats.append(1), lambda: len(beats) >= 2)
    assert pulse.result(lambda: hanging.wait(30)) is None
    hanging.set()


def test_what_is_done_is_told_with_its_result_and_its_error() -> None:
    told = threading.Event()
    done = in_background(lambda: 7, told.set)
    assert told.wait(10)
    assert done.result(0) == 7
    told.clear()
    failed = in_background(lambda: int("seven"), told.set)
    assert told.wait(10)
    assert isinstance(failed.exception(0), ValueError)


@pytest.mark.parametrize(
    "error,level,message,is_reported",
    [
        (redis.ConnectionError("gone"), logging.WARNING, "Redis fails: trying again", False),
        (KeyError("unforeseen"), logging.ERROR, "a thread failed and is started again", True),
        (None, 0, "", False),
    ],
)
def test_a_road_goes_on_whatever_surfaces_in_it(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    error: Exception | None,
    level: int,
    message: str,
    is_reported: bool,
) -> None:
    monkeypatch.setattr(threads, "RETRY_SECONDS", 0.001)
    reported: list[BaseException] = []
    roads = SideRoads(reported.append)
    rounds = 0

    def _road() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            roads.stopped.set()
        elif error:
            raise error

    roads.start(_road)
    wait_until(lambda: rounds == 3, "the third round")
    told = [(one.levelno, one.message, vars(one)["in"]) for one in caplog.records]
    assert told == ([(level, message, "road")] * 2 if error else [])
    assert reported == ([error] * 2 if is_reported else [])


def test_a_step_that_somebody_has_replaced_is_taken() -> None:
    roads, replaced = SideRoads(lambda error: None), MagicMock()
    roads.every(0.001, replaced)
    wait_until(lambda: replaced.called, "the step")
    roads.stopped.set()


def test_a_road_that_stopped_is_not_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    roads, started = SideRoads(lambda error: None), []
    roads.stopped.set()
    roads.start(lambda: started.append(1))
    for thread in threading.enumerate():
        if thread.name == "<lambda>":
            thread.join(10)
    assert started == []


def test_a_step_is_taken_every_so_often_after_the_first_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    roads, order = SideRoads(lambda error: None), []
    done = threading.Event()

    def wait(seconds: float) -> bool:
        order.append(seconds)
        if len(order) < 5:
            return False
        roads.stopped.set()
        done.set()
        return True

    def step() -> None:
        order.append("step")

    monkeypatch.setattr(roads.stopped, "wait", wait)
    roads.every(7.0, step)
    assert done.wait(10)
    assert order[:5] == [7.0, "step", 7.0, "step", 7.0]


def test_a_farewell_is_said_before_we_go() -> None:
    said: list[str] = []
    say_farewell(10, lambda: said.append("farewell"))
    assert said == ["farewell"]


def test_a_farewell_to_a_redis_that_does_not_answer_is_not_waited_for() -> None:
    hanging = threading.Event()
    say_farewell(0.01, lambda: hanging.wait(30))
    hanging.set()


@pytest.mark.parametrize("error", [redis.ConnectionError("gone"), redis.TimeoutError("slow")])
def test_a_farewell_that_redis_does_not_take_is_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    say_farewell(10, raising(error))
    assert [(one.message, vars(one)["error"]) for one in caplog.records] == [
        ("the end is not noted in Redis", str(error))
    ]


def raising(error: Exception) -> Callable[[], Any]:
    def fails() -> None:
        raise error

    return fails


def test_that_redis_is_back_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(threads, "RETRY_SECONDS", 0.0)
    answers = iter([None, redis.ConnectionError("away"), redis.ConnectionError("away"), None, None])
    roads = threads.SideRoads(lambda error: None)

    def _report() -> None:
        answer = next(answers, roads)
        if answer is roads:
            roads.stopped.set()
        elif answer:
            raise answer

    roads.every(0.001, _report)
    assert roads.stopped.wait(10)
    told = [record.message for record in caplog.records]
    assert told == ["Redis fails: trying again", "Redis fails: trying again", "Redis answers again"]
