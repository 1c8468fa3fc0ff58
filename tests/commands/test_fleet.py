"""``status``: what fits on a terminal, and what an odd value in Redis leaves of it."""

import io
import json
import socket
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
from click.testing import CliRunner
from rich.console import Console

from traptor import keys
from traptor.commands import fleet
from traptor.fleet.roster import Name

STATUS = {
    "state": "streaming",
    "since": "2026-01-01T00:00:00+00:00",
    "host": "collector-1",
    "pid": 12345,
    "predicates": 4999,
    "tweets_per_second": 12.5,
    "rates": [1.0] * 30,
    "withheld": 1234,
    "rule_set": "0f19c963a91b",
}


@pytest.fixture
def conn() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(decode_responses=True) as made:
        for traptor_id in (0, 10):
            made.set(f"follow:{traptor_id}:20260101000000", "alive")
            made.set(keys.status("follow", traptor_id), json.dumps(STATUS))
        yield made


def shown(conn: fakeredis.FakeRedis, columns: int, name: Name | None = None) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=True, color_system=None, highlight=False)
    fleet._say(console, fleet._look(conn, console, name, 900, as_json=False).shown)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("columns,last", [(40, "since"), (80, "tweets/s"), (120, "withheld"), (200, "rule set")])
def test_what_does_not_fit_is_left_off_from_the_right(conn: fakeredis.FakeRedis, columns: int, last: str) -> None:
    _, header, _, first, second, *_ = shown(conn, columns)
    assert header.rstrip().endswith(last)
    assert first.split()[:2] == ["follow:0", "streaming"]
    assert second.split()[:2] == ["follow:10", "streaming"]
    assert "…" not in first


@pytest.mark.parametrize(
    "odd",
    [
        {"state": ["x"]},
        {"predicates": "many"},
        {"predicate_limit": {}},
        {"rates": [1, "x"]},
        {"rates": 5},
        {"spool_bytes": float("nan")},
        {"ack_lag_seconds": "1 s"},
        {"gap_seconds_day": [], "gaps_day": 2},
        {"tweets_per_second": float("inf")},
        {"withheld": 10**400},
        {"since": "2026-01-01T00:00:00"},
        {"started": 5},
        {"v2": 5},
        {"v2": {"posts": "x"}},
        {"pid": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [None, Name("follow", 0), Name("follow", 10)])
def test_a_wrong_value_in_one_status_hides_nothing_else(
    conn: fakeredis.FakeRedis, odd: dict[str, Any], name: Name | None
) -> None:
    conn.set(keys.status("follow", 0), json.dumps({**STATUS, **odd}))
    conn.set(keys.gaps("follow", 10), "no list")
    conn.rpush(keys.gaps("follow", 0), "garbage", "[" * 100_000, '{"cause": "stalled"}')
    told = "\n".join(shown(conn, 200, name))
    assert "collector-1" in told
    assert "stalled" in told or name != Name("follow", 0)


def test_a_status_of_which_hardly_anything_is_left(conn: fakeredis.FakeRedis) -> None:
    conn.set(keys.status("follow", 0), '{"host": "collector-1"}')
    assert "collector-1/None" in "\n".join(shown(conn, 200))


@pytest.mark.parametrize("more", [["track:0"], ["--watch"], ["--json"]], ids=" ".join)
def test_a_page_is_of_the_whole_fleet_alone(more: list[str]) -> None:
    done = CliRunner().invoke(fleet.status, [*more, "--serve", "0"])
    assert (done.exit_code, "goes with nothing else" in done.output) == (2, True)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = CliRunner().invoke(fleet.status, ["--serve", str(port)])
    assert (done.exit_code, f"127.0.0.1:{port} cannot be used" in done.output) == (1, True)


def test_the_help_says_that_a_page_has_no_login() -> None:
    assert "it has no login" in " ".join(CliRunner().invoke(fleet.status, ["--help"]).output.split())
