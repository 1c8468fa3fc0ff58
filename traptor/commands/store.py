"""``traptor store``: from Kafka or standard input into a database."""

import contextlib
import gc
import math
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import click
from rich.console import Console

from traptor import logs, settings
from traptor.commands.console import (
    json_option,
    kafka_fails,
    look_out_for_password,
    needs_a_person,
    say_json,
    say_some,
    say_table,
)
from traptor.commands.replay import moment
from traptor.printable import counted
from traptor.redaction import reveal
from traptor.store.destination import Apart, Away, Destination, WrongDestination
from traptor.store.destinations import destination

EXAMPLES = """
\b
Examples:
  traptor --demo --test | traptor store tweets.db -     tweets in a file: no account, no servers
  traptor replay --all archive.tar | traptor store tweets.db -
  traptor store tweets.db                               the Kafka topic, for as long as you like
  traptor store --once --from 2021-01-26T14:00 tweets.db
  traptor store --keep 90d postgresql://traptor@db/tweets
  traptor store opensearch+https://traptor@search:9200/tweets
  traptor store apart tweets.db list                    what could not be stored: list, export, resend
  traptor store check tweets.db                         is all of the topic there?
  traptor export tweets.db --format csv > tweets.csv
  traptor report tweets.db page.html

KAFKA_HOSTS, KAFKA_TOPIC, KAFKA_NOTICES_TOPIC and KAFKA_OPTIONS say where tweets are read; STORE_PASSWORD (or
STORE_PASSWORD_FILE) is the password of a server.
"""
WORDS = {"read": "read", "stored": "stored", "merged": "merged", "deleted": "deleted", "apart": "set apart",
         "notices": "notices"}  # fmt: skip
UNITS = {"h": "hours", "d": "days", "w": "weeks"}
LIVE_SECONDS, PLAIN_SECONDS = 0.5, 10.0
"""How often it is told how far we are: in place, and as lines of their own."""
LAST_SECONDS, AGAIN_SECONDS = 5.0, 1.0
"""How long a server may hold us up once we are told to stop, and then each further thing that is to be ended."""
PATIENCE_SECONDS = 60.0
"""With --once, so long is what is away waited for."""

INTO = "into"


class _WithDefault(click.Group):
    """``traptor store tweets.db`` is ``traptor store into tweets.db``, a word that nobody has to know."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        if not arguments or arguments[0] not in self.commands:
            arguments.insert(0, INTO)
        return super().parse_args(context, arguments)


def _age(context: click.Context, option: click.Parameter, text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if not found:
        raise click.BadParameter(f"{text!r} is no age; allowed are hours, days and weeks, such as 36h, 90d or 52w")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _begin(context: click.Context, option: click.Parameter, text: str) -> str | float:
    return text if text in {"beginning", "now"} else moment(text)


class _Unsaid(click.Context):
    """Of a command whose name nobody has to type."""

    @property
    def command_path(self) -> str:
        return self.parent.command_path if self.parent else ""


class _Into(click.Command):
    context_class = _Unsaid


@click.group(cls=_WithDefault)
def store() -> None:
    """Keep tweets in a database."""


@store.command(INTO, cls=_Into, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="DESTINATION")
@click.argument("source", metavar="[-]", required=False, type=click.Choice(["-"]))
@click.option("--group", help="Consumer group, whose stores share the work  [traptor-store:DESTINATION]")
@click.option("--once", is_flag=True, help="End where the topic ends now.")
@click.option("--from", "begin", default="beginning", show_default=True, callback=_begin, metavar="TIME",
              help="Where to begin what the database does not know yet: beginning, now, or a time (UTC).")  # fmt: skip
@click.option("--raw", is_flag=True, help="Keep each message as well, compressed.")
@click.option("--keep", callback=_age, metavar="AGE", help="Let older tweets go: 36h, 90d, 52w.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics and /healthz.")
def into(  # noqa: PLR0917 - click passes by name
    name: str,
    source: str | None,
    group: str | None,
    once: bool,
    begin: str | float,
    raw: bool,
    keep: timedelta | None,
    metrics_port: int | None,
) -> None:
    """Keep tweets in DESTINATION: from the Kafka topic, or from standard input with -.

    DESTINATION is a file of SQLite (sqlite:PATH, or a path that ends in .db), postgresql://user@host/database, or
    opensearch+https://user@host:9200/prefix (elasticsearch+…, +http). Every message of the topic is in it once; what
    its author deletes is taken out. Ctrl-C ends it in good order.
    """
    from traptor.store.loop import Store

    wanted = settings.load({"METRICS_PORT": metrics_port})
    logs.set_up(wanted)
    # Rows leave no cycles; looking for some among all those of a batch takes as long as making them.
    gc.freeze()
    gc.set_threshold(50_000)
    stopping = _told_to_stop(is_from_a_pipe=bool(source))
    database = _named(name, wanted, keep_raw=raw, keep=keep)
    reader = _reader(source, wanted, database, group or database.group, begin=begin, once=once)
    with _progress(is_from_a_pipe=bool(source)) as tell:
        patience_seconds = PATIENCE_SECONDS if once and not source else math.inf
        run = Store(reader, database, stopping, tell, patience_seconds=patience_seconds)
        with _metrics(wanted, run), _told():
            run.run()
            signal.setitimer(signal.ITIMER_REAL, 0)
    counts = ", ".join(f"{word} {run.counts[count]}" for count, word in WORDS.items())
    click.echo(f"store: {counts}, in {database.name}", err=True)
    if run.unstored and source:
        raise click.ClickException(f"{counted(run.unstored, 'message')} of standard input read and not stored")


def _told_to_stop(*, is_from_a_pipe: bool) -> threading.Event:
    """Set by SIGTERM and Ctrl-C. What a server holds up then ends with Away after a few seconds."""
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        signal.setitimer(signal.ITIMER_REAL, LAST_SECONDS, AGAIN_SECONDS)

    def give_up(*_: object) -> None:
        raise Away("told to stop while a server did not answer")

    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, stop)
    # Whoever ignores Ctrl-C for us wants us to take what still comes, and to end with the pipe.
    if not (is_from_a_pipe and signal.getsignal(signal.SIGINT) is signal.SIG_IGN):
        signal.signal(signal.SIGINT, stop)
    return stopping


def _named(name: str, wanted: settings.Settings, **options: Any) -> Destination:
    look_out_for_password(name, "STORE_PASSWORD")
    try:
        return destination(name, reveal(wanted.STORE_PASSWORD), **options)
    except WrongDestination as error:
        raise click.UsageError(str(error)) from None
    except ImportError as error:
        raise click.ClickException(str(error)) from None


def _reader(
    source: str | None, wanted: settings.Settings, database: Destination, group: str, *, begin: str | float, once: bool
) -> Any:
    if source:
        from traptor.store.standard_input import StandardInput

        return StandardInput(sys.stdin.fileno())
    from traptor.store.topics import Topics  # Kafka's client takes its time to import

    topics = dict.fromkeys([wanted.KAFKA_TOPIC, wanted.KAFKA_NOTICES_TOPIC or wanted.KAFKA_TOPIC])
    options = wanted.KAFKA_OPTIONS or {}
    return Topics(wanted.KAFKA_HOSTS, list(topics), options, group, database.progress, begin=begin, once=once)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What waiting does not mend ends the command with one line."""
    from kafka.errors import KafkaError

    try:
        yield
    except (WrongDestination, LookupError, Away) as error:
        raise click.ClickException(str(error)) from None
    except KafkaError as error:
        raise kafka_fails(error) from None


@contextlib.contextmanager
def _metrics(wanted: settings.Settings, run: Any) -> Iterator[None]:
    if not wanted.METRICS_PORT:
        yield
        return
    from traptor.account import metrics
    from traptor.store.metrics import StoreCollector

    try:
        server = metrics.serve(wanted.METRICS_ADDRESS, wanted.METRICS_PORT, StoreCollector(run), lambda: run.state)
    except OSError as error:
        raise settings.SettingError(f"METRICS_PORT: {wanted.METRICS_PORT} cannot be listened on: {error}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def _progress(*, is_from_a_pipe: bool) -> Iterator[Callable[[Any], None]]:
    """A terminal is told how far a store is. Of a pipe whose writer has the same terminal, whose lines would stick to a
    line in place, in lines of its own.
    """
    console = Console(stderr=True, markup=False, highlight=False)
    if not console.is_terminal:
        yield lambda run: None
    elif is_from_a_pipe:
        yield _teller(lambda text: click.echo(f"store: {text}", err=True), PLAIN_SECONDS)
    else:
        with console.status("") as line:
            yield _teller(line.update, LIVE_SECONDS)


def _teller(update: Callable[[str], object], least_seconds: float) -> Callable[[Any], None]:
    """A line now and then."""
    told_at, before = time.monotonic(), 0
    rate, share = 0.0, 1.0

    def tell(run: Any) -> None:
        nonlocal told_at, before, rate, share
        now = time.monotonic()
        if now - told_at < least_seconds:
            return
        rate += share * ((run.counts["read"] - before) / (now - told_at) - rate)
        told_at, before, share = now, run.counts["read"], 0.3
        counts = ", ".join(f"{word} {run.counts[count]:,}" for count, word in WORDS.items() if run.counts[count])
        update(f"{run.state}: {counts or 'nothing yet'}; {rate:,.0f}/s, {run.behind:,} behind")

    return tell


@contextlib.contextmanager
def opened(name: str, wanted: settings.Settings) -> Iterator[Destination]:
    """A database that is there; what fails ends the command with one line."""
    database = _named(name, wanted, is_there=True)
    with _told():
        try:
            database.open()
            yield database
        finally:
            database.close()


# What was set apart


@store.group()
@click.argument("name", metavar="DESTINATION")
@click.pass_context
def apart(context: click.Context, name: str) -> None:
    """Messages that could not be stored."""
    context.obj = name


@apart.command("list")
@json_option
@click.pass_obj
def list_(name: str, as_json: bool) -> None:
    """Each with the reason."""
    with opened(name, settings.load()) as database:
        found = [_facts(one) for one in database.apart()]
    if as_json:
        say_json(found)
        return
    say_table(("topic", ">partition", ">offset", "at", ">bytes", "reason"), [tuple(one.values()) for one in found])


@apart.command()
@click.pass_obj
def export(name: str) -> None:
    """On standard output, one JSON object each. ``value`` is the message as text."""
    with opened(name, settings.load()) as database:
        for one in database.apart():
            say_json({**_facts(one), "value": one.value.decode("utf-8", "replace")})


@apart.command()
@click.pass_obj
def resend(name: str) -> None:
    """Try to store them again. Those that can be stored now are set apart no more."""
    from traptor.store.again import store_again

    with opened(name, settings.load()) as database:
        tried, stored = store_again(database)
    click.echo(f"store: {tried} tried again, {stored} stored")


def _facts(one: Apart) -> dict[str, Any]:
    return {
        "topic": one.topic,
        "partition": one.partition,
        "offset": one.offset,
        "at": one.at,
        "bytes": len(one.value),
        "reason": one.reason,
    }


@store.command()
@click.argument("name", metavar="DESTINATION")
def check(name: str) -> None:
    """Compare with the topic, and say which of its tweets the database has not. Exit code 1 where there are some."""
    from traptor.store.check import missing

    wanted = settings.load()
    with opened(name, wanted) as database:
        compared, lacking = missing(database, wanted.KAFKA_HOSTS, wanted.KAFKA_TOPIC, wanted.KAFKA_OPTIONS or {})
    click.echo(f"store: {counted(compared, 'message')} of {wanted.KAFKA_TOPIC} compared, {len(lacking)} missing")
    say_some(lacking, "missing")
    if lacking:
        needs_a_person()
