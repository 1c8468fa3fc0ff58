"""A server that sends just these bytes, as slowly as it likes."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The URL of a server that reads a request, lets ``answer`` have the socket, and closes it."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=_serve, args=(listening, answer), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def _serve(listening: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError):
        while True:
            line, _ = listening.accept()
            with line, contextlib.suppress(OSError):
                line.recv(1 << 16)
                answer(line)


def sending(*parts: bytes) -> Answer:
    """Send these, and close."""

    def answer(line: socket.socket) -> None:
        for part in parts:
            line.sendall(part)

    return answer


def trickling(begin: bytes, again: bytes) -> Answer:
    """Send the beginning, then this a hundred times a second for as long as anybody listens."""

    def answer(line: socket.socket) -> None:
        line.sendall(begin)
        while not threading.Event().wait(0.01):
            line.sendall(again)

    return answer


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole HTTP answer."""
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""))
    return head.encode() + body


class Recorded:
    """Sends an answer, and notes when the client closes the connection."""

    def __init__(self, answer: bytes) -> None:
        self.closed = threading.Event()
        self._answer = answer

    def __call__(self, line: socket.socket) -> None:
        line.sendall(self._answer)
        with contextlib.suppress(ConnectionResetError):  # so ends what was not read to its end
            line.recv(1)
        self.closed.set()
