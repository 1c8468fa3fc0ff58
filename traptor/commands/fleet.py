"""``status`` and ``stats``: the fleet and its rules, seen from Redis."""

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import click
import redis
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from traptor import settings
from traptor.commands import page
from traptor.commands.console import (
    PIPE_COLUMNS,
    connection,
    json_option,
    needs_a_person,
    say_csv,
    say_json,
    say_table,
    stop_signal,
    table,
    terminal,
    type_option,
)
from traptor.fleet import overview, roster
from traptor.fleet.roster import Member, Name
from traptor.keys import TYPES
from traptor.printable import cell, harmless

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
@click.option("--serve", "place", type=page.place, metavar="[ADDRESS:]PORT",
              help="Serve the same as a page for a browser until Ctrl-C, with the last tweets from Kafka. On 127.0.0.1"
              " unless an ADDRESS is given: it has no login.")  # fmt: skip
@json_option
def status(name: Name | None, watch: bool, place: tuple[str, int] | None, as_json: bool) -> None:
    """The fleet, or one Traptor with its rules, gaps and account. Exit code 1 if something needs a person."""
    if place and (name or watch or as_json):
        raise click.UsageError("--serve serves the whole fleet, and goes with nothing else")
    wanted, console = settings.load(), terminal()
    with connection(wanted) as conn:
        if place:
            page.serve(wanted, conn, *place)
            return

        def look() -> Seen:
            return _look(conn, console, name, wanted.STATS_COLLECTION_WINDOW, as_json=as_json)

        if watch:
            _watch(look, console, in_place=console.is_terminal and not as_json)
            return
        seen = look()
    _say(console, seen.shown)
    if seen.complaints:
        needs_a_person()


class Seen(NamedTuple):
    """What a look comes to: for a person, or as a dict for a script; and what needs a person."""

    shown: Group | dict[str, Any]
    complaints: list[str]


def _look(conn: "redis.Redis", console: Console, name: Name | None, window_seconds: int, *, as_json: bool) -> Seen:
    """Raises click.ClickException if Redis knows nothing of ``name``, and redis.RedisError."""
    members = roster.look(conn)
    if name is None:
        orphans = overview.orphans(conn, members)
        complaints = overview.complaints(members, orphans)
        if as_json:
            return Seen(overview.fleet_as_dict(members, orphans), complaints)
        return Seen(_fleet(members, complaints, console), complaints)
    if name not in members:
        raise click.ClickException(f"Redis knows nothing of {name}")
    member = members[name]
    seen = overview.one_as_dict(conn, member)
    complaints = overview.complaints({name: member}, {})
    if as_json:
        return Seen(seen, complaints)
    rules = [_rule_line(rule, members, window_seconds) for rule in _hottest_first(seen["rules"])]
    return Seen(_one(member, complaints, rules, seen["gaps"], console), complaints)


def _say(console: Console, shown: Group | dict[str, Any]) -> None:
    if isinstance(shown, dict):
        say_json(shown)
    else:
        console.print(shown)
    sys.stdout.flush()


def _watch(look: Callable[[], Seen], console: Console, *, in_place: bool) -> None:
    """In place on a terminal; one after the other where there is none."""
    stop = stop_signal()
    with Live(console=console, auto_refresh=False, screen=True) if in_place else nullcontext() as live:
        while not stop.is_set():
            try:
                shown = look().shown
            except (redis.RedisError, click.ClickException) as error:
                shown = Group(Text(f"nothing to see: {harmless(error)}", "bold red"))
            if live and isinstance(shown, Group):
                live.update(shown, refresh=True)
            else:
                _say(console, shown)
            stop.wait(WATCH_SECONDS)


def _fleet(members: dict[Name, Member], complaints: Sequence[str], console: Console) -> Group:
    """The table, and below it what needs a person."""
    shown = [member for member in members.values() if overview.is_shown(member)]
    if not shown:
        return Group(Text("no Traptor and no rules in this Redis"))
    remarks = [Text(harmless(f"{member.name} {text}")) for member in shown for text in overview.remarks(member)]
    return Group(_fitting([overview.line(member) for member in shown], console), *remarks, *_in_red(complaints))


def _fitting(lines: Sequence[Sequence[Text]], console: Console) -> Table:
    """The table with as many columns, from the left, as the terminal has room for: half a word says nothing."""
    unbound = console.options.update(width=PIPE_COLUMNS)
    for count in range(len(overview.COLUMNS), 0, -1):
        made = table(overview.COLUMNS[:count], [cells[:count] for cells in lines], is_terminal=console.is_terminal)
        if Measurement.get(console, unbound, made).maximum <= console.width:
            break
    return made


def _in_red(complaints: Sequence[str]) -> list[Text]:
    return [Text(harmless(complaint), "bold red") for complaint in complaints]


GAP_COLUMNS = ("gap from", ">lasted", "cause", ">tries", "last tweet before", "first tweet after")
GAP_FIELDS = ("cause", "reconnects", "last_tweet_id", "first_tweet_id")


def _one(
    member: Member,
    complaints: Sequence[str],
    rules: Sequence[Sequence[object]],
    gaps: Sequence[dict[str, Any]],
    console: Console,
) -> Group:
    """What one says of itself, what needs a person, its rules and its last gaps."""
    parts: list[RenderableType] = [
        table((str(member.name), ""), overview.facts(member), is_terminal=False),
        *_in_red(complaints),
        Text(),
        table(RULE_COLUMNS, rules, is_terminal=console.is_terminal),
    ]
    if gaps:
        lines = [[*overview.when(gap), *(gap.get(field) or "-" for field in GAP_FIELDS)] for gap in gaps[-GAPS_SHOWN:]]
        parts += [Text(), table(GAP_COLUMNS, lines, is_terminal=console.is_terminal)]
    return Group(*parts)


RULE_COLUMNS = ("Traptor", "rule_id", "tag", "value", ">matches", ">per minute")


def _rule_line(rule: dict[str, Any], members: Mapping[Name, Member], window_seconds: int) -> tuple[object, ...]:
    at = Name(rule["type"], rule["traptor_id"])
    per_minute = f"{rule['matches'] * 60 / overview.counted_seconds(members.get(at), window_seconds):.1f}"
    return str(at), rule["rule_id"], rule.get("tag", ""), rule.get("value", ""), rule["matches"], per_minute


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
        members = roster.look(conn)
        found = list(roster.all_rules(conn, roster.of_types(members, [wanted_type] if wanted_type else TYPES)))
    lines = [_rule_line(rule, members, wanted.STATS_COLLECTION_WINDOW) for rule in _hottest_first(found)[:top]]
    columns = [column.strip(">").replace(" ", "_").lower() for column in RULE_COLUMNS]
    if as_json:
        say_json([{**dict(zip(columns, line, strict=True)), "per_minute": float(str(line[-1]))} for line in lines])
    elif as_csv:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *(map(cell, line) for line in lines)])
        say_csv(text.getvalue())
    else:
        say_table(RULE_COLUMNS, lines)
