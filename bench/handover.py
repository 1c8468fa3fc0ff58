"""How long there is no stream when a process that stands by takes over from one that gets SIGTERM, by the times of the
last tweet that the simulator sent on the one stream and of the first on the other.

``python -m bench.handover`` takes a second or two for each hand-over.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console

from bench import processes, tweets
from tests.servers import RedisServer, wait_until
from traptor import settings
from traptor.rules import stored
from traptor.simulator import CREDENTIAL, Simulator
from traptor.tweets.snowflakes import posted_ms

TRAPTOR = (sys.executable, "-m", "traptor", "--delay", "0", "--test")
RATE = 500.0
RULES = 400


class Chain:
    """Processes of one Traptor, of which each waits for the one before it."""

    def __init__(self, folder: Path, redis_url: str, twitter: Simulator, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._twitter = twitter
        self._stack = stack
        self._started = 0
        self._environment = {
            **dict(zip(settings.APIKEY_NAMES, CREDENTIAL, strict=True)),
            "TWITTER_STREAM_URL": twitter.url,
            "REDIS_URL": redis_url,
            "LOG_DIR": "none",
        }
        self._running = self._start()
        self._wait_for_stream()

    def _start(self) -> "subprocess.Popen[bytes]":
        self._started += 1
        log = self._log()
        return self._stack.enter_context(processes.started(TRAPTOR, self._environment, log))

    def _log(self) -> Path:
        return self._folder / f"{self._started}.log"

    def _wait_for_stream(self) -> None:
        wait_until(lambda: sum(one.tweets > 0 for one in self._twitter.connections) == self._started, "a stream")

    def hand_over_ms(self) -> int:
        """From the last tweet to the first."""
        waiting = self._start()
        wait_until(lambda: "waiting for the credential" in self._log().read_text(), "one that stands by")
        self._running.terminate()
        self._running.wait()
        self._wait_for_stream()
        self._running = waiting
        before, after = self._twitter.connections[-2:]
        return _time_ms(after.sent[0]) - _time_ms(before.sent[-1])


def _time_ms(tweet_id: str) -> int:
    return posted_ms(int(tweet_id)) or 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.handover", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as server,
        contextlib.closing(server.client()) as client,
        Simulator(rate=RATE) as twitter,
        contextlib.ExitStack() as stack,
    ):
        stored.write(client, "track", 0, tweets.rules("track", RULES))
        chain = Chain(Path(folder), server.url, twitter, stack)
        found = [chain.hand_over_ms() for _ in range(options.times)]
    Console().print(f"{len(found)} hand-overs: median {median(found):.0f} ms without a stream, {max(found)} ms at most")


if __name__ == "__main__":
    main()
