"""``rules plan`` and ``rules rebalance``."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from traptor import logs, settings
from traptor.commands import planning_v2
from traptor.commands.console import (
    Command,
    connection,
    dry_run_option,
    json_option,
    needs_a_person,
    progress,
    say_json,
    say_table,
    serve_metrics,
    stop_signal,
)
from traptor.commands.finite import Finite
from traptor.commands.loading import read, say_changes, say_remarks
from traptor.fleet import rebalance, roster
from traptor.keys import TYPES
from traptor.printable import counted
from traptor.rules import loading
from traptor.rules.checked import LIMITS
from traptor.rules.shards import Shards, needed
from traptor.tweets.rule import Rule


@click.command(cls=Command)
@click.argument("source", required=False)
@click.option("--format", "source_format", type=click.Choice(loading.FORMATS), help="Told by name and content.")
@click.option("--type", "wanted_type", type=click.Choice(TYPES), help="Type of rows that name none; leaves out others.")
@click.option("--api", type=click.Choice(["1.1", "2"]), help="The API to plan for  [TWITTER_API]")
@click.option(
    "--sample",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --api 2: tweets to tell the rate by, one JSON object a line, plain or .gz; otherwise X is asked.",
)
@click.option(
    "--share",
    default=0.01,
    show_default=True,
    type=Finite(0, 1, min_open=True),
    help="Which share of all tweets the sample is.",
)
@json_option
def plan(
    *,
    source: str | None,
    source_format: str | None,
    wanted_type: str | None,
    api: str | None,
    files: tuple[Path, ...],
    share: float,
    as_json: bool,
) -> None:
    """How many Traptors the rules need, and how busy each is. The rules of SOURCE, or those in Redis.

    With --api 2: how many rules on X's server and connections, and what a month of it costs. Exit code 1 if any rule
    of SOURCE was left out.
    """
    wanted = settings.load()
    is_for_v2 = (api or wanted.TWITTER_API) == "2"
    if files and not is_for_v2:
        raise click.UsageError("--sample goes with --api 2")
    rules, all_shards, left_out = _rules(wanted, source, source_format, wanted_type)
    if not rules and not as_json:
        click.echo("there are no rules to plan for")
    elif is_for_v2:
        planning_v2.say(wanted, rules, planning_v2.Sample(files, share), as_json=as_json)
    else:
        _say_plan(rules, all_shards, as_json=as_json)
    if left_out:
        needs_a_person()


def _say_plan(rules: dict[str, Sequence[Rule]], all_shards: list[Shards], *, as_json: bool) -> None:
    needs = [_need(name, found) for name, found in rules.items()]
    traptors = [line for shards in all_shards for line in _fullness(shards)]
    if as_json:
        say_json({"needed": needs, "traptors": traptors})
        return
    say_table(
        ("type", ">rules", ">asked for", ">limit of one", ">Traptors needed"), [tuple(need.values()) for need in needs]
    )
    if traptors:
        click.echo()
        say_table(
            ("Traptor", "lives", ">rules", ">used", ">limit", ">full", ">matches", ">busy"),
            [(*line.values(),)[:-4] + _percents(line) for line in traptors],
        )
        if any(line["estimated"] for line in traptors):
            click.echo("~ in part estimated: a rule that has not matched is expected to do so as often as the others")


def _rules(
    wanted: settings.Settings, source: str | None, source_format: str | None, wanted_type: str | None
) -> tuple[dict[str, Sequence[Rule]], list[Shards], int]:
    """The rules to plan for, by type; where they stand, if they are in Redis; and how many were left out."""
    if source:
        loaded = read(wanted, source, source_format, wanted_type)
        say_remarks(loaded)
        return dict(loaded.rules), [], len(loaded.problems)
    types = [wanted_type] if wanted_type else TYPES
    with connection(wanted) as conn, progress() as seen:
        members = roster.look(conn)
        all_shards = [roster.shards(conn, name, members, progress=seen) for name in types]
        for shards in all_shards:
            shards.count_matches(shards.by_id)
    held: dict[str, Sequence[Rule]] = {
        shards.traptor_type: [rule for _, rule in shards.held()] for shards in all_shards if shards.by_id
    }
    return held, all_shards, 0


def _need(traptor_type: str, found: Sequence[Rule]) -> dict[str, Any]:
    asked, traptors = needed(traptor_type, found)
    return {
        "type": traptor_type,
        "rules": len(found),
        "asked_for": asked,
        "limit": LIMITS[traptor_type],
        "traptors": traptors,
    }


def _fullness(shards: Shards) -> Iterable[dict[str, Any]]:
    """Each Traptor's share of its limit, and of all matches of its type."""
    total = sum(shard.matches for shard in shards.by_id.values()) or 1
    for traptor_id, shard in shards.by_id.items():
        yield {
            "traptor": f"{shards.traptor_type}:{traptor_id}",
            "lives": "yes" if traptor_id in shards.living else "no",
            "rules": len(shard.rules),
            "used": shard.used,
            "limit": shard.limit,
            "full": round(shard.used / shard.limit, 4),
            "matches": round(shard.matches),
            "estimated": shards.estimated(traptor_id),
            "busy": round(shard.matches / total, 4),
        }


def _percents(line: dict[str, Any]) -> tuple[str, str, str]:
    about = "~" if line["estimated"] else ""
    return f"{line['full']:.0%}", f"{about}{line['matches']}", f"{about}{line['busy']:.0%}"


@click.command("rebalance")
@click.option("--after", type=Finite(0), metavar="SECONDS", help="Silence after which rules move  [REBALANCE_AFTER]")
@click.option(
    "--return/--stay", "bring_back", default=None, help="Whether moved rules go back later  [REBALANCE_RETURN]"
)
@click.option("--spread", is_flag=True, help="Also even out: to Traptors that were added or have come back.")
@click.option("--watch", "watches", is_flag=True, help="Go on until told to stop; several may watch.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="With --watch: port of Prometheus metrics.")
@dry_run_option
@json_option
def rebalance_(
    *,
    after: float | None,
    bring_back: bool | None,
    spread: bool,
    watches: bool,
    metrics_port: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Move rules to Traptors that collect. Those of silent ones, and what is over a limit, to living ones with room.

    Exit code 1 if there are orphans, for which no living Traptor has room.
    """
    if watches and as_json:
        raise click.UsageError("--json is what one look came to: it goes without --watch")
    if watches and spread:
        raise click.UsageError("--spread is done once: it goes without --watch")
    if metrics_port is not None and not watches:
        raise click.UsageError("--metrics-port goes with --watch")
    wanted = settings.load({"REBALANCE_AFTER": after, "REBALANCE_RETURN": bring_back})
    policy = rebalance.Policy(wanted.REBALANCE_AFTER, wanted.REBALANCE_RETURN, dry_run, spread)
    with connection(wanted) as conn:
        if watches:
            logs.set_up(dataclasses.replace(wanted, LOG_DIR=logs.NO_FILE, LOG_STDOUT=True))
            take_up = _metrics(wanted.METRICS_ADDRESS, metrics_port)
            rebalance.watch(conn, wanted.REDIS_PUBSUB_CHANNEL, policy, stop_signal(), take_up)
            return
        with progress() as seen:
            balance = rebalance.rebalance(conn, wanted.REDIS_PUBSUB_CHANNEL, policy, progress=seen)
    _say(balance, as_json=as_json, dry_run=dry_run)
    if any(balance.orphans.values()):
        needs_a_person()


def _say(balance: rebalance.Balance, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        say_json(
            {
                "moved": [
                    {
                        "type": name,
                        "from": str(roster.Name(name, move.was.traptor_id)),
                        "to": str(roster.Name(name, move.at.traptor_id)),
                        "rule_id": move.at.rule_id,
                    }
                    for name, moves in balance.moves.items()
                    for move in moves
                    if move.was
                ],
                "orphans": balance.orphans,
                "told": [str(name) for name in balance.told],
                "away": {str(name): {"rules": count, "waits": why} for name, (count, why) in balance.away.items()},
                "silent": {str(name): seconds for name, seconds in balance.silent.items()},
            }
        )
        return
    say_changes(balance.moves, balance.told, dry_run=dry_run)
    for name, seconds in balance.silent.items():
        if seconds:
            click.echo(f"{name} is silent; its rules move in {seconds:.0f} s: run this again then, or with --after 0")
    for name, (count, why) in balance.away.items():
        click.echo(f"waiting for {name} {why}: {counted(count, 'rule')}")
    for traptor_type, count in balance.orphans.items():
        if count:
            rules = counted(count, f"{traptor_type} rule")
            click.echo(f"ORPHANS: {rules}; start another Traptor of this type", err=True)


def _metrics(address: str, port: int | None) -> Callable[[rebalance.Balance], None]:
    """Serve the watcher's metrics; returns what takes up each look. Raises click.ClickException."""
    if port is None:
        return lambda balance: None
    from prometheus_client import CollectorRegistry, Counter, Gauge

    served = CollectorRegistry()
    orphans = Gauge("traptor_orphan_rules", "rules that no living Traptor has room for", ["type"], registry=served)
    moved = Counter("traptor_moved_rules", "rules moved between Traptors", ["type"], registry=served)
    looked_at = Gauge(
        "traptor_rebalance_look_timestamp_seconds", "when the fleet was last looked at, since 1970", registry=served
    )
    serve_metrics(address, port, served, lambda: (True, "watching"))

    def take_up(balance: rebalance.Balance) -> None:
        looked_at.set_to_current_time()
        for traptor_type in TYPES:
            orphans.labels(traptor_type).set(balance.orphans.get(traptor_type, 0))
            moved.labels(traptor_type).inc(len(balance.moves.get(traptor_type, ())))

    return take_up
