"""Puts what `status`, `rules plan` and `doctor` print into docs/fleet.md: `python -m scripts.screenshots`.

Two real Traptors on a simulated Twitter and a Redis of the tests, one of them killed. Needs a checkout.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.servers import RedisServer
from traptor import settings
from traptor.fleet import roster
from traptor.fleet.roster import Name
from traptor.rules import stored
from traptor.simulator import Credential, Simulator

PAGE = Path(__file__).parent.parent / "docs" / "fleet.md"
CREDENTIALS = [Credential(f"key-{n}", f"secret-{n}", f"token-{n}", f"token-secret-{n}") for n in range(2)]
WAIT_SECONDS = 60.0
COMMANDS = ("status", "rules plan", "doctor")


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as environ:
        for command in COMMANDS:
            page = with_output(page, command, printed(command, environ).replace(folder, "/var/lib/traptor"))
    PAGE.write_text(page, encoding="utf-8")


def with_output(page: str, command: str, output: str) -> str:
    """The page with this output in the block that begins with this command."""
    block = f"```\n$ traptor {command}\n"
    before, _, after = page.partition(block)
    lines = "\n".join(line.rstrip() for line in output.splitlines())
    return f"{before}{block}{lines}\n```{after.partition('```')[2]}"


def printed(command: str, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "traptor", *command.split()], env={**environ}, stdout=subprocess.PIPE, check=False
    )
    named = done.stdout.decode().replace(socket.gethostname(), "ant")
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8080", named)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Two Traptors that have collected for a while, the second dead; yields the environment of the first."""
    with (
        RedisServer(folder) as server,
        server.client(decode_responses=True) as conn,
        Simulator(credentials=CREDENTIALS, rate=40) as twitter,
    ):
        words = [
            {"rule_id": str(n), "value": word, "tag": "sample"} for n, word in enumerate(("storm", "flood", "rain"))
        ]
        stored.write(conn, "track", 0, words[:2])
        stored.write(conn, "track", 1, words[2:])
        environs = [environment(folder, server.url, twitter.url, n) for n in range(2)]
        commands = [[sys.executable, "-m", "traptor", "--delay", "0"] for _ in environs]
        with contextlib.ExitStack() as stack:
            for command, environ in zip(commands, environs, strict=True):
                process = subprocess.Popen(
                    [*command, "--test"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                stack.callback(process.wait)
                stack.callback(process.kill)
            wait_for(lambda: len(roster.look(conn)[Name("track", 0)].status.get("rates") or []) >= 3)
            process.kill()
            wait_for(lambda: not roster.look(conn)[Name("track", 1)].status)
            yield environs[0]


def environment(folder: Path, redis_url: str, twitter_url: str, traptor_id: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "TWITTER_STREAM_URL": twitter_url,
        "TRAPTOR_ID": str(traptor_id),
        "KAFKA_ENABLED": "false",
        "LOG_DIR": str(folder),
        **dict(zip(settings.APIKEY_NAMES, CREDENTIALS[traptor_id], strict=True)),
    }


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("the Traptors did not come to where they should be")
        threading.Event().wait(0.5)


if __name__ == "__main__":
    main()
