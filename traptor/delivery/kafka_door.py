"""Out to Kafka, with a spool for what it does not take or acknowledge."""

import contextlib
import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from kafka.errors import (
    KafkaError,
)

from traptor.delivery.backlog import Backlog
from traptor.delivery.broker import Broker
from traptor.delivery.producers import NEVER_TAKEN
from traptor.delivery.spool import Message, Spool
from traptor.delivery.window import Sent, Window

WINDOW_BYTES = 8 << 20
"""What may be on its way to Kafka without an acknowledgement."""

SLOW_SECONDS = 1.0
"""A message without acknowledgement for so long goes to the spool as well, so that a killed process keeps it."""

GIVE_UP_SECONDS = 60.0
"""A producer that leaves a message unanswered for so long, twice its own time-out, is broken."""

ROOM_SECONDS = 0.1
"""How long to wait for Kafka to acknowledge something when it is a little behind."""

CLOSING_SECONDS = 1.0
"""What writing the spool and closing the producer may take of the time to stop."""

log = logging.getLogger(__name__)


class Kafka:
    """Kafka, and the spool for what it does not take or acknowledge.

    ``connect`` makes a producer or raises KafkaError; it is called by a thread of its own until it succeeds, so the
    caller never waits for a broker that is away. ``connect_cautiously`` makes one that answers for each message by
    itself: see CAUTIOUS. ``counts`` gets delivered, and what a Backlog counts. ``acknowledged`` is called with the
    messages that Kafka has acknowledged, and the time.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        spool: Spool,
        counts: Counter[str],
        acknowledged: Callable[[Sequence[Message], float], None] | None = None,
        *,
        connect_cautiously: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spool = spool
        self.counts = counts
        self._acknowledged = acknowledged
        self._clock = clock
        self._broker = Broker(connect, connect_cautiously or connect)
        self._window = Window()
        self._backlog = Backlog(spool, self._window, counts, clock)
        self._suspects = 0
        """Messages that were refused together, and are to be answered for one by one."""
        self._is_slow = False
        """Kafka does not acknowledge what it was told."""

    @property
    def producer(self) -> Any:
        """None while there is none."""
        return self._broker.producer

    @producer.setter
    def producer(self, producer: Any) -> None:
        self._broker.producer = producer

    def open(self) -> None:
        """Start to look for the broker."""
        self._broker.look()

    def take_up(self) -> None:
        """Take up what an earlier run has left in the spool, once no other process uses it."""
        self._backlog.open()

    def waiting(self) -> int:
        """Messages that Kafka has not acknowledged, in memory and on disk."""
        return self._window.unspooled + self._backlog.waiting()

    def ack_lag_seconds(self) -> float:
        """The age of the oldest message on its way."""
        return max(0.0, self._window.oldest_seconds(self._clock()))

    def is_down(self) -> bool:
        """Does Kafka not take or not acknowledge what it is given?"""
        return self._is_slow or (self.producer is None and self.waiting() > 0)

    def is_full(self) -> bool:
        """Are messages being dropped, for want of room?"""
        return self._backlog.is_full()

    def send(self, messages: Sequence[Message]) -> None:
        """Take messages. They go to Kafka at once if nothing older waits, or else after what does."""
        if self._window.size_bytes >= WINDOW_BYTES and not self._is_slow:
            self._wait_for_room()
        waiting = iter(messages)
        if not self._backlog and self._can_send():
            for message in waiting:
                if not self._produce(message):
                    self._backlog.add(message)
                    break
        for message in waiting:
            self._backlog.add(message)

    def _wait_for_room(self) -> None:
        """The stream is read by a thread of its own meanwhile."""
        with contextlib.suppress(KafkaError):
            next(iter(self._window)).future.get(timeout=ROOM_SECONDS)
        self._settle()

    def forget(self, key: bytes) -> None:
        """Its author deleted it: what still waits is dropped, and what is on its way is not sent again."""
        for sent in self._window:
            sent.is_deleted |= sent.message.key == key
        self._backlog.forget(key)

    def scrub(self, user_id: str, up_to_id: int) -> None:
        """Its author took the location back: what still waits, or may be sent again, loses it."""
        for sent in self._window:
            sent.message = sent.message.without_location(user_id, up_to_id)
        self._backlog.scrub(user_id, up_to_id)

    def tick(self) -> None:
        """Settle what Kafka has answered, and move what waits. Called several times a second.

        Raises SettingError where there will never be a producer.
        """
        if self._broker.refusal:
            raise self._broker.refusal
        self._settle()
        self._keep_slow()
        self._backlog.take_up()
        self._send_what_waits()
        self._backlog.save_old()

    def close(self, timeout_seconds: float) -> None:
        """Deliver what can be delivered in this time; the rest is in the spool."""
        deadline = self._clock() + timeout_seconds - CLOSING_SECONDS
        self._broker.stop_looking()
        self._deliver_until(deadline)
        self._backlog.keep_too([sent for sent in self._window if sent.row is None])
        self._backlog.save()
        self._broker.close(CLOSING_SECONDS / 2)
        self._backlog.close([sent.message for sent in self._window.take_all() if sent.row is None])

    def _deliver_until(self, deadline: float) -> None:
        """Flush what is on its way and what waits, for as long as Kafka takes it."""
        before = -1
        while self.producer is not None and self.waiting() not in {0, before} and self._clock() < deadline:
            before = self.waiting()
            self._send_what_waits()
            try:
                self.producer.flush(timeout=deadline - self._clock())
            except KafkaError as error:
                log.warning("Kafka did not take everything in time", extra={"error": str(error)})
            self._settle()

    # To Kafka

    def _can_send(self) -> bool:
        is_taking = self.producer is not None and not self._is_trial_over()
        return is_taking and not self._is_slow and self._window.size_bytes < WINDOW_BYTES

    def _is_trial_over(self) -> bool:
        """Has every suspect been answered for? Then it is time for a fast producer again."""
        return self._broker.is_cautious and not self._suspects

    def _send_what_waits(self) -> None:
        if not self._can_send():
            return
        for row, message in self._backlog.oldest():
            if not self._can_send() or not self._produce(message, row):
                return
            self._backlog.pass_on(row)

    def _produce(self, message: Message, row: int | None = None) -> bool:
        """Hand a message to the producer. False: Kafka takes nothing now, and the caller keeps the message."""
        try:
            future = self.producer.send(message.topic, value=message.value, key=message.key)
        except NEVER_TAKEN as error:
            self._backlog.set_apart(message, error, row)
        except KafkaError as error:
            self._give_up([], error)
            return False
        else:
            self._window.add(Sent(message, future, self._clock(), row))
        return True

    def _keep_slow(self) -> None:
        """What has been on its way for long goes to disk too, in case this process is killed."""
        if self._is_slow:
            oldest = self._clock() - SLOW_SECONDS / 2
            self._backlog.keep_too([sent for sent in self._window if sent.row is None and sent.since < oldest])

    # What Kafka answers

    def _settle(self) -> None:
        """Look at the oldest messages on their way, for as long as they are answered."""
        answered = self._window.take_answered()
        self._delivered([sent for sent in answered if not sent.future.failed()])
        failed = [sent for sent in answered if sent.future.failed() and not self._is_set_apart(sent)]
        self._suspects -= min(self._suspects, len(answered) - len(failed))
        if failed:
            errors = [sent.future.exception for sent in failed]
            self._give_up(failed, next((error for error in errors if isinstance(error, NEVER_TAKEN)), errors[0]))
        elif self.ack_lag_seconds() > GIVE_UP_SECONDS:
            self._give_up([], TimeoutError(f"no answer for {GIVE_UP_SECONDS:g} s"))
        elif self._is_trial_over() and not self._window:
            self._give_up([], None)
        self._backlog.take_out_finished()
        self._tell_if_slow()

    def _delivered(self, delivered: Sequence[Sent]) -> None:
        self.counts["delivered"] += len(delivered)
        for sent in delivered:
            self._backlog.finish(sent)
        if self._acknowledged:
            self._acknowledged([sent.message for sent in delivered], time.time())

    def _is_set_apart(self, sent: Sent) -> bool:
        """Of a message that was refused: was it alone, and to blame?"""
        error = sent.future.exception
        if not (self._broker.is_cautious and isinstance(error, NEVER_TAKEN)):
            return False
        self._backlog.set_apart(sent.message, error, sent.row)
        return True

    def _give_up(self, failed: Sequence[Sent], error: BaseException | None) -> None:
        """Take back what was on its way, to be sent again by a new producer; None where nothing is wrong any more."""
        if error is not None:
            log.warning("Kafka fails: its producer is replaced", extra={"error": f"{type(error).__name__}: {error}"})
        again = [*failed, *self._window.take_all()]
        if isinstance(error, NEVER_TAKEN):
            self._suspects = len(again)
        self._is_slow = False
        self._backlog.put_back(again)
        self._broker.give_up(cautiously=self._suspects > 0)

    def _tell_if_slow(self) -> None:
        is_slow = self.ack_lag_seconds() > SLOW_SECONDS
        if is_slow and not self._is_slow:
            log.warning("Kafka does not acknowledge: tweets wait in the spool", extra={"waiting": self.waiting()})
        if self._is_slow and not is_slow:
            log.info("Kafka acknowledges again", extra={"waiting": self.waiting()})
            # kafka-python leaves the sockets of refused connections in cycles: after months they would be too many.
            gc.collect()
        self._is_slow = is_slow
