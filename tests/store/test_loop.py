import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from tests.store.samples import messages, tweet
from traptor.account.state import State
from traptor.store.destination import Away, Message, Refused
from traptor.store.loop import Store


class Reader:
    """Gives these batches; an exception is raised instead."""

    name = "a reader"

    def __init__(self, *batches: Any) -> None:
        self.batches = list(batches)
        self.done: list[Message] = []
        self.held = 0

    def read(self, wait_seconds: float) -> list[Message]:
        batch = self.batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        return list(batch)

    def hold(self) -> None:
        self.held += 1

    def stored(self, stored: Sequence[Message]) -> None:
        self.done += stored

    def is_finished(self) -> bool:
        return not self.batches

    def behind(self) -> int:
        return len(self.batches)

    def is_connected(self) -> bool:
        return True

    def close(self) -> None:
        self.batches = []


class Database:
    """Has ``faults`` to raise, one a call, and refuses messages that have ``poison`` in them."""

    name = "a database"

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.stored: list[Message] = []
        self.put_apart: list[Message] = []

    def open(self) -> None:
        self._fail()

    def write(self, batch: Sequence[Message]) -> Counter[str]:
        self._fail()
        if any(b"poison" in one.value for one in batch):
            raise Refused("poison")
        self.stored += batch
        return Counter(read=len(batch), stored=len(batch))

    def set_apart(self, message: Message, reason: str) -> Counter[str]:
        self._fail()
        self.put_apart.append(message)
        return Counter(read=1, apart=1)

    def tidy(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to close."""

    def _fail(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


class Clock:
    """An event that nobody sets, whose waits move the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_told = False

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.is_told

    def is_set(self) -> bool:
        return self.is_told


TWEETS = messages(*(tweet(id_) for id_ in range(1, 9)))
AWAY = [Away("gone")] * 7


def run(
    reader: Reader,
    database: Any,
    clock: Clock,
    tell: Callable[[Store], None] = lambda _: None,
    *,
    patience_seconds: float = math.inf,
) -> Store:
    stopping: threading.Event = clock  # type: ignore[assignment]
    store = Store(reader, database, stopping, tell, clock, patience_seconds=patience_seconds)
    store.run()
    return store


@pytest.mark.parametrize("faults", [[], AWAY[:1], AWAY])
def test_a_database_that_is_away_is_waited_for_and_nothing_is_lost(faults: list[Exception]) -> None:
    reader, database, clock = Reader(TWEETS[:4], TWEETS[4:]), Database(*faults), Clock()
    states: list[State] = []
    store = run(reader, database, clock, lambda store: states.append(store.state))
    assert database.stored == reader.done == TWEETS
    assert store.counts == {"read": 8, "stored": 8}
    assert (State.DATABASE_DOWN in states) == bool(faults)
    assert clock.now == {0: 0, 1: 0.5, 7: 0.5 + 1 + 2 + 4 + 8 + 8 + 8}[len(faults)]
    assert reader.held >= len(faults) // 2


def test_a_kafka_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    states: list[State] = []
    reader, database = Reader(KafkaTimeoutError("slow"), TWEETS), Database()
    run(reader, database, Clock(), lambda store: states.append(store.state))
    assert (database.stored, states[0], states[-1]) == (TWEETS, State.KAFKA_DOWN, State.STREAMING)
    assert [vars(one)["error"] for one in caplog.records if "Kafka" in one.message] == ["KafkaTimeoutError: slow"]


GONE = KafkaTimeoutError("gone")


@pytest.mark.parametrize(
    "batches, faults, told",
    [
        ([GONE] * 4, [], None),
        ([GONE] * 4 + [TWEETS] + [GONE] * 4, [], None),
        ([GONE] * 6, [], "gone"),
        ([TWEETS], AWAY[:4], None),
        ([TWEETS], AWAY[:6], "gone"),
    ],
)
def test_patience_is_for_what_is_away_without_end(
    batches: list[Any], faults: list[Exception], told: str | None
) -> None:
    """The waits are 0.5, 1, 2, 4 and 8 seconds."""
    reader, database, clock = Reader(*batches), Database(*faults), Clock()
    with pytest.raises((Away, KafkaTimeoutError), match=told) if told else nullcontext():
        run(reader, database, clock, patience_seconds=10)
    assert told is None or 10 <= clock.now <= 18
    assert reader.batches == []


@pytest.mark.parametrize("patience_seconds, is_told", [(10, True), (math.inf, False)])
def test_patience_is_also_for_a_topic_of_which_we_get_no_part(patience_seconds: float, *, is_told: bool) -> None:
    """As where Kafka knows no coordinator of the group: nothing fails, and nothing comes."""
    reader, clock = Reader(*([[]] * 100)), Clock()
    reader.is_connected = lambda: False  # type: ignore[method-assign]
    with pytest.raises(Away, match="a reader gives us nothing") if is_told else nullcontext():
        run(reader, Database(), clock, lambda _: clock.wait(0.5) and None, patience_seconds=patience_seconds)
    assert clock.now == (10 if is_told else 50)


@pytest.mark.parametrize("bad", [[0], [3], [7], [0, 7], list(range(8))])
@pytest.mark.parametrize("faults", [[], AWAY[:3]])
def test_what_is_refused_is_set_apart_alone(bad: list[int], faults: list[Exception]) -> None:
    batch = [one._replace(value=b"poison") if one.offset in bad else one for one in TWEETS]
    reader, database = Reader(batch, []), Database(*faults)
    store = run(reader, database, Clock())
    assert [one.offset for one in database.put_apart] == bad
    assert [one.offset for one in database.stored] == [at for at in range(8) if at not in bad]
    assert reader.done == batch
    assert store.counts["read"] == store.counts["stored"] + store.counts["apart"] == 8


def test_told_to_stop_it_stops_waiting_and_says_what_is_not_stored() -> None:
    clock = Clock()

    def stop(store: Store) -> None:
        clock.is_told = store.state == State.DATABASE_DOWN

    database = Database()
    reader = Reader(TWEETS, TWEETS)
    database.open = lambda: database.faults.extend(AWAY)  # type: ignore[method-assign]
    store = run(reader, database, clock, stop)
    assert (store.unstored, reader.done, database.stored) == (8, [], [])
    assert clock.now <= 1
