"""Ids and times of new tweets, which agree."""

import time
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from traptor.tweets.snowflakes import EPOCH_MS

SEQUENCE_MASK = (1 << 22) - 1


class Stamp(NamedTuple):
    """What makes a tweet a new one; ``created_at`` as Twitter writes it, always +0000."""

    id: int
    timestamp_ms: int
    created_at: str


def stamp(timestamp_ms: int, sequence: int) -> Stamp:
    tweet_id = (timestamp_ms - EPOCH_MS) << 22 | sequence & SEQUENCE_MASK
    return Stamp(tweet_id, timestamp_ms, created_at(timestamp_ms // 1000))


@lru_cache(maxsize=1024)
def created_at(second: int) -> str:
    return time.strftime("%a %b %d %H:%M:%S +0000 %Y", time.gmtime(second))


class Snowflakes:
    """Stamps of the present, no two with the same id."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sequence = count()

    def next(self) -> Stamp:
        return stamp(int(self._clock() * 1000), next(self._sequence))
