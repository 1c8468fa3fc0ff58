"""``store``: what a terminal is told meanwhile, and what is wrong."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.store import samples
from traptor.cli import command
from traptor.commands import results


def test_a_pipe_s_progress_is_told_in_lines_of_its_own(tmp_path: Path) -> None:
    """Whoever writes into the pipe has the same terminal, and its lines would stick to one that is kept in place."""
    ours, theirs = pty.openpty()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TERM": "xterm",
        "LOG_DIR": "none",
    }
    typed = [sys.executable, "-m", "traptor", "store", "tweets.db", "-"]
    lines = json.dumps(samples.matched(samples.tweet(1))).encode() + b"\n"
    subprocess.run(typed, input=lines, check=True, stderr=theirs, cwd=tmp_path, env=environ)
    os.close(theirs)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert b"read 1, stored 1" in shown
    assert b"\x1b" not in shown


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["export", "tweet.db"], "there is no file tweet.db"),
        (["store", "check", "tweet.db"], "there is no file tweet.db"),
        (["store", "apart", "nowhere/tweet.db", "list"], "there is no file nowhere/tweet.db"),
        (["store", "--keep", "soon", "tweets.db"], "'soon' is no age"),
        (["report", "tweets.csv", "page.html"], "tweets.csv is no destination"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, told in done.stderr, done.stdout) == (2, True, ""), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "held, arguments",
    [
        (b'{"id_str": "1"}\n', ["report", "held"]),
        (b'{"id_str": "1"}\n', ["replay", "--report", "held", "held"]),
        (b"SQLite format 3\0 and more", ["report", "held"]),
        (b"SQLite format 3\0 and more", ["export", "tweets.db", "--out", "held"]),
    ],
)
def test_what_is_no_page_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bytes, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held").write_bytes(held)
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, "is not written over" in done.stderr) == (2, True), done.stderr
    assert (tmp_path / "held").read_bytes() == held


def test_a_pipe_that_is_written_to_is_not_read(tmp_path: Path) -> None:
    """As in ``--out >(gzip)``: whoever opened it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    results._spare(str(tmp_path / "pipe"), lambda begin: False, "nothing")
