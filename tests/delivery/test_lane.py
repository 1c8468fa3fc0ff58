"""One partition's line: how much is on its way, since when, and when it counts as stuck."""

from typing import Any
from unittest.mock import Mock, PropertyMock

import pytest

from traptor.delivery.lane import SLOW_SECONDS, Entry, Lane
from traptor.delivery.message import Message


def entry(number: int, since: float = 0.0, *, is_done: Any = False) -> Entry:
    made = Entry(Message(b"%d" % number, b"x" * number, "traptor"), since)
    made.future = Mock(is_done=is_done)
    return made


def lane_with(*sent: Entry) -> Lane:
    lane = Lane()
    for one in sent:
        lane.sent(one)
    return lane


@pytest.mark.parametrize("in_order, answered, left", [(True, [1], [2, 3]), (False, [1, 3], [2])])
def test_what_is_answered_is_not_on_its_way_any_more(in_order: bool, answered: list[int], left: list[int]) -> None:
    first, second, third = entry(1, is_done=True), entry(2), entry(3, is_done=True)
    lane = lane_with(first, second, third)
    taken = lane.take_answered(in_order=in_order)
    assert [len(one.message.value) for one in taken] == answered
    assert [len(one.message.value) for one in lane.on_way] == left
    assert lane.on_way_bytes == sum(one.size_bytes for one in lane.on_way) > 0


@pytest.mark.parametrize("in_order", [True, False])
def test_an_answer_that_comes_while_it_is_looked_for_is_found_the_next_time(in_order: bool) -> None:
    lane = lane_with(entry(1), entry(2))
    for one in lane.on_way:
        type(one.future).is_done = PropertyMock(side_effect=[False, True])
    found = [one for _ in range(3) for one in lane.take_answered(in_order=in_order)]
    assert [len(one.message.value) for one in found] == [1, 2]
    assert (list(lane.on_way), lane.on_way_bytes) == ([], 0)


@pytest.mark.parametrize("in_order", [True, False])
def test_an_answer_that_is_a_mock_is_none(in_order: bool) -> None:
    """As people's tests put one in the producer's place: everything is true of it."""
    assert lane_with(entry(1, is_done=Mock())).take_answered(in_order=in_order) == []


def test_what_is_taken_back_is_sent_again_in_the_order_in_which_it_came() -> None:
    failed, on_way, younger = entry(2, since=2.0), entry(1, since=1.0), entry(3, since=3.0)
    lane = lane_with(on_way)
    lane.again.append(younger)
    lane.not_before = 9.0
    lane.take_back([failed])
    assert list(lane.again) == [on_way, failed, younger]
    assert (list(lane.on_way), lane.on_way_bytes, lane.not_before) == ([], 0, 0.0)


@pytest.mark.parametrize("seconds, is_slow", [(0.0, False), (SLOW_SECONDS, False), (SLOW_SECONDS + 0.1, True)])
def test_a_lane_is_slow_when_its_patience_is_over(seconds: float, is_slow: bool) -> None:
    assert (Lane().is_slow(seconds), lane_with(entry(1)).is_slow(seconds)) == (False, is_slow)


@pytest.mark.parametrize(
    "on_way, fresh, is_stuck",
    [([], [], False), ([entry(1, since=5.0)], [], True), ([], [entry(2, since=5.0)], True)],
)
def test_a_late_lane_is_stuck_until_all_of_it_has_gone(on_way: list[Entry], fresh: list[Entry], is_stuck: bool) -> None:
    lane = lane_with(entry(1))
    assert lane.note_if_stuck(2 * SLOW_SECONDS)
    lane.on_way.clear()
    lane.on_way.extend(on_way)
    lane.fresh.extend(fresh)
    assert lane.note_if_stuck(5.0) is is_stuck


def test_a_lane_that_was_never_late_is_not_stuck() -> None:
    assert not lane_with(entry(1)).note_if_stuck(SLOW_SECONDS / 2)
