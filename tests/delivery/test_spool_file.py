"""The spool's file: when it goes, what holds on to it, and what is done where there is no room beside it."""

import contextlib
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.servers import wait_until
from traptor.delivery import schema
from traptor.delivery import spool as spool_module
from traptor.delivery.message import Message
from traptor.delivery.spool import CHECKPOINT_SECONDS, Spool, SpoolDamagedError, SpoolError, SpoolLostError


def messages(*numbers: int, text: bytes = b"coffee") -> list[Message]:
    return [Message(b"%d" % number, text, "traptor") for number in numbers]


def keys(spool: Spool) -> list[bytes | None]:
    return [kept.message.key for kept in spool.kept()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "track-0.spool"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path, 1 << 30)
    yield made
    made.close()


@contextlib.contextmanager
def another(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as db:
        yield db


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def open_files(path: Path) -> int:
    """How many this process has open of the spool's."""
    links = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    return sum(str(link).startswith(str(path)) for link in links)


# When it goes


def test_a_file_in_which_nothing_is_left_goes_when_it_is_opened(spool: Spool, path: Path) -> None:
    spool.append(messages(1))
    spool.close()
    with another(path) as other:
        other.execute("DELETE FROM waiting")
    spool.open_if_there()
    assert (path.exists(), spool.count) == (False, 0)


def test_it_goes_with_the_last_that_its_author_takes_back(spool: Spool, path: Path) -> None:
    first, second = spool.append(messages(1, 2))
    spool.change("waiting", [(first, None)])
    assert path.exists()
    spool.change("waiting", [(second, None)])
    assert not path.exists()


@pytest.mark.parametrize("is_replaced", [True, False])
def test_of_a_file_that_was_emptied_nothing_is_left_and_another_file_is_let_be(
    spool: Spool, path: Path, is_replaced: bool
) -> None:
    spool.append(messages(1))
    if is_replaced:
        path.unlink()
    path.write_bytes(b"another" if is_replaced else b"")
    with pytest.raises(SpoolLostError):
        spool.changes()
    assert path.exists() == is_replaced


def test_what_another_has_just_brought_keeps_the_file_and_its_lock_free(spool: Spool, path: Path) -> None:
    spool.append(messages(1))
    with another(path) as other:
        other.execute("INSERT INTO waiting (since, topic, key, value) VALUES (0, 'traptor', '2', '{}')")
    spool.remove_file()
    assert path.exists()
    second = Spool(path, 1 << 20)
    second.append(messages(3))
    assert second.count == 3
    second.close()


def test_a_file_that_is_begun_as_ours_goes_is_let_be(spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite takes away what stands beside a file that it closes, by name."""
    second, third, unlink = Spool(path, 1 << 20), Spool(path, 1 << 20), Path.unlink

    def unlinked(file: Path, missing_ok: bool = False) -> None:
        unlink(file, missing_ok)
        if file.name.endswith("-shm") and not second.count:
            second.append(messages(2))

    (row,) = spool.append(messages(1))
    monkeypatch.setattr(Path, "unlink", unlinked)
    spool.remove([row])
    monkeypatch.undo()
    assert keys(third) == [b"2"]
    second.close()
    third.close()


def test_of_a_file_that_was_removed_nothing_is_known(spool: Spool, path: Path) -> None:
    spool.append(messages(1, 2))
    spool.remove_file()
    assert (path.exists(), spool.count, spool.size_bytes, spool.last_row) == (False, 0, 0, 0)
    assert spool.changes() == (0, 0)


def test_after_a_file_that_went_there_is_another(spool: Spool, path: Path) -> None:
    spool.append(messages(1))
    path.unlink()
    with pytest.raises(SpoolLostError):
        spool.changes()
    spool.append(messages(2))
    assert [(kept.row, kept.message.key) for kept in spool.kept()] == [(1, b"2")]
    assert path.exists()


@pytest.mark.parametrize("has_log", [False, True])
def test_a_file_that_came_in_the_place_of_ours_is_read_without_our_latest_transactions(
    spool: Spool, path: Path, tmp_path: Path, has_log: bool
) -> None:
    """But with its own."""
    elsewhere = tmp_path / "older" / "track-0.spool"
    other = Spool(elsewhere, 1 << 20)
    other.append(messages(7))
    if not has_log:
        other.close()
    spool.append(messages(1, 2, 3))
    for suffix in ("", "-wal") if has_log else ("",):
        Path(f"{elsewhere}{suffix}").rename(f"{path}{suffix}")
    with pytest.raises(SpoolLostError, match="replaced") as told:
        spool.changes()
    assert (told.value.lost, keys(spool)) == (3, [b"7"])
    other.close()


@pytest.mark.parametrize("suffixes", [["-wal"], ["-shm"], ["-wal", "-shm"]])
def test_latest_transactions_that_another_deletes_are_in_the_file_again(
    spool: Spool, path: Path, suffixes: list[str]
) -> None:
    """A kill would have lost them."""
    spool.append(messages(1, 2))
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink()
    with no_room(), pytest.raises(SpoolError):
        spool.changes()
    assert keys(spool) == [b"1", b"2"]
    with pytest.raises(SpoolError, match="another program deleted the files beside it"):
        spool.changes()
    with another(path) as other:
        assert other.execute("SELECT COUNT(*) FROM waiting").fetchone() == (2,)
    spool.append(messages(3))
    assert (spool.changes(), keys(spool)) == ((0, 0), [b"1", b"2", b"3"])


def test_what_an_earlier_run_left_is_found(spool: Spool, path: Path) -> None:
    assert (spool.changes(), path.exists()) == ((0, 0), False)
    with contextlib.closing(Spool(path, 1 << 20)) as earlier:
        earlier.append(messages(1, 2))
    assert [spool.changes(), spool.changes()] == [(2, 0), (0, 0)]


def test_what_stands_in_the_file_is_known_by_row_and_content(spool: Spool, path: Path) -> None:
    first, second = messages(1, 2)
    assert (spool.having({}), spool.having({1: first}), path.exists()) == (set(), set(), False)
    rows = spool.append([first, second])
    assert spool.having({rows[0]: first, rows[1]: first, 99: second}) == {rows[0]}


def test_a_file_that_was_not_wholly_made_is_made_again(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_SCHEMA", (*schema._SCHEMA, "NO SQL"))
    with pytest.raises(SpoolError, match="syntax error"):
        spool.append(messages(1))
    monkeypatch.undo()
    spool.append(messages(2))
    assert (keys(spool), spool.count) == ([b"2"], 1)


def test_a_damaged_file_that_cannot_be_set_aside_is_the_next_time(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append(messages(1, 2))
    with another(path) as other:
        other.execute("DROP TABLE waiting")

    def refused(*_: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(spool_module.os, "replace", refused)
    with pytest.raises(SpoolError, match=r"no such table.*read-only file system"):
        keys(spool)
    monkeypatch.undo()
    with pytest.raises(SpoolDamagedError, match="set aside as") as told:
        keys(spool)
    assert told.value.lost == 2
    assert len(spool.append(messages(3))) == 1


# What is held


def test_what_is_closed_holds_no_file(spool: Spool, path: Path) -> None:
    spool.append(messages(1))
    assert open_files(path) > 0
    spool.close()
    assert open_files(path) == 0
    spool.append(messages(2))
    spool.remove_file()
    assert open_files(path) == 0


def test_a_damaged_file_is_not_held(spool: Spool, path: Path) -> None:
    """Be it found so, or damaged while it is in use."""
    path.parent.mkdir()
    path.write_bytes(b"no database at all")
    with pytest.raises(SpoolDamagedError) as found:
        spool.open_if_there()
    assert open_files(path) == 0
    spool.append(messages(1))
    with another(path) as other:
        other.execute("DROP TABLE waiting")
    with pytest.raises(SpoolDamagedError) as used:
        keys(spool)
    assert (open_files(path), found.value.lost, used.value.lost) == (0, 0, 1)


def test_a_lock_is_not_read_past(spool: Spool, path: Path) -> None:
    spool.append(messages(1))
    spool.close()
    spool.wait_for_locks(0.0)
    with another(path) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SpoolError, match="locked"):
            spool.open_if_there()
        other.execute("ROLLBACK")
    assert keys(spool) == [b"1"]


def test_an_open_file_is_waited_for_no_longer_than_was_told_last(spool: Spool) -> None:
    spool.append(messages(1))
    for seconds in (0.25, 0.0):
        spool.wait_for_locks(seconds)
        with spool._writing() as db:
            assert db.execute("PRAGMA busy_timeout").fetchone() == (seconds * 1000,)


def test_whoever_reads_knows_how_much_there_is(spool: Spool, path: Path) -> None:
    spool.append(messages(1, 2))
    second = Spool(path, 1 << 20)
    assert (keys(second), second.count, second.last_row) == ([b"1", b"2"], 2, 2)
    second.close()


# The latest transactions


def test_no_write_waits_for_the_disk(spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file itself is written by a thread beside, however much has come."""
    monkeypatch.setattr(spool_module, "CHECKPOINT_SECONDS", 1000.0)
    spool.append(messages(1))
    before = path.stat().st_size
    spool.append(messages(*range(2, 12), text=b"x" * (1 << 19)))
    assert path.stat().st_size == before
    with spool._writing() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (1,)


def test_the_latest_transactions_come_into_the_file(spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "CHECKPOINT_SECONDS", 0.0)
    spool.append(messages(1))
    large = messages(2, text=b"x" * 100_000)
    wait_until(lambda: bool(spool.append(large)) and path.stat().st_size > 100_000, "a checkpoint")


def test_they_come_into_it_once_in_a_while(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    now, begun = [50.0], []

    def thread(**options: Any) -> Any:
        begun.append(now[0])
        return SimpleNamespace(start=lambda: None)

    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time, time_ns=time.time_ns)
    monkeypatch.setattr(spool_module, "time", clock)
    monkeypatch.setattr(spool_module, "threading", SimpleNamespace(Thread=thread))
    for number, seconds in enumerate([0.0, CHECKPOINT_SECONDS - 0.1, 0.2, 0.2, CHECKPOINT_SECONDS]):
        now[0] += seconds
        spool.append(messages(number))
    assert begun == [pytest.approx(51.1), pytest.approx(52.3)]


# No room, and nothing that may be written


class Refusing(sqlite3.Connection):
    """To a file beside which none can be made."""

    def execute(self, *_: Any) -> sqlite3.Cursor:
        raise sqlite3.OperationalError("unable to open database file")


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """While this says so, only a connection to an immutable file can do anything."""
    wanted, connect = [True], sqlite3.connect

    def connected(where: Any, **options: Any) -> sqlite3.Connection:
        refuses = wanted[0] and "immutable" not in where
        return connect(where, **options, **({"factory": Refusing} if refuses else {}))

    monkeypatch.setattr(spool_module.sqlite3, "connect", connected)
    yield wanted
    monkeypatch.undo()


@pytest.mark.parametrize("is_log_there", [False, True])
def test_where_nothing_may_be_written_what_is_there_is_read(
    path: Path, request: pytest.FixtureRequest, is_log_there: bool
) -> None:
    first, spool = Spool(path, 1 << 20), Spool(path, 1 << 20)
    first.append(messages(1))
    first.close()
    if is_log_there:
        Path(f"{path}-wal").touch()
    read_only = request.getfixturevalue("read_only")
    assert keys(spool) == [b"1"]
    with pytest.raises(SpoolError, match="readonly"):
        spool.append(messages(2))
    assert keys(spool) == [b"1"]
    read_only[0] = False
    with pytest.raises(SpoolError, match="readonly"):
        spool.append(messages(2))
    spool.append(messages(2))
    assert keys(spool) == [b"1", b"2"]
    spool.close()


def test_what_stands_in_the_log_alone_is_not_read_past(
    spool: Spool, path: Path, request: pytest.FixtureRequest
) -> None:
    spool.append(messages(1))
    request.getfixturevalue("read_only")
    with pytest.raises(SpoolError, match="unable to open"):
        keys(Spool(path, 1 << 20))


@pytest.mark.parametrize("is_log_there", [False, True])
def test_without_room_what_is_there_is_read_and_later_written_again(
    spool: Spool, path: Path, is_log_there: bool
) -> None:
    spool.append(messages(1))
    spool.close()
    if is_log_there:
        Path(f"{path}-wal").touch()
    with no_room():
        assert keys(spool) == [b"1"]
        with pytest.raises(SpoolError):
            spool.append(messages(2, text=b"x" * 100_000))
        assert keys(spool) == [b"1"]
    spool.append(messages(2))
    assert (keys(spool), spool.count) == ([b"1", b"2"], 2)
