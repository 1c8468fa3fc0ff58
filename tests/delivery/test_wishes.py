"""What authors have taken back: the widest wish of each holds, for what is older."""

import json

import pytest

from traptor.delivery.message import Message
from traptor.delivery.wishes import Wish, Wishes


def tweet(id_: int) -> Message:
    fields = {"id_str": str(id_), "user": {"id_str": "9"}, "geo": 1}
    return Message(str(id_).encode(), json.dumps(fields).encode(), "traptor")


def left(wishes: Wishes, id_: int, since: float = 0.0) -> str:
    found = wishes.fulfilled(tweet(id_), since)
    return "nothing" if found is None else "all" if b'"geo": 1' in found.value else "no place"


@pytest.mark.parametrize("up_to_ids", [(5, 8), (8, 5), (8, 8)])
def test_of_two_wishes_for_locations_the_wider_holds(up_to_ids: tuple[int, int]) -> None:
    wishes = Wishes()
    for up_to_id in up_to_ids:
        wishes.add(Wish("9", up_to_id, 1.0))
    assert [left(wishes, id_) for id_ in (5, 8, 9)] == ["no place", "no place", "all"]


def test_wishes_of_both_kinds_hold_side_by_side() -> None:
    wishes = Wishes()
    for wish in (Wish("5", None, 1.0), Wish("9", 8, 1.0), Wish("5", None, 2.0)):
        wishes.add(wish)
    assert [left(wishes, id_) for id_ in (5, 8, 9)] == ["nothing", "no place", "all"]


def test_a_wish_holds_for_what_is_older_until_it_is_forgotten() -> None:
    wishes = Wishes()
    wishes.add(Wish("5", None, 1.0))
    wishes.add(Wish("6", None, 2.0))
    assert [left(wishes, 5, since) for since in (0.0, 1.0, 1.1)] == ["nothing", "nothing", "all"]
    for oldest, found in [(1.0, ["nothing", "nothing"]), (1.5, ["all", "nothing"]), (9.0, ["all", "all"])]:
        wishes.forget_before(oldest)
        assert [left(wishes, 5), left(wishes, 6)] == found
