"""Does SQLite stay as fast as it grows? ``python -m bench.growth FILE`` adds tweets, and says what one cost and weighs.

Again with the same file it goes on, so that a million can be had in pieces. The tweets are ten thousand different ones,
as new ones over and over. The cost beside that of json.loads, batch by batch, holds on a busy machine as well.
"""

import argparse
import gc
import json
import time
from pathlib import Path

from bench.store import BATCH, enriched
from traptor.simulator.feed import Template
from traptor.simulator.snowflakes import Snowflakes
from traptor.store.destination import Message
from traptor.store.sqlite import SQLite

DIFFERENT_TWEETS = 10_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--tweets", type=int, default=100_000)
    wanted = arguments.parse_args()
    templates, stamps = [Template(json.loads(line)) for line in enriched(DIFFERENT_TWEETS)], Snowflakes()
    gc.freeze()
    gc.set_threshold(50_000)
    database = SQLite(wanted.file)
    database.open()
    (before,) = next(iter(database.execute("SELECT count(*) FROM tweets")))
    cpu = wall = loading = 0.0
    for start in range(0, wanted.tweets, BATCH):
        some = [templates[at % len(templates)].message(stamps.next()) for at in range(start, start + BATCH)]
        messages = [Message("bench", 0, before + start + at, one.body) for at, one in enumerate(some)]
        cpu_began = time.process_time()
        for one in messages:
            json.loads(one.value)
        loading += time.process_time() - cpu_began
        cpu_began, began = time.process_time(), time.monotonic()
        assert database.write(messages)["stored"] == BATCH
        while database.tidy():
            pass
        cpu, wall = cpu + time.process_time() - cpu_began, wall + time.monotonic() - began
    database.close()
    size = wanted.file.stat().st_size / (before + wanted.tweets)
    print(
        f"from {before:>9,}: {cpu / wanted.tweets * 1e6:6.1f} CPU µs/tweet, {cpu / loading:5.2f} of json.loads,"
        f" {wanted.tweets / wall:7,.0f} tweets/s,"
        f" {size:6,.0f} bytes/tweet",
        flush=True,
    )


if __name__ == "__main__":
    main()
