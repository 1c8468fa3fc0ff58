"""Gaps: each time without a stream is one record, also across a crash."""

import json
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


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.time = NOON
        self.monotonic = 100.0

    def passes(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.monotonic += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def watched(clock: Clock, told: list[dict[str, Any]]) -> Gaps:
    return gaps_by(clock, told)


def gaps_by(clock: Clock, told: list[dict[str, Any]]) -> Gaps:
    return Gaps(
        "track",
        0,
        lambda gap: told.append(gap.record()),
        now=lambda: clock.time,
        monotonic=lambda: clock.monotonic,
    )


def test_a_gap_is_told_with_the_tweets_on_either_side(watched: Gaps, clock: Clock, told: list[dict[str, Any]]) -> None:
    watched.tweet("10")
    watched.begin(NOON, "cut")
    watched.tried()
    watched.tried()
    clock.passes(2.5)
    watched.end("f00d")
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


@pytest.mark.parametrize("set_by_seconds", [-7200, 7200, 86_400 * 365])
def test_a_clock_that_is_set_changes_no_length(
    watched: Gaps, clock: Clock, told: list[dict[str, Any]], set_by_seconds: int
) -> None:
    clock.passes(3)
    watched.begin(NOON, "cut")
    clock.time += timedelta(seconds=set_by_seconds)
    clock.passes(4)
    assert watched.of_last_day() == (1, 7)
    watched.end("f00d")
    watched.finish()
    assert (watched.seconds, watched.of_last_day()) == (7, (1, 7))
    assert [(gap["from"], gap["to"]) for gap in told] == [(gaps.iso(after(0)), gaps.iso(after(7)))]


def test_a_gap_does_not_begin_in_the_future(watched: Gaps, clock: Clock, told: list[dict[str, Any]]) -> None:
    watched.begin(datetime.max.replace(tzinfo=UTC), "died")
    clock.passes(5)
    watched.end("f00d")
    watched.finish()
    assert watched.seconds == 5
    assert [(gap["from"], gap["to"]) for gap in told] == [(gaps.iso(after(0)), gaps.iso(after(5)))]


def test_the_last_day_forgets(watched: Gaps, clock: Clock) -> None:
    watched.begin(NOON, "cut")
    clock.passes(5)
    watched.end("f00d")
    watched.finish()
    clock.passes(86_399)
    assert watched.of_last_day() == (1, 5)
    clock.passes(1)
    assert watched.of_last_day() == (0, 0)
    assert watched.seconds == 5


def test_what_arrived_before_a_gap_is_not_in_it(watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.begin(after(0), "rules")
    watched.tweet("10")
    watched.end("f00d")
    watched.tweet("20")
    assert [(gap["last_tweet_id"], gap["first_tweet_id"]) for gap in told] == [("10", "20")]


def test_it_does_not_wait_for_a_tweet_for_ever(watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.begin(after(0), "reset")
    watched.end("f00d")
    watched.tick(100.0 + FIRST_TWEET_SECONDS - 1)
    assert told == []
    watched.tick(100.0 + FIRST_TWEET_SECONDS)
    assert [(gap["last_tweet_id"], gap["first_tweet_id"]) for gap in told] == [(None, None)]


def test_a_gap_goes_on_under_its_first_cause(watched: Gaps, clock: Clock, told: list[dict[str, Any]]) -> None:
    watched.begin(after(0), "died")
    clock.passes(5)
    watched.begin(after(5), "http-503")
    clock.passes(4)
    watched.end("f00d")
    watched.finish()
    assert [(gap["cause"], gap["from"], gap["to"]) for gap in told] == [
        ("died", gaps.iso(after(0)), gaps.iso(after(9)))
    ]


def test_a_stream_without_a_tweet_is_between_two_gaps(watched: Gaps, clock: Clock, told: list[dict[str, Any]]) -> None:
    for cause in ("cut", "reset"):
        watched.begin(clock.time, cause)
        clock.passes(10)
        watched.end("f00d")
        clock.passes(10)
    watched.finish()
    assert [gap["cause"] for gap in told] == ["cut", "reset"]
    assert watched.seconds == 20


def test_what_never_began_does_not_end(watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.tried()
    watched.end("f00d")
    watched.finish()
    watched.tweet("1")
    assert (told, watched.seconds, watched.of_last_day()) == ([], 0.0, (0, 0.0))


def test_the_last_day_has_what_ended_in_it_and_what_is_open(watched: Gaps, clock: Clock) -> None:
    watched.begin(after(-10), "cut")
    watched.end("f00d")
    watched.finish()
    clock.passes(20)
    watched.begin(after(15), "cut")
    assert watched.of_last_day() == (2, 15)


def test_a_gap_that_begins_has_no_length_for_who_asks_meanwhile(clock: Clock) -> None:
    asked: list[tuple[int, float]] = []

    def monotonic() -> float:
        if not asked:
            asked.append((-1, 0.0))
            asked.append(beginning.of_last_day())
        return clock.monotonic

    beginning = Gaps("track", 0, lambda gap: None, now=lambda: clock.time, monotonic=monotonic)
    beginning.begin(NOON, "cut")
    assert asked[1] == (0, 0.0)


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


@pytest.mark.parametrize("decode_responses", [True, False])
def test_the_next_start_knows_what_came_last(decode_responses: bool, caplog: pytest.LogCaptureFixture) -> None:
    """As far as Redis can say it."""
    server = fakeredis.FakeServer()
    conn = fakeredis.FakeRedis(server=server, decode_responses=decode_responses)
    one = Journal(conn, "track", 0, 15)
    assert one.recent() == []
    one.keep_recent(["10", "20"])
    assert Journal(conn, "track", 0, 15).recent() == ["10", "20"]
    assert 0 < conn.ttl("traptor:recent:track:0") <= journal.RECENT_SECONDS
    server.connected = False
    assert one.recent() == []
    assert [record.getMessage() for record in caplog.records] == [
        "what came last is not known: some may come out twice"
    ]


@pytest.mark.parametrize("stopped,cause", [(True, "stopped"), (False, "died")])
def test_the_next_start_closes_the_gap_of_the_last_end(
    conn: Any, watched: Gaps, told: list[dict[str, Any]], stopped: bool, cause: str
) -> None:
    watched.tweet("10")
    a_life(conn, watched, 7, stopped=stopped)

    life = Journal(conn, "track", 0, 15).last_life()
    assert life
    following = gaps_by(Clock(), told)
    assert journal.take_up(life, following) == 7
    following.end("f00d")
    following.tweet("20")
    (gap,) = told
    assert (gap["cause"], gap["last_tweet_id"], gap["first_tweet_id"]) == (cause, "10", "20")
    assert gap["from"] == gaps.iso(NOON)


def test_a_gap_that_is_open_at_a_crash_goes_on(conn: Any, watched: Gaps, told: list[dict[str, Any]]) -> None:
    watched.begin(after(0), "http-503")
    a_life(conn, watched, stopped=False)
    following = gaps_by(Clock(), told)
    journal.take_up(Journal(conn, "track", 0, 15).last_life() or {}, following)
    following.end("f00d")
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
        journal.take_up(one.last_life() or {}, watched)
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


def test_what_is_no_list_of_gaps_is_written_over(conn: Any) -> None:
    conn.set("traptor:gaps:track:0", "nonsense")
    one = Journal(conn, "track", 0, 15)
    one.add(Gap("track", 0, gaps.iso(after(0)), gaps.iso(after(1)), "cut", None))
    one.write([], {}, {})
    assert conn.llen("traptor:gaps:track:0") == 1
