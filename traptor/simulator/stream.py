"""One open stream, from its first byte to its last."""

import math
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from msgspec import UNSET

from traptor.simulator import faults, notices
from traptor.simulator.connection import Connection
from traptor.simulator.feed import as_message, decode, encode
from traptor.simulator.wire import KEEP_ALIVE, Message, Wire

BATCH_MESSAGES = 16


class Stream:
    """Sends pushed messages at once and tweets at their rate, keeps quiet streams alive, and does what faults say.

    ``rate`` is in tweets per second, 0 for as fast as the client reads; ``room`` says how many may still be sent.
    ``on_change`` is called when something was sent, and at the end.
    """

    def __init__(
        self,
        connection: Connection,
        connected: socket.socket,
        wire: Wire,
        feed: Iterator[Message],
        plan: faults.Plan,
        *,
        rate: float,
        room: Callable[[], float],
        keep_alive_seconds: float,
        on_change: Callable[[], None],
    ) -> None:
        self.connection = connection
        self._socket = connected
        self._wire = wire
        self._feed: Iterator[Message] = feed
        self._plan = plan
        self._rate = rate
        self._room = room
        self._keep_alive_seconds = keep_alive_seconds
        self._on_change = on_change
        self._pushed: deque[Message] = deque()
        self._last_tweet: Message | None = None
        self._cause = ""
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()

    @property
    def is_ending(self) -> bool:
        return bool(self._cause)

    def push(self, message: Message) -> bool:
        """From any thread: to be sent next, unless the stream is about to end."""
        if self._cause:
            return False
        self._pushed.append(message)
        self.wake()
        return True

    def end(self, cause: str, last: Message | None = None) -> None:
        """From any thread: send what was pushed, and ``last``, then end."""
        if last:
            self._pushed.append(last)
        self._cause = self._cause or cause
        self.wake()

    def is_left(self) -> bool:
        """From any thread: has its client gone, though that may not have been looked at yet?"""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError as error:
            return not isinstance(error, BlockingIOError)

    def last_words(self, code: int) -> Message:
        """The disconnect message with this code."""
        return as_message(notices.disconnect(code))

    def renew(self) -> None:
        """From any thread: a feed that was done may have tweets again."""
        self._is_feed_done = False
        self.wake()

    def wake(self) -> None:
        """From any thread: there may be something to do."""
        with suppress(OSError):
            self._waker.send(b"!")

    def abort(self) -> None:
        """From any thread: end a stream whose client does not read."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def run(self, send_head: Callable[[], None]) -> None:
        """Answer the request, then stream until somebody ends it."""
        try:
            send_head()
            self._open()
            while not self._cause:
                self._step()
            self._send(list(self._pushed))
            self._wire.end()
        except OSError:
            self._cause = self._cause or "client went away"
        finally:
            self._close()

    def _open(self) -> None:
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._started = self._last_sent = time.monotonic()
        self._taken = 0
        self._is_feed_done = False

    def _step(self) -> None:
        """One thing: a fault, messages, a keep-alive, or a wait for the next of them."""
        fault = self._plan.due(self.connection.number, self.connection.messages)
        if fault:
            self._apply(fault)
        elif batch := self._take_pushed() or self._take_due():
            self._send(batch)
        elif time.monotonic() >= self._last_sent + self._keep_alive_seconds:
            self._send_raw(KEEP_ALIVE)
        else:
            self._wait(min(self._next_tweet_at(), self._last_sent + self._keep_alive_seconds))

    def _take_pushed(self) -> list[Message]:
        return [self._pushed.popleft() for _ in range(min(len(self._pushed), self._gap()))]

    def _take_due(self) -> list[Message]:
        return self._take(min(self._due(), self._gap(), BATCH_MESSAGES))

    def _take(self, most: int) -> list[Message]:
        """So many tweets at most; when there are fewer, the feed is done."""
        wanted = int(max(min(most, self._room()), 0))
        batch = list(islice(self._feed, wanted))
        self._taken += len(batch)
        self._is_feed_done = self._is_feed_done or len(batch) < wanted
        return batch

    def _next(self) -> Message:
        """The next message, due or not; a limit notice when there is none."""
        if self._pushed:
            return self._pushed.popleft()
        return next(iter(self._take(1)), as_message(notices.limit(1)))

    def _due(self) -> int:
        """How many tweets are to be sent now."""
        if self._rate == 0:
            return BATCH_MESSAGES
        return int((time.monotonic() - self._started) * self._rate) + 1 - self._taken

    def _next_tweet_at(self) -> float:
        if self._is_feed_done or self._room() <= 0:
            return math.inf
        return self._started + self._taken / self._rate if self._rate else 0.0

    def _gap(self) -> int:
        gap = self._plan.gap(self.connection.number, self.connection.messages)
        return BATCH_MESSAGES if gap is None else gap

    def _send(self, batch: list[Message]) -> None:
        try:
            self._wire.send(batch)
        finally:
            self._on_change()
        tweets = [message for message in batch if message.tweet_id is not None]
        self._last_tweet = tweets[-1] if tweets else self._last_tweet
        self._last_sent = time.monotonic()

    def _send_raw(self, data: bytes) -> None:
        self._wire.send_raw(data)
        self._last_sent = time.monotonic()

    def _wait(self, until: float) -> None:
        """Until then (monotonic seconds), or until woken. Raises OSError when the client is gone."""
        for key, _ in self._selector.select(max(until - time.monotonic(), 0)):
            if key.fileobj is self._woken:
                self._woken.recv(4096)
            elif not self._socket.recv(4096):
                raise ConnectionResetError

    def _pause(self, seconds: float) -> None:
        """Do nothing at all, unless the stream is ended."""
        until = time.monotonic() + seconds
        while not self._cause and time.monotonic() < until:
            self._wait(until)

    def _apply(self, fault: faults.StreamFault) -> None:
        match fault:
            case faults.Stall():
                self._pause(fault.seconds)
            case faults.Cut():
                body = self._next().body
                self._send_raw(body[: len(body) // 2])
                self._break("cut", self._wire.cut)
            case faults.Reset():
                self._break("reset", self._wire.reset)
            case faults.End():
                self.end("fault: end")
            case faults.Disconnect():
                self.end(f"fault: disconnect {fault.code}", self.last_words(fault.code))
            case faults.Split():
                self._wire.chunk_bytes = fault.bytes or None
                self._wire.between_chunks = lambda: None
            case faults.Slow():
                self._wire.chunk_bytes = fault.bytes
                self._wire.between_chunks = partial(self._pause, fault.pause_seconds)
            case faults.Garbage():
                self._send([Message(fault.text.encode())])
            case faults.Newline():
                message = self._next()
                self._send([message._replace(body=message.body.replace(b',"', b',\n"'))])
            case faults.Oversized():
                self._send([Message(b'{"oversized":"%b"}' % (b"x" * (fault.bytes - len('{"oversized":""}'))))])
            case faults.Duplicate():
                self._send([self._last_tweet] * fault.copies if self._last_tweet else [])
            case faults.Disorder():
                self._send(self._take(fault.tweets)[::-1])
            case faults.Limit():
                self._send([as_message(notices.limit(track)) for track in fault.track])
            case faults.Notice():
                self._send_notice(fault)
            case faults.Odd():
                self._send([odd(self._next(), fault)])
            case faults.Send():
                self._send([as_message(fault.message)])

    def _send_notice(self, fault: faults.Notice) -> None:
        if fault.kind == "warning":
            if self.connection.predicates.stall_warnings:
                self._send([as_message(notices.warning(fault.percent_full))])
        elif self._last_tweet:
            self._send([as_message(notices.ABOUT_A_TWEET[fault.kind](decode(self._last_tweet.body)))])

    def _break(self, kind: str, close: Callable[[], None]) -> None:
        self._cause = f"fault: {kind}"
        close()
        raise ConnectionAbortedError

    def _close(self) -> None:
        self._selector.close()
        self._woken.close()
        self._waker.close()
        self.connection.close(self._cause)
        self._on_change()


def odd(message: Message, fault: faults.Odd) -> Message:
    """The message with one field changed or taken away; as it is where it has no place for it."""
    whole = decode(message.body)
    *parents, name = fault.field.split(".")
    place: Any = whole
    try:
        for parent in parents:
            place = place[_key(place, parent)]
        if fault.value is UNSET:
            del place[_key(place, name)]
        else:
            place[_key(place, name)] = fault.value
    except (KeyError, IndexError, TypeError, ValueError):
        return message
    return message._replace(body=encode(whole))


def _key(place: Any, name: str) -> Any:
    return int(name) if isinstance(place, list) else name
