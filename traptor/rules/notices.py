"""Restart messages: ``<type>:<id>`` on a Redis channel says that the rules of one Traptor have changed."""

from collections.abc import Iterator
from typing import Any

from traptor import keys

SUBSCRIBED = object()
"""Yielded once the subscription stands: what was published before it is lost."""


class Listener:
    """Hears the notices for one Traptor. ``pubsub_conn`` is anything with ``pubsub()``, whose result has ``subscribe``
    and ``get_message``.
    """

    def __init__(self, pubsub_conn: Any, channel: str, traptor_type: str, traptor_id: int) -> None:
        self._conn = pubsub_conn
        self._channel = channel
        self._name = (traptor_type, traptor_id)
        self._payloads: Iterator[object] | None = None
        self.may_have_missed = False
        """One may have been published before the subscription stood."""

    def heard(self) -> Iterator[bool]:
        """True for each notice that is for us, and False whenever none has come, for as long as it is asked.

        The subscription stays for the next call, so that nothing published in between is lost. Raises what
        ``pubsub_conn`` raises: redis.RedisError when Redis goes away; the next call subscribes anew.
        """
        self._payloads = self._payloads or payloads(self._conn, self._channel)
        try:
            for payload in self._payloads:
                if payload is SUBSCRIBED:
                    self.may_have_missed = True
                elif payload is None or keys.is_notice_for(payload, *self._name):
                    yield payload is not None
        except Exception:
            self._payloads = None
            raise


def payloads(pubsub_conn: Any, channel: str) -> Iterator[object]:
    """Subscribe and yield SUBSCRIBED, then what comes, and None whenever nothing has."""
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
