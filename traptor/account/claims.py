"""Which Traptor of the fleet was the first to bring a tweet, as Redis remembers it for a while."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

from traptor import keys
from traptor.connections import connect_to_redis
from traptor.settings import Settings
from traptor.tweets.snowflakes import posted_ms

WINDOW_SECONDS = 600
"""A tweet is remembered for so long, from when somebody last brought a new one of the same ten seconds."""
SLOT_MS = 10_000
"""Tweets posted within so long stand under one key: few enough that Redis is not held up when it ends."""
PATIENCE_SECONDS = 0.25
"""What Redis may take to connect, and to answer: the stream waits meanwhile."""
OFF_SECONDS = 30.0
"""For how long a Redis that fails is not asked again."""
ID_DIGITS = 20

CLAIM = """
local first = {}
for at, key in ipairs(KEYS) do
  if redis.call('HSETNX', key, ARGV[at + 2], ARGV[1]) == 1 then redis.call('EXPIRE', key, ARGV[2]) end
  first[at] = redis.call('HGET', key, ARGV[at + 2])
end
return first
"""
"""By name, window and ids, with each id's key: who was the first to bring each. Of two at the same time, one is."""

log = logging.getLogger(__name__)


def claiming(wanted: Settings) -> Callable[[Sequence[str]], Mapping[str, str]]:
    """``Claims.claim`` of the Traptor of these settings; without DEDUPE_ACROSS what finds nothing, and asks nobody."""
    if not wanted.DEDUPE_ACROSS:
        return lambda id_strs: {}
    return Claims(connect_to_redis(wanted, PATIENCE_SECONDS), wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID).claim


class Claims:
    """The tweets that one Traptor brings, each of which is claimed by whoever of the fleet brings it first.

    ``conn`` is to give up after PATIENCE_SECONDS. Without Redis nothing is claimed, which is told once.
    """

    def __init__(
        self, conn: Any, traptor_type: str, traptor_id: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._claim = conn.register_script(CLAIM)
        self._own = keys.notice(traptor_type, traptor_id)
        self._clock = clock
        self._off_until = 0.0
        self._is_told = False

    def claim(self, id_strs: Sequence[str]) -> dict[str, str]:
        """Those of these tweets that another has brought before, each with its name: ``follow:3``. One round trip.

        An id from before November 2010 does not tell its time, and is left alone.
        """
        slots = {id_str: slot for id_str in id_strs if (slot := _slot(id_str)) is not None}
        if not slots or self._clock() < self._off_until:
            return {}
        try:
            first = self._claim([keys.brought(slot) for slot in slots.values()], [self._own, WINDOW_SECONDS, *slots])
        except redis.RedisError as error:
            self._go_off(error)
            return {}
        self._go_on()
        return {id_str: name for id_str, name in zip(slots, first, strict=False) if name != self._own}

    def _go_off(self, error: redis.RedisError) -> None:
        self._off_until = self._clock() + OFF_SECONDS
        if not self._is_told:
            log.warning("tweets that others have brought are not marked: Redis fails", extra={"error": str(error)})
        self._is_told = True

    def _go_on(self) -> None:
        if self._is_told:
            log.info("tweets that others have brought are marked again")
        self._is_told = False


def _slot(id_str: str) -> int | None:
    """When it was posted, in ten seconds since 1970."""
    is_id = id_str.isascii() and id_str.isdigit() and len(id_str) <= ID_DIGITS
    posted = posted_ms(int(id_str)) if is_id else None
    return None if posted is None else posted // SLOT_MS
