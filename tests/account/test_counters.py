"""Rolling windows, with a clock that is moved."""

import fakeredis
import pytest
import redis

from traptor.account import counters
from traptor.account.counters import LimitWatch, RollingCounter


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    "history,expected",
    [
        ([], 0),
        ([(0, 1)], 1),
        ([(0, 1), (0.5, 1), (9.9, 5)], 7),
        ([(0, 3), (9, 1)], 4),
        ([(0, 3), (10, 1)], 1),
        ([(0, 3), (5, 2), (10, 1)], 3),
        ([(0, 3), (1000, 0)], 0),
        ([(0, 1), (0, 1), (11, 1), (30, 1)], 1),
    ],
    ids=str,
)
def test_a_counter_forgets_what_is_older_than_its_window(history: list[tuple[float, int]], expected: int) -> None:
    clock = Clock()
    counter = RollingCounter("stats:track:0:1", 10, clock)
    for after_seconds, count in history:
        clock.seconds = 1000 + after_seconds
        counter.increment(count)
    assert counter.value() == expected
    assert counter.get_key() == "stats:track:0:1"
    assert repr(counter) == f"RollingCounter('stats:track:0:1', 10, value={expected})"


@pytest.fixture
def conn() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis()


def test_only_what_has_changed_is_written_each_with_its_ttl(conn: fakeredis.FakeRedis) -> None:
    clock = Clock()
    one, other = RollingCounter("stats:track:0:1", 10, clock), RollingCounter("limit:track:0", 60, clock)
    one.increment(3)
    assert counters.write(conn, [one, other]) == 1
    other.increment()
    assert counters.write(conn, [one, other]) == 1
    assert counters.write(conn, [one, other]) == 0
    assert [(conn.get(key), conn.ttl(key)) for key in ("stats:track:0:1", "limit:track:0")] == [(b"3", 10), (b"1", 60)]


def test_texts_go_with_them_in_the_same_round_trip(conn: fakeredis.FakeRedis) -> None:
    assert counters.write(conn, [], {"traptor:status:track:0": ("{}", 15)}) == 0
    assert (conn.get("traptor:status:track:0"), conn.ttl("traptor:status:track:0")) == (b"{}", 15)


def test_a_counter_that_is_back_at_nothing_is_deleted(conn: fakeredis.FakeRedis) -> None:
    clock = Clock()
    counter = RollingCounter("stats:track:0:1", 10, clock)
    counter.increment()
    counters.write(conn, [counter])
    clock.seconds += 10
    assert counters.write(conn, [counter]) == 1
    assert conn.keys() == []


def test_what_could_not_be_written_is_written_the_next_time() -> None:
    server = fakeredis.FakeServer()
    conn = fakeredis.FakeRedis(server=server)
    counter = RollingCounter("stats:track:0:1", 10)
    counter.increment()
    server.connected = False
    with pytest.raises(redis.ConnectionError):
        counters.write(conn, [counter])
    server.connected = True
    assert counters.write(conn, [counter]) == 1
    assert conn.get("stats:track:0:1") == b"1"


@pytest.mark.parametrize(
    "notices,expected",
    [
        ([], 0),
        ([5], 5),
        ([5, 6, 10, 15, 10, 20, 14, 16, 18, 26, 16, 18], 26),
        ([3, 3, 3], 3),
        ([9, 1], 9),
        ([0, -4], 0),
    ],
    ids=str,
)
def test_of_limit_notices_the_largest_counts_and_never_their_sum(notices: list[int], expected: int) -> None:
    watch = LimitWatch()
    assert sum(watch.raised_by(count) for count in notices) == watch.largest == expected
