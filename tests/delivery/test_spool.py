"""The spool: what is stored is there again, after a kill and in spite of damage, and never more than was allowed."""

import contextlib
import json
import os
import queue
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from traptor.delivery import spool as spool_module
from traptor.delivery import spool_file
from traptor.delivery.spool import Message, Spool, SpoolDamagedError, SpoolError, SpoolLostError

ROOT = Path(__file__).parents[2]


def message(number: int, text: str = "coffee") -> Message:
    return Message(str(number).encode(), json.dumps({"id_str": str(number), "text": text}).encode(), "traptor")


def messages(*numbers: int) -> list[Message]:
    return [message(number) for number in numbers]


def waiting(spool: Spool) -> list[Message]:
    return [kept.message for kept in spool.kept() if kept.reason is None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "track-0.spool"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path, 1 << 20)
    yield made
    made.close()


def test_the_oldest_come_out_first(spool: Spool) -> None:
    rows = spool.append(messages(3, 1, 2))
    assert spool.keys_after(0, 2) == [(rows[0], "traptor", b"3"), (rows[1], "traptor", b"1")]
    assert spool.keys_after(rows[1], 100) == [(rows[2], "traptor", b"2")]
    assert spool.keys_after(rows[2], 100) == []
    assert list(spool.read([rows[0], rows[2], 99])) == [(rows[0], message(3)), (rows[2], message(2))]


def test_there_is_no_file_until_something_waits_and_none_when_nothing_does(spool: Spool, path: Path) -> None:
    spool.open_if_there()
    assert not path.parent.exists()
    rows = spool.append(messages(1, 2))
    assert path.exists()
    spool.remove(rows)
    assert (list(path.parent.iterdir()), spool.count, spool.size_bytes) == ([], 0, 0)
    spool.append(messages(3))
    assert spool.count == 1


def test_a_file_that_another_process_uses_is_not_removed(spool: Spool, path: Path) -> None:
    """As two of one name may, where one was frozen for longer than its lease lasts."""
    spool.append(messages(1))
    other = Spool(path, 1 << 20)
    other.open_if_there()
    other.remove([1])
    other.close()
    spool.append(messages(2))
    spool.close()
    third = Spool(path, 1 << 20)
    third.open_if_there()
    assert [kept.key for kept in waiting(third)] == [b"2"]
    third.close()


def test_only_its_owner_may_read_it(spool: Spool, path: Path) -> None:
    spool.append(messages(1))
    modes = {file: stat.S_IMODE(file.stat().st_mode) for file in [path.parent, *path.parent.iterdir()]}
    assert modes.pop(path.parent) == 0o700
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3


@pytest.mark.parametrize("key,topic", [(None, "notices"), (b"\x00\xff", "traptor")])
def test_a_message_comes_back_as_it_was(spool: Spool, key: bytes | None, topic: str) -> None:
    odd = Message(key, b'{"id":1}\x00\xff', topic)
    spool.append([odd])
    assert waiting(spool) == [odd]


def test_what_fits_is_stored_and_no_more(path: Path) -> None:
    first, second, third = messages(1, 2, 3)
    spool = Spool(path, first.size_bytes() + second.size_bytes())
    assert len(spool.append([first, second, third])) == 2
    assert spool.append([third]) == []
    assert spool.size_bytes == spool.max_bytes
    spool.remove([1])
    assert len(spool.append([third])) == 1
    spool.close()


def test_what_is_set_apart_takes_room_too(path: Path) -> None:
    spool = Spool(path, message(1).size_bytes())
    spool.set_apart(message(1), "too large")
    assert spool.append(messages(2)) == []
    with pytest.raises(SpoolError, match="no room"):
        spool.set_apart(message(2), "too large")
    spool.close()


def test_a_second_run_takes_up_what_the_first_left(spool: Spool, path: Path) -> None:
    spool.append(messages(1, 2))
    spool.set_apart(message(3), "too large")
    spool.close()
    second = Spool(path, 1 << 20)
    second.open_if_there()
    assert (second.count, second.apart, second.size_bytes) == (2, 1, spool.size_bytes)
    assert [kept.key for kept in waiting(second)] == [b"1", b"2"]
    second.close()


KILLED = """
import os, pathlib, signal, sys
from traptor.delivery import spool as spool_module
from traptor.delivery import spool_file
from traptor.delivery.spool import Message, Spool
spool = Spool(pathlib.Path(sys.argv[1]), 1 << 20)
for number in range(50):
    spool.append([Message(str(number).encode(), b"{}", "traptor")])
with spool._writing() as db:
    db.execute("INSERT INTO waiting (since, topic, key, value) VALUES (0, '', 'torn', '')")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_stored_survives_a_kill(path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    spool = Spool(path, 1 << 20)
    spool.open_if_there()
    assert [kept.key for kept in waiting(spool)] == [str(number).encode() for number in range(50)]
    spool.close()


@pytest.mark.parametrize("torn_bytes", [1, 100, 4096 + 24])
def test_a_torn_last_write_takes_only_itself(spool: Spool, path: Path, tmp_path: Path, torn_bytes: int) -> None:
    """As after a power cut: the files as they stood, the log of transactions cut short."""
    for number in range(10):
        spool.append(messages(number))
    after_cut = tmp_path / "cut" / "track-0.spool"
    after_cut.parent.mkdir()
    wal = Path(f"{path}-wal").read_bytes()
    after_cut.write_bytes(path.read_bytes())
    Path(f"{after_cut}-wal").write_bytes(wal[:-torn_bytes])
    second = Spool(after_cut, 1 << 20)
    second.open_if_there()
    assert [kept.key for kept in waiting(second)] == [str(number).encode() for number in range(9)]
    second.close()


@pytest.mark.parametrize("damage", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_set_aside_and_kept(spool: Spool, path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(SpoolDamagedError, match="set aside as"):
        spool.open_if_there()
    (aside,) = path.parent.iterdir()
    assert aside.read_bytes() == damage
    spool.append(messages(1))
    assert (spool.count, [kept.key for kept in waiting(spool)]) == (1, [b"1"])


def test_damage_while_it_runs_says_how_many_were_lost(spool: Spool, path: Path) -> None:
    spool.append(messages(*range(500)))
    spool.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(file.seek(0, os.SEEK_END) - 4096))
        file.seek(4096)
        file.write(b"\xff" * 8192)
    with pytest.raises(SpoolDamagedError) as damaged:
        waiting(spool)
    assert damaged.value.lost == 500
    assert spool.count == 0


def test_a_full_disk_loses_nothing_that_was_stored(spool: Spool) -> None:
    spool.append(messages(1, 2))
    with spool._writing() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SpoolError, match="full"):
        spool.append([message(number, "x" * 1000) for number in range(100)])
    assert [kept.key for kept in waiting(spool)] == [b"1", b"2"]
    spool.close()
    assert len(spool.append([message(number, "x" * 1000) for number in range(100)])) == 100


@pytest.mark.parametrize("place", ["/proc/nothing/spool", "/dev/null/spool"])
def test_a_place_that_cannot_be_written_is_told(place: str) -> None:
    spool = Spool(Path(place), 1 << 20)
    spool.open_if_there()
    with pytest.raises(SpoolError, match=place):
        spool.append(messages(1))


def test_a_lock_of_another_process_is_told(spool: Spool, path: Path) -> None:
    spool.append(messages(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolError, match="locked"):
        spool.append(messages(2))
    other.execute("ROLLBACK")
    other.close()
    spool.append(messages(2))
    assert spool.count == 2


def tweet(id_str: str, user_id: str) -> Message:
    fields = {"id_str": id_str, "user": {"id_str": user_id}, "geo": 1, "coordinates": 2, "place": 3, "text": "é"}
    return Message(id_str.encode(), json.dumps(fields).encode(), "traptor")


def quote(id_str: str, user_id: str, quoted: Message) -> Message:
    whole = {**json.loads(tweet(id_str, user_id).value), "quoted_status": json.loads(quoted.value)}
    return Message(id_str.encode(), json.dumps(whole).encode(), "traptor")


def test_who_is_mentioned_is_found(spool: Spool) -> None:
    rows = spool.append([tweet("1", "7"), quote("2", "8", tweet("1", "7")), tweet("3", "7")])
    assert [row for row, _ in spool.mentioning("waiting", "1", 0, 9)] == rows[:2]
    assert [row for row, _ in spool.mentioning("waiting", "7", rows[0], 1)] == rows[1:2]
    assert spool.mentioning("waiting", "9", 0, 9) == []
    spool.set_apart(tweet("1", "7"), "too large", rows[0])
    assert [row for row, _ in spool.mentioning("waiting", "1", 0, 9)] == rows[1:2]
    assert [kept.key for _, kept in spool.mentioning("apart", "7", 0, 9)] == [b"1"]
    spool.put_back()
    assert [kept.key for _, kept in spool.mentioning("waiting", "1", 0, 9)] == [b"2", b"1"]
    spool.remove([rows[1]])
    assert [kept.key for _, kept in spool.mentioning("waiting", "1", 0, 9)] == [b"1"]


def test_what_is_changed_is_measured_anew(spool: Spool, path: Path) -> None:
    first, second = spool.append(messages(1, 2))
    spool.set_apart(message(3), "too large")
    spool.change("waiting", [(first, message(1, "tea")), (second, None)])
    assert waiting(spool) == [message(1, "tea")]
    assert (spool.count, spool.size_bytes) == (1, message(1, "tea").size_bytes() + message(3).size_bytes())
    spool.change("apart", [(1, None)])
    spool.remove([first])
    assert not path.exists()


def test_the_file_shrinks_when_only_what_is_set_apart_is_left(spool: Spool, path: Path) -> None:
    spool.set_apart(message(0), "too large")
    stored = [message(number, "x" * 3000) for number in range(1, 300)]
    rows = spool.append(stored)
    spool.remove(rows)
    spool.shrink()
    spool.close()
    assert path.stat().st_size < 100_000


def test_what_is_set_apart_can_wait_again(spool: Spool, path: Path) -> None:
    (row,) = spool.append(messages(1))
    spool.set_apart(message(1), "too large", row)
    spool.set_apart(message(2), "invalid")
    assert (spool.count, spool.apart) == (0, 2)
    assert [(kept.message.key, kept.reason) for kept in spool.kept()] == [(b"1", "too large"), (b"2", "invalid")]

    other = Spool(path, 1 << 20)
    assert other.put_back({2, 77}) == 1
    other.close()
    assert spool.changes() == (1, 0)
    assert spool.changes() == (0, 0)
    assert (spool.count, spool.apart) == (1, 1)
    assert [kept.key for kept in waiting(spool)] == [b"2"]
    assert spool.put_back() == 1
    assert spool.changes() == (1, 0)


def test_what_others_take_away_is_counted(spool: Spool, path: Path) -> None:
    rows = spool.append(messages(*range(10)))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DELETE FROM waiting WHERE id > 4")
        assert spool.changes() == (0, 6)
        other.execute("INSERT INTO waiting (since, topic, value) VALUES (0, 'traptor', '{}')")
        other.execute("DELETE FROM waiting WHERE id = 1")
    assert spool.missing(rows[:5]) == {rows[0], rows[4]}
    spool.append(messages(11))
    assert (spool.changes(), spool.count) == ((1, 1), 5)


@pytest.mark.parametrize(
    "fault, said",
    [
        (lambda path: path.unlink(), "deleted"),
        (lambda path: shutil.rmtree(path.parent), "deleted"),
        (lambda path: path.write_bytes(b""), "emptied"),
        (lambda path: (path.unlink(), path.write_bytes(b"another")), "replaced"),
    ],
)
def test_a_file_that_goes_is_noticed(spool: Spool, path: Path, fault: Callable[[Path], Any], said: str) -> None:
    spool.append(messages(1, 2))
    fault(path)
    with pytest.raises(SpoolLostError, match=said) as told:
        spool.changes()
    assert (told.value.lost, spool.count, spool.last_row) == (2, 0, 0)


@pytest.mark.parametrize("table", ["waiting", "waiting_total"])
def test_a_table_that_goes_is_damage(spool: Spool, path: Path, table: str) -> None:
    spool.append(messages(1, 2))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"DROP TABLE {table}")
    with pytest.raises(SpoolDamagedError) as told:
        spool.changes()
    assert told.value.lost == 2
    assert len(spool.append(messages(3))) == 1


def test_a_file_of_an_earlier_version_is_taken_up(spool: Spool, path: Path) -> None:
    path.parent.mkdir()
    fields = "id INTEGER PRIMARY KEY AUTOINCREMENT, since REAL, topic TEXT, key BLOB, value BLOB"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"CREATE TABLE waiting ({fields})")
        other.execute(f"CREATE TABLE apart ({fields}, reason TEXT NOT NULL)")
        other.execute("INSERT INTO waiting (since, topic, key, value) VALUES (0, 'traptor', X'31', X'7B7D')")
    spool.open_if_there()
    assert (spool.count, [kept.key for kept in waiting(spool)]) == (1, [b"1"])
    spool.append(messages(2))
    assert (spool.count, len(spool.mentioning("waiting", "2", 0, 9))) == (2, 1)


def test_the_room_of_the_file_is_not_needed_to_read_or_to_end_it(spool: Spool, path: Path) -> None:
    """Of another process too, which finds neither of the files beside it."""
    rows = spool.append(messages(*range(100)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(SpoolError):
            spool.append(messages(*range(1000)))
        assert len(list(spool.read(rows))) == 100
        spool.remove_file()
        assert not path.exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, before)


def test_a_disk_that_is_slow_has_one_checkpoint_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = queue.SimpleQueue[Path](), threading.Event()

    def slow(path: Path) -> None:
        asked.put(path)
        go_on.wait(10)

    monkeypatch.setattr(spool_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(spool_file, "checkpoint", slow)
    with contextlib.closing(Spool(tmp_path / "track-0.spool", 1 << 20)) as used:
        used.append([Message(b"1", b"{}", "traptor")])
        asked.get(timeout=10)
        threads = threading.active_count()
        for _ in range(5):
            used.append([Message(b"2", b"{}", "traptor")])
        assert threading.active_count() <= threads
        go_on.set()
