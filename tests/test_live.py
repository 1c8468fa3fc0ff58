"""The live line: what it says, and where it is shown."""

import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from traptor import live

STATUS = {"state": "streaming", "reason": "", "tweets_per_second": 5.04, "matched": 1234, "waiting": 0}


@pytest.mark.parametrize(
    "more,expected",
    [
        ({}, "streaming · 5.0 tweets/s · 1,234 matched · last tweet 3 s ago · the end"),
        ({"last_tweet_at": None}, "streaming · 5.0 tweets/s · 1,234 matched · last tweet - · the end"),
        (
            {"state": "kafka-down", "waiting": 12},
            "kafka down · 5.0 tweets/s · 1,234 matched · 12 waiting · last tweet 3 s ago · the end",
        ),
        (
            {"state": "backing-off", "reason": "420\x07"},
            "backing off · 420\\x07 · 5.0 tweets/s · 1,234 matched · last tweet 3 s ago · the end",
        ),
    ],
)
def test_it_says_how_it_is(more: dict[str, Any], expected: str) -> None:
    last = (datetime.now(UTC) - timedelta(seconds=3)).isoformat()
    assert live.told({**STATUS, "last_tweet_at": last, **more}, "the end").plain == expected


SCRIPT = """
import sys
from traptor import live
status = {"state": "streaming", "reason": "", "tweets_per_second": 5, "matched": 7, "waiting": 0, "last_tweet_at": None}
with live.line(lambda: status, ["a hint"], "the end", on_output=False) as console:
    print("a line of the log", file=sys.stderr, flush=True)
    print(console is not None)
"""


def test_it_is_shown_where_standard_error_is_a_terminal() -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", SCRIPT]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=theirs, env=environ)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += (read := os.read(ours, 65536))
        except OSError:
            break
        if not read:
            break
    os.close(ours)
    assert ended.stdout == b"True\n"
    for part in (b"a line of the log", b"a hint", b"7 matched", b"the end"):
        assert part in shown


def test_it_is_shown_nowhere_else() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True)
    assert (ended.stdout, ended.stderr) == (b"False\n", b"a line of the log\n")
