"""Kafka as the outlet of a replay, which can wait for it as no stream can."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click
from kafka.errors import KafkaError, KafkaTimeoutError

from traptor.archives.outlets import NotWritten
from traptor.delivery import broker
from traptor.delivery.producers import CAUTIOUS, NEVER_TAKEN, is_refusal
from traptor.delivery.reasons import named

WINDOW_BYTES = 16 << 20
"""What may be on its way to Kafka without an acknowledgement; half of what a producer has room for."""
ANSWER_SECONDS = 60.0
"""A producer that leaves a message unanswered for so long, twice its own time-out, is broken."""
LAST_SECONDS = 5.0
"""How long an answer may take once we are told to stop."""
LOOK_SECONDS = 0.2
RETRY_SECONDS = 2.0
CLOSING_SECONDS = 1.0


class Topic:
    """A Kafka topic. Waits for acknowledgements; what Kafka does not take is sent again until it does.

    ``connect`` makes a producer, with more options, or raises KafkaError. ``stopping`` ends the waiting, with
    NotWritten.
    """

    def __init__(self, connect: Callable[[dict[str, Any]], Any], topic: str, stopping: threading.Event) -> None:
        self.counts: Counter[str] = Counter()
        self._connect = connect
        self._topic = topic
        self._stopping = stopping
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._window: deque[tuple[Any, bytes, bytes]] = deque()
        """What is on its way: futures, keys and values."""
        self._window_bytes = 0
        self._begin(cautiously=False)

    def write(self, key: bytes, value: bytes) -> None:
        self._waiting.append((key, value))
        self._send_what_waits()
        while self._window and (self._window[0][0].is_done or self._window_bytes > WINDOW_BYTES):
            self._settle_oldest()
        if self._is_cautious:
            self.flush()

    def flush(self, *, is_last: bool = False) -> None:
        while self._waiting or self._window:
            self._send_what_waits()
            if self._window:
                self._settle_oldest()
        if self._is_cautious:
            broker.close(self._producer, CLOSING_SECONDS)
            self._begin(cautiously=False)

    def close(self) -> None:
        broker.close(self._producer, CLOSING_SECONDS)

    def _begin(self, *, cautiously: bool) -> None:
        self._is_cautious = cautiously
        while True:
            try:
                self._producer = self._connect(CAUTIOUS if cautiously else {})
                return
            except KafkaError as error:
                self._wait_after(error)

    def _send_what_waits(self) -> None:
        while self._waiting:
            key, value = self._waiting[0]
            try:
                future = self._producer.send(self._topic, key=key, value=value)
            except NEVER_TAKEN as error:
                self._refused(key, error)
            except KafkaError as error:
                self._start_over(error)
                continue
            else:
                self._window.append((future, key, value))
                self._window_bytes += len(value)
            self._waiting.popleft()

    def _settle_oldest(self) -> None:
        future, key, value = self._window[0]
        error = self._error_of(future)
        if error and not (self._is_cautious and isinstance(error, NEVER_TAKEN)):
            self._start_over(error)
            return
        self._window.popleft()
        self._window_bytes -= len(value)
        if error:
            self._refused(key, error)
        else:
            self.counts["written"] += 1

    def _error_of(self, future: Any) -> Any:
        """Kafka's answer, once it is there: an exception, or None for an acknowledgement."""
        began = time.monotonic()
        while not future.is_done:
            with suppress(KafkaError):
                future.get(timeout=LOOK_SECONDS)
            waited_seconds = time.monotonic() - began
            if waited_seconds > ANSWER_SECONDS:
                return KafkaTimeoutError(f"no answer for {ANSWER_SECONDS:g} s")
            if waited_seconds > LAST_SECONDS:
                self._give_up_if_told()
        return future.exception

    def _start_over(self, error: Exception) -> None:
        """All that is on its way is to be sent again, by a new producer: one that has failed goes on to fail.

        Where a message was refused, by one that answers for each message by itself, so that it is seen which it was.
        """
        self._waiting.extendleft((key, value) for _, key, value in reversed(self._window))
        self._window.clear()
        self._window_bytes = 0
        is_refused = is_refusal(error)
        if not is_refused:
            self._wait_after(error)
        broker.close(self._producer, 0.0)
        self._begin(cautiously=is_refused)

    def _wait_after(self, error: Exception) -> None:
        click.echo(f"replay: Kafka does not answer, trying again: {named(error)}", err=True)
        self._stopping.wait(RETRY_SECONDS)
        self._give_up_if_told()

    def _give_up_if_told(self) -> None:
        if self._stopping.is_set():
            raise NotWritten("stopped while Kafka did not answer: the last tweets are not acknowledged")

    def _refused(self, key: bytes, error: Exception) -> None:
        click.echo(f"replay: Kafka will never take tweet {key.decode()}: {named(error)}", err=True)
        self.counts["refused"] += 1
