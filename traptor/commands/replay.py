"""``traptor replay``: tweets from archives through the same rules as from the stream."""

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, NoReturn

import click
import redis
from dateutil import parser
from rich.console import Console

from traptor import settings
from traptor.archives import outlets
from traptor.archives.bookmarks import Bookmarks
from traptor.archives.replay import Pace, Replay
from traptor.archives.workers import Task, WorkerDied
from traptor.commands import results
from traptor.commands.console import needs_a_person, table, terminal
from traptor.commands.finite import Finite
from traptor.connections import connect_to_redis
from traptor.exits import Exit, drop_output
from traptor.printable import harmless
from traptor.rules import checked, loading, stored
from traptor.tweets.rule import Rule, version

LAST_SECONDS = 5
"""How long a reader of standard output may hold us up once we are told to stop."""
REDIS = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB")
"""Who sets one of these has a Redis."""
ROWS = 30
"""Of a table in the summary."""

EXAMPLES = """
\b
Examples:
  Which tweets of an archive match the rules in Redis, as the stream would have had them:
    traptor replay tweets.jsonl.gz > matched.jsonl
  A month of the Internet Archive's stream grab, with rules from a file and no server at all:
    traptor replay --rules rules.jsonl --out matched/ --state march.state archiveteam-twitter-stream-2020-03/
  rules.jsonl has one rule per line, as rules load takes it, and may as well be CSV or GNIP's:
    {"type": "track", "value": "storm,flood warning", "tag": "weather"}
  The archive of their own tweets that Twitter gives to a user; exit 1 if any of it is damaged:
    traptor replay --all --strict twitter-2023-01-31.zip > own.jsonl
  Into Kafka as if it happened now, ten times as fast, with a report:
    traptor replay --kafka --speed 10x --report goal.html final.tar
  From a pipe:
    zstdcat big.zst | traptor replay --rules rules.jsonl - | jq .text
"""


def cores() -> int:
    """Those that this process may use, where the system tells; macOS does not."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True))
@click.option("--rules", "rules_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Rules from a file that `rules load` could take, instead of from Redis.")  # fmt: skip
@click.option("--type", "traptor_type", type=click.Choice(["track", "follow", "locations"]), help="Type of the rules.")
@click.option("--id", "traptor_id", type=click.IntRange(0), help="Whose rules, and the id in the tweets.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write .jsonl.gz files into this folder.")
@click.option("--kafka", is_flag=True, help="Write to Kafka, by the settings of the daemon.")
@click.option("--all", "every_tweet", is_flag=True, help="Also the tweets that match no rule.")
@click.option("--since", type=moment, metavar="TIME", help="Leave out tweets posted before this time (UTC).")
@click.option("--until", type=moment, metavar="TIME", help="Leave out tweets posted at this time or later.")
@click.option("--sample", type=Finite(0, 1, min_open=True), default=1.0, metavar="SHARE",
              help="A share of the tweets, 0.01 for one in a hundred; always the same ones.")  # fmt: skip
@click.option("--speed", type=factor, metavar="SPEED", default="max", show_default=True,
              help="By the tweets' own time: 1x as it happened, 10x ten times as fast.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=cores, show_default="cores",
              metavar="N", help="Processes that read.")  # fmt: skip
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), callback=results.writable,
              help="Remember here how far it got, and go on from there.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit code 1 if anything was damaged.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), callback=results.page,
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
    strict: bool,
    report: Path | None,
) -> None:
    """Pass archived tweets through the rules. Those that match go to standard output, enriched.

    PATHS are files, folders, or - for standard input: JSON lines, arrays or any other JSON, plain or packed (gz, bz2,
    xz, lzma, zst), also as members of tar and zip archives. Tweets may be in the shape of v1.1 or v2, activities of
    GNIP's, or what a user gets of their own. What is damaged is told, counted and passed over. Ctrl-C ends it in good
    order. Exit code 1 if nothing could be read.
    """
    if out and kafka:
        raise click.UsageError("--out and --kafka: choose one")
    if out and any(out.resolve().is_relative_to(Path(path).resolve()) for path in paths):
        raise click.UsageError(f"--out {out} is inside what is read: choose another folder")
    wanted = settings.load({"TRAPTOR_TYPE": traptor_type, "TRAPTOR_ID": traptor_id})
    console = terminal(stderr=True)

    def say(text: str) -> None:
        console.print(harmless(text), soft_wrap=True)

    found = _rules(rules_file, wanted, say, every_tweet=every_tweet)
    if not found and not every_tweet:
        raise click.UsageError("there are no rules, so nothing would match; --all passes every tweet")
    task = Task(wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID, found, every_tweet, since, until, sample, describe=bool(report))
    stopping = _told_to_stop(is_for_a_reader=not (out or kafka))
    bookmarks = _bookmarks(state, task)
    pace = Pace(speed)
    with _told_why_it_ended():
        outlet = _outlet(out, kafka, wanted, stopping)
        run = Replay(
            paths, task, outlet=outlet, bookmarks=bookmarks, pace=pace, console=console, say=say, workers=workers
        )
        run.run(stopping)
        signal.alarm(0)
    _say_tables(console, run, task.rules)
    click.echo(f"replay: {run.summary()}", err=True)
    if report:
        from traptor.archives.report import page

        report.write_text(page(run.tally, task.rules, paths), encoding="utf-8")
    if run.read_nothing():
        click.echo("replay: nothing could be read", err=True)
        needs_a_person()
    if strict and run.tally.counts["damaged"]:
        needs_a_person()


def _say_tables(console: Console, run: Replay, rules: Sequence[Rule]) -> None:
    """The matches of each rule, and what each file had: the first rows."""
    matches, names = run.tally.rules, ("tweets", "matched", "notices", "damaged")
    of_rules = [
        (rule["rule_id"], rule.get("tag", ""), rule["value"], f"{matches[rule['rule_id']]:,}")
        for rule in sorted(rules, key=lambda rule: -matches[rule["rule_id"]])
    ]
    of_files = [
        (path, *(f"{run.files[path][name]:,}" for name in names))
        for path in sorted(run.files, key=lambda path: -run.files[path]["damaged"])
    ]
    for title, columns, rows in (
        ("by rule", ("rule", "tag", "value", ">matches"), of_rules),
        ("by file", ("file", *(f">{name}" for name in names)), of_files),
    ):
        console.print(title, table(columns, rows[:ROWS], is_terminal=console.is_terminal), sep="\n")
        if len(rows) > ROWS:
            console.print(f"and {len(rows) - ROWS} more")


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


@contextlib.contextmanager
def _told_why_it_ended() -> Iterator[None]:
    try:
        yield
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


def _end_without_output(code: int = Exit.ENDED) -> NoReturn:
    drop_output()
    sys.exit(code)


def _rules(
    file: Path | None, wanted: settings.Settings, say: Callable[[str], None], *, every_tweet: bool
) -> list[Rule]:
    """The rules that make sense; the others are told. How many one connection may ask for is no matter here.

    Who wants every tweet, and has named no Redis, may have none.
    """
    if file:
        return _rules_of_a_file(file, wanted.TRAPTOR_TYPE, say)
    found: list[Rule] = []
    try:
        rules = stored.read(connect_to_redis(wanted), wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID)
    except redis.RedisError as error:
        is_named = any(wanted.sources.get(name, "default") != "default" for name in REDIS)
        # One that wants a password, or is loading, has a kind of its own.
        if not every_tweet or is_named or type(error) is not redis.ConnectionError:
            raise click.UsageError(f"Redis cannot be read: {error}; --rules FILE needs no Redis") from None
        say("replay: no Redis and no --rules: no tweet is matched")
        return []
    for rule in rules:
        try:
            checked.predicates(wanted.TRAPTOR_TYPE, rule)
        except ValueError as error:
            say(f"replay: rule {rule['rule_id']} is left out: {error}")
        else:
            found.append(rule)
    return sorted(found, key=checked.order)


def _rules_of_a_file(file: Path, traptor_type: str, say: Callable[[str], None]) -> list[Rule]:
    """As ``rules load`` would write them to Redis, with the ids that it would give them."""
    try:
        loaded = loading.load(loading.rows(str(file)), traptor_type)
    except loading.SourceError as error:
        raise click.UsageError(f"--rules {error}") from None
    for remark in loaded.problems:
        say(f"replay: {remark.place} is left out: {remark.value!r} {remark.text}")
    for remark in loaded.notes:
        say(f"replay: {remark.place}: {remark.value!r} {remark.text}")
    rules = loaded.rules.get(traptor_type, [])
    return sorted(
        ({**rule, "rule_id": rule["rule_id"] or loading.content_id(rule["value"])} for rule in rules), key=checked.order
    )


def _bookmarks(state: Path | None, task: Task) -> Bookmarks:
    """How far an earlier run got; what it has left half done is taken back."""
    asked = {
        "--type": task.traptor_type,
        "--id": task.traptor_id,
        "rules": version(task.rules),
        "--all": task.every_tweet,
        "--since": task.since,
        "--until": task.until,
        "--sample": task.sample,
    }
    try:
        bookmarks = Bookmarks(state, asked)
    except (ValueError, OSError) as error:
        raise click.UsageError(f"--state {state}: {error}") from None
    if bookmarks.changed:
        changed = ", ".join(bookmarks.changed)
        click.echo(f"replay: --state {state} was begun with other {changed}: what is done stays done", err=True)
    if bookmarks.unfinished:
        outlets.take_back(bookmarks.unfinished)
    return bookmarks


def _outlet(out: Path | None, kafka: bool, wanted: settings.Settings, stopping: threading.Event) -> outlets.Outlet:
    if out:
        return outlets.Folder(out)
    if not kafka:
        return outlets.StandardOutput()
    from traptor.archives.topic import Topic
    from traptor.delivery import producers  # Kafka's client takes its time to import

    def connect(more_options: dict[str, Any]) -> Any:
        options = {**(wanted.KAFKA_OPTIONS or {}), **more_options}
        return producers.connect(wanted.KAFKA_HOSTS, wanted.KAFKA_TOPIC, options)

    return Topic(connect, wanted.KAFKA_TOPIC, stopping)
