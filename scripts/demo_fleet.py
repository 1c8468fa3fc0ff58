"""Three Traptors share their rules, one is killed, and its rules move: `make demo-fleet`.

Needs no account and no server: a simulated Twitter that believes every key, and an embedded Redis. Nothing stays.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import redis

from traptor.demo import redis_server
from traptor.rules import stored
from traptor.simulator import Simulator

COUNT = 3
WORDS = ("storm", "flood warning", "hurricane", "#rocket launch", "orbit", "espresso")
LOST_AFTER_SECONDS = 3
PATIENCE_SECONDS = 60


def main() -> None:
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory())
        twitter = running.enter_context(Simulator(credentials=None, rate=5.0))
        show(running.enter_context(redis_server()), twitter.url, folder)


def show(redis_url: str, twitter_url: str, folder: str) -> None:
    """The story, told as it happens on standard output."""
    # What is set for the real thing stays out of it, in localsettings.py too: the environment goes before that.
    environ = {
        **os.environ, "TWITTER_API": "1.1", "USE_SENTRY": "false", "METRICS_PORT": "0", "STRICT_LOCALSETTINGS": "false",
        "REDIS_URL": redis_url, "TWITTER_STREAM_URL": twitter_url, "SPOOL_DIR": folder, "LOG_DIR": "none",
        "LOG_STDOUT": "false", "HEARTBEAT_INTERVAL": "1", "REBALANCE_AFTER": str(LOST_AFTER_SECONDS),
    }  # fmt: skip
    with redis.Redis.from_url(redis_url, protocol=2) as conn:
        for id_ in range(COUNT):
            rules = [{"rule_id": str(n), "value": word} for n, word in enumerate(WORDS) if n % COUNT == id_]
            stored.write(conn, "track", id_, rules)
        with contextlib.ExitStack() as running:
            say(f"{COUNT} Traptors start, with a key and {len(WORDS) // COUNT} of the {len(WORDS)} rules each")
            fleet = [running.enter_context(traptor(environ, id_)) for id_ in range(COUNT)]
            wait_until(lambda: len(list(conn.scan_iter("track:*:*"))) >= COUNT)
            time.sleep(LOST_AFTER_SECONDS)
            look(environ, "status")

            say("track:1 is killed, as by a power cut")
            fleet[1].kill()
            wait_until(lambda: not list(conn.scan_iter("track:1:*")))
            look(environ, "status")

            say(f"`traptor rules rebalance` waits {LOST_AFTER_SECONDS} s, and gives its rules to the others")
            look(environ, "rules", "rebalance")
            time.sleep(LOST_AFTER_SECONDS)
            look(environ, "rules", "rebalance")
            look(environ, "rules", "list")

            say("it comes back, and gets rules again: `traptor rules rebalance --spread`")
            running.enter_context(traptor(environ, 1))
            wait_until(lambda: bool(list(conn.scan_iter("track:1:*"))))
            look(environ, "rules", "rebalance", "--spread")
            look(environ, "rules", "list")


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def look(environ: dict[str, str], *arguments: str) -> None:
    print(f"$ traptor {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "traptor", *arguments], env=environ, check=False)


@contextlib.contextmanager
def traptor(environ: dict[str, str], id_: int) -> Iterator["subprocess.Popen[bytes]"]:
    """One that collects, and throws away what it has."""
    keys = dict.fromkeys(("CONSUMER_KEY", "CONSUMER_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"), f"demo-key-{id_}")
    command = [sys.executable, "-m", "traptor", "--test", "--type", "track", "--id", str(id_)]
    with subprocess.Popen(
        command, env=environ | keys, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise SystemExit("demo-fleet: a Traptor did not start in time; `make demo` may tell why")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
