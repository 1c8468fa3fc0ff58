"""A web server for reading, which a client can neither hold up nor fill."""

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

log = logging.getLogger(__name__)


class Asked(NamedTuple):
    path: str
    host: str
    """By which name the client has reached us, with the port: empty where it does not say."""


class Answer(NamedTuple):
    code: int
    content_type: str
    body: bytes


class Server(ThreadingHTTPServer):
    """Serves a bounded number of clients, and none for long: a new one takes the place of the one that has been there
    longest. ``answer`` says what each gets, in a thread of its own, with these ``headers``. Raises OSError.
    """

    request_queue_size = 16
    most_clients = 8
    client_seconds = 5.0
    """From a client's connection to the end of its answer."""

    def __init__(
        self, address: str, port: int, answer: Callable[[Asked], Answer], headers: Mapping[str, str] | None = None
    ) -> None:
        self.answer = answer
        self.headers = headers or {}
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._since: dict[Any, float] = {}
        self._lock = threading.Lock()
        super().__init__((address, port), _Handler)

    def in_background(self, name: str) -> "Server":
        """Serve, until ``shutdown``, in a thread of this name."""
        threading.Thread(target=self.serve_forever, name=name, daemon=True).start()
        return self

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._since[request] = time.monotonic()
        self._show_out()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Called at least twice a second."""
        self._show_out()

    def _show_out(self) -> None:
        """End the oldest of those that are too many, and all that take too long."""
        too_long = time.monotonic() - self.client_seconds
        with self._lock:
            oldest = list(self._since)[: max(0, len(self._since) - self.most_clients)]
            ended = [request for request, since in self._since.items() if since < too_long or request in oldest]
            for request in ended:
                del self._since[request]
                with contextlib.suppress(OSError):  # it is gone already
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who does not wait for the answer is not worth a traceback."""
        level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
        log.log(level, "a client got no answer", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.client_seconds)

    def do_GET(self) -> None:
        code, content_type, body = self.server.answer(
            Asked(self.path.partition("?")[0], self.headers.get("Host") or "")
        )
        self.send_response(code)
        for name, value in {
            "Content-Type": content_type, "Content-Length": str(len(body)), **self.server.headers,
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def version_string(self) -> str:
        """For the header Server: no versions, for which holes may be known."""
        return "traptor"

    def log_message(self, *args: Any) -> None:
        """A request is not worth a line."""
