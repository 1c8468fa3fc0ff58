"""A TCP proxy that is as slow, as far and as unsound as it is told to be, or lets nothing through."""

import contextlib
import queue
import random
import socket
import socketserver
import threading
import time
from typing import Self

HOST = "127.0.0.1"
PACKET_BYTES = 1460
AGAIN_SECONDS = 0.2
"""What a lost packet costs beside the way there and back: TCP waits so long at least before it sends it again."""


class Proxy:
    """Passes so many bytes a second on to the server, all connections together, each some time later in either
    direction. A ``loss`` of 0.02 keeps back every fiftieth packet, and what follows it, until it has come again.

    ``cut`` ends all connections and refuses new ones, until ``mend``.
    """

    def __init__(self, port: int) -> None:
        self.target = HOST, port
        self.heal()
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

    def heal(self) -> None:
        """As fast as can be, and nothing is lost."""
        self.bytes_per_second, self.latency_seconds, self.loss = 1e9, 0.0, 0.0

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
        back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
        back.start()
        try:
            self._pass(client, server, is_limited=True)
        finally:
            back.join()
            self._open -= {client, server}

    def _pass(self, source: socket.socket, sink: socket.socket, is_limited: bool) -> None:
        """Until the source has ended. What is on its way does not keep back what follows it."""
        on_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        arrival = threading.Thread(target=self._arrive, args=(on_way, sink), daemon=True)
        arrival.start()
        due = 0.0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if is_limited:
                    self._wait_for_turn(len(data))
                due = max(due, time.monotonic() + self.latency_seconds + self._lost_seconds(len(data)))
                on_way.put((due, data))
        on_way.put((due, b""))
        arrival.join()

    @staticmethod
    def _arrive(on_way: "queue.SimpleQueue[tuple[float, bytes]]", sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = on_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_RDWR)
                    return
                sink.sendall(data)

    def _lost_seconds(self, size_bytes: int) -> float:
        packets = -(-size_bytes // PACKET_BYTES)
        is_lost = random.random() < 1 - (1 - self.loss) ** packets
        return AGAIN_SECONDS + 2 * self.latency_seconds if is_lost else 0.0

    def _wait_for_turn(self, size_bytes: int) -> None:
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size_bytes / self.bytes_per_second
            free_at = self._free_at
        time.sleep(max(0.0, free_at - time.monotonic()))
