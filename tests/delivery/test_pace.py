"""A route to one topic: its lanes, when it is open, and how much may be on its way."""

import zlib
from unittest.mock import Mock

import pytest

from traptor.delivery.lane import SLOW_SECONDS, Entry, Lane
from traptor.delivery.message import Message
from traptor.delivery.route import (
    FARTHEST_SECONDS,
    FIRST_BYTES,
    GIVE_UP_SECONDS,
    LEAST_BYTES,
    MOST_BYTES,
    QUICK_SECONDS,
    Route,
)

NEAR = 0.125
"""Seconds to Kafka and back; as the others a number that floats have exactly."""
QUICK, SLOW = NEAR + QUICK_SECONDS / 2, NEAR + SLOW_SECONDS + 0.5


def entry(sent_at: float = 0.0, key: bytes | None = b"1", size_bytes: int = 1000) -> Entry:
    made = Entry(Message(key, b"", "traptor"), sent_at)
    made.size_bytes = size_bytes
    return made


def route(partitions: int = 1) -> Route:
    """Open, with lanes for as many partitions."""
    made = Route("traptor", Mock(), Mock())
    made.broker.producer, made.broker.partitions = Mock(), partitions
    made.divide()
    return made


def near_route() -> Route:
    """To a Kafka that is near, as a first answer has shown."""
    made = route()
    made.acknowledged([entry(1.0, size_bytes=0)], 1.0 + NEAR)
    return made


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_a_key_has_a_lane_as_it_has_a_partition_and_none_has_one_of_its_own(partitions: int) -> None:
    there = route(partitions)
    assert len(there.lanes) == partitions + 1
    for key in (b"1", b"2", b"3", b"4"):
        assert there.lane(key) is there.lanes[zlib.crc32(key) % partitions]
    assert there.lane(None) is there.lanes[-1]


def test_what_waits_goes_to_the_new_lanes_and_what_is_on_its_way_is_waited_for() -> None:
    there = route(1)
    again, fresh, keyless = entry(key=b"1"), entry(key=b"2"), entry(key=None)
    there.lane(b"1").again.append(again)
    there.lane(b"2").fresh.append(fresh)
    there.lane(None).fresh.append(keyless)
    there.lane(None).sent(on_way := entry(key=None))
    there.broker.partitions = 3
    assert not there.divide()
    there.lane(None).on_way.remove(on_way)
    assert there.divide()
    assert (list(there.lane(b"1").again), list(there.lane(b"2").fresh)) == ([again], [fresh])
    assert list(there.lane(None).fresh) == [keyless]
    assert not there.divide()


def test_a_lane_has_room_for_its_share() -> None:
    there = route(4)
    lane = there.lanes[0]
    lane.sent(entry(size_bytes=FIRST_BYTES // 4 - 1))
    assert there.has_room(lane)
    lane.sent(entry(size_bytes=1))
    assert not there.has_room(lane)
    assert there.has_room(Lane())


def test_when_a_route_is_open() -> None:
    there = route()
    assert there.is_open(0.0)
    there.not_before = 5.0
    assert [there.is_open(now) for now in (4.9, 5.0, 5.1)] == [False, True, True]
    there.broker.is_cautious = True
    assert (there.is_open(5.0), there.is_trial_over()) == (False, True)
    there.suspects = 1
    assert (there.is_open(5.0), there.is_trial_over()) == (True, False)
    there.broker.partitions = 2
    assert not there.is_open(5.0)
    there.broker.partitions, there.broker.producer = 1, None
    assert not there.is_open(5.0)


@pytest.mark.parametrize(
    "seconds, expected",
    [
        (QUICK, FIRST_BYTES + 2000),
        (NEAR + QUICK_SECONDS, FIRST_BYTES),
        (NEAR + SLOW_SECONDS, FIRST_BYTES),
        (SLOW, FIRST_BYTES // 2),
    ],
)
def test_the_pace_fits_the_link(seconds: float, expected: int) -> None:
    there = near_route()
    there.acknowledged([entry(10.0), entry(10.0)], 10.0 + seconds)
    assert there.limit_bytes == expected


def test_how_far_kafka_is_does_not_make_it_slow() -> None:
    """The first answer of a far one takes as long as all others."""
    there = route()
    for sent_at in (1.0, 10.0):
        there.acknowledged([entry(sent_at)], sent_at + FARTHEST_SECONDS)
    assert there.limit_bytes == FIRST_BYTES + 2000


def test_what_was_on_its_way_when_the_pace_was_halved_does_not_halve_it_again() -> None:
    there = near_route()
    for sent_at, expected in [(10.0, FIRST_BYTES // 2), (10.1, FIRST_BYTES // 2), (10.0 + SLOW, FIRST_BYTES // 4)]:
        there.acknowledged([entry(sent_at)], sent_at + SLOW)
        assert there.limit_bytes == expected


@pytest.mark.parametrize("seconds, expected", [(QUICK, MOST_BYTES), (SLOW, LEAST_BYTES)])
def test_the_pace_has_bounds(seconds: float, expected: int) -> None:
    there = near_route()
    for number in range(1, 12):
        sent_at = number * 100.0
        there.acknowledged([entry(sent_at, size_bytes=1 << 20)], sent_at + seconds)
    assert there.limit_bytes == expected


def test_a_producer_that_is_given_up_leaves_the_pace_as_at_the_least() -> None:
    there = near_route()
    there.not_before = 5.0
    there.give_up()
    assert (there.limit_bytes, there.way_seconds, there.not_before) == (LEAST_BYTES, FARTHEST_SECONDS, 0.0)


@pytest.mark.parametrize("seconds, patience", [(0.2, SLOW_SECONDS + 0.4), (9.0, SLOW_SECONDS + 2 * FARTHEST_SECONDS)])
def test_a_far_kafka_has_the_time_that_the_way_takes(seconds: float, patience: float) -> None:
    there = route(2)
    there.acknowledged([entry(0.0)], seconds)
    assert [lane.patience_seconds for lane in there.lanes] == [pytest.approx(patience)] * 3


def test_a_producer_is_silent_when_the_oldest_that_it_owes_an_answer_for_is_old() -> None:
    there = route(2)
    for lane, now in zip(there.lanes, (0.0, 100.0, 110.0), strict=True):
        there.sent(lane, entry(), now)
    assert [there.is_silent(now) for now in (GIVE_UP_SECONDS, GIVE_UP_SECONDS + 0.1)] == [False, True]
    there.acknowledged([entry(110.0)], 115.0)
    assert [there.is_silent(115.0 + now) for now in (GIVE_UP_SECONDS, GIVE_UP_SECONDS + 0.1)] == [False, True]
    for lane in there.lanes:
        lane.on_way.clear()
    assert not there.is_silent(1000.0)
