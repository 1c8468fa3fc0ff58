"""Redis clients, from the settings; and whom an address is open to."""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hiredis
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
    "EVALSHA": list[str],
    "GET": str | None,
    "HGETALL": dict[str, str],
    "HSCAN": tuple[int, dict[str, str]],
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


def connect_to_redis(wanted: Settings, patience_seconds: float | None = None) -> "redis.Redis":
    """A client for the Redis of these settings; it connects when it is first used.

    Where connecting, or an answer, takes longer than ``patience_seconds``, it gives up, whatever the settings say.

    It speaks RESP2, so that any server since Redis 2.8 will do. Bytes that are not UTF-8 are lone surrogates in texts,
    and the same bytes again where such a text is sent: a key is found under the name that it was listed by. Whatever
    is no answer to what it has asked is a redis.RedisError, as its failures are.
    """
    options = {**_WAITS, "protocol": 2, "decode_responses": True, "encoding_errors": "surrogateescape"}
    hurry = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), patience_seconds) if patience_seconds else {}
    if wanted.REDIS_URL:
        url = wanted.REDIS_URL
        conn = _Client.from_url(redis_options.address(url), **{**options, **redis_options.options(url), **hurry})
    else:
        conn = _Client(host=wanted.REDIS_HOST, port=wanted.REDIS_PORT, db=wanted.REDIS_DB, **{**options, **hurry})
    pool = conn.connection_pool
    pool.connection_class = type("Connection", (_Connection, pool.connection_class), {})
    return conn


class _Understood:
    """Whoever does not understand one answer does not know where the next begins."""

    def __init__(self, close: Callable[[], Any] = lambda: None) -> None:
        self._close = close

    def __enter__(self) -> None:
        """A generator would take longer than many a command: there is one for each answer."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, _MISUNDERSTOOD):
            self._close()
            raise redis.InvalidResponse(f"not an answer of Redis: {error}") from None


class _Connection:
    def read_response(self, *args: Any, **options: Any) -> Any:
        with _Understood(self.disconnect):  # type: ignore[attr-defined]
            return super().read_response(*args, **options)  # type: ignore[misc]

    def hashes(self, names: Sequence[bytes]) -> list[Any]:
        # hiredis' own types take it for a tuple of one.
        questions = b"".join(hiredis.pack_command((b"HGETALL", name)) for name in names)  # type: ignore[arg-type]
        self.send_packed_command([questions])  # type: ignore[attr-defined]
        return [self._hash() for _ in names]

    def _hash(self) -> Any:
        try:
            answer = super().read_response(disable_decoding=True)  # type: ignore[misc]
        except redis.ResponseError as error:
            return error
        # The names are the same ones half a million times.
        return {
            sys.intern(name.decode("utf-8", "replace")): value.decode("utf-8", "replace")
            for name, value in zip(answer[::2], answer[1::2], strict=True)
        }


class _Asking:
    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        with _Understood(connection.disconnect):
            try:
                answer = super().parse_response(connection, command_name, **options)  # type: ignore[misc]
            except redis.ResponseError as error:
                if command_name != "GET" or not str(error).startswith("WRONGTYPE"):
                    raise
                return NO_TEXT
            return msgspec.convert(answer, _ANSWERS[command_name]) if command_name in _ANSWERS else answer


class _Pipeline(_Asking, Pipeline):
    def execute(self, *args: Any, **options: Any) -> Any:
        with _Understood():
            return super().execute(*args, **options)


class _PubSub(PubSub):
    def handle_message(self, *args: Any, **options: Any) -> Any:
        with _Understood():
            return super().handle_message(*args, **options)  # type: ignore[no-untyped-call]


class _Client(_Asking, redis.Redis):
    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    def pubsub(self, **options: Any) -> PubSub:
        return _PubSub(self.connection_pool, **options)

    def hashes(self, names: Sequence[bytes]) -> list[Any]:
        connection: Any = self.connection_pool.get_connection()
        try:
            with _Understood():
                return connection.hashes(names)  # type: ignore[no-any-return]
        except BaseException:
            # What is left of the answers would be taken for those to the next questions.
            connection.disconnect()
            raise
        finally:
            self.connection_pool.release(connection)


def hashes(conn: "redis.Redis", names: Sequence[bytes]) -> list[Any]:
    """The hash under each of these names, in texts with U+FFFD for what is not UTF-8; an error that Redis has for one
    stands in its place.

    It takes a third of the time of redis-py's pipeline, which is for a client of somebody's own. Raises
    redis.RedisError.
    """
    if isinstance(conn, _Client):
        return conn.hashes(names)
    with conn.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hgetall(name)
        return [_in_texts(answer) if isinstance(answer, dict) else answer for answer in pipe.execute(False)]


def _in_texts(fields: Mapping[str | bytes, str | bytes]) -> dict[str, str]:
    return {sys.intern(text(name)): text(value) for name, value in fields.items()}


def text(value: str | bytes) -> str:
    """To be shown, with U+FFFD for what is not UTF-8."""
    found = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    return found.decode("utf-8", "replace")


def is_loopback(host: str) -> bool:
    """Can nobody but this machine reach a server at this address?"""
    name = host.lower().rstrip(".")
    with contextlib.suppress(OSError):
        name = socket.inet_ntoa(socket.inet_aton(name))  # 127.1 is 127.0.0.1
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
