import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from traptor.cli import command
from traptor.delivery.spool import Message, Spool

TWEET = Message(b"20", '{"id_str":"20","text":"caf\\u00e9 é"}'.encode(), "traptor")
LARGE = Message(b"21", b'{"id_str":"21"}', "traptor")
NOTICE = Message(None, b'{"limit":{"track":1}}', "notices")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two Traptors' spools, both still open, as while they run."""
    monkeypatch.setenv("SPOOL_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def track(folder: Path) -> Iterator[Spool]:
    with contextlib.closing(Spool(folder / "track-0.spool", 1 << 20)) as made:
        made.append([TWEET])
        made.set_apart(LARGE, "MessageSizeTooLargeError: too large")
        made.set_apart(NOTICE, "InvalidTimestampError")
        yield made


@pytest.fixture
def follow(folder: Path) -> Iterator[Spool]:
    with contextlib.closing(Spool(folder / "follow-3.spool", 1 << 20)) as made:
        made.set_apart(LARGE, "MessageSizeTooLargeError")
        yield made


def traptor(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["spool", *arguments])


def test_a_folder_that_cannot_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOL_DIR", "/dev/null")
    listed = traptor("list")
    assert (listed.exit_code, listed.stdout) == (1, "")
    assert "the spool cannot be read: " in listed.stderr
    assert "SPOOL_DIR" in listed.stderr


def test_an_empty_one_is_named(folder: Path) -> None:
    assert traptor("list").stderr == f"nothing waits in {folder}\n"


def test_the_list_says_what_waits_and_why(track: Spool, follow: Spool) -> None:
    listed = traptor("list")
    assert listed.exit_code == 0
    assert [line.split()[:2] for line in listed.stdout.splitlines()[1:3]] == [["track:0", "1"], ["follow:3", "0"]]
    assert "15 bytes to traptor: MessageSizeTooLargeError: too large" in listed.stdout


@pytest.mark.parametrize(
    "arguments,names",
    [
        ([], ["track:0", "follow:3"]),
        (["--type", "follow"], ["follow:3"]),
        (["--id", "0"], ["track:0"]),
        (["--type", "locations"], []),
    ],
)
def test_json_is_for_programs(track: Spool, follow: Spool, arguments: list[str], names: list[str]) -> None:
    listed = json.loads(traptor("list", "--json", *arguments).stdout)
    assert [one["traptor"] for one in listed] == names
    if names == ["track:0"]:
        (one,) = listed
        assert (one["waiting"], one["bytes"]) == (1, track.size_bytes)
        assert [(message["number"], message["key"]) for message in one["apart"]] == [(1, "21"), (2, None)]


@pytest.mark.parametrize("arguments", [["list"], ["export"], ["resend", "--all"]])
def test_an_empty_directory_is_no_error(folder: Path, arguments: list[str]) -> None:
    assert traptor(*arguments).exit_code == 0
    assert list(folder.iterdir()) == []


def test_an_export_has_every_message_whole(track: Spool) -> None:
    exported = [json.loads(line) for line in traptor("export").stdout.splitlines()]
    assert [one["value"].encode() for one in exported] == [LARGE.value, NOTICE.value, TWEET.value]
    assert [(one["traptor"], one["topic"], one["key"]) for one in exported] == [
        ("track:0", "traptor", "21"),
        ("track:0", "notices", None),
        ("track:0", "traptor", "20"),
    ]
    assert [one["reason"] is None for one in exported] == [False, False, True]
    assert track.count == 1
    assert len(traptor("export", "--apart").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments,keys",
    [(["--all"], [b"21", None]), (["--type", "track", "--id", "0", "2"], [None]), (["--all", "--id", "9"], [])],
)
def test_what_is_sent_again_waits_for_the_traptor_that_runs(
    track: Spool, arguments: list[str], keys: list[bytes | None]
) -> None:
    assert traptor("resend", *arguments).exit_code == 0
    assert track.changes() == (len(keys), 0)
    assert [key for _, _, key in track.keys_after(0, 9)] == [b"20", *keys]


def test_what_is_sent_again_waits_for_the_next_start(track: Spool) -> None:
    track.close()
    assert traptor("resend", "--all").stdout == "track:0: 2 to be sent again\n"
    track.open_if_there()
    assert (track.count, track.apart) == (3, 0)


@pytest.mark.parametrize("arguments", [[], ["--all", "1"], ["1"], ["--type", "track", "1"], ["one"]])
def test_what_to_send_again_must_be_clear(track: Spool, arguments: list[str]) -> None:
    assert traptor("resend", *arguments).exit_code == 2
    assert track.changes() == (0, 0)


def test_what_cannot_be_read_is_one_line(folder: Path) -> None:
    (folder / "track-0.spool").write_bytes(b"no database at all")
    ended = traptor("list")
    assert ended.exit_code == 1
    assert "set aside as" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
