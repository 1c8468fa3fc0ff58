"""Kafka as the outlet of a replay, which can wait for it as no stream can."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import click
from kafka.errors import KafkaError

from traptor.delivery import NEVER_TAKEN
from traptor.outlets import NotWritten

WINDOW_BYTES = 32 << 20
"""What may be on its way to Kafka without an acknowledgement."""
ANSWER_SECONDS = 60.0
RETRY_SECONDS = 2.0


class Topic:
    """A Kafka topic. Waits for acknowledgements; what Kafka does not take is sent again until it does.

    ``connect`` makes a producer or raises KafkaError. ``stopping`` ends the waiting, with NotWritten.
    """

    def __init__(self, connect: Callable[[], Any], topic: str, stopping: threading.Event) -> None:
        self.counts: Counter[str] = Counter()
        self._topic = topic
        self._stopping = stopping
        self._window: deque[tuple[Any, bytes, bytes]] = deque()
        self._window_bytes = 0
        self._producer = self._patiently(connect)

    def write(self, key: bytes, value: bytes) -> None:
        self._send(key, value)
        while self._window and (self._window[0][0].is_done or self._window_bytes > WINDOW_BYTES):
            self._settle_oldest()

    def flush(self, *, is_last: bool = False) -> None:
        while self._window:
            self._settle_oldest()

    def close(self) -> None:
        self._producer.close(timeout=1.0)

    def _send(self, key: bytes, value: bytes) -> None:
        try:
            future = self._patiently(lambda: self._producer.send(self._topic, key=key, value=value))
        except NEVER_TAKEN as error:
            self._refused(key, error)
            return
        self._window.append((future, key, value))
        self._window_bytes += len(value)

    def _settle_oldest(self) -> None:
        future, key, value = self._window.popleft()
        self._window_bytes -= len(value)
        try:
            future.get(timeout=ANSWER_SECONDS)
        except NEVER_TAKEN as error:
            self._refused(key, error)
        except KafkaError as error:
            self._tell(error)
            self._give_up_if_told(error)
            self._send(key, value)
        else:
            self.counts["written"] += 1

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        while True:
            try:
                return ask()
            except NEVER_TAKEN:
                raise
            except KafkaError as error:
                self._tell(error)
                self._stopping.wait(RETRY_SECONDS)
                self._give_up_if_told(error)

    def _give_up_if_told(self, error: KafkaError) -> None:
        if self._stopping.is_set():
            raise NotWritten("stopped while Kafka did not answer: the last tweets are not acknowledged") from error

    def _refused(self, key: bytes, error: Exception) -> None:
        click.echo(f"replay: Kafka will never take tweet {key.decode()}: {type(error).__name__}: {error}", err=True)
        self.counts["refused"] += 1

    def _tell(self, error: Exception) -> None:
        click.echo(f"replay: Kafka does not answer, trying again: {type(error).__name__}: {error}", err=True)
