"""One run over archives: tweets through the same rules, enrichment and delivery as from the stream."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from traptor.archives import outlets, reading
from traptor.archives.bookmarks import DONE, Bookmarks
from traptor.archives.compliance import Compliance
from traptor.archives.forms import Problem
from traptor.archives.reading import Part
from traptor.archives.tally import Tally, top
from traptor.archives.workers import Batch, Crew, Found, Task

CHECKPOINT_SECONDS = 5.0

LONG_WAIT_SECONDS = 1.0

PROBLEMS_TOLD = 20
"""Of one file, on standard error; all are counted."""
FIELDS_TOLD = 5
"""In the summary, the most frequent."""


class Pace:
    """When tweets are due by their own time; with ``speed`` 0 always at once."""

    def __init__(self, speed: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        self._clock = clock
        self._began: tuple[float, float] | None = None

    def early_seconds(self, time_seconds: float | None) -> float:
        """How long until a tweet of this time is due. The first one is, as is one whose time cannot be told."""
        if not self.speed or time_seconds is None:
            return 0.0
        self._began = self._began or (self._clock(), time_seconds)
        clock_began, tweets_began = self._began
        return max(clock_began + (time_seconds - tweets_began) / self.speed - self._clock(), 0.0)


class Replay:
    """One run over all paths, from the first part to the summary."""

    def __init__(
        self,
        paths: tuple[str, ...],
        task: Task,
        *,
        outlet: outlets.Outlet,
        bookmarks: Bookmarks,
        pace: Pace,
        console: Console,
        say: Callable[[str], None],
        workers: int,
    ) -> None:
        self.tally = Tally()
        self.files: dict[str, Counter[str]] = {}
        """The counts of each file, by its path."""
        self._is_resumed = False
        self._compliance = Compliance()
        self._paths = paths
        self._task = task
        self._outlet = outlet
        self._bookmarks = bookmarks
        self._pace = pace
        self._say = say
        self._checkpoint_at = 0.0
        # Tweets that are held back by their time come one file after the other.
        self._crew = Crew(
            workers,
            task,
            (lambda _: "") if pace.speed else (lambda part: part.path),
            standard_input=reading.STANDARD_INPUT in paths,
        )
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[tweets]:,} tweets, {task.fields[matched]:,} match, {task.fields[rate]:,.0f}/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def run(self, stopping: threading.Event) -> None:
        """Until everything is read and written, or until told to stop. What is written is noted either way."""
        began = time.monotonic()
        self._checkpoint()  # before the first write, so that a kill right after it can be taken back
        with self._progress:
            bar = self._progress.add_task("", total=reading.size_bytes(self._paths), tweets=0, matched=0, rate=0)
            try:
                for ready in self._crew.run(self._orders()):
                    if ready:
                        self._take(*ready, stopping)
                        self._show(bar, ready[1], time.monotonic() - began)
                    if stopping.is_set():
                        break
                    self._checkpoint_if_due()
                self._checkpoint(is_last=True)
            finally:
                self._crew.close()
                self._outlet.close()

    def _orders(self) -> Iterator[tuple[Part, int]]:
        """The parts that are not done, each with how much of it is."""
        for part in reading.parts(self._paths):
            if isinstance(part, Problem):
                self.tally.counts["damaged"] += 1
                self._tell_problems(part.place.partition("!")[0], [part])
                self._note_file(part.place.partition("!")[0], Counter(damaged=1))
                continue
            steps = self._bookmarks.steps_done(part)
            self._is_resumed |= steps != 0
            if steps != DONE:
                yield part, steps

    def _take(self, part: Part, batch: Batch, stopping: threading.Event) -> None:
        """Write what was found. When told to stop meanwhile, the rest of the batch is for the next run."""
        self._tell_problems(part.path, batch.problems)
        for field in sorted(batch.tally.fields_left_out.keys() - self.tally.fields_left_out.keys()):
            self._say(f"replay: {part.place}: {field} does not fit: left out wherever it is so, and counted")
        self.tally.add(batch.tally)
        self._note_file(part.path, batch.tally.counts)
        for notice in batch.notices:
            self._compliance.note(notice)
        for found in batch.found:
            if early_seconds := self._pace.early_seconds(found.time_seconds):
                self._bookmarks.note(part, found.step - 1, is_last=False)
                self._hold_back(early_seconds, stopping)
                if stopping.is_set():
                    return
            self._write(found)
        self._bookmarks.note(part, batch.steps, is_last=batch.is_last)

    def _write(self, found: Found) -> None:
        value = self._compliance.honoured(found.value, found.subjects)
        if value is None:
            self.tally.counts["withdrawn"] += 1
        else:
            self._outlet.write(found.key, value)

    def _hold_back(self, seconds: float, stopping: threading.Event) -> None:
        """Wait; a long wait is a good time to make sure of what is written."""
        if seconds > LONG_WAIT_SECONDS:
            self._checkpoint()
        else:
            self._checkpoint_if_due()
        stopping.wait(seconds)

    def _note_file(self, path: str, counts: Counter[str]) -> None:
        self.files.setdefault(path, Counter()).update(counts)

    def _tell_problems(self, path: str, problems: Sequence[Problem]) -> None:
        """The first ones of each file."""
        told_before = self.files.get(path, Counter())["damaged"]
        room = max(PROBLEMS_TOLD - told_before, 0)
        for problem in problems[:room]:
            self._say(f"replay: {problem.place}: {problem.reason}: skipped")
        if room and len(problems) > room:
            self._say(f"replay: {path}: more is damaged, which is counted and not told")

    def _show(self, bar: Any, batch: Batch, seconds: float) -> None:
        counts = self.tally.counts
        tweets, matched = counts["tweets"], counts["matched"]
        self._progress.update(bar, advance=batch.read_bytes, tweets=tweets, matched=matched, rate=tweets / seconds)

    def _checkpoint_if_due(self) -> None:
        if time.monotonic() >= self._checkpoint_at:
            self._checkpoint()

    def _checkpoint(self, *, is_last: bool = False) -> None:
        """Once all that was written has been acknowledged, note how far that is."""
        self._bookmarks.save(self._outlet.flush(is_last=is_last))
        self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS

    def read_nothing(self) -> bool:
        """Was there damage, and nothing else?"""
        counts = self.tally.counts
        is_any = counts["tweets"] or counts["notices"] or counts["left_out"] or self._is_resumed
        return bool(counts["damaged"]) and not is_any

    def summary(self) -> str:
        """What was read and written, in one line."""
        names = ("lines", "tweets", "matched", "notices", "damaged")
        told = [f"{name} {self.tally.counts[name]}" for name in names]
        if no_time := self.tally.counts["no_time"]:
            told.append(f"left out for having no time {no_time}")
        if fields := self.tally.fields_left_out:
            told.append(f"fields left out {sum(fields.values())} ({_counted(fields)})")
        if withdrawn := self.tally.counts["withdrawn"]:
            told.append(f"deleted by a notice {withdrawn}")
        told.append(f"written {self._outlet.counts['written']}")
        if refused := self._outlet.counts["refused"]:
            told.append(f"refused by Kafka {refused}")
        return ", ".join(told)


def _counted(fields: Counter[str]) -> str:
    named = ", ".join(f"{field} {count}" for field, count in top(fields, FIELDS_TOLD))
    return f"{named} and {len(fields) - FIELDS_TOLD} others" if len(fields) > FIELDS_TOLD else named
