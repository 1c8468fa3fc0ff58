"""The way to one topic: a producer of its own, a lane for each partition, and a pace that fits the link."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from traptor.delivery.broker import Broker
from traptor.delivery.lane import SLOW_SECONDS, Entry, Lane

FIRST_BYTES = 256 << 10
LEAST_BYTES = 64 << 10
MOST_BYTES = 8 << 20
"""What may be on its way to a topic without an acknowledgement: at first, at least, and at most."""
QUICK_SECONDS = 0.5
"""Acknowledged so soon, beside what the way itself takes, more may be on its way; after SLOW_SECONDS, half as much."""
FARTHEST_SECONDS = 1.0
"""No way to Kafka and back is taken to be longer."""
GIVE_UP_SECONDS = 120.0
"""A producer that acknowledges nothing for so long, of all that it was given, is broken. It tries each request for a
quarter of it."""
DOUBT_SECONDS = SLOW_SECONDS + 2 * FARTHEST_SECONDS
"""The same for one that has let something expire, after which kafka-python may be at a loss."""


class Route:
    """Lanes by partition, as far as the producer knows them; the last one is for messages without a key."""

    def __init__(self, topic: str, connect: Callable[[], Any], connect_cautiously: Callable[[], Any]) -> None:
        self.topic = topic
        self.broker = Broker(topic, connect, connect_cautiously)
        self.lanes = [Lane(), Lane()]
        self.limit_bytes = FIRST_BYTES
        self.not_before = 0.0
        self.suspects = 0
        """Messages that were refused together, and are to be answered for one by one."""
        self.way_seconds = FARTHEST_SECONDS
        """The shortest time to an acknowledgement from this producer."""
        self._slowed_at = 0.0
        self.give_up_at = 0.0
        """When the producer is taken to be broken, unless Kafka acknowledges something before."""
        self._patience_seconds = GIVE_UP_SECONDS

    def lane(self, key: bytes | None) -> Lane:
        """The same key, the same lane, as the producer's partitioner has it."""
        return self.lanes[zlib.crc32(key) % (len(self.lanes) - 1) if key else -1]

    def is_open(self, now: float) -> bool:
        """Is there a producer that takes messages now?"""
        return (
            self.broker.producer is not None
            and not self.is_to_divide()
            and not self.is_trial_over()
            and now >= self.not_before
        )

    def has_room(self, lane: Lane) -> bool:
        """May more be on its way in this lane? One that is stuck leaves the others their share."""
        return lane.on_way_bytes * (len(self.lanes) - 1) < self.limit_bytes

    def is_trial_over(self) -> bool:
        """Has every suspect been answered for? Then it is time for a fast producer again."""
        return self.broker.is_cautious and not self.suspects

    def is_to_divide(self) -> bool:
        """Has the topic other partitions than there are lanes for?"""
        return self.broker.partitions != len(self.lanes) - 1

    def is_on_way(self) -> bool:
        return any(lane.on_way for lane in self.lanes)

    def is_due(self, now: float) -> bool:
        """Is another producer waited for, and nothing on its way, but where no answer comes?"""
        is_wanted = self.is_trial_over() or (self.is_to_divide() and self.is_on_way())
        return is_wanted and all(not lane.on_way or lane.is_slow(now) for lane in self.lanes)

    def acknowledged(self, entries: Sequence[Entry], now: float) -> None:
        """Fit the pace to the link: what it takes in less than a second, beside the way itself, may be on its way at
        once. What was on its way already when that was halved is no reason to halve it again."""
        sent_at, self._patience_seconds = entries[-1].since, GIVE_UP_SECONDS
        self.give_up_at = now + GIVE_UP_SECONDS
        self._way_took(now - sent_at)
        queued_seconds = now - sent_at - self.way_seconds
        if queued_seconds > SLOW_SECONDS and sent_at >= self._slowed_at:
            self.limit_bytes, self._slowed_at = max(LEAST_BYTES, self.limit_bytes // 2), now
        elif queued_seconds < QUICK_SECONDS:
            self.limit_bytes = min(MOST_BYTES, self.limit_bytes + sum(entry.size_bytes for entry in entries))

    def _way_took(self, seconds: float) -> None:
        """A packet that is lost costs a way there and back more: nobody is called slow for it."""
        self.way_seconds = min(self.way_seconds, seconds)
        for lane in self.lanes:
            lane.patience_seconds = SLOW_SECONDS + 2 * self.way_seconds

    def sent(self, lane: Lane, entry: Entry, now: float) -> None:
        """It is on its way."""
        if not lane.on_way and not self.is_on_way():
            self.give_up_at = now + self._patience_seconds
        entry.since = now
        lane.sent(entry)

    def expired(self, now: float) -> None:
        """Begin anew, with as little at once as can be."""
        self.limit_bytes, self.way_seconds = LEAST_BYTES, FARTHEST_SECONDS
        self._patience_seconds = DOUBT_SECONDS
        self.give_up_at = min(self.give_up_at, now + DOUBT_SECONDS)

    def is_silent(self, now: float) -> bool:
        """Does Kafka owe us answers, and has given none for too long?"""
        return now > self.give_up_at and self.is_on_way()

    def give_up(self) -> None:
        """Have a new producer."""
        self.not_before, self._patience_seconds = 0.0, GIVE_UP_SECONDS
        self.limit_bytes, self.way_seconds = LEAST_BYTES, FARTHEST_SECONDS
        self.broker.give_up(cautiously=self.suspects > 0)

    def divide(self) -> bool:
        """Make lanes for the partitions that the producer knows of; True where there are others now."""
        if not self.is_to_divide() or self.is_on_way():
            return False
        before, self.lanes = self.lanes, [Lane() for _ in range(self.broker.partitions + 1)]
        for lane in before:
            for entry in lane.again:
                self.lane(entry.message.key).again.append(entry)
            for entry in lane.fresh:
                self.lane(entry.message.key).fresh.append(entry)
        return True
