"""Out to Kafka, with a spool for what it does not take or acknowledge."""

import contextlib
import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kafka.errors import KafkaError, RetriableError

from traptor.delivery import reasons
from traptor.delivery.backlog import Backlog
from traptor.delivery.door import Door, Trouble
from traptor.delivery.lane import SLOW_SECONDS, Entry, Lane
from traptor.delivery.message import Message
from traptor.delivery.producers import NEVER_TAKEN, is_refusal
from traptor.delivery.route import Route
from traptor.delivery.spool import Spool
from traptor.delivery.wishes import Wish
from traptor.settings import SettingError

RETRY_SECONDS = 1.0
"""How long a lane rests whose messages came back, and a route whose producer takes none."""

ROOM_SECONDS = 0.1
"""How long to wait for Kafka to acknowledge something when it is a little behind."""

TURN_MESSAGES = 500
"""What is sent in one turn of what has waited, at most."""

SENT_PER_LATE = 2
"""What is sent of that for each message that has to wait: what waits gets less, however much comes."""

SPARED_PER_LATE = 5
"""What a turn sends less for each that has had to wait since the last one: a stream that is not read meanwhile is
ended by Twitter."""

CLOSING_SECONDS = 1.0
"""What writing the spool and closing the producer may take of the time to stop."""

log = logging.getLogger(__name__)


class Kafka(Door):
    """Kafka, and the spool for what it does not take or acknowledge.

    ``connect`` makes a producer or raises KafkaError; it is called by a thread of its own until it succeeds, so the
    caller never waits for a broker that is away. ``connect_cautiously`` makes one that answers for each message by
    itself: see CAUTIOUS. Tweets go to ``topic``; each other topic has a producer of its own. ``counts`` gets delivered,
    and what a Backlog counts. ``acknowledged`` is called with the messages that Kafka has acknowledged, and the time.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        spool: Spool,
        counts: Counter[str],
        acknowledged: Callable[[Sequence[Message], float], None] | None = None,
        *,
        connect_cautiously: Callable[[], Any] | None = None,
        topic: str = "traptor",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spool = spool
        self.counts = counts
        self._connect = connect
        self._connect_cautiously = connect_cautiously or connect
        self._acknowledged = acknowledged
        self._clock = clock
        self._is_looking = False
        self._given: Any = None
        """A producer that was set from outside, for all topics."""
        self._routes: dict[str, Route] = {}
        self._main = self._route(topic)
        self._backlog = Backlog(spool, counts, clock, lambda topic, key: self._route(topic).lane(key), self._lanes)
        self._late = 0
        """Messages that have had to wait since the last turn."""
        self._is_slow = False
        """Kafka does not acknowledge what it was told."""

    @property
    def producer(self) -> Any:
        """That of the tweets; None while there is none."""
        return self._main.broker.producer

    @producer.setter
    def producer(self, producer: Any) -> None:
        self._given = producer
        for route in self._routes.values():
            route.broker.producer = producer

    def _route(self, topic: str) -> Route:
        if (route := self._routes.get(topic)) is None:
            route = Route(topic, self._connect, self._connect_cautiously)
            route.broker.producer = self._given
            self._routes = {**self._routes, topic: route}  # other threads read it
            if self._is_looking and self._given is None:
                route.broker.look()
        return route

    def _lanes(self) -> Iterator[Lane]:
        return (lane for route in self._routes.values() for lane in route.lanes)

    def open(self) -> None:
        """Start to look for the broker."""
        self._is_looking = True
        self._main.broker.look()

    def take_up(self) -> None:
        """Take up what an earlier run has left in the spool, once no other process uses it."""
        self._backlog.take_up()

    def waiting(self) -> int:
        """Messages that Kafka has not acknowledged, in memory and on disk."""
        return self._backlog.waiting()

    def ack_lag_seconds(self) -> float:
        """The age of the oldest message on its way."""
        now = self._clock()
        return max(0.0, *(lane.oldest_seconds(now) for lane in self._lanes()))

    def is_down(self) -> bool:
        """Does Kafka not take or not acknowledge what it is given, of any topic or partition?"""
        return self._is_slow or (self.waiting() > 0 and any(map(_waits_for_producer, self._routes.values())))

    def troubles(self) -> dict[str, str]:
        """By the Trouble: why; empty where no reason is known."""
        troubles: dict[str, str] = {}
        if self._backlog.is_full():
            troubles[Trouble.SPOOL_FULL] = ""
        if spool_trouble := self._backlog.trouble():
            troubles[Trouble.SPOOL_FAILS] = spool_trouble
        if self.is_down():
            troubles[Trouble.KAFKA_DOWN] = reasons.lately()
        return troubles

    def gauges(self) -> dict[str, float]:
        """The spool's size, and how far behind Kafka's acknowledgements are."""
        return {
            "spool_messages": self.spool.count,
            "spool_bytes": self.spool.size_bytes,
            "spool_max_bytes": self.spool.max_bytes,
            "ack_lag_seconds": self.ack_lag_seconds(),
        }

    # In

    def send(self, messages: Sequence[Message]) -> None:
        """Take messages. They go to Kafka at once if nothing older waits in their lane, or else after what does."""
        now, may_wait, late = self._clock(), True, 0
        for message in messages:
            route = self._route(message.topic)
            lane, entry = route.lane(message.key), Entry(message, now)
            if lane.is_clear() and self._backlog.is_listed():
                if may_wait and not route.has_room(lane) and not lane.is_slow(now):
                    self._wait_for_room(route, lane)
                    may_wait = False
                if self._may_send(route, lane, now):
                    self._backlog.in_memory += 1
                    self._produce(route, lane, entry)
                    continue
            self._backlog.add(lane, entry)
            late += 1
        self._late += late
        self._send_what_waits(SENT_PER_LATE * late)

    def _wait_for_room(self, route: Route, lane: Lane) -> None:
        """The stream is read by a thread of its own meanwhile."""
        self._settle(route)
        if lane.on_way and not route.has_room(lane):
            with contextlib.suppress(KafkaError):
                lane.on_way[0].future.get(timeout=ROOM_SECONDS)
            self._settle(route)

    def forget(self, key: bytes) -> None:
        """Its author deleted it: what still waits of it is dropped, and what is on its way is not sent again."""
        self._backlog.wish(Wish(key.decode("utf-8", "replace"), None, self._clock()))

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Its author took the location back: what still waits, or may be sent again, loses it."""
        self._backlog.wish(Wish(user_id, up_to_id, self._clock()))

    # Turns

    def tick(self) -> None:
        """Settle what Kafka has answered, and move what waits. Called several times a second; takes a moment at most.

        Raises SettingError where there will never be a producer.
        """
        if self._main.broker.refusal:
            raise self._main.broker.refusal
        for route in self._routes.values():
            if self._given is None:
                route.broker.count_again(self._clock())
            self._settle(route)
            if route.divide():
                self._backlog.list_anew()
        self._tell_if_slow()
        self._keep_slow()
        self._backlog.look()
        self._backlog.list_more()
        self._send_what_waits(TURN_MESSAGES - SPARED_PER_LATE * self._late)
        self._late = 0
        self._backlog.save_old()
        self._backlog.tidy()

    def close(self, timeout_seconds: float) -> None:
        """Deliver what can be delivered in this time; the rest is in the spool."""
        deadline = self._clock() + timeout_seconds - CLOSING_SECONDS
        self._deliver_until(deadline)
        routes = self._routes.values()
        for route in routes:
            route.broker.stop_looking()
        self._backlog.save_all()
        for route in routes:
            route.broker.close(CLOSING_SECONDS / 2 / len(routes))
        self._backlog.close()

    def _deliver_until(self, deadline: float) -> None:
        """As long as Kafka may take it, or it has no other place to go."""
        while self.waiting() and self._clock() < deadline:
            if not any(route.broker.producer for route in self._routes.values()) and not self._backlog.trouble():
                return
            with contextlib.suppress(SettingError):
                self.tick()
            self._wait_for_answer(min(ROOM_SECONDS, deadline - self._clock()))
            for route in self._routes.values():
                self._settle(route)

    def _wait_for_answer(self, seconds: float) -> None:
        waited_for = next((lane.on_way[0] for lane in self._lanes() if lane.on_way), None)
        if waited_for is None:
            time.sleep(max(0.0, seconds))
            return
        with contextlib.suppress(KafkaError):
            waited_for.future.get(timeout=max(0.0, seconds))

    # To Kafka

    @staticmethod
    def _may_send(route: Route, lane: Lane, now: float) -> bool:
        return route.is_open(now) and now >= lane.not_before and route.has_room(lane) and not lane.is_slow(now)

    def _send_what_waits(self, most: int) -> None:
        if most <= 0:
            return
        now = self._clock()
        behind = [(route, lane) for route in self._routes.values() for lane in route.lanes if not lane.is_clear()]
        for route, lane in behind:
            self._send_some(route, lane, now, max(1, most // len(behind)))

    def _send_some(self, route: Route, lane: Lane, now: float, most: int) -> None:
        """What waits in this lane, the oldest first."""
        waiting = self._waiting_entries(lane)
        while most > 0 and self._may_send(route, lane, now) and (entry := next(waiting, None)):
            most -= 1
            if self._backlog.keeps(entry):
                self._produce(route, lane, entry)

    def _waiting_entries(self, lane: Lane) -> Iterator[Entry]:
        """Each is taken out of the line."""
        while lane.again:
            yield lane.again.popleft()
        yield from self._backlog.read(lane)
        while lane.fresh and self._backlog.is_listed():
            entry = lane.fresh[0]
            self._backlog.take_first(lane)
            yield entry

    def _produce(self, route: Route, lane: Lane, entry: Entry) -> None:
        """Hand a message to the producer; where that takes nothing now, it is to be sent again."""
        message = entry.message
        try:
            entry.future = route.broker.producer.send(message.topic, value=message.value, key=message.key)
        except NEVER_TAKEN as error:
            self._backlog.set_apart(entry, error)
        except KafkaError as error:
            route.not_before = self._clock() + RETRY_SECONDS
            lane.again.appendleft(entry)
            self._failed(route, lane, [], error)
        else:
            route.sent(lane, entry, self._clock())

    def _keep_slow(self) -> None:
        """What has been on its way for long, or came back, goes to disk too, in case this process is killed."""
        now = self._clock()
        oldest = now - SLOW_SECONDS / 2
        for lane in self._lanes():
            for part in (lane.on_way if lane.oldest_seconds(now) > SLOW_SECONDS else (), lane.again):
                if slow := [entry for entry in part if entry.row is None and entry.since < oldest]:
                    self._backlog.keep_too(slow)

    # What Kafka answers

    def _settle(self, route: Route) -> None:
        """Look at what is on its way, and take what is answered as what it is."""
        now = self._clock()
        for lane in route.lanes:
            # Kafka answers in order, unless something goes wrong.
            if failed := self._take_failed(route, lane, in_order=not lane.is_slow(now)):
                errors = [entry.future.exception for entry in failed]
                self._failed(route, lane, failed, next((one for one in errors if not _may_pass(one)), errors[0]))
        if route.is_silent(now):
            self._give_up(route, TimeoutError("no answer for long"))
        elif route.is_due(now) and route.broker.producer is not None:
            self._give_up(route, None)

    def _take_failed(self, route: Route, lane: Lane, *, in_order: bool) -> list[Entry]:
        """Of what is answered, what is to be sent again; the rest has found its place."""
        answered = lane.take_answered(in_order=in_order)
        if not answered:
            return []
        delivered = [entry for entry in answered if not entry.future.failed()]
        failed = [entry for entry in answered if entry.future.failed() and not self._is_set_apart(route, entry)]
        route.suspects -= min(route.suspects, len(answered) - len(failed))
        if delivered:
            lane.is_stuck = False
            route.acknowledged(delivered, self._clock())
            self._backlog.delivered(delivered)
            if self._acknowledged:
                self._acknowledged([entry.message for entry in delivered], time.time())
        return failed

    def _is_set_apart(self, route: Route, entry: Entry) -> bool:
        """Of a message that was refused: was it alone, and to blame?"""
        error = entry.future.exception
        if not (route.broker.is_cautious and isinstance(error, NEVER_TAKEN)):
            return False
        self._backlog.set_apart(entry, error)
        return True

    def _failed(self, route: Route, lane: Lane, failed: Sequence[Entry], error: BaseException) -> None:
        """These come back. Where that may pass, the producer goes on with the others."""
        if _may_pass(error):
            lane.not_before = self._clock() + RETRY_SECONDS
            route.expired(self._clock())
            log.warning("Kafka does not take messages: they are sent again", extra=_facts(route, error, len(failed)))
        else:
            if is_refusal(error):
                route.suspects += len(failed) + sum(len(one.on_way) for one in route.lanes)
            self._give_up(route, error)
        lane.again.extendleft(reversed(failed))

    def _give_up(self, route: Route, error: BaseException | None) -> None:
        """Take back what was on its way, to be sent again by a new producer; None where nothing is wrong any more."""
        if error is not None:
            log.warning("Kafka fails: its producer is replaced", extra=_facts(route, error, 0))
        for lane in route.lanes:
            lane.take_back(self._take_failed(route, lane, in_order=False))
        route.give_up()

    def _tell_if_slow(self) -> None:
        now = self._clock()
        is_slow = sum(lane.note_if_stuck(now) for lane in self._lanes()) > 0
        if is_slow and not self._is_slow:
            facts = {"waiting": self.waiting(), "reason": reasons.lately()}
            log.warning("Kafka does not acknowledge: tweets wait in the spool", extra=facts)
        if self._is_slow and not is_slow:
            log.info("Kafka acknowledges again", extra={"waiting": self.waiting()})
            # kafka-python leaves the sockets of refused connections in cycles: after months they would be too many.
            gc.collect()
        self._is_slow = is_slow


def _may_pass(error: BaseException) -> bool:
    """Is the producer as good as before, and the message too?"""
    return isinstance(error, RetriableError)


def _waits_for_producer(route: Route) -> bool:
    return route.broker.producer is None and not all(lane.is_clear() for lane in route.lanes)


def _facts(route: Route, error: BaseException, count: int) -> dict[str, Any]:
    return {"topic": route.topic, "error": reasons.named(error), "count": count}
