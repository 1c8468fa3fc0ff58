"""How much memory a Traptor holds at full load, from its first minutes to its last: it must not grow."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench import processes, tweets
from bench.processes import Servers, Watch

DIFFERENT_TWEETS = 4000
SAMPLE_SECONDS = 0.5
TRAPTOR = (sys.executable, "-m", "traptor", "--delay", "0")


def samples(servers: Servers, rule_type: str, count: int, seconds: float) -> list[tuple[float, int]]:
    """RSS in MiB and number of threads, twice a second, from the first tweet on."""
    path = servers.folder / "tweets.jsonl"
    rule_set = tweets.rules(rule_type, count)
    servers.load(rule_type, rule_set)
    tweets.write(path, rule_set, rule_type, DIFFERENT_TWEETS)
    with (
        processes.new_topic(servers.kafka) as topic,
        processes.twitter("--file", str(path), "--rate", "0") as simulated,
    ):
        environment = servers.environment(simulated.url, rule_type, topic)
        with processes.started(TRAPTOR, environment, servers.folder / "traptor.log") as process:
            watch = Watch(process)
            processes.wait_for_sent(simulated, 1, timeout_seconds=30)
            found = []
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                time.sleep(SAMPLE_SECONDS)
                found.append((watch.rss_bytes() / 2**20, watch.threads()))
            return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each set of rules")
    options = parser.parse_args()
    table = Table("rules", "first quarter MiB", "last quarter MiB", "most MiB", "threads", box=MARKDOWN)
    with tempfile.TemporaryDirectory() as folder, processes.servers(Path(folder)) as servers:
        for rule_type, count in (("track", 1), ("track", 400), ("follow", 5000)):
            found = samples(servers, rule_type, count, options.seconds)
            sizes = [size for size, _ in found]
            quarter = max(1, len(sizes) // 4)
            table.add_row(
                f"{count:,} {rule_type}",
                f"{median(sizes[:quarter]):.0f}",
                f"{median(sizes[-quarter:]):.0f}",
                f"{max(sizes):.0f}",
                str(max(threads for _, threads in found)),
            )
        Console().print(f"broker: {servers.kafka.kind}; {options.seconds:g} s at full load")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
