"""Redis clients, from the settings; and whom an address is open to."""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import redis
from redis.client import Pipeline, PubSub

from traptor import redis_options
from traptor.settings import Settings

_WAITS: dict[str, Any] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "health_check_interval": 15,
    # redis-py would try ten times, which is a minute; who asks has a way of its own to go on.
    "retry": None,
}


_ANSWERS: dict[str, Any] = {
    "GET": str | None,
    "HGETALL": dict[str, str],
    "INCRBY": int,
    "LRANGE": list[str],
    "MGET": list[str | None],
    "PTTL": int,
    "SCAN": tuple[int, list[str]],
}
"""What is read of Redis, and how it comes from redis-py; of what is written, the answer does not matter."""
NO_TEXT = "(not a text)"
"""What is read of a key where something else than a text stands: as any text that is none of ours, it is told by
whoever reads it, and written over."""
_MISUNDERSTOOD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What redis-py raises over an answer of another kind than the command has."""


def connect_to_redis(wanted: Settings) -> "redis.Redis":
    """A client for the Redis of these settings; it connects when it is first used.

    It speaks RESP2, so that any server since Redis 2.8 will do. Bytes that are not UTF-8 are lone surrogates in texts,
    and the same bytes again where such a text is sent: a key is found under the name that it was listed by. Whatever
    is no answer to what it has asked is a redis.RedisError, as its failures are.
    """
    options = {**_WAITS, "protocol": 2, "decode_responses": True, "encoding_errors": "surrogateescape"}
    if wanted.REDIS_URL:
        url = wanted.REDIS_URL
        conn = _Client.from_url(redis_options.address(url), **{**options, **redis_options.options(url)})
    else:
        conn = _Client(host=wanted.REDIS_HOST, port=wanted.REDIS_PORT, db=wanted.REDIS_DB, **options)
    pool = conn.connection_pool
    pool.connection_class = type("Connection", (_Connection, pool.connection_class), {})
    return conn


@contextlib.contextmanager
def _understood(close: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Whoever does not understand one answer does not know where the next begins."""
    try:
        yield
    except _MISUNDERSTOOD as error:
        close()
        raise redis.InvalidResponse(f"not an answer of Redis: {error}") from None


class _Connection:
    def read_response(self, *args: Any, **options: Any) -> Any:
        with _understood(self.disconnect):  # type: ignore[attr-defined]
            return super().read_response(*args, **options)  # type: ignore[misc]


class _Asking:
    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        with _understood(connection.disconnect):
            try:
                answer = super().parse_response(connection, command_name, **options)  # type: ignore[misc]
            except redis.ResponseError as error:
                if command_name != "GET" or not str(error).startswith("WRONGTYPE"):
                    raise
                return NO_TEXT
            return msgspec.convert(answer, _ANSWERS[command_name]) if command_name in _ANSWERS else answer


class _Pipeline(_Asking, Pipeline):
    def execute(self, *args: Any, **options: Any) -> Any:
        with _understood():
            return super().execute(*args, **options)


class _PubSub(PubSub):
    def handle_message(self, *args: Any, **options: Any) -> Any:
        with _understood():
            return super().handle_message(*args, **options)  # type: ignore[no-untyped-call]


class _Client(_Asking, redis.Redis):
    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    def pubsub(self, **options: Any) -> PubSub:
        return _PubSub(self.connection_pool, **options)


def is_loopback(host: str) -> bool:
    """Can nobody but this machine reach a server at this address?"""
    name = host.lower().rstrip(".")
    with contextlib.suppress(OSError):
        name = socket.inet_ntoa(socket.inet_aton(name))  # 127.1 is 127.0.0.1
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
