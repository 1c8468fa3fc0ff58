"""What one Traptor keeps in Redis about itself, written once a second in one round trip: counters, status, sign of
life, and the gaps that are over."""

import json
import logging
import threading
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import redis

from traptor import keys
from traptor.account import counters
from traptor.account.gaps import KEPT, KEPT_SECONDS, Gap, Gaps, iso, store
from traptor.account.ledger import Account

RECENT_SECONDS = 600
"""X repeats the last five minutes at most."""

log = logging.getLogger(__name__)


class Journal:
    """Every method that speaks to Redis raises redis.RedisError; what was not written is written the next time."""

    def __init__(self, conn: Any, traptor_type: str, traptor_id: int, status_ttl_seconds: int) -> None:
        self._conn = conn
        self._status_key = keys.status(traptor_type, traptor_id)
        self._life_key = keys.life(traptor_type, traptor_id)
        self._gaps_key = keys.gaps(traptor_type, traptor_id)
        self._recent_key = keys.recent(traptor_type, traptor_id)
        self._status_ttl_seconds = status_ttl_seconds
        self._gaps: deque[Gap] = deque(maxlen=KEPT)
        self._writing = threading.Lock()
        self.knows_last_life = False
        """Until the last run's sign of life has been read, it is not written over."""

    def add(self, gap: Gap) -> None:
        """Write this gap with the next entry."""
        self._gaps.append(gap)

    def write(self, rolling: Iterable[counters.RollingCounter], status: dict[str, Any], life: dict[str, Any]) -> None:
        """Counters, status, sign of life, and the gaps that are over."""
        texts = {self._status_key: (json.dumps(status), self._status_ttl_seconds)}
        if self.knows_last_life:
            texts[self._life_key] = (json.dumps(life), KEPT_SECONDS)
        with self._writing:
            counters.write(self._conn, rolling, texts)
            while self._gaps:
                store(self._conn, self._gaps_key, self._gaps[0])
                self._gaps.popleft()

    def keep_recent(self, ids: Iterable[str]) -> None:
        """The tweets that have come of late, for whoever comes next and is sent some of them once more."""
        self._conn.set(self._recent_key, " ".join(ids), ex=RECENT_SECONDS)

    def recent(self) -> list[str]:
        """The tweets that have come of late, as the last run has kept them."""
        try:
            stored = self._conn.get(self._recent_key)
        except redis.RedisError as error:
            log.warning("what came last is not known: some may come out twice", extra={"error": str(error)})
            return []
        return (stored.decode("utf-8", "replace") if isinstance(stored, bytes) else stored or "").split()

    def recall(self, account: Account, gaps: Gaps) -> None:
        """Take up where the last run ended: what was withheld, and the gap since its last sign of life. Once."""
        try:
            if not self.knows_last_life and (life := self.last_life()):
                account.counts["withheld"] = take_up(life, gaps)
        except (redis.RedisError, ValueError) as error:
            log.warning("the end of the last run is not known", extra={"error": str(error)})

    def last_life(self) -> dict[str, Any] | None:
        """The last sign of life of an earlier run. ValueError where it cannot be understood."""
        stored = self._conn.get(self._life_key)
        self.knows_last_life = True
        return keys.content(stored) if stored else None


def life(gaps: Gaps, withheld: int, collected_until: datetime, *, stopped: bool) -> dict[str, Any]:
    """What the next start needs to know of this run: where nothing was open, a gap begins with its end."""
    gap = gaps.open
    return {
        "at": iso(collected_until),
        "stopped": stopped,
        "last_tweet_id": gaps.last_tweet_id,
        "withheld": withheld,
        "gap": {"from": gap.since, "cause": gap.cause} if gap else None,
    }


def take_up(life: dict[str, Any], gaps: Gaps) -> int:
    """Begin the gap since the last sign of life. Returns what was withheld so far. Raises ValueError."""
    try:
        gap = life["gap"] or {"from": life["at"], "cause": "stopped" if life["stopped"] else "died"}
        since, withheld = datetime.fromisoformat(gap["from"]), int(life["withheld"])
        if since.tzinfo is None:
            raise ValueError(f"not a sign of life: {gap['from']} is without a time zone")
        gaps.last_tweet_id = life["last_tweet_id"]
        gaps.begin(since, gap["cause"])
        return withheld
    except (TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"not a sign of life: {error!r}") from None
