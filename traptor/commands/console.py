"""What the commands that look at rules and the fleet share: a Redis client, tables, and how they end."""

import contextlib
import gc
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import click
import redis
from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from traptor import settings
from traptor.connections import connect_to_redis
from traptor.exits import Exit
from traptor.keys import TYPES
from traptor.printable import harmless, in_json, printable
from traptor.redaction import Secret, SecretUrl
from traptor.rules.lock import Locked
from traptor.rules.progress import Progress

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from traptor.account.metrics import Health

MOST_SHOWN = 20
PAGE_ROWS = 1000
PIPE_COLUMNS = 1000
"""Lines for a program are not folded."""

log = logging.getLogger(__name__)

json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
type_option = click.option("--type", "wanted_type", type=click.Choice(TYPES), help="Only rules of this type.")
type_argument = click.argument("traptor_type", metavar="TYPE", type=click.Choice(TYPES))


class Command(click.Command):
    """One whose values may begin with a minus, such as ``-122.75,36.8,-121.75,37.8``, with options before or after."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Options first, then ``--``, then the values, in their order."""
        named = [one for one in self.get_params(context) if isinstance(one, click.Option)]
        known = {name for one in named for name in (*one.opts, *one.secondary_opts)}
        with_value = {name for one in named if not (one.is_flag or one.count) for name in one.opts}
        options: list[str] = []
        values: list[str] = []
        left = iter(args)
        for arg in left:
            if arg == "--":
                values += left
            elif arg.startswith("--") or arg in known or f"-{arg}" in known:
                taken = [*islice(left, int(arg in with_value))]
                if arg in with_value and not taken:
                    raise click.BadOptionUsage(arg, f"Option {arg!r} requires an argument.", context)
                options += [arg, *taken]
            else:
                values.append(arg)
        return super().parse_args(context, [*options, "--", *values])


class Group(click.Group):
    command_class = Command


def typed(_context: click.Context | None, _option: click.Parameter | None, text: str | None) -> str | None:
    """What was typed, as UTF-8 where the locale knows no more than ASCII."""
    return text and os.fsencode(text).decode("utf-8", "replace")


@contextlib.contextmanager
def connection(wanted: settings.Settings) -> Iterator["redis.Redis"]:
    """A Redis client; what fails in Redis ends the command with one line. Names that are nearly settings are told."""
    for misnomer in wanted.misnomers:
        click.echo(f"traptor: {misnomer}", err=True)
    # Rules leave no cycles; looking for some among half a million of them costs a quarter of the time.
    gc.set_threshold(50_000)
    try:
        with contextlib.closing(connect_to_redis(wanted)) as conn:
            yield conn
    except redis.WatchError:
        raise click.ClickException("somebody else changed rules meanwhile, nothing was written: try again") from None
    except redis.RedisError as error:
        raise click.ClickException(
            f"Redis cannot be used: {harmless(error)}; start it, or set REDIS_URL (`traptor doctor` looks for more)"
        ) from None
    except Locked as error:
        raise click.ClickException(str(error)) from None


def kafka_fails(error: Exception) -> click.ClickException:
    """One line for what a client of Kafka raises, which names the error once, and what to do."""
    from traptor.delivery.reasons import named  # Kafka's client takes its time to import

    return click.ClickException(
        f"Kafka cannot be read: {harmless(named(error))}; start it, or see to KAFKA_HOSTS and KAFKA_OPTIONS"
        " (`traptor doctor` looks for more)"
    )


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Says on standard error for whom a command waits, and on a terminal how far it is."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Progress(waits=lambda text: click.echo(harmless(text), err=True))
        return
    with console.status("") as line:
        yield Progress(step=lambda text: line.update(Text(text)), waits=lambda text: line.update(Text(harmless(text))))


def look_out_for_password(url: str, setting: str) -> None:
    """What is typed stands in the list of processes, for everybody on the machine to read: says so."""
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    if not password:
        return
    # From now on it is blotted out wherever it is said.
    for text in (password, unquote(password)):
        Secret(text)
    if set("/?#") & set(password):
        raise click.ClickException(f"a password with /, ? or # fits no URL: take it out, and set {setting}")
    with contextlib.suppress(ValueError):
        SecretUrl(url)
    told = f"others can read this password in the list of processes: take it out, and set {setting}"
    click.echo(f"warning: {told} or {setting}_FILE", err=True)


def needs_a_person() -> NoReturn:
    raise click.exceptions.Exit(Exit.NEEDS_A_PERSON)


def stop_signal() -> threading.Event:
    """Set by SIGTERM and SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def serve_metrics(address: str, port: int, registry: "CollectorRegistry", health: "Health") -> None:
    """In the background, until the process ends."""
    from traptor.account import metrics

    try:
        metrics.serve_registry(address, port, registry, health)
    except OSError as error:
        raise click.ClickException(f"no metrics on {address}:{port}: {error}") from None
    log.info("metrics", extra={"port": port})


def as_json(value: Any) -> str:
    """Readable where standard output is in UTF-8, and the same value in any other encoding."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return in_json(json.dumps(value, ensure_ascii=not is_unicode))


def for_files() -> None:
    """What follows on standard output is for a program or a file: UTF-8, wherever we are."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def say_json(value: Any) -> None:
    click.echo(as_json(value))


def say_json_list(values: Iterable[Any]) -> None:
    """A list as ``say_json`` has it, begun with the first value."""
    separator = "["
    for value in values:
        sys.stdout.write(separator + as_json(value))
        separator = ", "
    sys.stdout.write("]\n" if separator == ", " else "[]\n")


def say_csv(text: str) -> None:
    """As it is for a program; for a terminal without what would act on it."""
    for_files()
    is_seen = sys.stdout.isatty()
    click.echo("\n".join(map(printable, text.split("\n"))) if is_seen else text, nl=False)


def say_some(lines: Sequence[str], heading: str = "", *, err: bool = False) -> None:
    """The first lines, and how many more there are."""
    if lines and heading:
        click.echo(f"{heading}: {len(lines)}", err=err)
    for line in lines[:MOST_SHOWN]:
        click.echo(("  " if heading else "") + harmless(line), err=err)
    if len(lines) > MOST_SHOWN:
        click.echo(f"  … and {len(lines) - MOST_SHOWN} more; --json shows all", err=err)


def terminal(*, stderr: bool = False) -> Console:
    """Standard output, or error: colours for a person, plain lines for a pipe. What is said is no markup."""
    console = Console(stderr=stderr, markup=False, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, markup=False, highlight=False, width=PIPE_COLUMNS)


def encodable(text: str) -> str:
    r"""Lone surrogates, which stand for bytes that are not UTF-8, as ``\udce9``, which is JSON as well."""
    return text.encode("utf-8", "backslashreplace").decode()


def table(
    columns: Iterable[str],
    rows: Iterable[Sequence[object]],
    *,
    is_terminal: bool,
    is_continued: bool = False,
    widths: Sequence[int] = (),
) -> Table:
    """Numbers to the right. A column's name with ``>`` before it says that it holds numbers; cells may be Text.

    One that ``is_continued`` has no header; ``widths`` are the least of the columns.
    """
    made = Table(box=box.SIMPLE_HEAD if is_terminal else None, pad_edge=False, show_header=not is_continued)
    for column, width in zip_longest(columns, widths):
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        made.add_column(column.removeprefix(">"), justify=justify, min_width=width)
    for row in rows:
        made.add_row(*(Text(harmless(cell), cell.style if isinstance(cell, Text) else "") for cell in row))
    return made


def say_long_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The same for any number of rows, begun with the first: the first page of them gives the columns their widths."""
    console, left = terminal(), iter(rows)
    page = list(islice(left, PAGE_ROWS))
    shown = [[harmless(cell) for cell in row] for row in ([column.strip(">") for column in columns], *page)]
    widths = [] if console.is_terminal else [max(map(cell_len, cells)) for cells in zip(*shown, strict=True)]
    is_continued = False
    while page or not is_continued:
        console.print(table(columns, page, is_terminal=console.is_terminal, is_continued=is_continued, widths=widths))
        is_continued = True
        page = list(islice(left, PAGE_ROWS))


def say_table(columns: Iterable[str], rows: Iterable[Sequence[object]]) -> None:
    console = terminal()
    console.print(table(columns, rows, is_terminal=console.is_terminal))
