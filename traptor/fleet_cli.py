"""``status`` and ``stats``: the fleet and its rules, seen from Redis."""

import csv
import sys
from contextlib import nullcontext
from typing import Any

import click
import redis
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from traptor import fleet, overview, settings
from traptor.console import (
    connection,
    json_option,
    needs_a_person,
    say_json,
    say_table,
    stop_signal,
    table,
    terminal,
    type_option,
)
from traptor.fleet import Member, Name
from traptor.keys import TYPES

WATCH_SECONDS = 2.0
GAPS_SHOWN = 10


def named(text: str) -> Name:
    """``track:0``. Raises click.BadParameter."""
    traptor_type, _, traptor_id = text.partition(":")
    if traptor_type not in TYPES or not traptor_id.isdecimal():
        raise click.BadParameter(f"{text!r} is no Traptor; allowed is a type and an id, such as track:0")
    return Name(traptor_type, int(traptor_id))


@click.command()
@click.argument("name", type=named, required=False, metavar="[TYPE:ID]")
@click.option("--watch", is_flag=True, help="Go on, refreshing in place, until Ctrl-C.")
@json_option
def status(name: Name | None, watch: bool, as_json: bool) -> None:
    """The fleet, or one Traptor with its rules, gaps and account. Exit code 1 if something needs a person."""
    wanted = settings.load()
    with connection(wanted) as conn:
        if watch:
            _watch(conn)
            return
        members = fleet.look(conn)
        if name:
            _say_one(conn, members, name, wanted, as_json=as_json)
            members = {name: members[name]}
        elif as_json:
            shown = [overview.as_dict(member) for member in members.values()]
            say_json({"traptors": shown, "orphans": overview.orphans(members.values())})
        else:
            console = terminal()
            console.print(_fleet(members, is_terminal=console.is_terminal))
    if overview.complaints(members):
        needs_a_person()


def _fleet(members: dict[Name, Member], *, is_terminal: bool) -> Group:
    """The table, and below it what needs a person."""
    lines = [overview.line(member) for member in members.values() if overview.is_shown(member)]
    complaints = [Text(complaint, "bold red") for complaint in overview.complaints(members)]
    if not lines:
        return Group(Text("no Traptor and no rules in this Redis"))
    return Group(table(overview.COLUMNS, lines, is_terminal=is_terminal), *complaints)


def _watch(conn: "redis.Redis") -> None:
    """In place on a terminal; one after the other where there is none."""
    stop = stop_signal()
    console = terminal()
    with Live(console=console, auto_refresh=False, screen=True) if console.is_terminal else nullcontext() as live:
        while not stop.is_set():
            look = _look(conn, is_terminal=console.is_terminal)
            if live:
                live.update(look, refresh=True)
            else:
                console.print(look)
                sys.stdout.flush()
            stop.wait(WATCH_SECONDS)


def _look(conn: "redis.Redis", *, is_terminal: bool) -> Group:
    try:
        return _fleet(fleet.look(conn), is_terminal=is_terminal)
    except redis.RedisError as error:
        return Group(Text(f"Redis cannot be read: {error}", "bold red"))


def _say_one(
    conn: "redis.Redis", members: dict[Name, Member], name: Name, wanted: settings.Settings, *, as_json: bool
) -> None:
    if name not in members:
        raise click.ClickException(f"Redis knows nothing of {name}")
    member = members[name]
    held = [rule for rule in fleet.stored(conn, members, [name.traptor_type]) if rule["traptor_id"] == name.traptor_id]
    gaps = fleet.gaps(conn, name)
    if as_json:
        say_json({**overview.as_dict(member), "rules": held, "gaps": gaps})
        return
    console = terminal()
    facts = [("state", overview.state(member)), *((field, value) for field, value in member.status.items())]
    console.print(_facts(name, dict(facts)))
    for complaint in overview.needs(member):
        console.print(Text(f"{name} {complaint}", "bold red"))
    click.echo()
    say_table(RULE_COLUMNS, [_rule_line(rule, wanted.STATS_COLLECTION_WINDOW) for rule in _hottest_first(held)])
    if gaps:
        click.echo()
        columns = ("gap from", "to", "cause", ">tries", "last tweet before", "first tweet after")
        fields = ("from", "to", "cause", "reconnects", "last_tweet_id", "first_tweet_id")
        say_table(columns, [[gap.get(field) or "-" for field in fields] for gap in gaps[-GAPS_SHOWN:]])


def _facts(name: Name, facts: dict[str, Any]) -> Table:
    """Name and value, one under the other."""
    facts = {field: value for field, value in facts.items() if field not in {"type", "id"}}
    facts["rates"] = overview.sparkline(facts.get("rates") or [])
    return table((str(name), ""), list(facts.items()), is_terminal=False)


RULE_COLUMNS = ("Traptor", "rule_id", "tag", "value", ">matches", ">per minute")


def _rule_line(rule: dict[str, Any], window_seconds: int) -> tuple[object, ...]:
    per_minute = f"{rule['matches'] * 60 / window_seconds:.1f}"
    at = f"{rule['type']}:{rule['traptor_id']}"
    return at, rule["rule_id"], rule.get("tag", ""), rule.get("value", ""), rule["matches"], per_minute


def _hottest_first(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda rule: -rule["matches"])


@click.command()
@type_option
@click.option("--top", type=click.IntRange(1), metavar="N", help="Only the N that match most.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV instead of a table.")
@json_option
def stats(wanted_type: str | None, top: int | None, as_csv: bool, as_json: bool) -> None:
    """Matches of each rule within the window, the most first."""
    wanted = settings.load()
    with connection(wanted) as conn:
        found = fleet.stored(conn, fleet.look(conn), [wanted_type] if wanted_type else TYPES)
    lines = [_rule_line(rule, wanted.STATS_COLLECTION_WINDOW) for rule in _hottest_first(found)[:top]]
    columns = [column.strip(">").replace(" ", "_").lower() for column in RULE_COLUMNS]
    if as_json:
        say_json([{**dict(zip(columns, line, strict=True)), "per_minute": float(str(line[-1]))} for line in lines])
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *lines])
    else:
        say_table(RULE_COLUMNS, lines)
