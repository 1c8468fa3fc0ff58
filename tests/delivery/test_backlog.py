"""What waits on disk, and its account: what others take or bring, and what is left when the file goes."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from traptor.delivery import backlog
from traptor.delivery.backlog import FULL_SECONDS, GATHER_SECONDS, LAST_SECONDS, Backlog
from traptor.delivery.lane import Entry, Lane
from traptor.delivery.message import Message
from traptor.delivery.spool import Spool, SpoolError


class Desk:
    """A backlog of one lane, with its clock in our hands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.lane = Lane()
        self.counts: Counter[str] = Counter()
        self.spool = Spool(path, 1 << 20)
        self.backlog = Backlog(
            self.spool, self.counts, lambda: self.now, lambda topic, key: self.lane, lambda: [self.lane]
        )
        self.backlog.take_up()

    def add(self, *keys: str, text: str = "coffee") -> None:
        for key in keys:
            self.backlog.add(self.lane, Entry(message(key, text), self.now))

    def save(self, *keys: str) -> None:
        """Have them on disk."""
        self.add(*keys)
        self.now += GATHER_SECONDS
        self.backlog.save_old()

    def read(self, most: int) -> list[Entry]:
        with contextlib.closing(self.backlog.read(self.lane)) as found:  # type: ignore[type-var]
            return list(islice(found, most))


def message(key: str, text: str = "coffee") -> Message:
    return Message(key.encode(), text.encode(), "traptor")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "track-0.spool")
    yield made
    made.spool.close()


@contextlib.contextmanager
def another(desk: Desk) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(desk.path, isolation_level=None)) as db:
        yield db


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_at_the_beginning_nothing_is_wrong(desk: Desk, seconds: float) -> None:
    desk.now = seconds
    assert (desk.backlog.is_full(), desk.backlog.trouble(), desk.backlog.waiting()) == (False, "", 0)


def test_what_waits_is_written_once_it_has_waited(desk: Desk) -> None:
    desk.add("1", "2")
    desk.now += GATHER_SECONDS - 0.1
    desk.backlog.save_old()
    assert (desk.spool.count, desk.backlog.waiting()) == (0, 2)
    desk.now += 0.1
    desk.backlog.save_old()
    assert (desk.spool.count, desk.backlog.waiting(), list(desk.lane.fresh)) == (2, 2, [])
    assert (list(desk.lane.rows), desk.backlog.is_listed()) == ([1, 2], True)


def test_what_is_delivered_waits_no_more_though_its_row_is_still_there(desk: Desk) -> None:
    desk.save("1", "2")
    desk.backlog.delivered(desk.read(1))
    assert (desk.spool.count, desk.backlog.waiting()) == (2, 1)
    desk.backlog.tidy()
    assert (desk.spool.count, desk.backlog.waiting(), desk.counts["delivered"]) == (1, 1, 1)


def test_of_what_others_take_only_what_is_nowhere_else_is_lost(desk: Desk) -> None:
    desk.save("1", "2", "3", "4")
    delivered, in_memory = desk.read(2)
    desk.backlog.delivered([delivered])
    with another(desk) as other:
        other.execute("DELETE FROM waiting")
    desk.backlog.look()
    assert (desk.counts["dropped:spool_lost"], desk.backlog.waiting(), in_memory.row) == (2, 1, None)
    assert "another program has taken out 4 messages" in desk.backlog.trouble()
    desk.backlog.delivered([in_memory])
    desk.now += FULL_SECONDS
    assert (desk.backlog.waiting(), desk.backlog.trouble(), desk.backlog.is_full()) == (0, "", False)


def test_rows_of_a_file_that_went_are_not_looked_for_in_the_next(desk: Desk) -> None:
    desk.save("1", "2", "3")
    desk.path.unlink()
    desk.backlog.look()
    assert (list(desk.lane.rows), desk.backlog.waiting(), desk.counts["dropped:spool_lost"]) == ([], 0, 3)
    desk.save("4")
    assert [entry.message.key for entry in desk.read(9)] == [b"4"]


def test_what_an_earlier_run_left_is_listed_bit_by_bit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "BATCH", 2)
    with contextlib.closing(Spool(desk.path, 1 << 20)) as earlier:
        earlier.append([message(key) for key in "12345"])
    desk.backlog.look()
    assert desk.counts["taken_up"] == 5
    for rows, is_listed in [([1, 2], False), ([1, 2, 3, 4], False), ([1, 2, 3, 4, 5], True)]:
        desk.backlog.list_more()
        assert (list(desk.lane.rows), desk.backlog.is_listed()) == (rows, is_listed)


def test_what_is_listed_is_not_listed_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.save("1", "2")
    monkeypatch.setattr(desk.spool, "keys_after", None)
    desk.backlog.list_more()
    assert list(desk.lane.rows) == [1, 2]


def test_a_new_file_that_others_begin_is_listed_from_its_start(desk: Desk) -> None:
    desk.save("1", "2", "3")
    desk.backlog.delivered(desk.read(3))
    desk.backlog.tidy()
    assert not desk.path.exists()
    with contextlib.closing(Spool(desk.path, 1 << 20)) as other:
        other.append([message("4"), message("5")])
    desk.backlog.look()
    desk.backlog.list_more()
    assert [entry.message.key for entry in desk.read(9)] == [b"4", b"5"]


def test_what_others_bring_in_between_goes_out_in_its_turn(desk: Desk) -> None:
    desk.save("1")
    with contextlib.closing(Spool(desk.path, 1 << 20)) as other:
        other.append([message("2")])
    desk.save("3")
    desk.backlog.list_more()
    assert [entry.message.key for entry in desk.read(9)] == [b"1", b"2", b"3"]


def test_only_the_end_waits_for_a_lock_of_another_process(desk: Desk) -> None:
    assert desk.spool.patience_seconds == 0.0
    desk.backlog.save_all()
    assert desk.spool.patience_seconds == LAST_SECONDS


def test_what_is_written_to_a_new_file_of_ours_is_not_overtaken(desk: Desk) -> None:
    desk.save("1", "2", "3")
    desk.backlog.delivered(desk.read(3))
    desk.backlog.tidy()
    desk.save("4")
    assert desk.lane.rows or not desk.backlog.is_listed()
    desk.backlog.list_more()
    assert (list(desk.lane.rows), desk.backlog.is_listed()) == ([1], True)


@pytest.mark.parametrize("taken", ["1", "2", "3", "2,3", "1,2,3"])
def test_rows_that_others_took_meanwhile_are_passed_over(desk: Desk, taken: str) -> None:
    desk.save("1", "2", "3")
    with another(desk) as other:
        other.execute(f"DELETE FROM waiting WHERE id IN ({taken})")
    left = [key for key in (b"1", b"2", b"3") if key.decode() not in taken]
    assert [entry.message.key for entry in desk.read(9)] == left
    assert list(desk.lane.rows) == []


def test_a_file_of_which_all_is_delivered_goes_where_nothing_can_be_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.save("1", "2")
    monkeypatch.setattr(desk.spool, "remove", no_space)
    desk.backlog.delivered(desk.read(1))
    desk.backlog.tidy()
    assert (desk.path.exists(), desk.backlog.waiting()) == (True, 1)
    desk.backlog.delivered(desk.read(1))
    desk.backlog.tidy()
    assert (desk.path.exists(), desk.backlog.waiting()) == (False, 0)


def no_space(*_: object) -> None:
    raise SpoolError("no space left on device")


def test_room_is_given_back_only_when_nothing_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    shrunk: list[int] = []
    monkeypatch.setattr(desk.spool, "shrink", lambda: shrunk.append(desk.spool.count))
    desk.save("1")
    desk.spool.set_apart(message("2"), "too large")
    desk.backlog.tidy()
    desk.backlog.delivered(desk.read(1))
    desk.backlog.tidy()
    assert shrunk == []
    desk.backlog.tidy()
    assert shrunk == [0]
