"""The fleet at a glance: states, what needs a person, sparklines."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest

from traptor import keys
from traptor.fleet import overview, roster
from traptor.fleet.roster import Member, Name
from traptor.rules import stored


def member(traptor_id: int = 0, *, rules: int = 1, beats: bool = True, **status: Any) -> Member:
    return Member(Name("track", traptor_id), [""] * rules, beats, status)


def seconds_from_now(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


DEAD = {"at": "2026-01-01T00:00:00+00:00", "stopped": False}
STOPPED = {**DEAD, "stopped": True}


@pytest.mark.parametrize(
    "beats,status,life,seen_as",
    [
        (True, {"state": "streaming"}, DEAD, "streaming"),
        (True, {}, {}, "alive"),
        (False, {"state": "streaming"}, DEAD, "silent"),
        (False, {"state": "starting"}, {}, "starting"),
        (False, {"state": "refused"}, DEAD, "refused"),
        (False, {"state": "stopping"}, STOPPED, "stopping"),
        (False, {}, DEAD, "dead"),
        (False, {}, STOPPED, "stopped"),
        (False, {}, {}, "never seen"),
    ],
)
def test_states(beats: bool, status: dict[str, Any], life: dict[str, Any], seen_as: str) -> None:
    assert overview.state(Member(Name("track", 0), beats=beats, status=status, life=life)) == seen_as


@pytest.mark.parametrize(
    "one,said",
    [
        (member(state="streaming"), []),
        (member(state="quiet"), []),
        (member(state="waiting-for-rules", rules=0), []),
        (member(), []),
        (member(beats=False, rules=0), []),
        (member(beats=False, state="starting"), []),
        (member(state="backing-off", until=seconds_from_now(0), reason="503"), []),
        (member(state="backing-off", until=seconds_from_now(86_400), reason="420"), ["waits long before"]),
        (member(beats=False, rules=3), ["is never seen, and nobody collects its 3 rules"]),
        (member(beats=False, state="streaming", rules=3), ["is silent, and nobody collects its 3 rules"]),
        (member(beats=False, state="refused", rules=3), ["is refused, and nobody collects its 3 rules"]),
        (member(beats=False, state="refused", rules=0, reason="403"), ["is refused: 403"]),
        (member(state="kafka-down"), ["is kafka-down: see its log"]),
        (member(state="spool-full"), ["is spool-full"]),
        (member(state="stalled"), ["is stalled"]),
        (member(state="streaming", left_out=2, apart=5), ["leaves out 2 rules", "has set 5 messages apart"]),
    ],
)
def test_what_needs_a_person(one: Member, said: list[str]) -> None:
    found = overview.needs(one)
    assert len(found) == len(said)
    assert all(expected in text for expected, text in zip(said, found, strict=True))


@pytest.mark.parametrize(
    "held,living,count",
    [
        ({0: [400]}, [0], {}),
        ({0: [1] * 10}, [], {"track": 10}),
        ({0: [1] * 10, 1: [390]}, [1], {}),
        ({0: [1] * 10, 1: [395]}, [1], {"track": 5}),
        ({0: [300], 1: [200]}, [1], {"track": 1}),
        ({0: [1], 1: [400, 50], 2: [395]}, [1, 2], {"track": 1}),
    ],
    ids=["full", "nobody lives", "room", "too little room", "one rule of many phrases", "a living one with too many"],
)
def test_orphans_are_what_the_living_have_no_room_for(
    held: dict[int, list[int]], living: list[int], count: dict[str, int]
) -> None:
    """``held`` are the numbers of phrases of the rules of each Traptor."""
    with fakeredis.FakeRedis(decode_responses=True) as conn:
        for traptor_id, sizes in held.items():
            values = [",".join(f"word{traptor_id}x{n}x{m}" for m in range(size)) for n, size in enumerate(sizes)]
            stored.write(
                conn,
                "track",
                traptor_id,
                [{"rule_id": f"{traptor_id}-{n}", "value": value} for n, value in enumerate(values)],
            )
        for traptor_id in living:
            conn.set(f"track:{traptor_id}:20260101000000", "alive")
            conn.set(
                keys.status("track", traptor_id),
                json.dumps({"state": "streaming", "left_out": len(held[traptor_id]) - 1}),
            )
        assert overview.orphans(conn, roster.look(conn)) == count


@pytest.mark.parametrize(
    "said,count",
    [
        pytest.param({"rules": 1, "predicates": 399}, {"track": 1}, id="its word is taken for what it asks for"),
        pytest.param({"rules": 1, "predicates": 398}, {}, id="there is room"),
        pytest.param({"rules": 0, "predicates": 399}, {}, id="it has not read its rules yet: they are looked at"),
    ],
)
def test_rules_of_traptors_that_live_and_fit_are_not_read(said: dict[str, int], count: dict[str, int]) -> None:
    with fakeredis.FakeRedis(decode_responses=True) as conn:
        stored.write(conn, "track", 0, [{"rule_id": str(n), "value": f"word{n}"} for n in range(2)])
        stored.write(conn, "track", 1, [{"rule_id": "9", "value": "storm"}])
        conn.set("track:1:20260101000000", "alive")
        conn.set(keys.status("track", 1), json.dumps({"state": "streaming", "left_out": 0, **said}))
        assert overview.orphans(conn, roster.look(conn)) == count


@pytest.mark.parametrize("other_lives,orphans", [(False, 0), (True, 1)])
def test_rules_that_nobody_of_the_type_collects_are_told_once(other_lives: bool, orphans: int) -> None:
    dead, other = member(beats=False, rules=3), member(1, rules=1, beats=other_lives, state="streaming")
    told = overview.complaints({one.name: one for one in (dead, other)}, {"track": 3})
    assert [text.split()[0] for text in told][:1] == ["track:0"]
    assert sum("orphans:" in text for text in told) == orphans


def test_a_risk_that_was_chosen_is_shown_and_needs_nobody() -> None:
    one = member(state="streaming", risks="acks 1: what a broker has acknowledged")
    assert overview.needs(one) == []
    assert overview.remarks(one) == [
        "runs with KAFKA_OPTIONS that put tweets at risk: acks 1: what a broker has acknowledged"
    ]


V2 = {"posts": 1200, "cap": 3000, "limit": 0, "cost": 6.0}


@pytest.mark.parametrize(
    "v2,said,needed",
    [
        (None, "", []),
        (V2, "1,200 of 3,000 posts read this month: 6.00 USD", []),
        ({**V2, "limit": 2000}, "1,200 of 3,000 posts read this month, 2,000 allowed: 6.00 USD", []),
        (
            {**V2, "limit": 1200},
            "1,200 of 3,000 posts read this month, 1,200 allowed: 6.00 USD",
            ["has read the posts"],
        ),
    ],
)
def test_what_v2_has_sent(v2: dict[str, float] | None, said: str, needed: list[str]) -> None:
    one = member(state="backing-off", **({"v2": v2} if v2 else {}))
    assert overview.spent(one) == said
    assert [text[:18] for text in overview.needs(one)] == needed


@pytest.mark.parametrize("lived_seconds,counted", [(None, 900), (25, 25), (0.2, 1), (4000, 900)])
def test_matches_are_counted_for_the_window_or_for_a_shorter_life(lived_seconds: float | None, counted: float) -> None:
    told = {"started": seconds_from_now(-lived_seconds)} if lived_seconds else {}
    assert overview.counted_seconds(member(**told), 900) == pytest.approx(counted, abs=0.5)


@pytest.mark.parametrize(
    "rates,bars",
    [([], ""), ([0, 0], "▁▁"), ([5.0], "█"), ([0, 1, 2, 4, 8, 16], "▁▁▂▃▅█"), ([7, 7, 7], "███")],
)
def test_sparklines(rates: list[float], bars: str) -> None:
    assert overview.sparkline(rates) == bars


@pytest.mark.parametrize(
    "seconds,text",
    [(-5, "0 s"), (0, "0 s"), (59.6, "60 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_spans(seconds: float, text: str) -> None:
    assert overview.span(seconds) == text


def test_a_line_for_whatever_is_known() -> None:
    full = member(
        state="streaming",
        since=seconds_from_now(-300),
        host="a",
        pid=7,
        predicates=2,
        tweets_per_second=1234.5,
        rates=[1.0, 2.0],
        withheld=12000,
        unmatched=3,
        last_tweet_at=seconds_from_now(-3),
        spool_bytes=3 << 20,
        ack_lag_seconds=0.5,
        gaps_day=2,
        gap_seconds_day=300.0,
        version="1.0.0",
        rule_set="abc",
    )
    shown = "track:0|streaming|5 min|a/7|2/400|1,234.5|▅█|12,000|3|3 s|3.0 MiB|0.5 s|2 (5 min)|1.0.0|abc"
    assert "|".join(cell.plain for cell in overview.line(full)) == shown
    assert [cell.plain for cell in overview.line(member(beats=False))][1:6] == ["never seen", "-", "-", "1/400", "-"]
    assert len(overview.line(member())) == len(overview.COLUMNS)


@pytest.mark.parametrize("hours,shown", [(1, True), (25, False)])
def test_the_dead_without_rules_are_shown_for_a_day(hours: float, shown: bool) -> None:
    one = Member(Name("track", 0), life={"at": seconds_from_now(-3600 * hours), "stopped": False})
    assert overview.is_shown(one) is shown


@pytest.mark.parametrize(
    "since,until,shown",
    [
        ("2026-01-02T03:04:05.678+00:00", "2026-01-02T03:04:07.078+00:00", ("2026-01-02T03:04:05", "1.4 s")),
        ("2026-01-02T03:04:05.000+00:00", "2026-01-02T03:14:05.000+00:00", ("2026-01-02T03:04:05", "10 min")),
    ],
)
def test_a_gap_of_seconds_shows_its_seconds(since: str, until: str, shown: tuple[str, str]) -> None:
    assert overview.when({"from": since, "to": until}) == shown
