"""Restart messages: ``<type>:<id>`` on a Redis channel says that the rules of one Traptor have changed."""

from collections.abc import Iterator
from typing import Any

SUBSCRIBED = object()
"""Yielded once the subscription stands: what was published before it is lost."""


def payloads(pubsub_conn: Any, channel: str) -> Iterator[object]:
    """Subscribe and yield SUBSCRIBED, then what comes, and None whenever nothing has.

    ``pubsub_conn`` is anything with ``pubsub()``, whose result has ``subscribe`` and ``get_message``. Raises what it
    raises: redis.RedisError when Redis goes away.
    """
    pubsub = pubsub_conn.pubsub()
    try:
        pubsub.subscribe(channel)
        yield SUBSCRIBED
        while True:
            message = pubsub.get_message()
            # Redis' confirmation of the subscription is a message, too; its data is a number.
            yield message.get("data") if isinstance(message, dict) else None
    finally:
        pubsub.close()
