"""From a reader into a database: read, write, wait for what is away."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from kafka.errors import KafkaError

from traptor.account.state import QUIET_SECONDS, State
from traptor.delivery.reasons import named
from traptor.store.destination import Away, Destination, Message, Refused
from traptor.store.topics import Reader

READ_SECONDS = 0.5
TIDY_SECONDS = 1.0
"""While messages come, it is tidied so often."""
TIDYING_SECONDS = 0.2
"""And for so long."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 8.0
HOLD_SECONDS = 1.0
ENDING_SECONDS = 3.0
"""What tidying may take at the end."""

log = logging.getLogger(__name__)


class Store:
    """One run. ``stopping`` ends it; ``tell`` is called after each step. ``counts`` are those of Destination.write.

    What is away for ``patience_seconds`` is waited for no longer.
    """

    def __init__(
        self,
        reader: Reader,
        destination: Destination,
        stopping: threading.Event,
        tell: Callable[["Store"], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        *,
        patience_seconds: float = math.inf,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.state = State.STARTING
        self.behind = 0
        self.unstored = 0
        """Messages that were read and could not be written before the end."""
        self._waiting: list[Sequence[Message]] = []
        """The batch that is to be written, in the parts that it fell into."""
        self.last_message_at: float | None = None
        self._reader = reader
        self._destination = destination
        self._stopping = stopping
        self._tell = tell
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._tidied_at = self._moved_at = clock()
        self._wait_seconds = FIRST_WAIT_SECONDS

    def seconds_since_last_message(self) -> float:
        return self._clock() - self.last_message_at if self.last_message_at is not None else 0.0

    def run(self) -> None:
        """Until it is told to stop, or the reader has no more.

        Raises WrongDestination, LookupError; Away, KafkaError once patience is over.
        """
        try:
            while not self._stopping.is_set() and (self._waiting or not self._reader.is_finished()):
                self.step()
                self._tell(self)
            self.unstored = sum(map(len, self._waiting))
            self._note(State.STOPPING)
            self._tidy_up()
        finally:
            self._reader.close()
            self._destination.close()

    def step(self) -> None:
        try:
            self._move()
        except Away as error:
            self._wait(State.DATABASE_DOWN, "the database is away: trying again", error)
        except KafkaError as error:
            self._wait(State.KAFKA_DOWN, "Kafka cannot be read: trying again", error)
        else:
            self._wait_seconds = FIRST_WAIT_SECONDS
            self._note(self._seen())
            if self._reader.is_connected():
                self._moved_at = self._clock()
            elif self._is_out_of_patience():
                raise Away(f"{self._reader.name} gives us nothing: it is away, or other stores of our group have all")

    def _move(self) -> None:
        """One batch, read and written. One that could not be written comes before what is read next."""
        if self.state in {State.STARTING, State.DATABASE_DOWN}:
            self._destination.open()
        if not self._waiting:
            self._read()
        if self._waiting:
            self._write(self._waiting[0])
        if not self._waiting or self._clock() - self._tidied_at > TIDY_SECONDS:
            self._tidied_at = self._clock()
            while self._destination.tidy() and self._clock() < self._tidied_at + TIDYING_SECONDS:
                pass

    def _read(self) -> None:
        messages = self._reader.read(READ_SECONDS)
        self.behind = self._reader.behind()
        if messages:
            self.last_message_at = self._clock()
            self._waiting.append(messages)

    def _write(self, messages: Sequence[Message]) -> None:
        """Of a batch that is refused each half by itself, until it is seen which message is to blame."""
        try:
            counts = self._destination.write(messages)
        except Refused as error:
            if len(messages) > 1:
                middle = len(messages) // 2
                self._waiting[:1] = [messages[:middle], messages[middle:]]
                return
            counts = self._destination.set_apart(messages[0], str(error))
        self._waiting.pop(0)
        self.counts = self.counts + counts  # another thread, which reads them, has all of a batch or nothing
        self._reader.stored(messages)

    def _seen(self) -> State:
        if not self._reader.is_connected():
            return State.CONNECTING if self.last_message_at is None else State.KAFKA_DOWN
        return State.QUIET if self.seconds_since_last_message() > QUIET_SECONDS else State.STREAMING

    def _wait(self, state: State, what: str, error: Exception) -> None:
        """Twice as long as the last time, still in the group."""
        if self._is_out_of_patience():
            raise error
        if self.state != state:
            log.warning(what, extra={"error": named(error)})
        self._note(state)
        until = self._clock() + self._wait_seconds
        self._wait_seconds = min(2 * self._wait_seconds, LONGEST_WAIT_SECONDS)
        while (left := until - self._clock()) > 0 and not self._stopping.wait(min(left, HOLD_SECONDS)):
            self._reader.hold()
            self._tell(self)

    def _is_out_of_patience(self) -> bool:
        return self._clock() - self._moved_at >= self._patience_seconds

    def _note(self, state: State) -> None:
        if state != self.state:
            log.info("state", extra={"state": state.value, "before": self.state.value})
            self.state = state

    def _tidy_up(self) -> None:
        """What was deleted leaves the file before we go, where that takes no longer than we may."""
        until = self._clock() + ENDING_SECONDS
        try:
            while self._clock() < until and self._destination.tidy():
                self._tell(self)
        except Away as error:
            log.warning("the database was away at the end", extra={"error": str(error)})
