"""``doctor`` as a command."""

import contextlib
from collections.abc import Iterator
from typing import Any

import click
from rich.text import Text

from traptor import settings
from traptor.commands.console import json_option, needs_a_person, say_json, terminal
from traptor.connections import connect_to_redis
from traptor.keys import TYPES
from traptor.printable import harmless
from traptor.redaction import redact

STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


@click.command()
@click.option("--type", "traptor_type", type=click.Choice(TYPES), help="Type of the Traptor to look at.")
@click.option("--id", "traptor_id", type=click.IntRange(0), help="Its id.")
@click.option("--settings", "every_setting", is_flag=True, help="Also show the settings that have their defaults.")
@click.option("--connect", is_flag=True, help="Also open one short stream, if nobody uses the credential.")
@click.option("--probe-topic", metavar="TOPIC", help="Also send one message to this topic.")
@json_option
def doctor(traptor_type: str | None, traptor_id: int | None, as_json: bool, **options: Any) -> None:
    """Look whether all is there that a Traptor needs. A line for each thing, with what to do.

    Exit code 1 after an error.
    """
    console = terminal()
    found = []
    for finding in _findings(traptor_type, traptor_id, options):
        found.append(finding)
        if not as_json:
            console.print(_line(finding))
    if as_json:
        say_json([{name: redact(text) for name, text in finding._asdict().items()} for finding in found])
    if any(finding.level == "error" for finding in found):
        needs_a_person()


def _findings(traptor_type: str | None, traptor_id: int | None, options: dict[str, Any]) -> Iterator[Any]:
    """One after the other, as they are found."""
    from traptor.fleet.doctor import examine  # Kafka's client is slow to import
    from traptor.fleet.finding import error

    try:
        wanted = settings.load({"TRAPTOR_TYPE": traptor_type, "TRAPTOR_ID": traptor_id})
    except settings.SettingError as wrong:
        yield error("setting", str(wrong), "correct it; docs/settings.md lists what is allowed")
        return
    with contextlib.closing(connect_to_redis(wanted)) as conn:
        yield from examine(wanted, conn, **options)


def _line(finding: Any) -> Text:
    advice = f" → {finding.advice}" if finding.advice else ""
    return Text.assemble(
        (f"{finding.level:<8}", STYLES[finding.level]), f"{finding.subject:<11}", harmless(f"{finding.text}{advice}")
    )
