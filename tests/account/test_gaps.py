"""Gaps: each time without a stream is one record, also across a crash."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest

from traptor.account import gaps, journal
from traptor.account.gaps import FIRST_TWEET_SECONDS, KEPT, KEPT_SECONDS, Gap, Gaps
from traptor.account.journal import Journal

NOON = datetime(2016, 2, 22, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def watched(told: list[dict[str, Any]]) -> Iterator[Gaps]:
    return Gaps("track", 0, lambda gap: told.append(gap.record()))  # type: ignore[return-value]


def test_a_gap_is_told_with_the_tweets_on_either_side(watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.tweet("10")
    watched.begin(after(0), "cut")
    watched.tried()
    watched.tried()
    watched.end(after(2.5), "f00d", 100.0)
    assert told == []
    watched.tweet("20")
    watched.tweet("21")
    assert told == [
        {
            "type": "track",
            "id": 0,
            "from": "2016-02-22T12:00:00.000+00:00",
            "to": "2016-02-22T12:00:02.500+00:00",
            "cause": "cut",
            "last_tweet_id": "10",
            "first_tweet_id": "20",
            "rule_set": "f00d",
            "reconnects": 2,
        }
    ]
    assert watched.seconds == 2.5


def test_what_arrived_before_a_gap_is_not_in_it(watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.begin(after(0), "rules")
    watched.tweet("10")
    watched.end(after(1), "f00d", 100.0)
    watched.tweet("20")
    assert [(gap["last_tweet_id"], gap["first_tweet_id"]) for gap in told] == [("10", "20")]


def test_it_does_not_wait_for_a_tweet_for_ever(watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.begin(after(0), "reset")
    watched.end(after(1), "f00d", 100.0)
    watched.tick(100.0 + FIRST_TWEET_SECONDS - 1)
    assert told == []
    watched.tick(100.0 + FIRST_TWEET_SECONDS)
    assert [(gap["last_tweet_id"], gap["first_tweet_id"]) for gap in told] == [(None, None)]


def test_a_gap_goes_on_under_its_first_cause(watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.begin(after(0), "died")
    watched.begin(after(5), "http-503")
    watched.end(after(9), "f00d", 0)
    watched.finish()
    assert [(gap["cause"], gap["from"], gap["to"]) for gap in told] == [
        ("died", gaps.iso(after(0)), gaps.iso(after(9)))
    ]


def test_a_stream_without_a_tweet_is_between_two_gaps(watched: Gaps, told: list[dict[str, Any]]) -> None:
    for start, cause in ((0, "cut"), (20, "reset")):
        watched.begin(after(start), cause)
        watched.end(after(start + 10), "f00d", 0)
    watched.finish()
    assert [gap["cause"] for gap in told] == ["cut", "reset"]
    assert watched.seconds == 20


def test_what_never_began_does_not_end(watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.tried()
    watched.end(after(1), "f00d", 0)
    watched.finish()
    watched.tweet("1")
    assert (told, watched.seconds, watched.of_last_day()) == ([], 0.0, (0, 0.0))


def test_the_last_day_has_what_ended_in_it_and_what_is_open(watched: Gaps) -> None:
    now = datetime.now(UTC)
    watched.begin(now - timedelta(seconds=30), "cut")
    watched.end(now - timedelta(seconds=20), "f00d", 0)
    watched.finish()
    watched.begin(now - timedelta(seconds=5), "cut")
    count, seconds = watched.of_last_day()
    assert count == 2
    assert 15 <= seconds < 16


def test_records_in_redis_are_bounded_and_end() -> None:
    conn = fakeredis.FakeRedis(decode_responses=True)
    for number in range(KEPT + 5):
        gaps.store(conn, "gaps", Gap("track", 0, gaps.iso(after(number)), gaps.iso(after(number + 1)), "cut", None))
    records = [json.loads(str(record)) for record in conn.lrange("gaps", 0, -1)]  # type: ignore[union-attr]
    assert len(records) == KEPT
    assert records[-1]["from"] == gaps.iso(after(KEPT + 4))
    assert conn.ttl("gaps") == KEPT_SECONDS


@pytest.fixture
def conn() -> Any:
    return fakeredis.FakeRedis(decode_responses=True)


def a_life(conn: Any, watched: Gaps, withheld: int = 0, *, stopped: bool) -> None:
    one = Journal(conn, "track", 0, 15)
    one.last_life()
    one.write([], {"state": "streaming"}, journal.life(watched, withheld, NOON, stopped=stopped))


@pytest.mark.parametrize("stopped,cause", [(True, "stopped"), (False, "died")])
def test_the_next_start_closes_the_gap_of_the_last_end(
    conn: Any, watched: Gaps, told: list[dict[str, Any]], stopped: bool, cause: str
) -> None:
    watched.tweet("10")
    a_life(conn, watched, 7, stopped=stopped)

    life = Journal(conn, "track", 0, 15).last_life()
    assert life
    following = Gaps("track", 0, lambda gap: told.append(gap.record()))
    assert journal.take_up(life, following) == 7
    following.end(datetime.now(UTC), "f00d", 0)
    following.tweet("20")
    (gap,) = told
    assert (gap["cause"], gap["last_tweet_id"], gap["first_tweet_id"]) == (cause, "10", "20")
    assert gap["from"] == gaps.iso(NOON)


def test_a_gap_that_is_open_at_a_crash_goes_on(conn: Any, watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.begin(after(0), "http-503")
    a_life(conn, watched, stopped=False)
    following = Gaps("track", 0, lambda gap: told.append(gap.record()))
    journal.take_up(Journal(conn, "track", 0, 15).last_life() or {}, following)
    following.end(after(60), "f00d", 0)
    following.finish()
    assert [(gap["cause"], gap["from"]) for gap in told] == [("http-503", gaps.iso(after(0)))]


@pytest.mark.parametrize(
    "life", [{}, {"gap": 1}, {"gap": None, "at": "noon", "stopped": True, "last_tweet_id": None, "withheld": 0},
             {"gap": {}, "at": 5}, {"gap": None, "at": None, "stopped": 1},
             {"gap": None, "at": "2026-01-01T00:00:00", "stopped": True, "last_tweet_id": None, "withheld": 0},
             {"gap": None, "at": "2026-01-01T00:00:00Z", "stopped": True, "last_tweet_id": None, "withheld": "many"}]
)  # fmt: skip
def test_a_sign_of_life_that_means_nothing_is_told(watched: Gaps, life: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which one does not matter
        journal.take_up(life, watched)
    assert watched.open is None


DEEP = "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    "stored",
    ["nonsense", "[]", "Infinity", DEEP, *[f'{{"withheld":{one}}}' for one in ("Infinity", "9" * 400, DEEP)]],
    ids=lambda stored: stored[:15],
)
def test_a_sign_of_life_that_cannot_be_read_is_told_and_written_over(conn: Any, watched: Gaps, stored: str) -> None:
    one = Journal(conn, "track", 0, 15)
    conn.set("traptor:life:track:0", stored)
    with pytest.raises(ValueError):  # noqa: PT011 - which one does not matter
        one.last_life()
    one.write([], {}, journal.life(watched, 8, NOON, stopped=False))
    assert (one.last_life() or {})["withheld"] == 8


def test_the_last_sign_of_life_is_not_written_over_before_it_is_read(conn: Any, watched: Gaps) -> None:
    a_life(conn, watched, 7, stopped=False)
    one = Journal(conn, "track", 0, 15)
    one.write([], {}, journal.life(watched, 0, NOON, stopped=False))
    life = one.last_life()
    assert life
    assert life["withheld"] == 7
    one.write([], {}, journal.life(watched, 8, NOON, stopped=False))
    assert (one.last_life() or {})["withheld"] == 8


def test_who_waits_for_another_of_its_name_writes_nothing(conn: Any, watched: Gaps) -> None:
    one = Journal(conn, "track", 0, 15)
    one.is_silent = True
    one.add(Gap("track", 0, gaps.iso(after(0)), gaps.iso(after(1)), "cut", None))
    one.write([], {}, {})
    assert conn.keys() == []
    one.is_silent = False
    one.write([], {}, {})
    assert len(conn.keys()) == 2
