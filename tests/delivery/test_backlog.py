"""What waits on disk, and its account: what others take or bring, and what is left when the file goes."""

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import pytest

from traptor.delivery import backlog
from traptor.delivery.backlog import FULL_SECONDS, GATHER_SECONDS, LAST_SECONDS, Backlog
from traptor.delivery.lane import Entry, Lane
from traptor.delivery.message import Message
from traptor.delivery.spool import Spool, SpoolError
from traptor.delivery.wishes import Wish, Wishes


class Desk:
    """A backlog of one lane, with its clock in our hands."""

    def __init__(self, path: Path, max_bytes: int = 1 << 20) -> None:
        self.path = path
        self.now = 1000.0
        self.lane = Lane()
        self.counts: Counter[str] = Counter()
        self.spool = Spool(path, max_bytes)
        self.backlog = Backlog(
            self.spool, self.counts, lambda: self.now, lambda topic, key: self.lane, lambda: [self.lane]
        )
        self.backlog.take_up()

    def add(self, *keys: str, text: str = "coffee") -> None:
        for key in keys:
            self.backlog.add(self.lane, Entry(message(key, text), self.now))

    def save(self, *keys: str, text: str = "coffee") -> None:
        """Have them on disk."""
        self.add(*keys, text=text)
        self.now += GATHER_SECONDS
        self.backlog.save_old()

    def refused(self, *keys: str) -> None:
        """Kafka will never take these, which have just come."""
        for key in keys:
            self.add(key)
            entry = self.lane.fresh[0]
            self.backlog.take_first(self.lane)
            self.backlog.set_apart(entry, ValueError("too large"))

    def loses_its_disk(self) -> None:
        self.spool.path = Path("/dev/null/spool")

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


def test_what_was_taken_out_is_no_end_of_what_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it there is: what has just come would go before the rest."""
    desk.save("1", "2", "3", "4")
    monkeypatch.setattr(backlog, "BATCH", 2)
    desk.spool.remove([1, 2])
    assert [entry.message.key for entry in desk.read(9)] == [b"3", b"4"]


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


def test_a_disk_that_hangs_keeps_nobody_from_asking_what_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "ASKING_SECONDS", 0.01)
    desk.save("1", "2")
    asked: list[int] = []
    append = desk.spool.append

    def hanging(messages: Sequence[Message]) -> list[int]:
        asking = threading.Thread(target=lambda: asked.append(desk.backlog.waiting()), daemon=True)
        asking.start()
        asking.join(10)
        return append(messages)

    assert desk.backlog.waiting() == 2
    monkeypatch.setattr(desk.spool, "append", hanging)
    desk.save("3")
    assert (asked, desk.backlog.waiting()) == ([2], 3)


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


def told(caplog: pytest.LogCaptureFixture, message: str) -> int:
    return [record.message for record in caplog.records].count(message)


def test_a_spool_that_fails_is_told_at_once_and_then_once_in_a_while(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk.save("1")
    monkeypatch.setattr(desk.spool, "append", no_space)
    for seconds, times in [(0.0, 1), (FULL_SECONDS - 1, 1), (0.9, 1), (0.1, 2)]:
        desk.now += seconds
        desk.save("2")
        desk.now -= GATHER_SECONDS
        assert (told(caplog, "spool fails"), desk.backlog.trouble()) == (times, "no space left on device")


def test_a_spool_that_cannot_be_read_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.save("1")
    desk.backlog.list_anew()
    monkeypatch.setattr(desk.spool, "keys_after", no_space)
    desk.backlog.list_more()
    assert (desk.backlog.trouble(), desk.backlog.is_listed()) == ("no space left on device", True)


def test_that_messages_are_dropped_is_told_once_in_a_while(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.add("1", "2", "3", "4", "5")
    taken = list(desk.lane.fresh)
    for entry, seconds, times in zip(taken, [0.0, 1.0, 2.0, FULL_SECONDS, 0.0], [1, 1, 1, 2, 2], strict=True):
        desk.now += seconds
        desk.backlog.drop(entry, "spool_full")
        assert told(caplog, "messages are dropped") == times


def test_what_its_author_deleted_is_no_error(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.add("1")
    desk.backlog.drop(desk.lane.fresh[0], "deleted")
    assert (desk.counts["dropped:deleted"], told(caplog, "messages are dropped"), desk.backlog.is_full()) == (
        1,
        0,
        False,
    )


# What is set apart


def test_what_cannot_be_set_apart_is_kept_in_memory_up_to_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "BATCH", 2)
    desk.loses_its_disk()
    for key, dropped in [("1", 0), ("2", 0), ("3", 1)]:
        desk.refused(key)
        desk.backlog.tidy()
        assert (desk.counts["dropped:refused_by_kafka"], desk.counts["apart"]) == (dropped, 0)
    assert desk.backlog.waiting() == 2
    desk.backlog.close()
    assert (desk.counts["dropped:refused_by_kafka"], desk.counts["dropped:unsaved"]) == (3, 0)


def test_what_its_author_deletes_is_not_set_apart(desk: Desk) -> None:
    desk.refused("1", "2")
    desk.backlog.wish(Wish("1", None, desk.now))
    desk.backlog.tidy()
    assert [(kept.message.key, kept.reason) for kept in desk.spool.kept()] == [(b"2", "ValueError: too large")]
    assert (desk.counts["dropped:deleted"], desk.counts["apart"], desk.backlog.waiting()) == (1, 1, 0)


def test_what_finds_no_room_to_be_set_apart_is_dropped(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "track-0.spool", max_bytes=message("1").size_bytes())
    desk.refused("1", "2")
    desk.backlog.tidy()
    assert (desk.counts["apart"], desk.counts["dropped:refused_by_kafka"], desk.backlog.waiting()) == (1, 1, 0)
    desk.spool.close()


# What authors take back


def test_what_is_taken_back_on_disk_goes_bit_by_bit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CHANGED", 2)
    desk.save("1", "2", "3", "4", "5", text='{"user":{"id_str":"9"},"id_str":"1","geo":1}')
    for user_id in ("7", "8", "9"):
        desk.backlog.wish(Wish(user_id, 5, desk.now))
    scrubbed = [0]
    for _ in range(9):
        desk.backlog.tidy()
        scrubbed.append(sum(b'"geo":null' in kept.message.value for kept in desk.spool.kept()))
    assert scrubbed[-1] == 5
    assert max(after - before for before, after in pairwise(scrubbed)) == 2


def test_a_wish_is_forgotten_once_nothing_older_is_in_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = Wishes()
    monkeypatch.setattr(backlog, "Wishes", lambda: wishes)
    forgetful = Desk(desk.path)
    forgetful.add("1")
    forgetful.now += 0.1
    forgetful.backlog.wish(Wish("7", None, forgetful.now))
    forgetful.backlog.tidy()
    assert wishes.fulfilled(message("7"), 0.0) is None
    forgetful.backlog.take_first(forgetful.lane)
    forgetful.backlog.tidy()
    assert wishes.fulfilled(message("7"), 0.0) == message("7")


def test_a_wish_is_kept_for_what_is_still_to_be_set_apart(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = Wishes()
    monkeypatch.setattr(backlog, "Wishes", lambda: wishes)
    forgetful = Desk(desk.path)
    forgetful.loses_its_disk()
    forgetful.refused("1")
    forgetful.now += 0.1
    forgetful.backlog.wish(Wish("7", None, forgetful.now))
    forgetful.backlog.tidy()
    assert wishes.fulfilled(message("7"), 0.0) is None


# The end


def test_at_the_end_what_was_delivered_is_taken_out_and_the_file_let_go(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "BATCH", 2)
    for key in "123456":
        desk.save(key)
    desk.backlog.delivered(desk.read(2) + desk.read(2) + desk.read(1))
    desk.backlog.close()
    links = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
    assert not [link for link in links if link.startswith(str(desk.path))]
    assert [kept.message.key for kept in desk.spool.kept()] == [b"6"]
    assert (desk.counts["delivered"], desk.counts["dropped:unsaved"]) == (5, 0)
