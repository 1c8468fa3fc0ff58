"""Redis clients: whichever way the server is named, one that does not answer is given up after one time-out."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from traptor import connections, settings
from traptor.connections import connect_to_redis


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """It takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        yield listener


def accepted(listener: socket.socket) -> int:
    """How many have connected."""
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except TimeoutError:
            return count
        count += 1


@pytest.mark.parametrize(
    "place", [{"REDIS_URL": "redis://127.0.0.1:{port}/0"}, {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "{port}"}]
)
def test_who_does_not_answer_is_asked_once(
    silent_server: socket.socket, monkeypatch: pytest.MonkeyPatch, place: dict[str, Any]
) -> None:
    monkeypatch.setitem(connections._WAITS, "socket_timeout", 0.05)
    port = silent_server.getsockname()[1]
    wanted = settings.load({}, {name: value.format(port=port) for name, value in place.items()}, {})
    with connect_to_redis(wanted) as conn, pytest.raises(redis.TimeoutError):
        conn.ping()
    assert accepted(silent_server) == 1
