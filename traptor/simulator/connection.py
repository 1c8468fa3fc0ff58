"""The record of one request for a stream: what the simulator knows to have sent, and when."""

import time
from array import array
from dataclasses import dataclass, field
from typing import Any

from traptor.simulator.predicates import Predicates


@dataclass
class Connection:
    """``number`` counts requests from 1, refused ones too. Times are in seconds since 1970; None is not yet."""

    number: int
    headers: dict[str, str]
    opened_at: float = field(default_factory=time.time)
    status: int = 0
    consumer_key: str = ""
    predicates: Predicates = field(default_factory=Predicates)
    backfill_minutes: int = 0
    messages: int = 0
    closed_at: float | None = None
    cause: str = ""
    _ids: "array[int]" = field(default_factory=lambda: array("Q"), repr=False)

    @property
    def sent(self) -> list[str]:
        """The ids of the tweets whose last byte went to the socket, in that order; one sent twice is here twice."""
        return list(map(str, self._ids))

    @property
    def tweets(self) -> int:
        return len(self._ids)

    def count(self, tweet_id: int | None) -> None:
        """One message is out, whole; ``tweet_id`` is None for what is not a tweet."""
        self.messages += 1
        if tweet_id is not None:
            self._ids.append(tweet_id)

    def close(self, cause: str) -> None:
        self.closed_at = time.time()
        self.cause = cause

    def state(self) -> dict[str, Any]:
        """For the control interface: all but the headers and the ids."""
        return {
            "number": self.number,
            "status": self.status,
            "consumer_key": self.consumer_key,
            "track": self.predicates.track,
            "follow": self.predicates.follow,
            "locations": self.predicates.locations,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "cause": self.cause,
            "messages": self.messages,
            "tweets": self.tweets,
        }
