"""``rules``: list, add, remove, export and check the rules in Redis; loading and planning hang on it as well."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import click
import redis

from traptor import settings
from traptor.commands.console import (
    Group,
    connection,
    dry_run_option,
    encodable,
    for_files,
    json_option,
    needs_a_person,
    progress,
    say_csv,
    say_json,
    say_json_list,
    say_long_table,
    say_some,
    type_argument,
    type_option,
    typed,
)
from traptor.commands.loading import load, read, report, say_changes, write
from traptor.commands.planning import plan, rebalance_
from traptor.commands.server_rules import server
from traptor.commands.trying import test_
from traptor.fleet import roster
from traptor.fleet.inspection import inspect
from traptor.keys import TYPES
from traptor.printable import cell, in_json
from traptor.rules import loading
from traptor.rules.shards import Change, Shards
from traptor.rules.stored import each

EXAMPLES = """
\b
Examples:
  traptor rules load rules.json --dry-run      what a GNIP ruleset would change
  traptor rules load rules.csv --type track
  traptor rules load mysql://reader@db/rules --prune
  traptor rules add track 'storm,flood warning' --tag weather
  traptor rules test 'storm,flood warning' 'Storms and a flood of warnings'
  traptor rules list --type track
  traptor rules check && echo all well

Exit codes: 0 done, or all well; 1 a person is needed; 2 wrong usage or settings.
"""


RULE_FIELDS = ("type", "rule_id", "value", "tag")


@click.group(cls=Group, epilog=EXAMPLES)
def rules() -> None:
    """Rules in Redis: load, look at, plan and move them."""


rules.add_command(load)
rules.add_command(plan)
rules.add_command(rebalance_)
rules.add_command(server)
rules.add_command(test_)


@rules.command("list")
@type_option
@click.option("--id", "traptor_id", type=click.IntRange(0), help="Only the rules of the Traptor with this id.")
@json_option
def list_(wanted_type: str | None, traptor_id: int | None, as_json: bool) -> None:
    """The rules in Redis, by Traptor, with their matches."""
    types = [wanted_type] if wanted_type else TYPES
    with connection(settings.load()) as conn:
        of_types = roster.of_types(roster.look(conn), types)
        found = roster.all_rules(conn, (one for one in of_types if traptor_id in {None, one.name.traptor_id}))
        if as_json:
            say_json_list(found)
        else:
            say_long_table(("Traptor", "rule_id", "value", "tag", ">matches"), map(_listed, found))


def _listed(rule: dict[str, Any]) -> tuple[object, ...]:
    at = f"{rule['type']}:{rule['traptor_id']}"
    return at, rule["rule_id"], rule.get("value"), rule.get("tag", ""), rule["matches"]


def own_fields(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE as a dict. Raises click.BadParameter."""
    fields = dict((typed(_context, _option, field) or "").partition("=")[::2] for field in given)
    if wrong := [name for name, value in fields.items() if not (name and value) or name in RULE_FIELDS]:
        raise click.BadParameter(f"{wrong[0]!r}; allowed is NAME=VALUE, and no name of {', '.join(RULE_FIELDS)}")
    return fields


@rules.command()
@type_argument
@click.argument("value", callback=typed)
@click.option("--tag", callback=typed, help="Its tag.")
@click.option("--rule-id", callback=typed, help="Its rule_id; otherwise one made from the value.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    callback=own_fields,
    metavar="NAME=VALUE",
    help="A field of your own; may be repeated.",
)
@dry_run_option
@json_option
def add(
    *,
    traptor_type: str,
    value: str,
    tag: str | None,
    rule_id: str | None,
    fields: dict[str, str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add one rule, or change one. That is the one with its rule_id or value: fields that are not named stay.

    VALUE is taken as it is.
    """
    row = loading.Row("rule", {**fields, "value": value, "tag": tag, "rule_id": rule_id})
    loaded = loading.load([row], traptor_type, as_is=True)
    if loaded.problems:
        raise click.ClickException(_of_value(value, loaded.problems[0].text))
    say_some([_of_value(value, note.text) for note in loaded.notes], err=True)
    wanted = settings.load()
    with connection(wanted) as conn, progress() as seen:
        changes, told = write(
            conn, wanted.REDIS_PUBSUB_CHANNEL, loaded, dry_run=dry_run, keep_fields=True, progress=seen
        )
    if as_json:
        say_json(report(loaded, changes, told))
    else:
        say_changes(changes, told, dry_run=dry_run)


@rules.command()
@type_argument
@click.argument("rule_ids", metavar="RULE_ID...", nargs=-1, required=True)
@click.option("--id", "traptor_id", type=click.IntRange(0), help="Only from the Traptor with this id.")
@dry_run_option
@json_option
def remove(traptor_type: str, rule_ids: tuple[str, ...], traptor_id: int | None, dry_run: bool, as_json: bool) -> None:
    """Remove rules by rule_id.

    Exit code 1, and nothing removed, if one of them is not there, or is there on several Traptors and no --id says on
    which.
    """
    wanted = settings.load()

    def plan_removal(shards: Shards) -> list[Change]:
        found = {
            rule_id: [place for place in shards.places(rule_id) if traptor_id in {None, place.traptor_id}]
            for rule_id in dict.fromkeys(rule_ids)
        }
        if missing := [rule_id for rule_id, places in found.items() if not places]:
            raise click.ClickException(f"no {traptor_type} rule has the rule_id {', '.join(missing)}")
        for rule_id, places in found.items():
            if places[1:]:
                ids = ", ".join(str(place.traptor_id) for place in places)
                raise click.ClickException(f"the rule_id {rule_id} is on the Traptors {ids}: say which with --id")
        return shards.remove(place for [place] in found.values())

    with connection(wanted) as conn, progress() as seen:
        changes, told = roster.change(
            conn,
            wanted.REDIS_PUBSUB_CHANNEL,
            [traptor_type],
            plan_removal,
            dry_run=dry_run,
            rule_ids=frozenset(rule_ids),
            progress=seen,
        )
    if as_json:
        say_json(report(loading.Loaded({}, [], []), changes, told))
    else:
        say_changes(changes, told, dry_run=dry_run)


def _of_value(value: str, text: str) -> str:
    """What is said of a value, and which."""
    return text if text.startswith(repr(value)) else f"{value!r} {text}"


@rules.command()
@type_option
@click.option("--format", "as_format", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
def export(wanted_type: str | None, as_format: str) -> None:
    """Write all rules to standard output. In UTF-8, as `rules load --as-is` takes them."""
    for_files()
    with connection(settings.load()) as conn:
        found = (rule for name in ([wanted_type] if wanted_type else TYPES) for rule in _exported(conn, name))
        if as_format == "csv":
            say_csv(_csv(list(found)))
            return
        for rule in found:
            sys.stdout.write(in_json(json.dumps(rule, ensure_ascii=False)) + "\n")


def _exported(conn: "redis.Redis", traptor_type: str) -> Iterator[dict[str, str]]:
    """Each rule under its rule_id; one that shares it with another Traptor's is known by its value alone."""
    named: set[str] = set()
    for _, held in each(conn, traptor_type):
        for rule_id, rule in held.items():
            yield {**rule, "type": traptor_type, "rule_id": "" if rule_id in named else rule_id}
            named.add(rule_id)


def _csv(found: list[dict[str, Any]]) -> str:
    columns = dict.fromkeys(["type", "rule_id", "value", "tag", *(name for rule in found for name in rule)])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in rule.items()} for rule in found)
    return encodable(text.getvalue())


@rules.command()
@click.argument("source", required=False)
@click.option("--format", "source_format", type=click.Choice(loading.FORMATS), help="Told by name and content.")
@type_option
@json_option
def check(source: str | None, source_format: str | None, wanted_type: str | None, as_json: bool) -> None:
    """Look for what is wrong with the rules. Those in Redis, or those of SOURCE; exit code 1 if anything is.

    In Redis: what Twitter would refuse, what is over the limit, and orphans, which no living Traptor can take, are
    errors; doubles, and rules that wait to be moved, are warnings.
    """
    wanted = settings.load()
    if source:
        loaded = read(wanted, source, source_format, wanted_type)
        errors = [f"{problem.place}: {problem.value!r} {problem.text}" for problem in loaded.problems]
        warnings = [f"{note.place}: {note.value!r} {note.text}" for note in loaded.notes]
    else:
        with connection(wanted) as conn, progress() as seen:
            errors, warnings = inspect(conn, [wanted_type] if wanted_type else TYPES, seen)
    if as_json:
        say_json({"errors": errors, "warnings": warnings})
    else:
        say_some(warnings, "warnings")
        say_some(errors, "ERRORS")
        click.echo("all well" if not errors else "a person is needed")
    if errors:
        needs_a_person()
