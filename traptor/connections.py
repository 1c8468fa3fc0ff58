"""Redis clients, from the settings; and whom an address is open to."""

import ipaddress
from typing import Any

import redis

from traptor.settings import Settings

_WAITS: dict[str, Any] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "health_check_interval": 15,
    # redis-py would try ten times, which is a minute; who asks has a way of its own to go on.
    "retry": None,
}


def connect_to_redis(wanted: Settings) -> "redis.Redis":
    """A client for the Redis of these settings; it connects when it is first used.

    It speaks RESP2, so that any server since Redis 2.8 will do. Bytes that are not UTF-8 are lone surrogates in texts,
    and the same bytes again where such a text is sent: a key is found under the name that it was listed by.
    """
    options = {**_WAITS, "protocol": 2, "decode_responses": True, "encoding_errors": "surrogateescape"}
    if wanted.REDIS_URL:
        conn = redis.Redis.from_url(wanted.REDIS_URL, **options)
    else:
        conn = redis.Redis(host=wanted.REDIS_HOST, port=wanted.REDIS_PORT, db=wanted.REDIS_DB, **options)
    pool = conn.connection_pool
    pool.connection_class = type("Connection", (_Understood, pool.connection_class), {})
    return conn


class _Understood:
    """A connection on which whatever is no answer of Redis' protocol is a redis.RedisError, as its failures are."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except (ValueError, ArithmeticError, LookupError, TypeError, RecursionError) as error:
            self.disconnect()  # type: ignore[attr-defined]
            raise redis.InvalidResponse(f"not an answer of Redis: {error}") from None


def is_loopback(host: str) -> bool:
    """Can nobody but this machine reach a server at this address?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
