"""What goes on beside the main loop, and how the main loop waits meanwhile."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import redis

BEAT_SECONDS = 1.0
RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Pulse:
    """How the main loop waits: it goes on beating meanwhile, and a ``wake`` cuts the wait short.

    ``beat`` shows that the loop makes progress; it is called at least once a second. ``is_stopping`` ends every wait.
    """

    def __init__(self, beat: Callable[[], None], is_stopping: Callable[[], bool]) -> None:
        # A SimpleQueue may be put to by a signal handler, which an Event may not be set by.
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._beat = beat
        self._is_stopping = is_stopping

    def wake(self) -> None:
        """Safe in a signal handler and in any thread."""
        if self._calls.empty():
            self._calls.put(None)

    def wait(self, seconds: float = BEAT_SECONDS) -> None:
        """Wait until woken, for one beat at most."""
        self._beat()
        with contextlib.suppress(queue.Empty):
            self._calls.get(timeout=min(seconds, BEAT_SECONDS))
        self._beat()

    def pause(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait for so long, or until it is over."""
        until = time.monotonic() + seconds
        while not (self._is_stopping() or is_over()) and (left := until - time.monotonic()) > 0:
            self.wait(left)

    def result(self, blocking: Callable[[], _T]) -> _T | None:
        """What this returns, however long it waits for a server; None when told to stop meanwhile."""
        done = in_background(blocking, self.wake)
        while not (done.done() or self._is_stopping()):
            self.wait()
        return done.result() if done.done() else None


class SideRoads:
    """Threads that go on until ``stopped`` is set. What surfaces in one is told, and it goes on.

    ``report`` gets the errors that nobody has foreseen.
    """

    def __init__(self, report: Callable[[BaseException], None]) -> None:
        self.stopped = threading.Event()
        self._report = report

    def start(self, *roads: Callable[[], None]) -> None:
        for road in roads:
            threading.Thread(target=self._guarded, args=(road,), name=_name(road), daemon=True).start()

    def every(self, seconds: float, step: Callable[[], object]) -> None:
        """Take this step once in so many seconds, in a thread of its own."""

        failed = threading.Event()

        def road() -> None:
            while not self.stopped.wait(seconds):
                try:
                    step()
                except redis.RedisError:
                    failed.set()
                    raise
                if failed.is_set():
                    failed.clear()
                    log.info("Redis answers again", extra={"in": road.__name__.strip("_")})

        road.__name__ = _name(step)
        self.start(road)

    def _guarded(self, road: Callable[[], None]) -> None:
        name = _name(road)
        while not self.stopped.is_set():
            try:
                road()
            except redis.RedisError as error:
                log.warning("Redis fails: trying again", extra={"in": name, "error": str(error)})
            except Exception as error:
                log.exception("a thread failed and is started again", extra={"in": name})
                self._report(error)
            self.stopped.wait(RETRY_SECONDS)


def _name(road: Callable[[], object]) -> str:
    """One that somebody has replaced may have none."""
    return getattr(road, "__name__", "replaced").strip("_")


def in_background(work: Callable[[], _T], then: Callable[[], None]) -> "Future[_T]":
    """What this will return, from a thread of its own; ``then`` is called when it is there."""
    done: Future[_T] = Future()

    def settle() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)
        then()

    threading.Thread(target=settle, name="traptor-waiting", daemon=True).start()
    return done


def say_farewell(seconds: float, farewell: Callable[[], object]) -> None:
    """Say this to Redis, but do not wait for one that does not answer."""

    def say() -> None:
        try:
            farewell()
        except redis.RedisError as error:
            log.warning("the end is not noted in Redis", extra={"error": str(error)})

    thread = threading.Thread(target=say, name="traptor-farewell", daemon=True)
    thread.start()
    thread.join(seconds)
