"""An open stream: bytes from the socket to messages, read by a thread of its own."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import requests
from birdy.twitter import StreamResponse
from urllib3.exceptions import DecodeError, ProtocolError, ReadTimeoutError

from traptor.sources import answers
from traptor.sources.backoff import Kind
from traptor.tweets import fields, kinds

KEEP_ALIVE_SECONDS = 30.0
"""Twitter sends something at least this often."""

MAX_MESSAGE_BYTES = 1 << 20

IDLE_SECONDS = 0.1
"""How long a quiet stream waits before it yields None, so that flags are seen."""

READ_BYTES = 1 << 16

ARRIVED_BYTES = 1 << 20
"""What may wait to be looked at; the rest stays in the socket meanwhile."""

CLOSING_SECONDS = 2.0
"""What the reader of a closed stream may take to end; on a machine that is not overloaded it is no time at all."""


class StreamEnded(Exception):
    """The stream is over. ``cause`` is closed, cut, reset, stalled, garbled, broken or not-a-stream.

    ``detail`` says more. ``kind`` says how to wait where the server has told us, not the network.
    """

    def __init__(self, cause: str, detail: str = "", kind: Kind | None = None) -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail
        self.kind = kind


class Framer:
    r"""Bytes to messages. They end with ``\r\n``; a bare ``\n`` may stand inside one.

    Blank lines are keep-alives and yield nothing. A message over ``max_bytes`` comes cut to one byte more than that,
    so that whoever takes it sees that it is too long.
    """

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._last_cut = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that end within these bytes, each without its line end."""
        if b"\n" not in data:
            self._keep(data)
            return []
        joined = b"".join((*self._tail, self._last_cut, data))
        messages, begin = [], 0
        # One byte is found many times faster than two.
        at = joined.find(b"\n")
        while at >= 0:
            if joined.endswith(b"\r", begin, at):
                messages.append(joined[begin : min(at - 1, begin + self._max_bytes + 1)])
                begin = at + 1
            at = joined.find(b"\n", at + 1)
        self._tail, self._tail_bytes, self._last_cut = [], 0, b""
        self._keep(joined[begin:])
        return [message for message in messages if message]

    def pending(self) -> bytes:
        """The message that has begun and not ended."""
        return b"".join(self._tail)

    def _keep(self, data: bytes) -> None:
        room = self._max_bytes + 1 - self._tail_bytes
        if len(data) > room:
            # What is cut may end in half a line end; if not, its first part must not either.
            self._last_cut = b"\r" if data.endswith(b"\r") else b" "
            data = data[:room]
        self._tail.append(data)
        self._tail_bytes += len(data)


class FilterStream(StreamResponse):  # type: ignore[misc]
    """An open stream. A thread of its own reads it, so that it is read however long a message takes to handle.

    ``last_byte`` is the time.monotonic() of the last sign of life, keep-alives included.
    """

    def __init__(self, response: requests.Response, method: str) -> None:
        super().__init__(response, method, json_object_hook=None)
        self.received_bytes = 0
        self.last_byte = time.monotonic()
        self._response = response
        self._framer = Framer()
        self._arrived: list[bytes] = []
        self._arrived_bytes = 0
        self._ended: StreamEnded | None = None
        self._has_begun = False
        """Has a message come, so that this is a stream?"""
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._give_up_at = 0.0
        self._reader = threading.Thread(target=self._read, name="traptor-stream", daemon=True)
        self._reader.start()

    def reads(self) -> Iterator[list[bytes]]:
        """All messages that have arrived, the moment there are any; an empty list after every quiet tenth of a second.

        Raises StreamEnded when all that arrived has been yielded; after ``close`` it ends quietly instead.
        """
        while True:
            arrived, ended = self._take_arrived()
            if arrived or not self._is_over(ended):
                yield arrived
            elif ended and not self._closed.is_set():
                raise ended
            else:
                return

    def _take_arrived(self) -> tuple[list[bytes], StreamEnded | None]:
        with self._changed:
            if not self._arrived and not self._ended:
                self._changed.wait(IDLE_SECONDS)
            arrived, self._arrived, self._arrived_bytes = self._arrived, [], 0
            self._changed.notify()
            return arrived, self._ended

    def _is_over(self, ended: StreamEnded | None) -> bool:
        """Nothing more will come: the reader is done, or a closed stream's reader takes too long to be."""
        return ended is not None or (self._closed.is_set() and time.monotonic() >= self._give_up_at)

    def messages(self) -> Iterator[bytes | None]:
        """What ``reads`` yields, message by message, with None for an empty list."""
        for read in self.reads():
            if read:
                yield from read
            else:
                yield None

    def stream(self) -> Iterator[dict[str, Any]]:
        """The messages as dicts, as birdy yields them; what is not JSON is left out."""
        for message in self.messages():
            try:
                yield json.loads(message or b"")
            except (ValueError, RecursionError):
                continue

    def close(self) -> None:
        """Stop reading, at once, also on a silent stream. What has arrived can still be had from ``messages``."""
        if not self._closed.is_set():
            self._give_up_at = time.monotonic() + CLOSING_SECONDS
        self._closed.set()
        answers.shut_down(self._response)

    def _read(self) -> None:
        """The reader thread: socket to queue, until the stream ends or is closed."""
        try:
            ended = self._read_to_end()
        except ReadTimeoutError:
            ended = StreamEnded("stalled", "no byte, not even a keep-alive")
        except ProtocolError as error:
            ended = StreamEnded("reset" if isinstance(error.__cause__, OSError) else "cut", str(error))
        except DecodeError as error:
            ended = StreamEnded("garbled", str(error), None if self._has_begun else Kind.HTTP)
        except Exception as error:
            # A socket that is shut down while it is read may fail as anything; whatever it is, the stream is over.
            ended = StreamEnded("broken", f"{type(error).__name__}: {error}")
        self._response.close()
        with self._changed:
            self._ended = ended
            self._changed.notify()

    def _read_to_end(self) -> StreamEnded:
        while not self._closed.is_set() and (data := self._response.raw.read1(READ_BYTES, decode_content=True)):
            self.last_byte = time.monotonic()
            self.received_bytes += len(data)
            messages = self._framer.feed(data)
            if not self._has_begun and (begun := (messages or [self._framer.pending()])[0].strip()):
                if not begun.startswith(b"{") or (messages and _is_error(begun)):
                    return self._no_stream(b" ".join([*messages, self._framer.pending()]))
                self._has_begun = bool(messages)
            if messages:
                self._hand_over(messages)
        return self._end(self._framer.pending().strip())

    def _end(self, last: bytes) -> StreamEnded:
        """The end in good order, with what has come since the last line end: whole JSON is a message."""
        if self._closed.is_set():
            return StreamEnded("closed")
        # Of a stream nobody knows how long it will be.
        is_nothing = not self.received_bytes and "Content-Length" in self._response.headers
        if not self._has_begun and (is_nothing or _is_error(last)):
            return self._no_stream(last)
        if not last:
            return StreamEnded("closed")
        try:
            fields.load(last)
        except ValueError:
            return StreamEnded("cut", "in the middle of a message")
        self._hand_over([last])
        return StreamEnded("closed")

    def _no_stream(self, begun: bytes) -> StreamEnded:
        """HTML, a text, a JSON error or nothing, with the status 200: to be waited out as an error's status is."""
        said = answers.said(self._response, begun) or "an empty answer"
        return StreamEnded("not-a-stream", said, Kind.RATE_LIMITED if answers.means_limit(said) else Kind.HTTP)

    def _hand_over(self, messages: list[bytes]) -> None:
        with self._changed:
            while self._arrived_bytes >= ARRIVED_BYTES and not self._closed.is_set():
                self._changed.wait(IDLE_SECONDS)
            self._arrived += messages
            self._arrived_bytes += sum(map(len, messages))
            self._changed.notify()


_ERROR_FIELDS = {"errors", "error", "title"}
"""One of them stands in a JSON error: v1.1 says ``errors``, gateways ``error``, v2 ``title``."""


def _is_error(message: bytes) -> bool:
    """Is this a JSON error rather than a message of a stream?

    In v2, errors beside ``data`` are about parts of it, and those that speak of a disconnect are its notices.
    """
    try:
        said = fields.load(message)
    except ValueError:
        return message == b"{"  # the first line of one that is written for people
    is_message = kinds.kind(said) != "unknown" or "data" in said or b"disconnect" in message
    return not is_message and not _ERROR_FIELDS.isdisjoint(said)
