"""``store``: what a terminal is told meanwhile."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.store import samples


def test_a_pipe_s_progress_is_told_in_lines_of_its_own(tmp_path: Path) -> None:
    """Whoever writes into the pipe has the same terminal, and its lines would stick to one that is kept in place."""
    ours, theirs = pty.openpty()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TERM": "xterm",
        "LOG_DIR": "none",
    }
    command = [sys.executable, "-m", "traptor", "store", "tweets.db", "-"]
    lines = json.dumps(samples.matched(samples.tweet(1))).encode() + b"\n"
    subprocess.run(command, input=lines, check=True, stderr=theirs, cwd=tmp_path, env=environ)
    os.close(theirs)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert b"read 1, stored 1" in shown
    assert b"\x1b" not in shown
