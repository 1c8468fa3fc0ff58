"""Processes that read archives, match and enrich, each a part at a time; what they find comes back in order.

A worker writes into a pipe, which holds it up when nobody reads: that bounds what waits in memory.
"""

import io
import os
import signal
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from json import JSONDecodeError
from multiprocessing import connection, get_context
from typing import Any, NamedTuple

from traptor.archives import compliance, forms, shapes
from traptor.archives.compliance import Notice, Subject
from traptor.archives.forms import Message, Problem
from traptor.archives.reading import Part, Reading
from traptor.archives.tally import Tally, posted_at
from traptor.tweets import fields, kinds
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.fields import Tweet
from traptor.tweets.rule import Rule

BATCH_STEPS = 2000
BATCH_BYTES = 1 << 18
AHEAD_BYTES = 64 << 20
"""What may wait for its turn: results of parts that come after the one that is being written."""
LOOK_SECONDS = 0.2
_PROCESSES = get_context("spawn")


class WorkerDied(Exception):
    """Says what it read; the system may have killed it for want of memory."""


class Task(NamedTuple):
    """What is the same for every part. Times in seconds since 1970; ``sample`` is the share of tweets that is taken."""

    traptor_type: str
    traptor_id: int
    rules: list[Rule]
    every_tweet: bool = False
    since: float | None = None
    until: float | None = None
    sample: float = 1.0
    describe: bool = False


class Found(NamedTuple):
    """A tweet to be written, and the step of its part in which it stands.

    ``time_seconds`` is when it was posted, since 1970; None where that cannot be told.
    """

    key: bytes
    value: bytes
    time_seconds: float | None
    subjects: tuple[Subject, ...] = ()
    step: int = 0


class Batch(NamedTuple):
    """What a worker has done since its last batch. ``steps`` counts the lines and problems of the part so far."""

    found: list[Found]
    notices: list[Notice]
    tally: Tally
    problems: list[Problem]
    steps: int
    read_bytes: int
    is_last: bool


class Enricher:
    """From a line to the tweets in it that are wanted, counted in ``tally``. The same steps as on a live stream.

    ``notices`` are those that ask for something.
    """

    def __init__(self, task: Task) -> None:
        self.tally = Tally()
        self.notices: list[Notice] = []
        self._task = task
        self._enrichment = Enrichment(task.traptor_type, task.traptor_id, task.rules)

    def found_in(self, line: bytes) -> Iterator[Found]:
        """Raises ValueError for what is not JSON, and for what is neither a tweet nor a notice; after all the rest."""
        self.tally.counts["lines"] += 1
        if tweet := shapes.stream_line(line):
            yield from self._of(tweet)
            return
        try:
            message = fields.decode(line)
        except JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
            yield from self._found_beside_each_other(line)
            return
        if isinstance(message, Tweet):
            yield from self._found(message, line)
        else:
            yield from self._found_inside(message)

    def _found_beside_each_other(self, line: bytes) -> Iterator[Found]:
        """Two writers, or a line end that got lost."""
        found = list(forms.values(io.BytesIO(line), ""))
        for one in found:
            if isinstance(one, Message):
                yield from self.found_in(one.body)
        if problems := [one for one in found if isinstance(one, Problem)]:
            raise ValueError(problems[0].reason)

    def _found_inside(self, value: Any) -> Iterator[Found]:
        errors: list[ValueError] = []
        for one in shapes.opened(value):
            try:
                shaped = shapes.shaped(one)
            except ValueError as error:
                errors.append(error)
                continue
            self.tally.fields_left_out.update(shaped.left_out)
            for message in shaped.messages:
                yield from self._of(message)
            if shaped.without_id:
                errors.append(ValueError(f"{shaped.without_id} of the tweets have no id"))
        if errors:
            raise ValueError(f"{len(errors)} of its messages: {errors[0]}" if len(errors) > 1 else str(errors[0]))

    def _of(self, message: dict[str, Any]) -> Iterator[Found]:
        """Of a tweet in v1.1's shape, or a notice."""
        if kinds.kind(message) == "tweet":
            plain = {name: value for name, value in message.items() if name != "traptor"}
            yield from self._found(fields.view(plain), fields.dump(plain))
            return
        self.tally.counts["notices"] += 1
        if notice := compliance.notice(message):
            self.notices.append(notice)

    def _found(self, tweet: Tweet, raw: bytes) -> Iterator[Found]:
        time_seconds = posted_at(tweet.created_at, tweet.id_str)
        if not self._is_wanted(tweet, time_seconds):
            self.tally.counts["left_out"] += 1
            return
        self._note(self.tally.read, time_seconds)
        self.tally.counts["tweets"] += 1
        matches = self._enrichment.match(tweet)
        self.tally.counts["matched"] += bool(matches)
        self.tally.rules.update([self._enrichment.rule_ids[match.position] for match in matches])
        if matches or self._task.every_tweet:
            self._note(self.tally.written, time_seconds)
            if self._task.describe:
                self.tally.describe(raw)
            value = self._enrichment.append(raw, tweet.created_at, matches)
            yield Found((tweet.id_str or "").encode(), value, time_seconds, compliance.subjects(tweet))

    def _is_wanted(self, tweet: Tweet, time_seconds: float | None) -> bool:
        since, until, sample = self._task.since, self._task.until, self._task.sample
        if sample < 1 and zlib.crc32((tweet.id_str or "").encode()) >= sample * (1 << 32):
            return False
        if since is None and until is None:
            return True
        if time_seconds is None:
            self.tally.counts["no_time"] += 1
            return False
        return (since or 0) <= time_seconds and (until is None or time_seconds < until)

    def _note(self, timeline: Any, time_seconds: float | None) -> None:
        if self._task.describe and time_seconds is not None:
            timeline.note(time_seconds)


def batches(
    part: Part,
    skipped_steps: int,
    enricher: Enricher,
    standard_input: int = 0,
    early: Callable[[Batch], object] = lambda _: None,
) -> Iterator[Batch]:
    """Read one part, past what an earlier run has done of it. The last batch says so.

    Of a pipe that is quiet for now ``early`` is given what there is.
    """

    def when_quiet() -> None:
        if batch.is_begun():
            early(batch.close(enricher))

    reading = Reading(part, standard_input, when_quiet)
    batch = _Gathering(reading)
    for step in reading:
        batch.steps += 1
        if batch.steps > skipped_steps:
            _take(step, enricher, batch)
        if batch.is_full():
            yield batch.close(enricher)
    # What the part ends with may be cut, and whole once the file has grown.
    batch.steps -= batch.ends_damaged
    yield batch.close(enricher, is_last=True)


def _take(step: Message | Problem, enricher: Enricher, batch: "_Gathering") -> None:
    batch.ends_damaged = isinstance(step, Problem)
    if isinstance(step, Problem):
        batch.problems.append(step)
        return
    try:
        for found in enricher.found_in(step.body):
            batch.add(found._replace(step=batch.steps))
    except ValueError as error:
        batch.problems.append(Problem(f"{step.place}, line {step.number}", str(error)))
        batch.ends_damaged = True


class _Gathering:
    """A batch as it grows."""

    def __init__(self, reading: Reading) -> None:
        self.steps = 0
        self.ends_damaged = False
        self.problems: list[Problem] = []
        self._reading = reading
        self._found: list[Found] = []
        self._found_bytes = 0
        self._closed_at_step = 0
        self._told_bytes = 0

    def add(self, found: Found) -> None:
        self._found.append(found)
        self._found_bytes += len(found.value)

    def is_begun(self) -> bool:
        return self.steps > self._closed_at_step

    def is_full(self) -> bool:
        return self.steps - self._closed_at_step >= BATCH_STEPS or self._found_bytes >= BATCH_BYTES

    def close(self, enricher: Enricher, *, is_last: bool = False) -> Batch:
        read_bytes = self._reading.read_bytes - self._told_bytes
        tally, enricher.tally = enricher.tally, Tally()
        notices, enricher.notices = enricher.notices, []
        tally.counts["damaged"] += len(self.problems)
        tally.counts["written"] += len(self._found)
        closed = Batch(self._found, notices, tally, self.problems, self.steps, read_bytes, is_last)
        self._told_bytes += read_bytes
        self._closed_at_step = self.steps
        self._found, self._found_bytes, self.problems = [], 0, []
        return closed


def work(pipe: Any, task: Task, standard_input: Any) -> None:
    """A worker's life: parts and how many steps of them to skip come in, batches go out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    enricher = Enricher(task)
    descriptor = standard_input.fileno() if standard_input else 0
    with suppress(EOFError, ConnectionError):  # the parent wants no more, or has gone
        while True:
            part, skipped_steps = pipe.recv()
            for batch in batches(part, skipped_steps, enricher, descriptor, pipe.send):
                pipe.send(batch)


def _start(task: Task, standard_input: Any) -> Any:
    """Start a worker; gives our end of its pipe."""
    pipe, theirs = _PROCESSES.Pipe()
    _PROCESSES.Process(target=work, args=(theirs, task, standard_input), daemon=True).start()
    theirs.close()
    return pipe


class Crew:
    """At most ``count`` workers over many parts.

    With ``lane_of``, parts of the same lane come back one after the other, in the order given; others as they come.
    """

    def __init__(self, count: int, task: Task, lane_of: Callable[[Part], str], *, standard_input: bool) -> None:
        self._lane_of = lane_of
        # Python closes a process's own standard input; what a Connection wraps is handed on.
        handed = connection.Connection(os.dup(0), writable=False) if standard_input else None
        self._start: Callable[[], Any] = partial(_start, task, handed)
        self._count = count
        self._idle: list[Any] = []
        self._busy: dict[Any, Part] = {}
        self._lanes: dict[str, deque[Part]] = {}
        self._ahead: dict[Part, deque[Batch]] = {}
        self._ahead_bytes = 0

    def run(self, orders: Iterator[tuple[Part, int]]) -> Iterator[tuple[Part, Batch] | None]:
        """Every batch of every part, and None when there is nothing for a while. Orders are a part, steps to skip.

        Raises WorkerDied.
        """
        is_more = True
        while is_more or self._lanes:
            while is_more and (self._idle or len(self._busy) < self._count):
                is_more = self._give(next(orders, None))
            if ready := self._ready():
                yield from ready
            else:
                yield None

    def close(self) -> None:
        """No more is wanted, at once."""
        for pipe in [*self._idle, *self._busy]:
            pipe.close()

    def _give(self, order: tuple[Part, int] | None) -> bool:
        if order is None:
            return False
        pipe = self._idle.pop() if self._idle else self._start()
        try:
            pipe.send(order)
        except ConnectionError:
            raise WorkerDied(f"the worker that was to read {order[0].place} has died") from None
        self._busy[pipe] = order[0]
        self._lanes.setdefault(self._lane_of(order[0]), deque()).append(order[0])
        self._ahead[order[0]] = deque()
        return True

    def _ready(self) -> list[tuple[Part, Batch]]:
        has_room = self._ahead_bytes < AHEAD_BYTES
        readable = [pipe for pipe, part in self._busy.items() if has_room or self._is_next(part)]
        for pipe in connection.wait(readable, LOOK_SECONDS):
            self._receive(pipe)
        return [ready for lane in list(self._lanes) for ready in self._in_turn(lane)]

    def _is_next(self, part: Part) -> bool:
        return self._lanes[self._lane_of(part)][0] == part

    def _receive(self, pipe: Any) -> None:
        part = self._busy[pipe]
        try:
            batch: Batch = pipe.recv()
        except (EOFError, ConnectionError):
            raise WorkerDied(f"the worker that read {part.place} has died") from None
        self._ahead[part].append(batch)
        self._ahead_bytes += _size_bytes(batch)
        if batch.is_last:
            del self._busy[pipe]
            self._idle.append(pipe)

    def _in_turn(self, lane: str) -> Iterator[tuple[Part, Batch]]:
        """What has arrived of the lane's first part, and when that is done of the next."""
        queue = self._lanes[lane]
        while queue and self._ahead[queue[0]]:
            part = queue[0]
            batch = self._ahead[part].popleft()
            self._ahead_bytes -= _size_bytes(batch)
            yield part, batch
            if batch.is_last:
                queue.popleft()
                del self._ahead[part]
        if not queue:
            del self._lanes[lane]


def _size_bytes(batch: Batch) -> int:
    return sum(len(found.value) for found in batch.found)
