"""``traptor replay``: tweets from archives through the same rules, enrichment and delivery as from the stream."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any, NoReturn

import click
import redis
from dateutil import parser
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from traptor import archives, outlets, rules, settings
from traptor.archives import Part, Problem
from traptor.bookmarks import DONE, Bookmarks
from traptor.exits import Exit, drop_output
from traptor.messages import Rule
from traptor.tally import Tally
from traptor.workers import Batch, Crew, Task, WorkerDied

CHECKPOINT_SECONDS = 5.0
LONG_WAIT_SECONDS = 1.0
LAST_SECONDS = 5
"""How long a reader of standard output may hold us up once we are told to stop."""
PROBLEMS_TOLD = 20
"""Of one file, on standard error; all are counted."""
ROWS = 30
"""Of a table in the summary."""

EXAMPLES = """
\b
Examples:
  Which tweets of an archive match the rules in Redis, as the stream would have had them:
    traptor replay tweets.jsonl.gz > matched.jsonl
  A month of the Internet Archive's stream grab, with rules from a file and no server at all:
    traptor replay --rules rules.jsonl --out matched/ --state march.state archiveteam-twitter-stream-2020-03/
  rules.jsonl has one rule per line:
    {"value": "storm,flood warning", "tag": "weather"}
  Into Kafka as if it happened now, ten times as fast, with a report:
    traptor replay --kafka --speed 10x --report goal.html final.tar
  From a pipe:
    zstdcat big.zst | traptor replay --rules rules.jsonl - | jq .text
"""


def factor(text: str) -> float:
    """A speed: ``10x`` is 10, ten times as fast as it happened; ``max`` is 0."""
    if text == "max":
        return 0.0
    named = re.fullmatch(r"(\d+(?:\.\d+)?)x", text)
    if not named or not float(named[1]):
        raise click.BadParameter(f"{text!r} is no speed; allowed are max and a factor such as 1x or 10x")
    return float(named[1])


def moment(text: str) -> float:
    """A time, in UTC where it names no zone, as seconds since 1970."""
    try:
        parsed = parser.parse(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is no time: {error}; write it as 2021-01-26T14:00") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def writable(context: click.Context, option: click.Parameter, file: Path | None) -> Path | None:
    """A file that can be written later: hours of work may come before that."""
    if file and not os.access(file.parent, os.W_OK | os.X_OK):
        raise click.BadParameter(f"{file} cannot be written: {file.parent} is no folder that we may write into")
    return file


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True))
@click.option("--rules", "rules_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Rules from a file, one JSON object per line, instead of from Redis.")  # fmt: skip
@click.option("--type", "traptor_type", type=click.Choice(["track", "follow", "locations"]), help="Type of the rules.")
@click.option("--id", "traptor_id", type=click.IntRange(0), help="Whose rules, and the id in the tweets.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write .jsonl.gz files into this folder.")
@click.option("--kafka", is_flag=True, help="Write to Kafka, by the settings of the daemon.")
@click.option("--all", "every_tweet", is_flag=True, help="Also the tweets that match no rule.")
@click.option("--since", type=moment, metavar="TIME", help="Leave out tweets posted before this time (UTC).")
@click.option("--until", type=moment, metavar="TIME", help="Leave out tweets posted at this time or later.")
@click.option("--sample", type=click.FloatRange(0, 1, min_open=True), default=1.0, metavar="SHARE",
              help="A share of the tweets, 0.01 for one in a hundred; always the same ones.")  # fmt: skip
@click.option("--speed", type=factor, metavar="SPEED", default="max", show_default=True,
              help="By the tweets' own time: 1x as it happened, 10x ten times as fast.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=lambda: len(os.sched_getaffinity(0)), show_default="cores",
              metavar="N", help="Processes that read.")  # fmt: skip
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), callback=writable,
              help="Remember here how far it got, and go on from there.")  # fmt: skip
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), callback=writable,
              help="Write a report of it: one HTML page.")  # fmt: skip
def replay(  # noqa: PLR0917 - click passes by name
    paths: tuple[str, ...],
    rules_file: Path | None,
    traptor_type: str | None,
    traptor_id: int | None,
    out: Path | None,
    kafka: bool,
    every_tweet: bool,
    since: float | None,
    until: float | None,
    sample: float,
    speed: float,
    workers: int,
    state: Path | None,
    report: Path | None,
) -> None:
    """Pass archived tweets through the rules, and write those that match, enriched, to standard output.

    PATHS are files, folders, or - for standard input: JSON lines, plain or packed (gz, bz2, zst), also as members of
    tar and zip archives. Tweets may be in the shape of v1.1 or v2. Ctrl-C ends it in good order.
    """
    if out and kafka:
        raise click.UsageError("--out and --kafka: choose one")
    if out and any(out.resolve().is_relative_to(Path(path).resolve()) for path in paths):
        raise click.UsageError(f"--out {out} is inside what is read: choose another folder")
    wanted = settings.load({"TRAPTOR_TYPE": traptor_type, "TRAPTOR_ID": traptor_id})
    console = Console(stderr=True, markup=False, highlight=False)
    found = _rules(rules_file, wanted, console)
    if not found and not every_tweet:
        raise click.UsageError("there are no rules, so nothing would match; --all passes every tweet")
    task = Task(wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID, found, every_tweet, since, until, sample, describe=bool(report))
    stopping = _told_to_stop(is_for_a_reader=not (out or kafka))
    bookmarks = _bookmarks(state, task)
    if bookmarks.changed:
        changed = ", ".join(bookmarks.changed)
        click.echo(f"replay: --state {state} was begun with other {changed}: what is done stays done", err=True)
    if bookmarks.unfinished:
        outlets.take_back(bookmarks.unfinished)
    pace = Pace(speed)
    try:
        outlet = _outlet(out, kafka, wanted, stopping)
        run = Replay(paths, task, outlet=outlet, bookmarks=bookmarks, pace=pace, console=console, workers=workers)
        run.run(stopping)
        signal.alarm(0)
    except WorkerDied as error:
        raise click.ClickException(str(error)) from None
    except outlets.NotWritten as error:
        click.echo(f"replay: {error}", err=True)
        _end_without_output()
    except BrokenPipeError:
        # The reader has gone, which click takes for a failure.
        _end_without_output()
    except OSError as error:
        click.echo(f"replay: cannot write: {error}", err=True)
        _end_without_output(1)
    run.tell()
    if report:
        from traptor.report import page

        report.write_text(page(run.tally, task.rules, paths), encoding="utf-8")


def _told_to_stop(*, is_for_a_reader: bool) -> threading.Event:
    """Set by SIGTERM and Ctrl-C. A write that a reader holds up then ends with NotWritten after a few seconds."""
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        if is_for_a_reader:
            signal.alarm(LAST_SECONDS)

    def give_up(*_: object) -> None:
        raise outlets.NotWritten("stopped while nobody read standard output")

    signal.signal(signal.SIGALRM, give_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping


def _end_without_output(code: int = Exit.ENDED) -> NoReturn:
    drop_output()
    sys.exit(code)


def _rules(file: Path | None, wanted: settings.Settings, console: Console) -> list[Rule]:
    """The rules that make sense; the others are told. How many one connection may ask for is no matter here."""
    found: list[Rule] = []
    for rule in _read_rules(file) if file else _redis_rules(wanted):
        try:
            rules.predicates(wanted.TRAPTOR_TYPE, rule)
        except ValueError as error:
            console.print(f"replay: rule {rule['rule_id']} is left out: {error}")
        else:
            found.append(rule)
    return sorted(found, key=rules.order)


def _read_rules(file: Path) -> Iterator[Rule]:
    """One rule per line. One without a ``rule_id`` has the number of its line. Raises UsageError."""
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            yield {"rule_id": str(number), **{name: _text(value) for name, value in fields.items()}}
        except (ValueError, AttributeError) as error:
            raise click.UsageError(f"{file}, line {number}: {error}; a rule is a JSON object") from None


def _text(value: Any) -> str:
    """As Redis would have it."""
    return value if isinstance(value, str) else json.dumps(value)


def _redis_rules(wanted: settings.Settings) -> list[dict[str, str]]:
    from traptor.connections import connect_to_redis

    try:
        return rules.read(connect_to_redis(wanted), wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID)
    except redis.RedisError as error:
        raise click.UsageError(f"Redis cannot be read: {error}; --rules FILE needs no Redis") from None


def _bookmarks(state: Path | None, task: Task) -> Bookmarks:
    asked = {
        "--type": task.traptor_type,
        "--id": task.traptor_id,
        "rules": rules.version(task.rules),
        "--all": task.every_tweet,
        "--since": task.since,
        "--until": task.until,
        "--sample": task.sample,
    }
    try:
        return Bookmarks(state, asked)
    except (ValueError, OSError) as error:
        raise click.UsageError(f"--state {state}: {error}") from None


def _outlet(out: Path | None, kafka: bool, wanted: settings.Settings, stopping: threading.Event) -> outlets.Outlet:
    if out:
        return outlets.Folder(out)
    if not kafka:
        return outlets.StandardOutput()
    from traptor import delivery  # Kafka's client takes its time to import
    from traptor.topic import Topic

    def connect(more_options: dict[str, Any]) -> Any:
        options = {**(wanted.KAFKA_OPTIONS or {}), **more_options}
        return delivery.connect(wanted.KAFKA_HOSTS, wanted.KAFKA_TOPIC, options)

    return Topic(connect, wanted.KAFKA_TOPIC, stopping)


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
            standard_input=archives.STANDARD_INPUT in paths,
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
            bar = self._progress.add_task("", total=archives.size_bytes(self._paths), tweets=0, matched=0, rate=0)
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
        for part in archives.parts(self._paths):
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
