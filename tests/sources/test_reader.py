"""The thread that reads a stream, and whoever takes from it: neither waits for the other longer than need be."""

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from traptor.sources import stream
from traptor.sources.stream import CLOSING_SECONDS, FilterStream, StreamEnded

MESSAGE = b'{"id":1}'


class Socket:
    """Gives what it is told to, then waits until it is let go, each time; a shutdown does not wake it."""

    def __init__(self, *given: bytes) -> None:
        self.given = list(given)
        self.is_read = threading.Event()
        self.let_go = threading.Semaphore(0)
        self.status_code, self.headers, self.reason, self.url = 200, {}, "OK", "http://localhost"
        self.raw = self

    def read1(self, most: int, decode_content: bool) -> bytes:
        if not self.given:
            self.is_read.set()
            self.let_go.acquire(timeout=30)
        return self.given.pop(0) if self.given else b""

    def shutdown(self) -> None:
        """It hangs."""

    iter_lines = close = shutdown


@pytest.fixture
def open_stream() -> Iterator[Callable[..., tuple[Socket, FilterStream]]]:
    made: list[Socket] = []

    def opened(*given: bytes) -> tuple[Socket, FilterStream]:
        made.append(Socket(*given))
        socket: Any = made[-1]
        return socket, FilterStream(socket, "POST")

    yield opened
    for socket in made:
        socket.let_go.release(9)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits here waits for long, unless he is woken."""
    monkeypatch.setattr(stream, "IDLE_SECONDS", 1000.0)


def at_once(reads: Iterator[list[bytes]]) -> Any:
    """What comes next, or how it ends, if it comes without a wait."""
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(next(reads))
        except StreamEnded as ended:
            found.append(ended.cause)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    return found[0] if found else "waits"


def before_a_wait(opened: FilterStream, act: Callable[[], None]) -> None:
    """Do this whenever somebody begins to wait for the other."""
    wait = opened._changed.wait

    def waits(seconds: float) -> bool:
        act()
        return wait(seconds)

    opened._changed.wait = waits  # type: ignore[method-assign,assignment]


@pytest.mark.usefixtures("patient")
def test_what_has_arrived_is_there_at_once_and_so_is_the_end(open_stream: Any) -> None:
    socket, opened = open_stream(MESSAGE + b"\r\n")
    assert socket.is_read.wait(10)
    reads = opened.reads()
    assert at_once(reads) == [MESSAGE]
    socket.given.append(MESSAGE + b"\r\n")
    before_a_wait(opened, socket.let_go.release)
    assert at_once(reads) == [MESSAGE]
    assert at_once(reads) == "closed"


@pytest.mark.usefixtures("patient")
def test_a_reader_that_waits_for_room_goes_on_when_there_is_some(
    open_stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many bytes as may wait are enough to wait for."""
    monkeypatch.setattr(stream, "ARRIVED_BYTES", len(MESSAGE))
    is_blocked = threading.Event()
    blocks = FilterStream._hand_over

    def hand_over(opened: FilterStream, messages: list[bytes]) -> None:
        before_a_wait(opened, is_blocked.set)
        blocks(opened, messages)

    monkeypatch.setattr(FilterStream, "_hand_over", hand_over)
    socket, opened = open_stream(*[MESSAGE + b"\r\n"] * 2)
    assert is_blocked.wait(10)
    reads = opened.reads()
    assert at_once(reads) == [MESSAGE]
    assert socket.is_read.wait(10)
    assert at_once(reads) == [MESSAGE]


def test_the_reader_of_a_closed_stream_has_a_moment_to_end(open_stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no longer for being closed again."""
    now = [50.0]
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(stream, "IDLE_SECONDS", 0.0)
    socket, opened = open_stream()
    assert socket.is_read.wait(10)
    opened.close()
    reads = opened.reads()
    assert next(reads) == []
    now[0] += CLOSING_SECONDS - 0.1
    opened.close()
    assert next(reads) == []
    now[0] += 0.1
    assert next(reads, None) is None
