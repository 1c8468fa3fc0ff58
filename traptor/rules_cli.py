"""``rules``: load, list, add, remove, export, check, plan and rebalance, as commands."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import click
import redis
from rich.console import Console
from rich.progress import Progress, TextColumn

from traptor import fleet, loading, settings
from traptor.connections import connect_to_redis
from traptor.exits import Exit
from traptor.keys import TYPES
from traptor.rules_lock import Locked, RulesLock
from traptor.shards import Change, Shards

MOST_SHOWN = 20
SIGNS = {"added": "+", "changed": "~", "moved": ">", "removed": "-"}
EXAMPLES = """
\b
Examples:
  traptor rules load rules.json --dry-run      what a GNIP ruleset would change
  traptor rules load rules.csv --type track
  traptor rules load mysql://reader@db/rules --prune
  traptor rules add track 'storm,flood warning' --tag weather
  traptor rules list --type track
  traptor rules check && echo all well

Exit codes: 0 done, or all well; 1 a person is needed; 2 wrong usage or settings.
"""

type_option = click.option("--type", "wanted_type", type=click.Choice(TYPES), help="Only this type.")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")


@click.group(epilog=EXAMPLES)
def rules() -> None:
    """Rules in Redis: load, look at, plan and move them."""


@contextlib.contextmanager
def connection(wanted: settings.Settings) -> Iterator["redis.Redis"]:
    """A Redis client; what fails in Redis ends the command with one line."""
    try:
        with contextlib.closing(connect_to_redis(wanted)) as conn:
            yield conn
    except redis.WatchError:
        raise click.ClickException(
            "somebody else changed rules at the same time, nothing was written: try again"
        ) from None
    except redis.RedisError as error:
        raise click.ClickException(f"Redis cannot be used: {error}") from None
    except Locked as error:
        raise click.ClickException(str(error)) from None


def needs_a_person() -> NoReturn:
    raise click.exceptions.Exit(Exit.NEEDS_A_PERSON)


# load


@rules.command()
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
@click.option("--prune", is_flag=True, help="Remove the rules of these types that SOURCE no longer has.")
@click.option("--strict", is_flag=True, help="Load nothing if any rule cannot be.")
@click.option(
    "--as-is", is_flag=True, help="Leave values as they are; otherwise they are cleaned up, as docs/rules.md says."
)
@json_option
def load(
    source: str, source_format: str | None, wanted_type: str | None, as_is: bool, as_json: bool, **options: Any
) -> None:
    """Load rules from SOURCE: a path, - for standard input, or mysql://user@host/db.

    Shows what is added, changed and removed. Exit code 1 if any rule was left out.
    """
    load_source(settings.load(), source, source_format, wanted_type, as_is=as_is, as_json=as_json, **options)


def load_source(
    wanted: settings.Settings,
    source: str,
    source_format: str | None,
    wanted_type: str | None,
    *,
    as_is: bool = False,
    as_json: bool = False,
    **options: Any,
) -> None:
    """The same as a function; ``options`` are those of ``write``."""
    loaded = read(wanted, source, source_format, wanted_type, as_is=as_is)
    with connection(wanted) as conn:
        changes, told = write(conn, wanted.REDIS_PUBSUB_CHANNEL, loaded, **options)
    if as_json:
        click.echo(json.dumps(report(loaded, changes, told), ensure_ascii=False))
    else:
        tell_remarks(loaded)
        tell_changes(changes, told, dry_run=bool(options.get("dry_run")))
    if loaded.problems:
        needs_a_person()


def read(
    wanted: settings.Settings, source: str, source_format: str | None, wanted_type: str | None, *, as_is: bool = False
) -> loading.Loaded:
    """All rules of a source, with progress on a terminal."""
    found = loading.rows(source, source_format, query=wanted.RULES_QUERY, password=wanted.MYSQL_PASSWORD)
    try:
        return loading.load(_counted(found), wanted_type, as_is=as_is)
    except loading.SourceError as error:
        raise click.ClickException(str(error)) from None


def _counted(rows: Iterable[loading.Row]) -> Iterator[loading.Row]:
    """The rows; a terminal shows how many so far."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.completed} rows"), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("")
        for row in rows:
            yield row
            progress.advance(task)


def write(
    conn: "redis.Redis",
    channel: str,
    loaded: loading.Loaded,
    *,
    traptors: int | None = None,
    dry_run: bool = False,
    prune: bool = False,
    strict: bool = False,
) -> tuple[dict[str, list[Change]], list[fleet.Name]]:
    """Bring Redis to these rules. Returns the changes by type and the Traptors that were told."""
    if (strict or prune) and loaded.problems:
        tell_remarks(loaded)
        # What is left out now may well be in Redis, from when it was right: pruning would remove it.
        raise click.ClickException(f"{len(loaded.problems)} rules cannot be loaded: nothing was changed")

    def plan(shards: Shards) -> list[Change]:
        return shards.load(loaded.rules[shards.traptor_type], prune=prune)

    return change(
        conn, channel, sorted(loaded.rules), plan, dry_run=dry_run, living=range(traptors) if traptors else None
    )


def change(
    conn: "redis.Redis",
    channel: str,
    types: Sequence[str],
    plan: Callable[[Shards], list[Change]],
    *,
    dry_run: bool = False,
    living: Iterable[int] | None = None,
) -> tuple[dict[str, list[Change]], list[fleet.Name]]:
    """Plan and write changes while nobody else does. Each type is written all at once."""
    changes: dict[str, list[Change]] = {}
    told: list[fleet.Name] = []
    with RulesLock(conn) as lock:
        members = fleet.look(conn)
        for traptor_type in types:
            shards = fleet.shards(conn, traptor_type, members, living=living)
            changes[traptor_type] = plan(shards)
            if not dry_run:
                told += fleet.apply(conn, lock, channel, traptor_type, changes[traptor_type])
    return changes, told


def report(loaded: loading.Loaded, changes: dict[str, list[Change]], told: list[fleet.Name]) -> dict[str, Any]:
    """What a load did, for scripts."""
    return {
        "rules": {traptor_type: len(found) for traptor_type, found in loaded.rules.items()},
        **{kind: as_dicts(changes, kind) for kind in SIGNS},
        "problems": [problem._asdict() for problem in loaded.problems],
        "notes": [note._asdict() for note in loaded.notes],
        "told": [str(name) for name in told],
    }


def as_dicts(changes: dict[str, list[Change]], kind: str) -> list[dict[str, Any]]:
    return [
        {"type": traptor_type, "traptor_id": one.traptor_id, "was_at": one.was_at, **one.rule}
        for traptor_type, some in changes.items()
        for one in some
        if one.kind == kind
    ]


def tell_remarks(loaded: loading.Loaded) -> None:
    """Notes and problems, on standard error."""
    for heading, remarks in (("cleaned up or merged", loaded.notes), ("LEFT OUT", loaded.problems)):
        tell([f"{remark.place}: {remark.value!r} {remark.text}" for remark in remarks], heading, err=True)


def tell_changes(changes: dict[str, list[Change]], told: list[fleet.Name], *, dry_run: bool) -> None:
    """Each change, then how many."""
    for traptor_type, some in changes.items():
        tell([shown(traptor_type, one) for one in some], "")
    counts = Counter(one.kind for some in changes.values() for one in some)
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in SIGNS if counts[kind]) or "nothing to change"
    click.echo(f"{summary}{' (dry run: nothing was written)' if dry_run else ''}")
    if told:
        click.echo(f"told: {', '.join(map(str, told))}")


def shown(traptor_type: str, one: Change) -> str:
    at = f"{traptor_type}:{one.traptor_id}"
    moved = f" (was at {traptor_type}:{one.was_at})" if one.was_at is not None else ""
    tag = f" [{one.rule['tag']}]" if one.rule.get("tag") else ""
    return f"{SIGNS[one.kind]} {at} {one.rule['rule_id']} {one.rule.get('value', '')!r}{tag}{moved}"


def tell(lines: Sequence[str], heading: str, *, err: bool = False) -> None:
    """The first lines, and how many more there are."""
    if lines and heading:
        click.echo(f"{heading}: {len(lines)}", err=err)
    for line in lines[:MOST_SHOWN]:
        click.echo(f"  {line}" if heading else line, err=err)
    if len(lines) > MOST_SHOWN:
        click.echo(f"  … and {len(lines) - MOST_SHOWN} more; --json shows all", err=err)
