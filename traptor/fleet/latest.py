"""The last tweets of the topic, as they come: read from its end, for nobody's group, and only while somebody looks."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from kafka import KafkaConsumer
from kafka.errors import KafkaError

from traptor import kafka_options
from traptor.delivery import reasons
from traptor.printable import harmless
from traptor.tweets import fields, kinds

KEPT = 20
IDLE_SECONDS = 30.0
"""Nobody has asked for so long: nobody looks."""
POLL_MS = 500
RECENT_SECONDS = 10.0
RETRY_SECONDS = 3.0
CONSUMER = {
    "auto_offset_reset": "latest",
    "enable_auto_commit": False,
    "allow_auto_create_topics": False,
    "fetch_max_bytes": 4 << 20,
    "bootstrap_timeout_ms": 3_000,  # which is also how long an end may take
    "reconnect_backoff_max_ms": 2_000,
    "metrics_enabled": False,
}

log = logging.getLogger(__name__)


def connect(hosts: str, topics: Sequence[str], options: Mapping[str, Any]) -> Any:
    """A consumer at the end of these topics, of which the first must be there; it leaves nothing in Kafka.

    Raises KafkaError, LookupError.
    """
    shared = kafka_options.shared(options, KafkaConsumer.DEFAULT_CONFIG)
    with reasons.told():
        consumer = KafkaConsumer(bootstrap_servers=hosts.split(","), **{**CONSUMER, **shared}, group_id=None)
    try:
        if not consumer.partitions_for_topic(topics[0]):
            raise LookupError(f"there is no topic {topics[0]}")
        consumer.subscribe(topics)
    except BaseException:
        consumer.close()
        raise
    return consumer


class Latest:
    """``connected`` gives a consumer, ``shown`` what is kept of a tweet. A tweet that was deleted is kept no longer.

    It reads in the background while a ``with`` holds.
    """

    def __init__(
        self,
        connected: Callable[[], Any],
        shown: Callable[[Mapping[str, Any]], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connected = connected
        self._shown = shown
        self._clock = clock
        self._is_wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="traptor-latest", daemon=True)
        self._asked_at = 0.0
        self._kept: dict[str, Any] = {}
        self._trouble = "Kafka has not answered yet."

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._is_wanted.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._stopped.is_set():
            try:
                self.read()
            except Exception:
                self._trouble = "The last tweets cannot be read: the log says why."
                log.exception("reading the last tweets failed, and is begun again")
            self._stopped.wait(RETRY_SECONDS)

    def seen(self) -> dict[str, Any]:
        """``tweets``, the newest first, and what keeps them from coming, in words: ``trouble``."""
        self._asked_at = self._clock()
        self._is_wanted.set()
        return {"tweets": list(self._kept.values())[::-1], "trouble": self._trouble}

    def read(self) -> None:
        """Wait until somebody looks, and read for as long as somebody does; returns also where Kafka fails."""
        self._is_wanted.wait()
        if self._stopped.is_set():
            return
        try:
            self._follow(self._connected())
        except (KafkaError, LookupError, OSError) as error:
            self._trouble = f"Kafka cannot be read: {harmless(error)}"
            self._rest()

    def _follow(self, consumer: Any) -> None:
        self._trouble = ""
        try:
            while self._is_wanted.is_set() and not self._stopped.is_set():
                polled = consumer.poll(timeout_ms=POLL_MS)
                self._take(record.value for records in polled.values() for record in records)
                self._trouble = "" if polled else reasons.lately(RECENT_SECONDS)
                self._rest()
        finally:
            # What is deleted while nobody looks is not known.
            self._kept = {}
            consumer.close()

    def _rest(self) -> None:
        """Where nobody looks any more."""
        if self._clock() - self._asked_at > IDLE_SECONDS:
            self._is_wanted.clear()

    def _take(self, values: Iterable[bytes]) -> None:
        """Another set takes the place of the old one, which somebody may be looking through."""
        tweets = {}
        kept = dict(self._kept)
        for message in filter(None, map(_read, values)):
            if kinds.kind(message) == "tweet":
                tweets[kinds.tweet_id(message)] = message
            elif deleted := kinds.deleted_id(message):
                kept.pop(deleted, None)
                tweets.pop(deleted, None)
        kept |= {id_str: self._shown(tweet) for id_str, tweet in list(tweets.items())[-KEPT:]}
        self._kept = dict(list(kept.items())[-KEPT:])


def _read(value: bytes | None) -> Any:
    """None for what is no JSON."""
    try:
        return fields.load(value or b"")
    except ValueError:
        return None
