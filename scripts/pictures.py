"""The pictures in docs/pictures: `python -m scripts.pictures [NAME]…` runs the commands that they show, and draws.

Terminals are drawn by rich, pages by Chromium, which wants fonts of many scripts (Debian: fonts-wqy-microhei and
fonts-lohit-deva). The fleet is two real Traptors, one of them killed, on a simulated Twitter, a Redis and a Kafka of
the tests; the tweets are made up. overview.svg and way.svg are drawn by hand. Needs a checkout.
"""

import contextlib
import io
import json
import math
import os
import pty
import random
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import redis
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.browser import Browser
from tests.servers import PATIENCE_SECONDS, RedisServer, free_port, kafka, wait_until
from traptor import settings
from traptor.cli import END
from traptor.fleet import roster
from traptor.fleet.roster import Name
from traptor.rules import stored
from traptor.simulator import Credential, Simulator
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import stamp
from traptor.simulator.tweets import Writer

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "pictures"
CREDENTIALS = [Credential(f"made-up-key-{n}", f"secret-{n}", f"token-{n}", f"token-secret-{n}") for n in range(2)]
DAY_MS = 1_456_099_200_000
"""The 22nd of February 2016."""


PYTHON = Path(".venv/bin/python")
UP, CLEARED, HIDDEN, SHOWN = "\x1b[1A", "\x1b[2K", "\x1b[?25l", "\x1b[?25h"
"""What rich writes to draw over what it drew; it always goes up to a line that it takes away."""
CONTROLS = re.compile(r"(\r\n|\r|\x1b\[1A|\x1b\[2K|\x1b\[\?25[lh])")


RENAMED = """
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll("{name}/", "ant/");
"""
"""A page without the name of this machine."""


class Terminal(NamedTuple):
    """A picture's name, the command as one types it, and how wide the terminal is."""

    name: str
    command: list[str]
    columns: int = 100

    @property
    def typed(self) -> str:
        return " ".join(["traptor", *(f"'{one}'" if re.search(r"[ #]", one) else one for one in self.command)])


ALONE = [
    Terminal("look", ["--demo", "--look", "--limit", "14"], 112),
    Terminal("rules-check", ["rules", "check", "rules.csv"], 90),
    Terminal("rules-test", ["rules", "test", "storm,flood warning", "Storms! A flood, and a #Warning"], 76),
]
OF_A_FLEET = [
    Terminal("status", ["status"], 112),
    Terminal("plan", ["rules", "plan"], 76),
    Terminal("doctor", ["doctor"], 84),
]
RULES = """type,value,tag
track,"storm,flood warning",weather
track,a phrase that goes on and on for more than sixty bytes together,long
follow,@ann,newsroom
locations,"10,50,5,55",harbour
"""


def main(wanted: list[str]) -> None:
    """Those wanted; all of them without a word."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        (folder / "rules.csv").write_text(RULES)
        (folder / PYTHON.parts[0]).symlink_to(sys.prefix)
        draw(ALONE, wanted, folder, {})
        if not wanted or "report" in wanted:
            photograph(report(folder).as_uri(), "By rule", FOLDER / "report.png")
        if not wanted or {"page", *(one.name for one in OF_A_FLEET)} & set(wanted):
            with running(folder) as environ:
                draw(OF_A_FLEET, wanted, folder, environ)
                if not wanted or "page" in wanted:
                    with served(folder, environ) as address:
                        photograph(address, "@", FOLDER / "page.png")


# Terminals


def draw(terminals: list[Terminal], wanted: list[str], folder: Path, environ: Mapping[str, str]) -> None:
    for one in terminals:
        if not wanted or one.name in wanted:
            shown = neutral(printed(one, folder, environ), folder)
            (FOLDER / f"{one.name}.svg").write_text(svg(one, shown), encoding="utf-8")


def printed(terminal: Terminal, folder: Path, environ: Mapping[str, str]) -> str:
    """What the command writes to a terminal, colours and all."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [folder / PYTHON, "-m", "traptor", *terminal.command],
        cwd=folder,
        env={**surroundings(folder), **environ, "COLUMNS": str(terminal.columns), "LOG_STDOUT": "false"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        return left_on_screen(b"".join(iter(lambda: read(ours), b"")).decode())


def left_on_screen(written: str) -> str:
    """What is there when all has been written; with a line under it, what was there when that last said `streaming`."""
    under = [found.end() for found in re.finditer(rf"streaming.*{END}", written)]
    lines = [""]
    for piece in CONTROLS.split(written[: under[-1]] if under else written):
        if piece == "\r\n":
            lines.append("")
        elif piece == UP:
            lines.pop()
        elif piece in {CLEARED, "\r"}:
            lines[-1] = ""
        elif piece not in {HIDDEN, SHOWN}:
            lines[-1] += piece
    return "\n".join(lines).rstrip("\n")


def read(terminal: int) -> bytes:
    """Nothing once the other end is closed."""
    with contextlib.suppress(OSError):
        return os.read(terminal, 65536)
    os.close(terminal)
    return b""


def surroundings(folder: Path) -> dict[str, str]:
    """Nothing of this machine's own settings."""
    return {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder), "TERM": "xterm-256color",
        "TZ": "UTC", "LOG_DIR": "none", "SPOOL_DIR": str(folder),
    }  # fmt: skip


def neutral(text: str, folder: Path) -> str:
    """Without folders, names and ports of this machine."""
    named = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "ant", text.replace(str(folder), "/var/lib/traptor"))
    for server, port in {"redis://": 6379, "http://": 8080, "": 9092}.items():
        named = re.sub(rf"(?<![/\d]){server}127\.0\.0\.1:\d+", f"{server}127.0.0.1:{port}", named)
    return named


def svg(terminal: Terminal, shown: str) -> str:
    """The terminal's window. No font is fetched from elsewhere: the reader's own does."""
    console = Console(width=terminal.columns, file=io.StringIO(), record=True, force_terminal=True, highlight=False)
    console.print(Text.assemble(("$ ", "dim"), (terminal.typed, "bold")))
    for line in shown.splitlines():
        console.print(Text.from_ansi(line))
    without_fonts = re.sub(r" *@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    drawn = console.export_svg(title="", code_format=without_fonts, unique_id=terminal.name)
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


# Pages


def report(folder: Path) -> Path:
    """A report of a day of made-up tweets, an hour of it without a stream, as `traptor replay --report` writes it."""
    source = random.Random(7)
    writer = Writer(source, Predicates(track=("storm", "flood warning", "#rocket launch", "espresso", "garden")))
    with (folder / "day.jsonl").open("w", encoding="utf-8") as file:
        for minute in (one for one in range(24 * 60) if not 860 < one < 920):
            for _ in range(round(3 + 2 * math.sin(minute / 230) + source.random())):
                at = stamp(DAY_MS + minute * 60_000 + source.randrange(60_000), source.randrange(1000))
                file.write(json.dumps(writer.tweet(at)) + "\n")
    (folder / "wanted.csv").write_text(
        'type,value,tag\ntrack,"storm,flood warning",weather\ntrack,#rocket launch,space\ntrack,espresso,coffee\n'
    )
    command = ["replay", "--rules", "wanted.csv", "--out", "matched", "--report", "report.html", "day.jsonl"]
    subprocess.run(
        [sys.executable, "-m", "traptor", *command],
        cwd=folder, env=surroundings(folder), stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return folder / "report.html"


@contextlib.contextmanager
def served(folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """The address of `traptor status --serve`."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "traptor", "status", "--serve", str(port)],
        cwd=folder, env={**surroundings(folder), **environ}, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: is_open(port), "the page", PATIENCE_SECONDS)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.kill()


def is_open(port: int) -> bool:
    with contextlib.closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def photograph(address: str, words: str, picture: Path) -> None:
    """The top of a page in Chromium, once it shows these words."""
    with Browser() as browser:
        browser.show(address, width=980, height=760)
        browser.wait_for(words)
        browser.value(RENAMED.format(name=socket.gethostname()))
        browser.picture(picture)


# A fleet to look at


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Two Traptors that have collected for a while, the second dead; yields the environment of the first."""
    with (
        RedisServer(folder) as server,
        server.client(decode_responses=True) as conn,
        kafka(folder) as broker,
        Simulator(credentials=CREDENTIALS, rate=40) as twitter,
    ):
        words = [
            {"rule_id": str(n), "value": word, "tag": "sample"} for n, word in enumerate(("storm", "flood", "rain"))
        ]
        stored.write(conn, "track", 0, words[:2])
        stored.write(conn, "track", 1, words[2:])
        addresses = {"REDIS_URL": server.url, "KAFKA_HOSTS": broker.hosts, "TWITTER_STREAM_URL": twitter.url}
        environs = [environment(folder, addresses, n) for n in range(2)]
        with contextlib.ExitStack() as stack:
            for environ in environs:
                process = subprocess.Popen(
                    [sys.executable, "-m", "traptor", "--delay", "0"],
                    cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                stack.callback(process.wait)
                stack.callback(process.kill)
            wait_until(lambda: rates(conn, 0) >= 3, "half a minute of track:0", PATIENCE_SECONDS)
            process.kill()
            wait_until(lambda: rates(conn, 1) == 0, "the end of track:1", PATIENCE_SECONDS)
            yield environs[0]


def rates(conn: "redis.Redis", traptor_id: int) -> int:
    """How many rates, one in ten seconds, stand in its status."""
    return len(roster.look(conn)[Name("track", traptor_id)].status.get("rates") or [])


def environment(folder: Path, addresses: Mapping[str, str], traptor_id: int) -> dict[str, str]:
    return {
        **surroundings(folder),
        **addresses,
        "TRAPTOR_ID": str(traptor_id),
        "LOG_DIR": str(folder),
        **dict(zip(settings.APIKEY_NAMES, CREDENTIALS[traptor_id], strict=True)),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
