"""What looking after a fleet costs, by the number of its rules: time, memory, and what Redis has to do for it."""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil
import redis
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from tests.servers import RedisServer
from traptor import keys
from traptor.account import counters, heartbeat
from traptor.account.counters import RollingCounter
from traptor.rules import stored
from traptor.rules.checked import LIMITS

SIZES = (5_000, 50_000, 500_000)
OTHERS = {"track": 10, "locations": 10}
"""For so many follow Traptors there is one of this type."""
SPARE = 2
"""Follow Traptors without rules, which take those of one that dies."""
WINDOW_SECONDS = 900
HEARTBEAT_SECONDS = 5.0
STATUS_TTL_SECONDS = 15
MATCHES_PER_SECOND = 10
"""Of one Traptor: so many counters it writes each second."""
CHANGED_RULES = 1000
PORTION = 5000
DEAD = 0

# A fleet


class Traptor(NamedTuple):
    """One of a fleet, and its rules by rule_id."""

    traptor_type: str
    traptor_id: int
    values: list[str]

    @property
    def rules(self) -> list[dict[str, str]]:
        return [{"rule_id": str(n), "value": value, "tag": f"tag {n % 97}"} for n, value in self._numbered()]

    @property
    def rule_ids(self) -> list[str]:
        return [str(n) for n, _ in self._numbered()]

    def _numbered(self) -> Iterator[tuple[int, str]]:
        return ((self.traptor_id * 10_000 + n, value) for n, value in enumerate(self.values))


_VALUES = {
    "follow": lambda n: str(1_000_000_000 + n * 7919),
    "track": lambda n: f"word{n},storm {n}",
    "locations": lambda n: f"{n % 170},{n % 80},{n % 170 + 1}.{n},{n % 80 + 1}",
}
_PREDICATES = {"follow": 1, "track": 2, "locations": 1}


def fleet(follow_rules: int) -> list[Traptor]:
    """Full Traptors, and some spare ones."""
    wanted = {"follow": follow_rules // LIMITS["follow"]}
    wanted |= {name: max(1, wanted["follow"] // share) for name, share in OTHERS.items()}
    found = []
    for traptor_type, count in wanted.items():
        each = LIMITS[traptor_type] // _PREDICATES[traptor_type]
        value = _VALUES[traptor_type]
        found += [Traptor(traptor_type, i, [value(i * each + n) for n in range(each)]) for i in range(count)]
    return found + [Traptor("follow", wanted["follow"] + n, []) for n in range(SPARE)]


def fill(server: RedisServer, traptors: list[Traptor], foreign_keys: int) -> None:
    """Their rules and a counter for each, as after a window in which each has matched; and keys of somebody else."""
    with server.client() as conn:
        conn.flushall()
        for one in traptors:
            stored.write(conn, one.traptor_type, one.traptor_id, one.rules)
            with conn.pipeline(transaction=False) as pipe:
                for rule_id in one.rule_ids:
                    pipe.set(keys.stats(one.traptor_type, one.traptor_id, rule_id), 3, ex=4 * WINDOW_SECONDS)
                pipe.execute()
        for start in range(0, foreign_keys, PORTION):
            conn.mset({f"session:{n}": n for n in range(start, min(start + PORTION, foreign_keys))})


def live(url: str, traptors: list[Traptor]) -> None:
    """What these Traptors write, for ever: status and counters each second, a heartbeat each five."""
    with redis.Redis.from_url(url) as conn:
        windows = [
            {rule_id: RollingCounter(keys.stats(one.traptor_type, one.traptor_id, rule_id), WINDOW_SECONDS)
             for rule_id in one.rule_ids}
            for one in traptors
        ]  # fmt: skip
        beat_at = 0.0
        while True:
            began_at = time.monotonic()
            for one, window in zip(traptors, windows, strict=True):
                matched = random.choices(list(window.values()), k=MATCHES_PER_SECOND) if window else []
                for counter in matched:
                    counter.increment()
                status_key = keys.status(one.traptor_type, one.traptor_id)
                counters.write(conn, matched, {status_key: (json.dumps(status(one)), STATUS_TTL_SECONDS)})
                if began_at - beat_at >= HEARTBEAT_SECONDS:
                    heartbeat.beat(conn, one.traptor_type, one.traptor_id, HEARTBEAT_SECONDS)
            beat_at = began_at if began_at - beat_at >= HEARTBEAT_SECONDS else beat_at
            time.sleep(max(0.0, began_at + 1 - time.monotonic()))


def status(one: Traptor) -> dict[str, object]:
    """Of the size of a real one."""
    now = datetime.now(UTC).isoformat()
    told = {"type": one.traptor_type, "id": one.traptor_id, "state": "streaming", "since": now, "started": now,
            "reason": "", "until": None, "host": "ant", "pid": 403, "version": "1.0.0", "rule_set": "0f19c963a91b",
            "rules": len(one.values), "predicates": len(one.values) * _PREDICATES[one.traptor_type],
            "predicate_limit": LIMITS[one.traptor_type], "left_out": 0, "tweets_per_second": 40.1,
            "rates": [40.1] * 30, "last_tweet_at": now, "last_byte_at": now}  # fmt: skip
    counts = ("received", "matched", "unmatched", "taken_up", "delivered", "waiting", "spool_bytes", "apart", "dropped")
    return told | dict.fromkeys(counts, 0) | {"withheld": 0, "ack_lag_seconds": 0.1, "credential": "c408b0ebfe517e0a"}


@contextlib.contextmanager
def living(url: str, traptors: list[Traptor]) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=live, args=(url, traptors), daemon=True)
    process.start()
    try:
        time.sleep(5 + len(traptors) / 50)
        yield
    finally:
        process.kill()
        process.join()


# What a command costs


class Cost(NamedTuple):
    """Of one command: seconds on the clock and of its processor, what Redis used for it, MiB at most, and what held up
    Redis for longest: the command, and its milliseconds."""

    wall_seconds: float
    cpu_seconds: float
    redis_seconds: float
    peak_mib: float
    slowest: "Slowest"
    exit_code: int


class Slowest(NamedTuple):
    """A command of Redis, a MULTI as a whole: half of them took no longer than this, and none longer than that."""

    command: str
    usual_ms: float
    longest_ms: float

    def __str__(self) -> str:
        return f"{self.command} {self.usual_ms:.0f}, {self.longest_ms:.0f}"


class Redis:
    """What Redis says of itself between two moments."""

    OURS = ("info", "config|resetstat")

    def __init__(self, server: RedisServer) -> None:
        self._conn = server.client(decode_responses=True)
        # The SLOWLOG has the parts of a MULTI one by one.
        self._conn.config_set("latency-tracking-info-percentiles", "50 100")
        self._process = psutil.Process(server.process.pid)

    def begin(self) -> None:
        self._conn.config_resetstat()
        self._used = self._cpu_seconds()

    def seconds(self) -> float:
        return self._cpu_seconds() - self._used

    def slowest(self) -> Slowest:
        found = {
            name.removeprefix("latency_percentiles_usec_"): {at: float(usec) / 1000 for at, usec in taken.items()}
            for name, taken in self._conn.info("latencystats").items()
        }
        return max(
            (Slowest(name, took["p50"], took["p100"]) for name, took in found.items() if name not in self.OURS),
            key=lambda one: one.usual_ms,
        )

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def run(watched: Redis, url: str, *arguments: object) -> Cost:
    """One command to its end."""
    watched.begin()
    began_at = time.monotonic()
    process = _start(url, *arguments)
    _, wait_status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(wait_status)
    return Cost(
        time.monotonic() - began_at,
        usage.ru_utime + usage.ru_stime,
        watched.seconds(),
        usage.ru_maxrss / 1024,
        watched.slowest(),
        process.returncode,
    )


def watch(watched: Redis, url: str, seconds: float, *arguments: object) -> Cost:
    """One that goes on, for so long after its start."""
    process = _start(url, *arguments)
    time.sleep(10)
    used, watched_process = _start_watching(watched, process.pid)
    time.sleep(seconds)
    times = watched_process.cpu_times()
    cost = Cost(
        seconds,
        times.user + times.system - used,
        watched.seconds(),
        watched_process.memory_info().rss / 2**20,
        watched.slowest(),
        0,
    )
    process.terminate()
    process.wait()
    return cost


def _start_watching(watched: Redis, pid: int) -> tuple[float, psutil.Process]:
    watched.begin()
    process = psutil.Process(pid)
    times = process.cpu_times()
    return times.user + times.system, process


def _start(url: str, *arguments: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "traptor", *map(str, arguments)]
    environment = {**os.environ, "REDIS_URL": url}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def source(path: Path, traptors: list[Traptor], changed: int) -> Path:
    """All rules as a file of JSON lines, the first so many with another tag."""
    with path.open("w") as file:
        number = 0
        for one in traptors:
            for rule in one.rules:
                tag = "new" if number < changed else rule["tag"]
                file.write(json.dumps({**rule, "type": one.traptor_type, "tag": tag}) + "\n")
                number += 1
    return path


def costs(
    watched: Redis, url: str, traptors: list[Traptor], folder: Path, rest_seconds: float
) -> Iterator[tuple[str, Cost]]:
    """Each command, and what it has cost."""
    same, changed = (source(folder / f"{n}.jsonl", traptors, n) for n in (0, CHANGED_RULES))
    with living(url, traptors):
        for name, arguments in (
            ("status", ("status",)),
            ("rules add", ("rules", "add", "follow", "12", "--rule-id", "bench")),
            ("rules remove", ("rules", "remove", "follow", "bench")),
            ("rules plan", ("rules", "plan")),
            ("rules check", ("rules", "check")),
            ("rules list --json", ("rules", "list", "--json")),
            ("rules load, the same", ("rules", "load", same)),
            (f"rules load, {CHANGED_RULES:,} changed", ("rules", "load", changed)),
        ):
            yield name, run(watched, url, *arguments)
        yield "status --watch", watch(watched, url, rest_seconds, "status", "--watch", "--json")
        yield "rebalance --watch, at rest", watch(watched, url, rest_seconds, "rules", "rebalance", "--watch")
    with living(url, [one for one in traptors if (one.traptor_type, one.traptor_id) != ("follow", DEAD)]):
        time.sleep(STATUS_TTL_SECONDS)
        yield "status, one dead", run(watched, url, "status")
        yield "rebalance after its death", run(watched, url, "rules", "rebalance", "--after", 0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="follow rules")
    parser.add_argument("--foreign", type=int, default=0, help="keys of somebody else in the same database")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds for which the watchers are watched")
    options = parser.parse_args()
    columns = ("command", "follow rules", "s", "CPU s", "Redis CPU s", "peak MiB", "slowest in Redis, ms", "exit code")
    table = Table(*columns, box=MARKDOWN)
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        watched = Redis(server)
        for size in options.sizes:
            traptors = fleet(size)
            fill(server, traptors, options.foreign)
            for name, cost in costs(watched, server.url, traptors, Path(folder), options.rest):
                table.add_row(
                    name,
                    f"{size:,}",
                    f"{cost.wall_seconds:.1f}",
                    f"{cost.cpu_seconds:.1f}",
                    f"{cost.redis_seconds:.1f}",
                    f"{cost.peak_mib:.0f}",
                    str(cost.slowest),
                    str(cost.exit_code),
                )
                seconds = f"{cost.wall_seconds:5.1f} s, CPU {cost.cpu_seconds:5.1f} s"
                print(f"{size:>9,}  {name:26}  {seconds}, exit code {cost.exit_code}", file=sys.stderr)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
