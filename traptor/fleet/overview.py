"""The fleet at a glance: a line for each Traptor, and what needs a person."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from rich.text import Text

from traptor.account.state import HEALTHY, State
from traptor.fleet import roster
from traptor.fleet.roster import Member, Name
from traptor.keys import TYPES
from traptor.printable import counted

LONG_WAIT_SECONDS = 240
"""Twitter asks to call a person when the back-off nears its ceiling of 320 s."""
SHOWN_SECONDS = 86_400
"""A dead Traptor without rules is shown for so long."""
COLUMNS = (
    "Traptor", "state", ">since", "host", ">rules", ">tweets/s", "5 min", ">withheld", ">unmatched",
    ">last tweet", ">spool", ">lag", ">gaps", "version", "rule set",
)  # fmt: skip
_BARS = "▁▂▃▄▅▆▇█"


def state(member: Member) -> str:
    """What it says of itself; or ``alive`` for one that only has a heartbeat, ``silent`` for one that has none but
    still speaks, ``dead``, ``stopped``, or ``never seen``."""
    if member.status:
        told = str(member.status.get("state", "alive"))
        return told if member.beats or told in {State.STARTING, State.REFUSED, State.STOPPING} else "silent"
    if member.beats:
        return "alive"
    if not member.life:
        return "never seen"
    return "stopped" if member.life.get("stopped") else "dead"


def needs(member: Member) -> list[str]:
    """What a person has to see to, in words; nothing when all is well."""
    found = []
    now = state(member)
    if member.rules and not member.is_living and now != State.STARTING:
        text = "start it, or let one that lives collect: `rules rebalance`"
        found.append(f"is {now}, and nobody collects its {counted(member.rules, 'rule')}: {text}")
    elif now == State.BACKING_OFF:
        if seconds(member.status.get("until")) < -LONG_WAIT_SECONDS:
            found.append(f"waits long before it connects again: {member.status.get('reason')}")
    elif now not in {*HEALTHY, State.STOPPING, "alive", "stopped", "dead", "never seen"}:
        found.append(f"is {now}: {member.status.get('reason') or 'see its log'}")
    if left_out := member.status.get("left_out"):
        found.append(f"leaves out {counted(left_out, 'rule')}: `rules check` says why")
    if apart := member.status.get("apart"):
        found.append(f"has set {counted(apart, 'message')} apart, which Kafka never takes: `spool list` shows them")
    if (v2 := member.status.get("v2")) and 0 < v2["limit"] <= v2["posts"]:
        found.append("has read the posts of V2_MONTHLY_POST_LIMIT: no stream until next month")
    return found


def remarks(member: Member) -> list[str]:
    """What is worth a line, though nobody has to see to it."""
    found = [spent(member)]
    if risks := member.status.get("risks"):
        found.append(f"runs with KAFKA_OPTIONS that put tweets at risk: {risks}")
    return [text for text in found if text]


def spent(member: Member) -> str:
    """What X API v2 has sent this month, and what that costs; empty for v1.1."""
    if not (v2 := member.status.get("v2")):
        return ""
    limit = f", {v2['limit']:,} allowed" if v2["limit"] else ""
    return f"{v2['posts']:,} of {counted(v2['cap'], 'post')} read this month{limit}: {v2['cost']:,.2f} USD"


def counted_seconds(member: Member | None, window_seconds: int) -> float:
    """For how long its matches have been counted: the window, or its life where that is shorter."""
    lived_seconds = seconds(member.status.get("started")) if member else 0.0
    return min(window_seconds, max(lived_seconds, 1.0)) if lived_seconds else window_seconds


def orphans(conn: "redis.Redis", members: Mapping[Name, Member]) -> dict[str, int]:
    """By type, how many rules no living Traptor has room for, as ``rules rebalance`` plans, without a look at the rules
    that stay. Raises redis.RedisError."""
    found = {}
    for traptor_type in TYPES:
        of_type = roster.of_types(members, [traptor_type])
        if any(member.rules and not (member.is_living and member.fits) for member in of_type):
            shards = roster.displaced(conn, traptor_type, of_type)
            _, left = shards.rebalance(shards.by_id.keys() - shards.living)
            if left:
                found[traptor_type] = len(left)
    return found


def _used(member: Member) -> int:
    return int(member.status.get("predicates") or member.rules)


def is_shown(member: Member) -> bool:
    if member.rules or member.beats or member.status:
        return True
    return seconds(member.life.get("at")) < SHOWN_SECONDS


def line(member: Member) -> list[Text]:
    """The cells of COLUMNS."""
    said = member.status
    return [
        Text(str(member.name), "bold"),
        Text(state(member), _style(member)),
        Text(_span(said.get("since") or member.life.get("at"))),
        Text(f"{said['host']}/{said.get('pid')}" if said.get("host") else "-"),
        Text(f"{_used(member)}/{member.limit}"),
        Text(_number(said.get("tweets_per_second"))),
        Text(sparkline(said.get("rates") or [])),
        Text(_number(said.get("withheld"))),
        Text(_number(said.get("unmatched"))),
        Text(_span(said.get("last_tweet_at"))),
        Text(_bytes(said.get("spool_bytes"))),
        Text(f"{said['ack_lag_seconds']:g} s" if said.get("ack_lag_seconds") is not None else "-"),
        Text(f"{said['gaps_day']} ({span(said.get('gap_seconds_day', 0))})" if said.get("gaps_day") else "-"),
        Text(str(said.get("version", "-"))),
        Text(str(said.get("rule_set", "-"))),
    ]


def _style(member: Member) -> str:
    if needs(member):
        return "bold red"
    return "green" if member.is_living else "dim"


def sparkline(rates: Sequence[float]) -> str:
    """One bar for each rate; the highest fills its place."""
    highest = max(rates, default=0) or 1
    return "".join(_BARS[round(rate / highest * (len(_BARS) - 1))] for rate in rates)


def seconds(iso: object) -> float:
    """Since this time, or until it if negative; 0 for what is no time."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(iso))).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _span(since: object) -> str:
    return span(seconds(since)) if since else "-"


def span(length_seconds: float) -> str:
    """In the largest unit that fits: ``45 s``, ``3 min``, ``5 h``, ``2 d``."""
    for unit, unit_seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        if length_seconds >= 2 * unit_seconds:
            return f"{length_seconds / unit_seconds:.0f} {unit}"
    return f"{max(0.0, length_seconds):.0f} s"


def when(gap: Mapping[str, Any]) -> tuple[str, str]:
    """When a gap began, to the second, and how long it lasted: below a minute with its tenths."""
    lasted = seconds(gap.get("from")) - seconds(gap.get("to"))
    return str(gap.get("from"))[:19], f"{lasted:.1f} s" if lasted < 60 else span(lasted)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def _bytes(value: int | None) -> str:
    if not value:
        return "-"
    for unit, unit_bytes in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= unit_bytes:
            return f"{value / unit_bytes:.1f} {unit}"
    return f"{value} B"


def as_dict(member: Member) -> dict[str, Any]:
    """For scripts: what it says of itself, and what we make of it."""
    return {
        "traptor": str(member.name),
        "living": member.is_living,
        "seen_as": state(member),
        "needs": needs(member),
        "rules_in_redis": member.rules,
        "last_life": member.life or None,
        "status": member.status or None,
    }


def fleet_as_dict(members: Mapping[Name, Member], missing: Mapping[str, int]) -> dict[str, Any]:
    """The same of all, with the orphans by type."""
    return {"traptors": [as_dict(member) for member in members.values()], "orphans": missing}


def one_as_dict(conn: "redis.Redis", member: Member) -> dict[str, Any]:
    """One, with its rules and their matches, and its gaps, oldest first. Raises redis.RedisError."""
    held = list(roster.all_rules(conn, [member]))
    return {**as_dict(member), "rules": held, "gaps": roster.gaps(conn, member.name)}


def facts(member: Member) -> list[tuple[str, Any]]:
    """What one says of itself, for a person: name and value."""
    said = member.status
    told: dict[str, Any] = {
        "state": state(member), "for": _span(said.get("since")), "because": said.get("reason"),
        "at risk": said.get("risks"), "running for": _span(said.get("started")), "connects again": said.get("until"),
        "on": f"{said.get('host')}, pid {said.get('pid')}, version {said.get('version')}" if said else "",
        "rules": f"{said.get('rules', member.rules)}, set {said.get('rule_set')}" if said else member.rules,
        "asks Twitter for": f"{_used(member)} of {member.limit}", "rules left out": said.get("left_out"),
        "tweets/s": _number(said.get("tweets_per_second")), "last 5 minutes": sparkline(said.get("rates") or []),
        "last tweet": _ago(said.get("last_tweet_at")), "last byte": _ago(said.get("last_byte_at")),
        **{name.replace("_", " "): _number(said[name]) for name in _COUNTED if said.get(name)},
        "spool": f"{counted(said['spool_messages'], 'message')}, {_bytes(said.get('spool_bytes'))}"
        if said.get("spool_messages") else "",
        "Kafka acknowledges after": f"{said['ack_lag_seconds']:g} s" if said.get("ack_lag_seconds") else "",
        "gaps of the last day": f"{said['gaps_day']}, {span(said.get('gap_seconds_day', 0))} together"
        if said.get("gaps_day") else "",
        "credential": said.get("credential"), "X API v2": spent(member),
    }  # fmt: skip
    return [(name, value) for name, value in told.items() if value not in (None, "", "-", 0)]


_COUNTED = ("received", "matched", "unmatched", "delivered", "waiting", "taken_up", "apart", "dropped", "withheld",
            "spool_damaged_files")  # fmt: skip


def _ago(since: object) -> str:
    return f"{_span(since)} ago" if since else ""


def complaints(members: Mapping[Name, Member], missing: Mapping[str, int]) -> list[str]:
    """Everything that needs a person, a line each. ``missing`` are the orphans by type.

    Where none of a type lives, each has told already that nobody collects its rules.
    """
    living = {member.name.traptor_type for member in members.values() if member.is_living}
    found = [f"{name} {text}" for name, member in members.items() for text in needs(member)]
    return found + [
        f"orphans: {counted(count, f'{name} rule')}, for which the living have no room: start another Traptor"
        for name, count in missing.items()
        if name in living
    ]
