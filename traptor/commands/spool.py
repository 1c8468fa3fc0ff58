"""``spool``: look at, export and re-send what waits on disk and what Kafka has refused."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from traptor import folders, settings
from traptor.commands.console import Group, json_option, say_json, say_some, say_table
from traptor.delivery.spool import Kept, Spool, SpoolError, file_name
from traptor.keys import TYPES

EXAMPLES = """
\b
Examples:
  traptor spool list
  traptor spool export --type track --id 0 > messages.jsonl
  traptor spool export --apart | jq -r .value     the messages that Kafka refused, as they are
  traptor spool resend --type track --id 0 3 7    those with these numbers
  traptor spool resend --all                      after the topic takes larger messages

The directory is SPOOL_DIR. All of it works while a Traptor runs, which then sends at once what is re-sent, and while
none does: then the next start sends it.
"""

type_option = click.option("--type", "wanted_type", type=click.Choice(TYPES), help="Only Traptors of this type.")
id_option = click.option("--id", "wanted_id", type=click.IntRange(0), help="Only the Traptor with this id.")


@click.group(cls=Group, epilog=EXAMPLES)
def spool() -> None:
    """What waits on disk for Kafka, and what Kafka has refused."""


@spool.command("list")
@type_option
@id_option
@json_option
def list_(wanted_type: str | None, wanted_id: int | None, as_json: bool) -> None:
    """How much waits, and what was set apart, with the reason."""
    with spools(wanted_type, wanted_id) as all_found:
        found = [summary(name, one) for name, one in all_found]
    if as_json:
        say_json(found)
        return
    rows = [(one["traptor"], one["waiting"], one["oldest"], len(one["apart"]), one["bytes"]) for one in found]
    say_table(("Traptor", ">waiting", "oldest", ">set apart", ">bytes"), rows)
    for one in found:
        say_some([line(message) for message in one["apart"]], f"set apart by {one['traptor']}")


@spool.command()
@type_option
@id_option
@click.option("--apart", is_flag=True, help="Only what was set apart.")
def export(wanted_type: str | None, wanted_id: int | None, apart: bool) -> None:
    """Write the messages as JSON to standard output. ``value`` is the message as text; nothing is taken out."""
    with spools(wanted_type, wanted_id) as found:
        for name, one in found:
            for kept in one.kept():
                if kept.reason is not None or not apart:
                    say_json({"traptor": name, **facts(kept), "value": kept.message.value.decode("utf-8", "replace")})


@spool.command()
@type_option
@id_option
@click.option("--all", "is_all", is_flag=True, help="Everything that was set apart.")
@click.argument("numbers", metavar="[NUMBER]...", type=int, nargs=-1)
def resend(wanted_type: str | None, wanted_id: int | None, is_all: bool, numbers: tuple[int, ...]) -> None:
    """Send again what was set apart. NUMBERs are those of messages, as `spool list` shows them."""
    if is_all == bool(numbers):
        raise click.UsageError("give the numbers of messages, or --all")
    if numbers and None in {wanted_type, wanted_id}:
        raise click.UsageError("numbers are those of one Traptor: give its --type and --id")
    with spools(wanted_type, wanted_id) as found:
        for name, one in found:
            count = one.put_back(None if is_all else set(numbers))
            click.echo(f"{name}: {count} to be sent again")


@contextlib.contextmanager
def spools(wanted_type: str | None, wanted_id: int | None) -> Iterator[list[tuple[str, Spool]]]:
    """The spools in SPOOL_DIR, each with the name of its Traptor; what fails ends the command with one line."""
    wanted = settings.load()
    found = []
    try:
        for folder in folders.searched(wanted.SPOOL_DIR, wanted.sources):
            paths = _files(folder, TYPES if wanted_type is None else (wanted_type,), wanted_id)
            found += [(path.stem.replace("-", ":"), Spool(path, 0)) for path in paths]
        if not found:
            click.echo(f"nothing waits in {wanted.SPOOL_DIR}", err=True)
        yield found
    except (SpoolError, OSError) as error:
        raise click.ClickException(f"the spool cannot be read: {error}; SPOOL_DIR names its folder") from None
    finally:
        for _, one in found:
            one.close()


def _files(folder: Path, types: Iterable[str], wanted_id: int | None) -> list[Path]:
    """Raises OSError where the folder is there and cannot be read."""
    with contextlib.suppress(FileNotFoundError):
        os.listdir(folder)
    names = [file_name(traptor_type, "*" if wanted_id is None else wanted_id) for traptor_type in types]
    return [path for name in names for path in sorted(folder.glob(name))]


def summary(name: str, one: Spool) -> dict[str, Any]:
    """``apart`` has the facts of each message that was set apart; ``oldest`` is of those that wait."""
    apart: list[dict[str, Any]] = []
    oldest = None
    with contextlib.closing(one.kept()) as messages:
        for kept in messages:
            if kept.reason is None:
                oldest = iso(kept.since)
                break
            apart.append(facts(kept))
    return {"traptor": name, "waiting": one.count, "oldest": oldest, "bytes": one.size_bytes, "apart": apart}


def facts(kept: Kept) -> dict[str, Any]:
    """What there is to say of a message besides its value."""
    key = kept.message.key
    return {
        "number": kept.row,
        "since": iso(kept.since),
        "topic": kept.message.topic,
        "key": None if key is None else key.decode("utf-8", "replace"),
        "bytes": len(kept.message.value),
        "reason": kept.reason,
    }


def line(message: dict[str, Any]) -> str:
    return "{number}  {since}  {key}  {bytes:,} bytes to {topic}: {reason}".format_map(message)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
