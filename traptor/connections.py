"""Redis clients, from the settings."""

from typing import Any

import redis
from redis._parsers import _RESP2Parser

from traptor.redaction import reveal
from traptor.settings import Settings

_WAITS: dict[str, Any] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "health_check_interval": 15,
    # redis-py would try ten times, which is a minute; who asks has a way of its own to go on.
    "retry": None,
}


class _Parser(_RESP2Parser):
    """An answer that is no answer, such as ``:abc``, is an error of Redis like any other."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except (ValueError, RecursionError) as error:
            raise redis.InvalidResponse(f"an answer that cannot be read: {error}") from None


def connect_to_redis(wanted: Settings) -> "redis.Redis":
    """A client for the Redis of these settings; it connects when it is first used.

    It speaks RESP2, so that any server since Redis 2.8 will do. What is not UTF-8 is read with U+FFFD in it.
    """
    options = {**_WAITS, "protocol": 2, "decode_responses": True, "encoding_errors": "replace"}
    if wanted.REDIS_URL:
        conn = redis.Redis.from_url(reveal(wanted.REDIS_URL), **options)
    else:
        conn = redis.Redis(host=wanted.REDIS_HOST, port=wanted.REDIS_PORT, db=wanted.REDIS_DB, **options)
    conn.connection_pool.connection_kwargs["parser_class"] = _Parser
    return conn
