"""A TCP proxy that is as slow as it is told to be, or lets nothing through."""

import contextlib
import selectors
import socket
import socketserver
import threading
import time
from typing import Any, Self

HOST = "127.0.0.1"


class Proxy:
    """Passes so many bytes a second on to the server, all connections together, each some time later.

    ``cut`` ends all connections and refuses new ones, until ``mend``.
    """

    def __init__(self, port: int, bytes_per_second: float = 1e9, latency_seconds: float = 0.0) -> None:
        self.target = HOST, port
        self.bytes_per_second = bytes_per_second
        self.latency_seconds = latency_seconds
        self.passed_bytes = 0
        """To the server."""
        self._free_at = 0.0
        self._lock = threading.Lock()
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._server = socketserver.ThreadingTCPServer((HOST, 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()

    def cut(self) -> None:
        self._is_cut = True
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    if not proxy._is_cut:
                        with socket.create_connection(proxy.target) as server:
                            proxy._pass_both_ways(self.request, server)

        return Handler

    def _pass_both_ways(self, client: socket.socket, server: socket.socket) -> None:
        self._open |= {client, server}
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(client, selectors.EVENT_READ, server)
                selector.register(server, selectors.EVENT_READ, client)
                while all(self._pass(key.fileobj, key.data, server) for key, _ in selector.select()):
                    """Until one side has ended."""
        finally:
            self._open -= {client, server}

    def _pass(self, source: Any, sink: socket.socket, server: socket.socket) -> bool:
        data = source.recv(4096)
        if sink is server:
            self._wait_for_turn(len(data))
        time.sleep(self.latency_seconds)
        sink.sendall(data)
        return bool(data)

    def _wait_for_turn(self, size_bytes: int) -> None:
        with self._lock:
            self.passed_bytes += size_bytes
            self._free_at = max(self._free_at, time.monotonic()) + size_bytes / self.bytes_per_second
            free_at = self._free_at
        time.sleep(max(0.0, free_at - time.monotonic()))
