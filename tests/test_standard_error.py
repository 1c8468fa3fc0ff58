"""Standard error cannot stop the program, whoever reads it or does not."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from traptor.standard_error import MOST_WAITING, StandardError


@pytest.fixture
def pipe() -> Any:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_until(end: int, text: bytes) -> bytes:
    found = b""
    while text not in found:
        found += os.read(end, 65536)
    return found


def test_what_is_written_goes_out_in_order(pipe: tuple[int, int]) -> None:
    raw = StandardError(pipe[1])
    for number in range(100):
        raw.write(f"{number}\n".encode())
    raw.flush()
    assert raw.drained(0.0)
    assert os.read(pipe[0], 65536).split() == [str(number).encode() for number in range(100)]


def test_a_pipe_that_nobody_reads_holds_nobody_up(pipe: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    raw = StandardError(pipe[1])
    line = b"x" * 1023 + b"\n"
    for _ in range(5 * MOST_WAITING):
        raw.write(line)
        raw.flush()
    assert not raw.drained(0.0)
    received = b""
    while not raw.drained(0.05):
        received += os.read(pipe[0], 65536)
    raw.write(b"it flows\n")
    assert b"it flows" in read_until(pipe[0], b"it flows\n")
    [told] = [record for record in caplog.records if record.name == "traptor.standard_error"]
    kept = received.count(b"\n")
    assert MOST_WAITING <= kept < 2 * MOST_WAITING
    assert told.left_out > 3 * MOST_WAITING  # type: ignore[attr-defined]


def test_what_cannot_be_written_raises_nothing() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    raw = StandardError(descriptor)
    for _ in range(10):
        assert raw.write(b"lost\n") == 5
        raw.flush()
    assert raw.drained(1.0)
    os.close(descriptor)


CODE = """
import sys, logging, click
from traptor import standard_error
standard_error.install()
logging.basicConfig(level="INFO")
for number in range({lines}):
    logging.info("%d " + 100 * "x", number)
click.echo("summary", err=True)
print("traceback", file=sys.stderr)
sys.exit(3)
"""
REDIRECTED = {
    "a file": "2>err",
    "/dev/full": "2>/dev/full",
    "closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "nobody reads": "2> >(exec sleep 5)",
    "a pipe that is closed": "2> >(exit)",
}


@pytest.mark.parametrize("where", REDIRECTED)
@pytest.mark.parametrize("lines", [1, 5_000])
def test_an_exit_code_survives(tmp_path: Path, where: str, lines: int) -> None:
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {REDIRECTED[where]}', sys.executable, CODE.format(lines=lines)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 3
    assert time.monotonic() - began < 60
    if where == "a file":
        assert (tmp_path / "err").read_text().splitlines()[-2:] == ["summary", "traceback"]
