"""The command as a process of its own, seen from outside: what it prints, what it logs, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import pytest
import redis

from tests.servers import PATIENCE_SECONDS, RedisServer, wait_until
from traptor.simulator import CREDENTIAL

ROOT = Path(__file__).parents[2]
APIKEYS = ("CONSUMER_KEY", "CONSUMER_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET")
CHANNEL = "traptor-notify"

T = TypeVar("T")


def others_heavy(first: object, *others: object) -> list[object]:
    """Cases for ``parametrize``: the first runs in ``make test``, the others in ``make test-heavy``."""
    cases = [other if isinstance(other, tuple) else (other,) for other in others]
    return [first, *(pytest.param(*case, marks=pytest.mark.heavy) for case in cases)]


BOTH_APIS = pytest.mark.parametrize("api", others_heavy("2", "1.1"))


class Output:
    """One of its pipes, line by line as they come."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.lines: list[bytes] = []
        self._pipe = pipe
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._pipe:
            for line in self._pipe:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, find: Callable[[list[bytes]], T], timeout_seconds: float = PATIENCE_SECONDS) -> T:
        """What `find` finds in the lines: the first result that is true, or the last one when nothing more comes."""
        with self._changed:
            self._changed.wait_for(lambda: find(self.lines) or self._ended, timeout_seconds)
            return find(self.lines)

    def join(self) -> None:
        self._reader.join()


class Daemon:
    """`python -m traptor` with these arguments and settings, which are all that it gets from the environment.

    A ``with`` starts it, and kills what has not ended by then. Files of its own stand in `folder`.
    """

    process: subprocess.Popen[bytes]
    stdout: Output
    stderr: Output

    def __init__(self, folder: Path, *arguments: str, **settings: object) -> None:
        self.command = [sys.executable, "-m", "traptor", "--delay", "0", *arguments]
        self.folder = folder
        self.environment = environment(folder, settings)

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe)
        assert self.process.stdout
        assert self.process.stderr
        self.stdout, self.stderr = Output(self.process.stdout), Output(self.process.stderr)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        self.stdout.join()
        self.stderr.join()

    def messages(self, count: int) -> list[dict[str, Any]]:
        """The messages on standard output, once there are so many."""
        lines = self.stdout.wait_for(lambda lines: lines[:] if len(lines) >= count else None)
        assert lines, f"only {len(self.stdout.lines)} messages, not {count}; {self.said()}"
        return [json.loads(line) for line in lines]

    def wait_for_message(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message on standard output that is as wanted."""
        looked_at = 0

        def find(lines: list[bytes]) -> dict[str, Any] | None:
            nonlocal looked_at
            for line in lines[looked_at:]:
                if wanted(message := json.loads(line)):
                    return message
                looked_at += 1
            return None

        found = self.stdout.wait_for(find)
        assert found, f"no such message among {len(self.stdout.lines)}; {self.said()}"
        return found

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The records with this message that it has logged so far."""
        return _records(self.stderr.lines, message)

    def wait_for_log(self, message: str) -> list[dict[str, Any]]:
        """The records with this message, once there is one."""
        found = self.stderr.wait_for(lambda lines: _records(lines, message))
        assert found, f"not logged: {message!r}; {self.said()}"
        return found

    def said(self) -> str:
        return "it said:\n" + b"".join(self.stderr.lines[-40:]).decode()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for_exit(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit code; all output is there by then."""
        try:
            code = self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {timeout_seconds} s; {self.said()}") from None
        self.stdout.join()
        self.stderr.join()
        assert b"Traceback" not in b"".join(self.stderr.lines), self.said()
        return code

    def stop(self) -> None:
        """End it as supervisor does."""
        self.signal(signal.SIGTERM)
        assert self.wait_for_exit() == 0, self.said()

    def summary(self) -> dict[str, int]:
        """The numbers of its last line, by name."""
        last = self.stderr.lines[-1].decode()
        assert re.fullmatch(r"traptor: \w+ \d+(, \w+ \d+)*\n", last), self.said()
        return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", last)}


def _records(lines: list[bytes], message: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in lines if line.startswith(b"{")]
    return [record for record in records if record["message"] == message]


def environment(folder: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """These settings over ones that keep the logs and the spool in `folder` and log in JSON."""
    usual = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        **dict(zip(APIKEYS, CREDENTIAL, strict=True)),
        "LOG_DIR": str(folder / "log"),
        "LOG_JSON": "true",
        "SPOOL_DIR": str(folder / "spool"),
    }
    return {**usual, **{name: str(value) for name, value in settings.items()}}


def to_stdout(folder: Path, redis_server: RedisServer, twitter_url: str, *arguments: str, **settings: object) -> Daemon:
    """A Traptor that collects from this Twitter with the rules of this Redis, and prints."""
    wanted = {**addresses(twitter_url), "REDIS_URL": redis_server.url, **settings}
    return Daemon(folder, "--test", *arguments, **wanted)


def addresses(twitter_url: str) -> dict[str, str]:
    """The settings that make this the Twitter of either API."""
    return {"TWITTER_STREAM_URL": twitter_url, "TWITTER_API_URL": twitter_url}


def wait_for_listener(conn: redis.Redis) -> None:
    """Wait until somebody has subscribed to the notify channel."""
    wait_until(lambda: conn.pubsub_numsub(CHANNEL)[0][1] == 1, f"a listener on {CHANNEL}")


def publish(conn: redis.Redis, *payloads: str | bytes) -> float:
    """Publish on the notify channel, once somebody listens. Gives the time just before, in seconds since 1970."""
    wait_for_listener(conn)
    published_at = time.time()
    for payload in payloads:
        conn.publish(CHANNEL, payload)
    return published_at
