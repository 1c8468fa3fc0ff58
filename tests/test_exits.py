"""How a process ends: what signals do while it lives and afterwards, and an output that nobody takes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from traptor.exits import ENDING, MEANINGLESS, Exit, heeding_signals

WATCHED = (*ENDING, *MEANINGLESS, signal.SIGALRM)


@pytest.fixture(autouse=True)
def before() -> Iterator[dict[signal.Signals, Any]]:
    """What the signals do inside a test; whoever runs the tests may have had some ignored, and has so again."""

    def handler(number: int, frame: Any) -> None:
        """Nobody is told."""

    ours = {number: signal.signal(number, handler) for number in WATCHED}
    yield dict.fromkeys(WATCHED, handler)
    for number, handler in ours.items():
        signal.signal(number, handler)


def test_the_codes_are_those_that_supervisors_are_told() -> None:
    assert {one.name: one.value for one in Exit} == {
        "ENDED": 0, "NEEDS_A_PERSON": 1, "WRONG_SETTING": 2, "REFUSED": 3
    }  # fmt: skip


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_to_end_is_told_and_ends_nothing_by_itself(number: signal.Signals) -> None:
    told: list[int] = []
    with heeding_signals(lambda number, frame: told.append(number)):
        os.kill(os.getpid(), number)
    assert told == [number]


@pytest.mark.parametrize("number", MEANINGLESS)
def test_a_signal_that_means_nothing_does_nothing(number: signal.Signals) -> None:
    told: list[int] = []
    with heeding_signals(lambda number, frame: told.append(number)):
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_IGN
    assert told == []


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_that_is_ignored_stays_so(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    told: list[int] = []
    with heeding_signals(lambda number, frame: told.append(number)):
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_IGN
    assert told == []


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_signals_do_what_they_did_before_and_no_alarm_is_set(
    before: dict[signal.Signals, Any], fails: bool
) -> None:
    def body() -> None:
        with heeding_signals(lambda number, frame: None):
            signal.signal(signal.SIGALRM, lambda number, frame: None)
            signal.setitimer(signal.ITIMER_REAL, 60)
            if fails:
                raise KeyError("inside")

    if fails:
        with pytest.raises(KeyError):
            body()
    else:
        body()
    assert {number: signal.getsignal(number) for number in WATCHED} == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_in_another_thread_signals_are_left_alone(before: dict[signal.Signals, Any]) -> None:
    inside: list[Any] = []

    def body() -> None:
        with heeding_signals(lambda number, frame: None):
            inside.append({number: signal.getsignal(number) for number in WATCHED})

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(10)
    assert inside == [before]


def test_an_output_that_nobody_takes_neither_raises_nor_waits_at_the_end() -> None:
    program = "import sys; from traptor.exits import drop_output; sys.stdout.write('x' * 100); drop_output()"
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, stdout=writing, stderr=subprocess.PIPE, env=buffered, timeout=60
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")
