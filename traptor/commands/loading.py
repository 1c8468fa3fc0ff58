"""``rules load``, the same for the command and for scripts/rule_extract.py."""

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import click
import redis
from rich import progress as rich_progress
from rich.console import Console

from traptor import logs, settings
from traptor.commands.console import (
    Command,
    connection,
    dry_run_option,
    json_option,
    look_out_for_password,
    needs_a_person,
    progress,
    say_json,
    say_some,
    serve_metrics,
    stop_signal,
)
from traptor.commands.finite import Finite
from traptor.fleet import following, roster
from traptor.fleet.roster import Changes
from traptor.keys import TYPES
from traptor.printable import counted, harmless
from traptor.redaction import reveal
from traptor.rules import loading
from traptor.rules.progress import SILENT, Progress
from traptor.rules.shards import Change, Place, Shards

ROWS_PER_UPDATE = 1000
LEAST_SECONDS_BETWEEN = 1.0
SIGNS = {"added": "+", "changed": "~", "moved": ">", "removed": "-"}

log = logging.getLogger(__name__)


@click.command(cls=Command)
@click.argument("source")
@click.option("--format", "source_format", type=click.Choice(loading.FORMATS), help="Told by name and content.")
@click.option(
    "--type",
    "wanted_type",
    type=click.Choice(TYPES),
    help="Type of rows that name none; leaves out others.",
)
@click.option(
    "--traptors", type=click.IntRange(1), metavar="N", help="Spread over ids 0 to N-1, whether they live or not."
)
@dry_run_option
@click.option("--prune", is_flag=True, help="Remove rules that SOURCE no longer has, of its types or of --type.")
@click.option("--strict", is_flag=True, help="Load nothing if any rule cannot be.")
@click.option(
    "--as-is", is_flag=True, help="Leave values as they are; otherwise they are cleaned up, as docs/rules.md says."
)
@click.option(
    "--every",
    "every_seconds",
    type=Finite(LEAST_SECONDS_BETWEEN),
    metavar="SECONDS",
    help="Go on until told to stop, and load again; of several that do, one loads, the others wait.",
)
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="With --every: port of Prometheus metrics.")
@json_option
def load(
    *,
    source: str,
    source_format: str | None,
    wanted_type: str | None,
    every_seconds: float | None,
    metrics_port: int | None,
    as_is: bool,
    as_json: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Load rules from a file or a database. SOURCE is a path, - for standard input, or mysql://user@host/db.

    Shows what is added, changed and removed. Exit code 1 if any rule was left out.
    """
    wanted = settings.load()
    if metrics_port is not None and every_seconds is None:
        raise click.UsageError("--metrics-port goes with --every")
    if every_seconds is None:
        options |= {"dry_run": dry_run, "as_json": as_json}
        load_source(wanted, source, source_format, wanted_type, as_is=as_is, **options)
        return
    if source == "-" or dry_run or as_json:
        raise click.UsageError("--every loads again and again: it goes without -, --dry-run and --json")
    options |= {"as_is": as_is, "metrics_port": metrics_port}
    follow_source(wanted, source, source_format, wanted_type, every_seconds, **options)


def load_source(
    wanted: settings.Settings,
    source: str,
    source_format: str | None,
    wanted_type: str | None,
    *,
    as_is: bool = False,
    as_json: bool = False,
    prune: bool = False,
    strict: bool = False,
    **options: Any,
) -> None:
    """The same as a function; ``options`` are those of ``write``."""
    loaded = read(wanted, source, source_format, wanted_type, as_is=as_is)
    if strict and loaded.problems:
        if as_json:
            say_json(report(loaded, {}, []))
        else:
            say_remarks(loaded)
        raise click.ClickException(_too_strict(loaded))
    if prune and wanted_type:
        loaded.rules.setdefault(wanted_type, [])
    with connection(wanted) as conn, progress() as seen:
        changes, told = write(conn, wanted.REDIS_PUBSUB_CHANNEL, loaded, prune=prune, progress=seen, **options)
        spared = _spared(conn, loaded.rules) if prune and not wanted_type else {}
    for traptor_type, count in spared.items():
        click.echo(f"{source} {_stay(traptor_type, count)}", err=True)
    if as_json:
        say_json(report(loaded, changes, told))
    else:
        say_remarks(loaded)
        say_changes(changes, told, dry_run=bool(options.get("dry_run")))
    if loaded.problems:
        needs_a_person()


def follow_source(
    wanted: settings.Settings,
    source: str,
    source_format: str | None,
    wanted_type: str | None,
    every_seconds: float,
    *,
    as_is: bool,
    prune: bool,
    strict: bool,
    traptors: int | None,
    metrics_port: int | None,
) -> None:
    """The same again and again, until told to stop; what happens is logged."""
    look_out_for_password(source, "MYSQL_PASSWORD")
    types_told: frozenset[str] | None = None

    def read_again() -> loading.Loaded:
        return loading.load(_rows(wanted, source, source_format), wanted_type, as_is=as_is)

    def write_again(loaded: loading.Loaded) -> tuple[Changes, list[roster.Name]]:
        nonlocal types_told
        if strict and loaded.problems:
            raise loading.SourceError(_too_strict(loaded))
        if prune and wanted_type:
            loaded.rules.setdefault(wanted_type, [])
        if prune and not wanted_type and loaded.rules.keys() != types_told:
            for traptor_type, count in _spared(conn, loaded.rules).items():
                log.warning("the source %s", _stay(traptor_type, count))
            types_told = frozenset(loaded.rules)
        channel, wait_seconds = wanted.REDIS_PUBSUB_CHANNEL, following.LOCK_SECONDS
        return write(conn, channel, loaded, traptors=traptors, prune=prune, wait_seconds=wait_seconds)

    types = [wanted_type] if wanted_type else TYPES
    logs.set_up(dataclasses.replace(wanted, LOG_DIR=logs.NO_FILE, LOG_STDOUT=True))
    with connection(wanted) as conn:
        follower = following.Follower(
            conn, types, read_again, write_again, every_seconds=every_seconds, stopping=stop_signal()
        )
        if metrics_port is not None:
            _serve(follower, wanted.METRICS_ADDRESS, metrics_port)
        follower.run()


def _serve(follower: following.Follower, address: str, port: int) -> None:
    from prometheus_client import CollectorRegistry

    from traptor.fleet.metrics import LoaderCollector

    served = CollectorRegistry()
    served.register(LoaderCollector(follower))
    serve_metrics(address, port, served, lambda: (not follower.trouble, "failing" if follower.trouble else "following"))


def _too_strict(loaded: loading.Loaded) -> str:
    return f"{counted(len(loaded.problems), 'rule')} cannot be loaded: nothing was changed"


def _stay(traptor_type: str, count: int) -> str:
    return f"has no {traptor_type} rules: the {count} in Redis stay, but for --type {traptor_type} --prune"


def _spared(conn: "redis.Redis", pruned: Collection[str]) -> Counter[str]:
    """How many rules Redis has of each type that was not pruned."""
    counts: Counter[str] = Counter()
    for name, member in roster.look(conn).items():
        if member.rules and name.traptor_type not in pruned:
            counts[name.traptor_type] += member.rules
    return counts


def read(
    wanted: settings.Settings,
    source: str,
    source_format: str | None,
    wanted_type: str | None,
    *,
    as_is: bool = False,
    default_type: str | None = None,
) -> loading.Loaded:
    """All rules of a source, with progress on a terminal. ``default_type`` is that of rows that name none."""
    look_out_for_password(source, "MYSQL_PASSWORD")
    try:
        found = _counted(_rows(wanted, source, source_format))
        return loading.load(found, wanted_type, as_is=as_is, default_type=default_type)
    except loading.SourceError as error:
        raise click.ClickException(harmless(error)) from None


def _rows(wanted: settings.Settings, source: str, source_format: str | None) -> Iterator[loading.Row]:
    return loading.rows(source, source_format, query=wanted.RULES_QUERY, password=reveal(wanted.MYSQL_PASSWORD))


def _counted(rows: Iterable[loading.Row]) -> Iterator[loading.Row]:
    """The rows; a terminal shows how many so far."""
    console = Console(stderr=True)
    with rich_progress.Progress(
        rich_progress.TextColumn("{task.completed} rows"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("")
        for number, row in enumerate(rows, start=1):
            yield row
            if number % ROWS_PER_UPDATE == 0:
                progress.update(task, completed=number)


def write(
    conn: "redis.Redis",
    channel: str,
    loaded: loading.Loaded,
    *,
    traptors: int | None = None,
    dry_run: bool = False,
    prune: bool = False,
    keep_fields: bool = False,
    wait_seconds: float = math.inf,
    progress: Progress = SILENT,
) -> tuple[Changes, list[roster.Name]]:
    """Bring Redis to these rules. Returns the changes by type and the Traptors that were told."""
    # A rule that the source has, but not as it should be, is not one that the source no longer has.
    spared = {problem.rule_id for problem in loaded.problems}

    def plan(shards: Shards) -> list[Change]:
        return shards.load(loaded.rules[shards.traptor_type], prune=prune, spared=spared, keep_fields=keep_fields)

    living = range(traptors) if traptors else None
    return roster.change(
        conn,
        channel,
        sorted(loaded.rules),
        plan,
        dry_run=dry_run,
        living=living,
        wait_seconds=wait_seconds,
        progress=progress,
    )


def report(loaded: loading.Loaded, changes: Changes, told: list[roster.Name]) -> dict[str, Any]:
    """What a load did, for scripts."""
    return {
        "rules": {traptor_type: len(found) for traptor_type, found in loaded.rules.items()},
        **{kind: as_dicts(changes, kind) for kind in SIGNS},
        "problems": [problem._asdict() for problem in loaded.problems],
        "notes": [note._asdict() for note in loaded.notes],
        "told": [str(name) for name in told],
    }


def as_dicts(changes: Changes, kind: str) -> list[dict[str, Any]]:
    return [
        {**one.rule, "type": traptor_type, **one.at._asdict(), "was": one.was and one.was._asdict()}
        for traptor_type, some in changes.items()
        for one in some
        if one.kind == kind
    ]


def say_remarks(loaded: loading.Loaded) -> None:
    """Notes and problems, on standard error."""
    for heading, remarks in (("cleaned up or merged", loaded.notes), ("LEFT OUT", loaded.problems)):
        say_some([f"{remark.place}: {remark.value!r} {remark.text}" for remark in remarks], heading, err=True)


def say_changes(changes: Changes, told: list[roster.Name], *, dry_run: bool) -> None:
    """Each change, then how many."""
    for traptor_type, some in changes.items():
        say_some([shown(traptor_type, one) for one in some])
    counts = Counter(one.kind for some in changes.values() for one in some)
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in SIGNS if counts[kind]) or "nothing to change"
    click.echo(f"{summary}{' (dry run: nothing was written)' if dry_run else ''}")
    if told:
        click.echo(f"told: {', '.join(map(str, told))}")


def shown(traptor_type: str, one: Change) -> str:
    tag = f" [{one.rule['tag']}]" if one.rule.get("tag") else ""
    was = f" (was {_place(traptor_type, one.was)})" if one.was else ""
    return f"{SIGNS[one.kind]} {_place(traptor_type, one.at)} {one.rule.get('value', '')!r}{tag}{was}"


def _place(traptor_type: str, place: Place) -> str:
    return f"{traptor_type}:{place.traptor_id} {place.rule_id}"
