"""HTTP: one request, the way to whoever answers it, and the answer."""

import json
import logging
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from traptor.simulator import control, v2, v2_stream
from traptor.simulator.refusals import Refusal
from traptor.simulator.request import StreamRequest

if TYPE_CHECKING:
    from traptor.simulator.server import Simulator

STREAM_PATH = "/1.1/statuses/filter.json"
REQUEST_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Server(ThreadingHTTPServer):
    """The port, and a thread per connection."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], simulator: "Simulator") -> None:
        super().__init__(address, Handler)
        self.simulator = simulator

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.exception("simulator: a request failed", extra={"client": client_address})


class Handler(BaseHTTPRequestHandler):
    """One request per connection, which is closed after the answer."""

    server_version, sys_version = "traptor-simulator", ""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = REQUEST_SECONDS
    server: Server

    def route(self) -> None:
        """Every method of every path comes here."""
        self.close_connection = True
        url = urlsplit(self.path)
        try:
            body = self._read_body()
            if url.path == STREAM_PATH:
                self._stream(url, body.decode("latin-1"))
            elif url.path == v2_stream.PATH:
                self._stream(url, "")
            elif url.path.startswith("/2/") or url.path == v2.TOKEN_PATH:
                self._v2(url, body)
            elif url.path.startswith(control.PATH):
                self._control(url, body)
            else:
                raise Refusal(404, "Not Found")
        except Refusal as refusal:
            self._answer(refusal.status, "text/plain", refusal.body.encode(), refusal.headers)
        except OSError as error:
            logger.debug("simulator: no answer", extra={"client": self.client_address, "reason": repr(error)})

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = route

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise Refusal(400, "Bad Request: Content-Length")
        return self.rfile.read(int(length))

    def _stream(self, url: SplitResult, form: str) -> None:
        if self.command not in ("GET", "POST"):
            raise Refusal(405, "Method Not Allowed", {"Allow": "GET, POST"})
        headers = self._titled_headers()
        address = f"http://{headers.get('Host', '')}{self.path}"
        request = StreamRequest(self.command, address, headers, form)
        stream = self.server.simulator.open(request, self.connection)
        self.connection.settimeout(None)
        stream.run(partial(self._send_stream_head, gzip=request.takes_gzip))

    def _send_stream_head(self, *, gzip: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        if gzip:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Connection", "close")
        self.end_headers()

    def _titled_headers(self) -> dict[str, str]:
        return {name.title(): value for name, value in self.headers.items()}

    def _v2(self, url: SplitResult, body: bytes) -> None:
        answer = self.server.simulator.answer_v2(self.command, url, self._titled_headers(), body)
        self._answer(200, "application/json", json.dumps(answer).encode(), {})

    def _control(self, url: SplitResult, body: bytes) -> None:
        answer = control.answer(self.server.simulator, self.command, url, body)
        self._answer(200, "application/json", json.dumps(answer).encode() + b"\n", {})

    def _answer(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status, None if status in self.responses else "Refused")
        usual = {"Date": self.date_time_string(), "Content-Type": content_type, "Content-Length": str(len(body))}
        for name, value in {**usual, "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)
