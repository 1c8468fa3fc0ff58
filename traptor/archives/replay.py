"""One run over archives: tweets through the same rules, enrichment and delivery as from the stream."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from traptor.archives import outlets, reading
from traptor.archives.bookmarks import DONE, Bookmarks
from traptor.archives.reading import Part, Problem
from traptor.archives.tally import Tally
from traptor.archives.workers import Batch, Crew, Task

CHECKPOINT_SECONDS = 5.0

LONG_WAIT_SECONDS = 1.0

PROBLEMS_TOLD = 20
"""Of one file, on standard error; all are counted."""

ROWS = 30
"""Of a table in the summary."""


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
        workers: int,
    ) -> None:
        self.tally = Tally()
        self.files: dict[str, Counter[str]] = {}
        """The counts of each file, by its path."""
        self._paths = paths
        self._task = task
        self._outlet = outlet
        self._bookmarks = bookmarks
        self._pace = pace
        self._console = console
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
                self._note_file(part.place, Counter(damaged=1))
                self._tell_problem(part)
            elif (steps := self._bookmarks.steps_done(part)) != DONE:
                yield part, steps

    def _take(self, part: Part, batch: Batch, stopping: threading.Event) -> None:
        """Write what was found. When told to stop meanwhile, the rest of the batch is for the next run."""
        for problem in batch.problems:
            self._tell_problem(problem, told_before=self.files.get(part.path, Counter())["damaged"])
        self.tally.add(batch.tally)
        self._note_file(part.path, batch.tally.counts)
        for found in batch.found:
            if early_seconds := self._pace.early_seconds(found.time_seconds):
                self._bookmarks.note(part, found.step - 1, is_last=False)
                self._hold_back(early_seconds, stopping)
                if stopping.is_set():
                    return
            self._outlet.write(found.key, found.value)
        self._bookmarks.note(part, batch.steps, is_last=batch.is_last)

    def _hold_back(self, seconds: float, stopping: threading.Event) -> None:
        """Wait; a long wait is a good time to make sure of what is written."""
        if seconds > LONG_WAIT_SECONDS:
            self._checkpoint()
        else:
            self._checkpoint_if_due()
        stopping.wait(seconds)

    def _note_file(self, path: str, counts: Counter[str]) -> None:
        self.files.setdefault(path, Counter()).update(counts)

    def _tell_problem(self, problem: Problem, told_before: int = 0) -> None:
        if told_before < PROBLEMS_TOLD:
            self._console.print(f"replay: {problem.place}: {problem.reason}: skipped", soft_wrap=True)

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

    def tell(self) -> None:
        """The summary, on standard error."""
        self._console.print(self._by_rule(), self._by_file())
        names = ("lines", "tweets", "matched", "notices", "damaged")
        summary = ", ".join(f"{name} {self.tally.counts[name]}" for name in names)
        written, refused = self._outlet.counts["written"], self._outlet.counts["refused"]
        click.echo(f"replay: {summary}, written {written}{f', refused by Kafka {refused}' * bool(refused)}", err=True)

    def _by_rule(self) -> Table:
        table = Table("rule", "tag", "value", "matches", title="by rule", title_justify="left")
        matches = self.tally.rules
        for rule in sorted(self._task.rules, key=lambda rule: -matches[rule["rule_id"]])[:ROWS]:
            rule_id = rule["rule_id"]
            table.add_row(rule_id, rule.get("tag", ""), rule["value"], f"{matches[rule_id]:,}")
        return _with_rest(table, len(self._task.rules))

    def _by_file(self) -> Table:
        names = ("tweets", "matched", "notices", "damaged")
        table = Table("file", *names, title="by file", title_justify="left")
        for path in sorted(self.files, key=lambda path: -self.files[path]["damaged"])[:ROWS]:
            table.add_row(path, *(f"{self.files[path][name]:,}" for name in names))
        return _with_rest(table, len(self.files))


def _with_rest(table: Table, rows: int) -> Table:
    if rows > ROWS:
        table.caption = f"and {rows - ROWS} more"
    return table
