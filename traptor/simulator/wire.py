"""Messages onto a socket: framed by CR LF, compressed if the client takes gzip, in chunks of HTTP/1.1."""

import os
import socket
import struct
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

KEEP_ALIVE = b"\r\n"
GZIP_LEVEL = 3
"""A tenth of the bytes would cost twice the time of an eighth."""


class Message(NamedTuple):
    """One message without its CR LF, and the tweet's id if it is a tweet."""

    body: bytes
    tweet_id: int | None = None


class Wire:
    """The body of one answer. ``on_sent`` gets each message's tweet id when its last byte has gone to the socket.

    Set ``chunk_bytes`` to have small chunks, each in a packet of its own, cut between CR and LF as well, and
    ``between_chunks`` to have something called after each.
    """

    def __init__(self, connected: socket.socket, *, gzip: bool, on_sent: Callable[[int | None], None]) -> None:
        self._socket = connected
        self._gzip = zlib.compressobj(GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16) if gzip else None
        self._on_sent = on_sent
        self._encoded_bytes = 0
        self._sent_bytes = 0
        self._unsent: deque[tuple[int, int | None]] = deque()
        self.chunk_bytes: int | None = None
        self.between_chunks: Callable[[], None] = lambda: None

    def send(self, messages: Sequence[Message]) -> None:
        """Several messages share a chunk. Raises OSError when the client is gone."""
        parts = []
        for message in messages:
            parts.append(self._encode(message.body + b"\r\n"))
            self._unsent.append((self._encoded_bytes, message.tweet_id))
        self._send_body(b"".join(parts))

    def send_raw(self, data: bytes) -> None:
        """Bytes that are no whole message: a keep-alive, half a message."""
        self._send_body(self._encode(data))

    def end(self) -> None:
        """The last chunk: a clean end."""
        self._send_body(self._gzip.flush() if self._gzip else b"")
        self._socket.sendall(b"0\r\n\r\n")

    def reset(self) -> None:
        """Close the socket with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    def cut(self) -> None:
        """Close the socket without an end."""
        # The server that owns the socket ends it in good order, and not while the request has a reader.
        os.close(self._socket.detach())

    def _encode(self, data: bytes) -> bytes:
        if self._gzip:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        self._encoded_bytes += len(data)
        return data

    def _send_body(self, data: bytes) -> None:
        if self.chunk_bytes is None:
            self._send_chunk(data)
            return
        for piece in _pieces(data, self.chunk_bytes):
            self._send_chunk(piece)
            self.between_chunks()

    def _send_chunk(self, data: bytes) -> None:
        if not data:
            return
        head = b"%x\r\n" % len(data)
        frame = memoryview(b"%b%b\r\n" % (head, data))
        sent_bytes = 0
        try:
            while sent_bytes < len(frame):
                sent_bytes += self._socket.send(frame[sent_bytes:])
        finally:
            self._sent_bytes += min(max(sent_bytes - len(head), 0), len(data))
            self._account()

    def _account(self) -> None:
        while self._unsent and self._unsent[0][0] <= self._sent_bytes:
            self._on_sent(self._unsent.popleft()[1])


def _pieces(data: bytes, size: int) -> list[bytes]:
    """Cut every ``size`` bytes, and between CR and LF."""
    cuts = set(range(0, len(data), size))
    at = data.find(b"\r\n")
    while at >= 0:
        cuts.add(at + 1)
        at = data.find(b"\r\n", at + 2)
    ends = [*sorted(cuts), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]
