"""The producer: made in the background once the broker answers, and given up for a new one when it fails."""

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kafka.errors import KafkaError, KafkaTimeoutError

from traptor.delivery import reasons
from traptor.settings import SettingError

RECONNECT_SECONDS = 2.0
"""Between tries to reach a broker that is away."""
TOPIC_SECONDS = 10.0
"""What the broker, be it far away, may take to tell of a topic, or to make it where it does so by itself."""
COUNT_SECONDS = 60.0
"""How often a producer is asked whether its topic has other partitions now."""

log = logging.getLogger(__name__)


class Broker:
    """``connect`` makes a producer or raises KafkaError; a thread calls it until it succeeds, so that nobody waits.
    When the first one cannot be made for a SettingError, that is the ``refusal``, and there is no second try.

    ``connect_cautiously`` makes one that answers for each message by itself.
    """

    def __init__(self, topic: str, connect: Callable[[], Any], connect_cautiously: Callable[[], Any]) -> None:
        self.topic = topic
        self.producer: Any = None
        """None while there is none."""
        self.partitions = 1
        """Of the topic, as the producer knows them."""
        self.is_cautious = False
        self.refusal: SettingError | None = None
        self._was_there = False
        self._count_at = 0.0
        self._connect = connect
        self._connect_cautiously = connect_cautiously
        self._closing = threading.Event()

    def look(self) -> None:
        """Begin to look for the broker."""
        threading.Thread(target=self._connect_until_there, name="traptor-kafka", daemon=True).start()

    def count_again(self, now: float) -> None:
        """Have a thread ask, once in a while, how many partitions there are."""
        if self.producer is not None and now >= self._count_at:
            self._count_at = now + COUNT_SECONDS
            threading.Thread(target=self._count, args=(self.producer,), name="traptor-kafka", daemon=True).start()

    def _count(self, producer: Any) -> None:
        with contextlib.suppress(KafkaError):
            count = partitions(producer, self.topic)
            if producer is self.producer:
                self.partitions = count

    def give_up(self, *, cautiously: bool) -> None:
        """Close the producer without waiting for it, and look for the broker anew."""
        producer, self.producer, self.is_cautious = self.producer, None, cautiously
        threading.Thread(target=self._replace, args=(producer,), name="traptor-kafka", daemon=True).start()

    def stop_looking(self) -> None:
        self._closing.set()

    def close(self, timeout_seconds: float) -> None:
        self._closing.set()
        if self.producer is not None:
            close(self.producer, timeout_seconds)

    def _replace(self, producer: Any) -> None:
        close(producer, 0.0)
        self._wait()
        self._connect_until_there()

    def _connect_until_there(self) -> None:
        told = set()
        while not self._closing.is_set():
            try:
                self.producer, self._was_there = self._made(), True
                log.info("Kafka connected", extra={"topic": self.topic})
                return
            except Exception as error:
                if self._closing.is_set():
                    return  # it was broken off
                if isinstance(error, SettingError) and not self._was_there:
                    self.refusal = error
                    return
                reason = reasons.named(error)
                if reason not in told:
                    self._tell(error, reason)
                    told.add(reason)
            self._wait()

    def _made(self) -> Any:
        """A producer that knows the topic."""
        producer = self._connect_cautiously() if self.is_cautious else self._connect()
        try:
            self.partitions = partitions(producer, self.topic)
        except BaseException:
            close(producer, 0.0)
            raise
        return producer

    def _wait(self) -> None:
        self._closing.wait(RECONNECT_SECONDS)
        # kafka-python leaves the sockets of refused connections in cycles: for hours, they are too many.
        gc.collect()

    def _tell(self, error: Exception, reason: str) -> None:
        unexpected = None if isinstance(error, KafkaError | OSError) else error
        log.warning(
            "Kafka cannot be reached: trying again; tweets wait in the spool meanwhile",
            extra={"topic": self.topic, "error": reason},
            exc_info=unexpected,
        )


def partitions(producer: Any, topic: str) -> int:
    """How many the topic has; one where the producer, which may be anybody's, does not tell.

    Raises KafkaError when no broker has told of it in time.
    """
    deadline = time.monotonic() + TOPIC_SECONDS
    while hasattr(producer, "partitions_for"):
        try:
            return max(1, len(producer.partitions_for(topic)))
        except KafkaTimeoutError:
            if time.monotonic() > deadline:
                raise
    return 1


def close(producer: Any, timeout_seconds: float) -> None:
    """Close a producer, whatever it still holds and whatever state it is in."""
    try:
        producer.close(timeout=timeout_seconds)
    except KafkaError:
        # kafka-python flushes first, and leaves its thread and sockets behind where that fails.
        producer._sender.force_close()
    except Exception:
        log.exception("a producer could not be closed")
