"""Connecting has a deadline as a whole: a time-out of the socket begins anew with each byte that trickles in."""

import contextlib
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

DEADLINE_SECONDS = 45.0
"""From the request to the end of the answer's headers."""
TCP_SECONDS = 10.0
"""For each address of the server."""


def why(error: BaseException) -> str:
    """Where, and what failed at last, in words: what libraries say of it around names their objects and a whole URL."""
    context = None if error.__suppress_context__ else error.__context__
    around = [error.__cause__, getattr(error, "reason", None), *error.args, context]
    inside = next((one for one in around if isinstance(one, Exception)), None)
    told = why(inside) if inside else getattr(error, "strerror", None) or str(error)
    request = getattr(error, "request", None)
    return f"{urlsplit(request.url).hostname}: {told}" if request else str(told)


class _Watch:
    """Shuts the socket of one request down when its time is up."""

    def __init__(self) -> None:
        self.is_over = False
        self._line: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(DEADLINE_SECONDS, self._end)
        self._timer.daemon = True
        self._timer.start()

    def take(self, line: socket.socket) -> None:
        """This is the socket now."""
        with self._lock:
            self._line = line
        if self.is_over:
            self._end()

    def cancel(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._line = None

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            if self._line is not None:
                with contextlib.suppress(OSError):  # it is down already
                    self._line.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    """What watches the request that this thread makes."""

    watch: _Watch | None = None


_current = _Current()


class _Watched(HTTPConnection):
    _line: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        # TLS takes the socket away from its object, and reads from it before anybody sees the new one.
        self._line = made.dup()
        self._tell()
        return made

    def request(self, *args: Any, **options: Any) -> None:
        self._tell()
        super().request(*args, **options)

    def close(self) -> None:
        super().close()
        if self._line:
            self._line.close()

    def _tell(self) -> None:
        if self._line and _current.watch:
            _current.watch.take(self._line)


class _WatchedTLS(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLS


class _Adapter(HTTPAdapter):
    """Raises requests.ConnectTimeout where headers are not complete in time."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        _current.watch = watch = _Watch()
        try:
            response = super().send(request, *args, **options)
        except requests.RequestException:
            if watch.is_over:
                raise _late(request) from None
            raise
        finally:
            watch.cancel()
            _current.watch = None
        if watch.is_over:
            # What was shut down in its headers looks like one whose headers were complete.
            response.close()
            raise _late(request)
        return response


def _late(request: requests.PreparedRequest) -> requests.ConnectTimeout:
    return requests.ConnectTimeout(f"no answer within {DEADLINE_SECONDS:g} s", request=request)


def in_time(session: requests.Session) -> requests.Session:
    """A session of which every request has its answer's headers within the deadline, or fails."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session
