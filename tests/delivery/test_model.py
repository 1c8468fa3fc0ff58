"""Whatever happens in whatever order: each message is delivered, waits, is set apart or dropped by a reason.

The real delivery code on a fake Kafka of several partitions and a file that others use and a disk refuses, against what
is known of each message.
"""

import contextlib
import json
import shutil
import sqlite3
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kafka.errors import IllegalStateError, KafkaTimeoutError, MessageSizeTooLargeError, TopicAuthorizationFailedError

from traptor.delivery import backlog, broker, kafka_door, lane, route, spool_file
from traptor.delivery.kafka_door import Kafka
from traptor.delivery.spool import Message, Spool, SpoolError

PARTITIONS = {"traptor": 2, "notices": 1}
MOST_PARTITIONS = 4
LARGE_BYTES = 1000
USERS = 3
TURNS = 40
"""In so many turns in which nothing is in the way, all moves that can."""
SECONDS = st.sampled_from([0.1, backlog.GATHER_SECONDS, lane.SLOW_SECONDS + 0.1, route.GIVE_UP_SECONDS + 1])
MOMENTS = st.integers(1, 8)
PLACES = st.sampled_from([*(("traptor", partition) for partition in range(MOST_PARTITIONS)), ("notices", 0)])


def tweet(id_: int, **more: Any) -> dict[str, Any]:
    """By one of a few users, with a location."""
    return {"id_str": f"{id_}", "user": {"id_str": f"{id_ % USERS}"}, "coordinates": [1, 2], **more}


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """A tweet and those embedded in it."""
    if value:
        yield value
        yield from parts(value.get("retweeted_status"))
        yield from parts(value.get("quoted_status"))


class Others:
    """What other threads do, a number of moments from now. A moment is whenever delivery asks for an answer, sends,
    writes or waits."""

    def __init__(self) -> None:
        self.due: list[tuple[int, Callable[[], object]]] = []
        self._moments = 0
        self.thread_moments = 0
        """So late a thread does its work."""

    def do(self, moments: int, what: Callable[[], object]) -> None:
        self.due.append((self._moments + moments, what))

    def moment(self) -> None:
        self._moments += 1
        for due in [due for due in self.due if due[0] <= self._moments]:
            self.due.remove(due)
            due[1]()

    def thread(self, target: Callable[..., object], args: tuple[Any, ...] = (), **_: Any) -> Mock:
        return Mock(start=lambda: self.start(partial(target, *args)))

    def start(self, work: Callable[[], object]) -> None:
        if self.thread_moments:
            self.do(self.thread_moments, work)
        else:
            work()


class Clock:
    def __init__(self, others: Others) -> None:
        self.others = others
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.others.moment()


class Answer:
    """A future as kafka-python's, of the message with this number."""

    def __init__(self, number: int, size_bytes: int, clock: Clock) -> None:
        self.number = number
        self.size_bytes = size_bytes
        self.is_there = False
        self.has_arrived = False
        self.exception: BaseException | None = None
        self._clock = clock

    @property
    def is_done(self) -> bool:
        """It may come while it is asked for, as librdkafka's do."""
        self._clock.others.moment()
        return self.is_there

    def failed(self) -> bool:
        return self.exception is not None

    def fail(self, error: BaseException) -> None:
        self.is_there, self.exception = True, error

    def get(self, timeout: float) -> None:
        self._clock.sleep(timeout)
        if not self.is_there:
            raise KafkaTimeoutError("not in time")


class FakeKafka:
    """Its log by partition outlives its producers."""

    door: Kafka

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.log: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.acknowledged: set[int] = set()
        self.may_come_again: set[int] = set()
        """What a restored file has, and memory has not in the same row; and what was acknowledged in a moment, in which
        it may be given up."""
        self.partitions = dict(PARTITIONS)
        self.leaderless: set[tuple[str, int]] = set()
        self.deleted: list[tuple[str, int]] = []
        """An id, and the number of the first message that came after its deletion."""
        self.scrubbed: list[tuple[str, int, int]] = []
        """A user, up to which id, and the same."""
        self.is_forbidden = False
        """The topic of the notices."""
        self.producers: list[Producer] = []

    def connect(self, *, is_cautious: bool = False) -> "Producer":
        self.producers.append(Producer(self, is_cautious))
        return self.producers[-1]

    def places(self) -> list[tuple[str, int]]:
        return [(topic, number) for topic, count in self.partitions.items() for number in range(count)]

    def check(self, number: int, value: dict[str, Any]) -> None:
        """What is handed to a producer."""
        assert number not in self.acknowledged - self.may_come_again, "sent again though it was acknowledged"
        for id_, before in self.deleted:
            assert number >= before or id_ not in {part["id_str"] for part in parts(value)}, "sent though deleted"
        for user, up_to, before in self.scrubbed:
            located = [part for part in parts(value) if part["user"]["id_str"] == user and part["coordinates"]]
            assert number >= before or all(int(part["id_str"]) > up_to for part in located), "sent with its location"

    def acknowledge(self, place: tuple[str, int], most: int = 1 << 30) -> None:
        for producer in self.producers:
            if place not in self.leaderless:
                producer.acknowledge(place, most)


class Producer:
    def __init__(self, kafka: FakeKafka, is_cautious: bool) -> None:
        self.kafka = kafka
        self.is_cautious = is_cautious
        self.pending: dict[tuple[str, int], list[Answer]] = defaultdict(list)
        self.fatal: BaseException | None = None

    def partitions_for(self, topic: str) -> set[int]:
        return set(range(self.kafka.partitions[topic]))

    def send(self, topic: str, value: bytes, key: bytes | None) -> Answer:
        read = json.loads(value)
        self.kafka.check(read["number"], read)
        if self.fatal:
            raise IllegalStateError("closed") from self.fatal
        answer = Answer(read["number"], len(value), self.kafka.clock)
        self.pending[topic, zlib.crc32(key or b"") % self.kafka.partitions[topic]].append(answer)
        self.kafka.clock.others.moment()
        return answer

    def acknowledge(self, place: tuple[str, int], most: int) -> None:
        for answer in self.pending[place][:most]:
            if answer.is_there:
                continue
            if place[0] == "notices" and self.kafka.is_forbidden:
                self.die(TopicAuthorizationFailedError())
                return
            if answer.size_bytes > LARGE_BYTES:
                if not self.is_cautious:
                    self.die(MessageSizeTooLargeError("too large"))
                    return
                answer.fail(MessageSizeTooLargeError("too large"))
            else:
                self.arrive(place, answer)
                answer.is_there = True
                if self.is_in_use():
                    self.kafka.acknowledged.add(answer.number)
        self.pending[place] = [answer for answer in self.pending[place] if not answer.is_there]

    def is_in_use(self) -> bool:
        """One that was given up and is not closed yet tells nobody."""
        return any(route.broker.producer is self for route in self.kafka.door._routes.values())

    def arrive(self, place: tuple[str, int], answer: Answer) -> None:
        """At most once from one producer: it is idempotent."""
        if not answer.has_arrived:
            self.kafka.log[place].append(answer.number)
            answer.has_arrived = True

    def die(self, error: BaseException) -> None:
        self.fatal = error
        for answers in self.pending.values():
            for answer in answers:
                if not answer.is_there:
                    answer.fail(error)
        self.pending.clear()

    def close(self, timeout: float) -> None:
        self.die(IllegalStateError("closed"))


class Disk(Spool):
    """One that refuses what it is told to."""

    is_full = False
    others: Others

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self.others.moment()
        if self.is_full:
            raise SpoolError("no space left on device")
        with super()._writing() as db:
            yield db


class Delivery(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.exits = contextlib.ExitStack()
        self.others = Others()
        self.clock = Clock(self.others)
        self.kafka = FakeKafka(self.clock)
        self.sent = 0
        self.wall_seconds = 0.0
        self.excused: set[int] = set()
        """What was in memory alone when the process was killed."""
        self.was: Counter[str] = Counter()
        """The account of the runs before."""
        self.was_left = 0
        """What stood in the file when runs ended: of one that the next finds damaged, nobody knows how much it had."""

    @initialize(room=st.sampled_from([2_000, 1 << 20]))
    def begin(self, room: int) -> None:
        self.exits.enter_context(patch.object(broker.threading, "Thread", self.others.thread))
        self.exits.enter_context(patch.object(broker, "RECONNECT_SECONDS", 0.0))
        self.exits.enter_context(patch.object(broker.gc, "collect"))
        self.exits.enter_context(patch.object(kafka_door.gc, "collect"))
        self.exits.enter_context(patch.object(kafka_door.time, "sleep", self.clock.sleep))
        self.exits.enter_context(patch.object(time, "time", lambda: 1e9 + self.wall_seconds))
        self.path = Path(self.exits.enter_context(tempfile.TemporaryDirectory())) / "track-0.spool"
        self.older = self.path.with_name("older")
        self.room = room
        self.start()

    def start(self) -> None:
        self.counts: Counter[str] = Counter()
        self.spool = Disk(self.path, self.room)
        self.spool.others = self.others
        connect = self.kafka.connect
        cautious = lambda: connect(is_cautious=True)  # noqa: E731
        self.door = self.kafka.door = Kafka(
            connect, self.spool, self.counts, connect_cautiously=cautious, clock=self.clock
        )
        self.door.open()
        self.door.take_up()

    # What happens

    @rule(
        count=st.integers(1, 20),
        is_large=st.booleans(),
        back=st.sampled_from([0, 0, 0, 3]),
        embeds=st.sampled_from(["", "", "retweeted_status", "quoted_status"]),
        topic=st.sampled_from(["traptor"] * 3 + ["notices"]),
    )
    def send(self, count: int, is_large: bool, back: int, embeds: str, topic: str) -> None:
        """New ones, or some ``back`` once more; perhaps with one of before inside."""
        portion = []
        for _ in range(count):
            number = self.sent
            value = tweet(max(0, number - back), number=number, text="x" * LARGE_BYTES * (is_large and number % 7 == 0))
            if embeds:
                value[embeds] = tweet(max(0, number - 5))
            portion.append(Message(value["id_str"].encode(), json.dumps(value).encode(), topic))
            self.sent += 1
        self.counts["received:tweet"] += count
        self.door.send(portion)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.door.tick()

    @rule(place=PLACES, most=st.integers(1, 30))
    def acknowledges(self, place: tuple[str, int], most: int) -> None:
        self.kafka.acknowledge(place, most)

    def is_on_way(self) -> bool:
        return any(one.on_way for one in self.door._lanes())

    @rule(seconds=SECONDS, moments=MOMENTS, most=st.integers(1, 30))
    @precondition(lambda self: self.is_on_way())
    def acknowledges_meanwhile(self, seconds: float, moments: int, most: int) -> None:
        def acknowledge() -> None:
            before = self.kafka.acknowledged.copy()
            for place in self.kafka.places():
                self.kafka.acknowledge(place, most)
            self.kafka.may_come_again |= self.kafka.acknowledged - before

        self.others.do(moments, acknowledge)
        self.time_passes(seconds)

    @rule(seconds=SECONDS, moments=MOMENTS, place=PLACES, first=st.integers(0, 3), most=st.integers(1, 10))
    @precondition(lambda self: self.is_on_way())
    def expires_meanwhile(self, seconds: float, moments: int, place: tuple[str, int], first: int, most: int) -> None:
        self.others.do(moments, lambda: self.expires(place, first, most))
        self.time_passes(seconds)

    @rule(seconds=SECONDS, moments=MOMENTS)
    @precondition(lambda self: self.is_on_way())
    def producer_dies_meanwhile(self, seconds: float, moments: int) -> None:
        self.others.do(moments, self.producer_dies)
        self.time_passes(seconds)

    @rule(moments=st.sampled_from([0, 1, 5]))
    def threads_take_their_time(self, moments: int) -> None:
        self.others.thread_moments = moments

    @rule(place=PLACES, most=st.integers(1, 30))
    def takes_without_a_word(self, place: tuple[str, int], most: int) -> None:
        for producer in self.kafka.producers:
            for answer in producer.pending[place][:most]:
                if answer.size_bytes <= LARGE_BYTES and place not in self.kafka.leaderless:
                    producer.arrive(place, answer)

    @rule(place=PLACES, first=st.integers(0, 3), most=st.integers(1, 10))
    def expires(self, place: tuple[str, int], first: int, most: int) -> None:
        for producer in self.kafka.producers:
            for answer in producer.pending[place][first : first + most]:
                answer.fail(KafkaTimeoutError("expired"))
            producer.pending[place] = [answer for answer in producer.pending[place] if not answer.is_there]

    @rule(place=PLACES)
    def loses_its_leader(self, place: tuple[str, int]) -> None:
        self.kafka.leaderless ^= {place}

    @rule()
    def forbids_notices(self) -> None:
        self.kafka.is_forbidden = not self.kafka.is_forbidden

    @rule()
    def producer_dies(self) -> None:
        self.kafka.producers[-1].die(IllegalStateError("dead"))

    @rule()
    @precondition(lambda self: self.kafka.partitions["traptor"] < MOST_PARTITIONS)
    def gets_a_partition(self) -> None:
        self.kafka.partitions["traptor"] += 1

    @rule(hours=st.sampled_from([-2, 1]))
    def wall_clock_is_set(self, hours: int) -> None:
        self.wall_seconds += 3600 * hours

    @rule(back=st.integers(0, 40))
    def deletes(self, back: int) -> None:
        id_ = f"{max(0, self.sent - back)}"
        self.kafka.deleted.append((id_, self.sent))
        self.door.forget(id_.encode())

    @rule(user=st.integers(0, USERS - 1), back=st.integers(0, 40))
    def scrubs(self, user: int, back: int) -> None:
        up_to = self.sent - back
        self.kafka.scrubbed.append((f"{user}", up_to, self.sent))
        self.door.scrub(f"{user}", up_to)

    @rule()
    def disk(self) -> None:
        self.spool.is_full = not self.spool.is_full

    @contextlib.contextmanager
    def other(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            yield db

    @rule(seconds=SECONDS)
    @precondition(lambda self: self.spool.count)
    def other_locks(self, seconds: float) -> None:
        with self.other() as db, contextlib.suppress(sqlite3.DatabaseError):  # it may be damaged
            db.execute("BEGIN IMMEDIATE")
            self.time_passes(seconds)

    @rule(odd=st.booleans())
    @precondition(lambda self: self.spool.count)
    def other_takes_rows(self, odd: bool) -> None:
        with self.other() as db, contextlib.suppress(sqlite3.DatabaseError):  # it may be damaged
            db.execute("DELETE FROM waiting WHERE id % 3 = ?", (int(odd),))
        self.door.tick()

    @rule(how=st.sampled_from(["delete", "empty", "damage"]))
    @precondition(lambda self: self.path.exists())
    def other_takes_file(self, how: str) -> None:
        if how == "delete":
            self.path.unlink()
        else:
            self.path.write_bytes(b"" if how == "empty" else b"no database" * 1000)
        self.spool.is_full = False
        self.door.tick()

    @rule(suffix=st.sampled_from(spool_file.BESIDE))
    @precondition(lambda self: self.path.exists())
    def other_takes_file_beside(self, suffix: str) -> None:
        Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        self.door.tick()

    @rule()
    @precondition(lambda self: self.path.exists())
    def other_copies_file(self) -> None:
        with (
            self.other() as db,
            contextlib.closing(sqlite3.connect(self.older)) as copy,
            contextlib.suppress(sqlite3.DatabaseError),
        ):
            db.backup(copy)

    @rule()
    @precondition(lambda self: self.path.exists() and self.older.exists())
    def other_brings_copy_back(self) -> None:
        """What has been delivered or taken back since it was made waits again."""
        in_memory = {row: entry.message for row, entry in self.door._backlog._on_both.items()}
        with contextlib.closing(Spool(self.older, 1 << 20)) as spool, contextlib.suppress(SpoolError):
            self.kafka.may_come_again |= {
                json.loads(kept.message.value)["number"]
                for kept in spool.kept()
                if kept.reason or in_memory.get(kept.row) != kept.message
            }
        self.forget_wishes()
        Path(shutil.copy(self.older, self.path.with_name("copy"))).replace(self.path)
        self.spool.is_full = False
        self.door.tick()

    def forget_wishes(self) -> None:
        """They can no longer be held to."""
        self.kafka.deleted.clear()
        self.kafka.scrubbed.clear()

    @rule()
    @precondition(lambda self: self.spool.apart)
    def other_puts_back(self) -> None:
        with (
            contextlib.closing(Spool(self.path, 1 << 20)) as spool,
            contextlib.suppress(SpoolError),
        ):  # it may be damaged
            spool.put_back()
        self.door.tick()

    @rule()
    def stops(self) -> None:
        self.door.close(1.3)
        self.check_balance()
        self.next_run()

    @rule()
    def is_killed(self) -> None:
        lanes = list(self.door._lanes())
        loose = [entry for one in lanes for part in (one.on_way, one.again, one.fresh) for entry in part]
        loose += [entry for entry, _ in self.door._backlog._apart]
        self.excused |= {json.loads(entry.message.value)["number"] for entry in loose if entry.row is None}
        self.forget_wishes()
        self.kafka.acknowledged.clear()  # a row that was not taken out yet is sent again
        self.spool.close()
        self.next_run()

    def next_run(self) -> None:
        self.was_left += self.spool.count
        if self.door._backlog._finished or self.spool.is_full:
            self.kafka.acknowledged.clear()
            self.forget_wishes()
        for producer in self.kafka.producers:
            producer.die(IllegalStateError("gone"))
        self.others.due.clear()
        self.was += self.counts
        self.start()

    # What holds

    @rule()
    def all_is_well_but_for_one_partition(self) -> None:
        """Of the others everything moves."""
        stuck = ("traptor", 1)
        self.heal()
        self.time_passes(broker.COUNT_SECONDS)
        self.kafka.leaderless = {stuck}
        self.turns()
        stuck_lane = self.door._main.lanes[stuck[1]]
        moving = [one for one in self.door._lanes() if one is not stuck_lane]
        assert [one.is_clear() and not one.on_way for one in moving] == [True] * len(moving)

    @rule()
    def all_is_well(self) -> None:
        self.heal()
        self.turns()
        to_set_apart = len(self.door._backlog._apart) if self.spool.is_full else 0
        assert self.door.waiting() == to_set_apart

    def heal(self) -> None:
        self.kafka.leaderless.clear()
        self.kafka.is_forbidden = False

    def turns(self) -> None:
        """With a disk that still does what it does: what waits on it can be read."""
        for _ in range(TURNS):
            self.time_passes(kafka_door.RETRY_SECONDS)
            for place in self.kafka.places():
                self.kafka.acknowledge(place)
            self.door.tick()

    @invariant()
    def balanced(self) -> None:
        if hasattr(self, "door"):
            self.door.tick()
            self.check_balance()

    def check_balance(self) -> None:
        counts = self.counts
        came = counts["received:tweet"] + counts["taken_up"]
        dropped = sum(count for name, count in counts.items() if name.startswith("dropped:"))
        assert min([*counts.values(), self.door.waiting()], default=0) >= 0, counts
        assert came == counts["delivered"] + self.door.waiting() + counts["apart"] + dropped, counts

    def teardown(self) -> None:
        """What is missing in the end has a name."""
        try:
            if hasattr(self, "door"):
                self.spool.is_full = False
                self.all_is_well()
                self.check_missing()
                self.door.close(1.3)
        finally:
            self.exits.close()

    def check_missing(self) -> None:
        apart: set[int] = set()
        with contextlib.suppress(SpoolError):  # it may be damaged, and nothing has been read of it since
            apart.update(json.loads(kept.message.value)["number"] for kept in self.spool.kept())
        arrived = {number for log in self.kafka.log.values() for number in log}
        missing = set(range(self.sent)) - arrived - apart - self.excused
        counts = self.was + self.counts
        named = sum(count for name, count in counts.items() if name.startswith("dropped:"))
        unknown = self.was_left if counts["spool_damaged_files"] else 0
        assert len(missing) <= named + counts["apart"] + unknown, counts


Delivery.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestDelivery = Delivery.TestCase
