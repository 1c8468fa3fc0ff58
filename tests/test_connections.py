"""Redis clients: whichever way the server is named, one that does not answer is given up after one time-out."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis

from tests.servers import wait_until
from traptor import connections, settings
from traptor.connections import NO_TEXT, connect_to_redis, hashes
from traptor.rules import notices


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


def test_who_is_in_a_hurry_gives_up_whatever_the_settings_say(silent_server: socket.socket) -> None:
    port = silent_server.getsockname()[1]
    wanted = settings.load({}, {"REDIS_URL": f"redis://127.0.0.1:{port}/0?socket_timeout=600"}, {})
    with connect_to_redis(wanted, 0.05) as conn, pytest.raises(redis.TimeoutError):
        conn.ping()


ODD = [
    *[b":abc\r\n", b"*x\r\n", b"$x\r\n", b"$99999999999999999999\r\n", b"*1\r\n" * 3000],
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    *[b":5\r\n", b"*2\r\n:0\r\n:1\r\n", b"*2\r\n*1\r\n:1\r\n*0\r\n"],
]
"""And answers to another question: a number, numbers, a list of lists."""


@pytest.mark.parametrize("reply", ODD, ids=lambda reply: repr(reply[:10]))
def test_an_answer_that_is_none_is_an_error_of_redis(reply: bytes) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=_repeat, args=(listener, reply), daemon=True).start()
        port = listener.getsockname()[1]
        wanted = settings.load({}, {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}, {})
        with connect_to_redis(wanted) as conn:
            with pytest.raises(redis.RedisError):
                conn.get("key")
            with pytest.raises(redis.RedisError), conn.pipeline(transaction=False) as pipe:
                pipe.hgetall("key").execute()
            with pytest.raises(redis.RedisError):
                hashes(conn, [b"key"])
            with pytest.raises(redis.RedisError):
                list(conn.scan_iter("key"))
            with pytest.raises(redis.RedisError):
                conn.transaction(lambda pipe: pipe.get("key"), "key", value_from_callable=True)
            heard = notices.payloads(conn, "channel")
            with pytest.raises(redis.RedisError):
                wait_until(lambda: next(heard) not in {None, notices.SUBSCRIBED}, "an answer", 10)


def test_what_is_no_text_is_one_that_nobody_can_read() -> None:
    reply = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=_repeat, args=(listener, reply), daemon=True).start()
        wanted = settings.load({}, {"REDIS_URL": f"redis://127.0.0.1:{listener.getsockname()[1]}/0"}, {})
        with connect_to_redis(wanted) as conn:
            assert conn.get("key") == NO_TEXT
            with pytest.raises(redis.ResponseError):
                conn.hgetall("key")
            assert str(hashes(conn, [b"key"])[0]).startswith("WRONGTYPE")


def test_after_hashes_that_were_not_read_to_their_end_the_next_answer_is_to_its_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    server = fakeredis.TcpFakeServer(("127.0.0.1", 0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wanted = settings.load({}, {"REDIS_URL": f"redis://127.0.0.1:{server.server_address[1]}/0"}, {})
    with contextlib.closing(connect_to_redis(wanted)) as conn:
        conn.hset("a", mapping={"value": "storm"})
        conn.set("b", "flood")
        with monkeypatch.context() as patched:
            patched.setattr(connections._Connection, "_hash", interrupted)
            with pytest.raises(KeyboardInterrupt):
                hashes(conn, [b"a", b"a"])
        assert [conn.get("b"), *hashes(conn, [b"a", b"c"])] == ["flood", {"value": "storm"}, {}]
    server.shutdown()
    server.server_close()


def _repeat(listener: socket.socket, reply: bytes) -> None:
    """The same answer to everybody."""
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_answer, args=(listener.accept()[0], reply), daemon=True).start()


def _answer(line: socket.socket, reply: bytes) -> None:
    with line, contextlib.suppress(OSError):
        while line.recv(1 << 16):
            line.sendall(reply)


def test_a_key_that_is_not_utf_8_is_found_as_it_was_listed() -> None:
    wanted = settings.load({}, {"REDIS_HOST": "127.0.0.1"}, {})
    with connect_to_redis(wanted) as conn:
        encoder = conn.connection_pool.get_encoder()
    for key in (b"caf\xe9", "été".encode(), b"\xff\x00"):
        assert encoder.encode(encoder.decode(key)) == key


@pytest.mark.parametrize(
    "host,expected",
    [("127.0.0.1", True), ("127.8.8.8", True), ("127.1", True), ("::1", True), ("localhost", True),
     ("LocalHost.", True), ("0", False), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("", False), ("collector-1", False)],
)  # fmt: skip
def test_whom_an_address_is_open_to(host: str, expected: bool) -> None:
    assert connections.is_loopback(host) is expected
