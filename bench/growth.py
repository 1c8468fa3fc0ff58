"""Does SQLite stay as fast as it grows? ``python -m bench.growth FILE`` adds a million tweets, a line for each part.

Again with the same file it goes on. The tweets are ten thousand different ones, as new ones over and over. The cost
beside that of json.loads, batch by batch, holds on a busy machine as well; the memory is the most that was held so far.
"""

import argparse
import gc
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.store import enriched
from traptor.simulator.feed import Template
from traptor.simulator.snowflakes import Snowflakes
from traptor.store.destination import MOST_MESSAGES, Message
from traptor.store.sqlite import SQLite

DIFFERENT_TWEETS = 10_000


@dataclass
class Cost:
    """Seconds of the processor that json.loads took, those of the store, and those by the clock."""

    loading: float = 0.0
    storing: float = 0.0
    wall: float = 0.0

    def __iadd__(self, other: "Cost") -> "Cost":
        self.loading += other.loading
        self.storing += other.storing
        self.wall += other.wall
        return self


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--tweets", type=int, default=1_000_000)
    arguments.add_argument("--part", type=int, default=100_000)
    wanted = arguments.parse_args()
    templates, stamps = [Template(json.loads(line)) for line in enriched(DIFFERENT_TWEETS)], Snowflakes()
    gc.freeze()
    gc.set_threshold(50_000)
    database = SQLite(wanted.file)
    database.open()
    (first,) = next(iter(database.execute("SELECT count(*) FROM tweets")))
    print(f"{'':14}{'CPU µs/tweet':>13}{'of json.loads':>14}{'tweets/s':>10}{'bytes/tweet':>13}{'MiB':>6}")
    for begin in range(first, first + wanted.tweets, wanted.part):
        end = begin + wanted.part
        spent = Cost()
        for start in range(begin, end, MOST_MESSAGES):
            numbers = range(start, min(start + MOST_MESSAGES, end))
            bodies = [templates[number % len(templates)].message(stamps.next()).body for number in numbers]
            spent += cost(database, [Message("bench", 0, *one) for one in zip(numbers, bodies, strict=True)])
        tell(begin, wanted.part, spent, wanted.file.stat().st_size / end)
    database.close()


def cost(database: SQLite, messages: Sequence[Message]) -> Cost:
    began = time.process_time()
    for one in messages:
        json.loads(one.value)
    loaded, wall = time.process_time(), time.monotonic()
    assert database.write(messages)["stored"] == len(messages)
    while database.tidy():
        pass
    return Cost(loaded - began, time.process_time() - loaded, time.monotonic() - wall)


def tell(first: int, count: int, spent: Cost, size_bytes: float) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"from {first:>9,}{spent.storing / count * 1e6:>13.1f}{spent.storing / spent.loading:>14.2f}"
        f"{count / spent.wall:>10,.0f}{size_bytes:>13,.0f}{memory:>6.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
