"""Debian's logrotate, as `systemd/traptor.logrotate` has it, on a log that is being written."""

import gzip
import logging
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import missing
from tests.servers import ServerMissing
from traptor.logs import LogFile

SAMPLE = Path(__file__).parents[2] / "systemd/traptor.logrotate"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    """Writes as a Traptor does that leaves rotating to others."""
    handler = LogFile(tmp_path / "traptor-track-0.log", logging.NullHandler(), most_bytes=0, backups=0)
    logger = logging.Logger("rotated")
    logger.addHandler(handler)
    yield logger
    handler.close()


def rotate(folder: Path, more: str = "") -> None:
    binary = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not binary:
        missing(ServerMissing("no logrotate: `apt install logrotate` brings it"))
    shipped = SAMPLE.read_text()
    for old, new in {"/var/log/traptor": str(folder), "    su traptor traptor\n": "", "}": f"{more}\n}}"}.items():
        assert old in shipped
        shipped = shipped.replace(old, new)
    config = folder / "logrotate.conf"
    config.write_text(shipped)
    config.chmod(0o644)
    folder.chmod(0o755)
    command = [str(binary), "--force", "--state", folder / "state", config]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def lines(folder: Path) -> list[str]:
    """All that stands in the log's files, the oldest first."""
    packed = sorted(folder.glob("*.log.*.gz"), key=lambda path: -int(path.suffixes[-2][1:]))
    texts = [gzip.decompress(path.read_bytes()).decode() for path in packed]
    texts += [path.read_text() for path in (folder / "traptor-track-0.log.1", folder / "traptor-track-0.log")]
    return "".join(texts).splitlines()


@pytest.mark.parametrize("way", ["", "    copytruncate"])
def test_no_line_is_lost(log: logging.Logger, tmp_path: Path, way: str) -> None:
    for turn in range(4):
        log.info("line %d", turn)
        rotate(tmp_path, way)
    log.info("line 4")
    assert lines(tmp_path) == [f"line {turn}" for turn in range(5)]
    assert (tmp_path / "traptor-track-0.log").read_text() == "line 4\n"


def test_no_line_is_lost_that_is_written_meanwhile(log: logging.Logger, tmp_path: Path) -> None:
    rotated = threading.Event()
    written = 0

    def rotate_some() -> None:
        for _ in range(3):
            rotate(tmp_path)
        rotated.set()

    log.info("line 0")
    thread = threading.Thread(target=rotate_some)
    thread.start()
    while not rotated.wait(0.0005):
        written += 1
        log.info("line %d", written)
    thread.join()
    log.info("last")
    assert lines(tmp_path) == [*(f"line {turn}" for turn in range(written + 1)), "last"]
