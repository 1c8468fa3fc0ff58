"""From the simulator's socket to Kafka's acknowledgement, at steady rates: how many milliseconds a tweet takes.

A tweet's id tells when the simulator wrote it, the producer when the broker has acknowledged it.
"""

import argparse
import tempfile
import time
from array import array
from pathlib import Path
from statistics import quantiles
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench import processes, tweets
from bench.processes import Servers
from traptor import settings
from traptor.traptor import Traptor
from traptor.tweets.snowflakes import EPOCH_MS

RULES = 400
DIFFERENT_TWEETS = 1000
WARM_UP_SECONDS = 2.0
"""The first tweets wait for the connection to Kafka."""


class TimedTraptor(Traptor):
    """Notes how old each tweet is, in milliseconds, when it is acknowledged."""

    def _create_kafka_producer(self, **options: Any) -> Any:
        self.latencies_ms = array("d")
        producer = super()._create_kafka_producer(**options)
        send = producer.send

        def timed(topic: str, value: bytes, key: bytes | None) -> Any:
            future = send(topic, value=value, key=key)
            if key:
                future.add_callback(self._note, int(key))
            return future

        producer.send = timed
        return producer

    def _note(self, tweet_id: int, _: object) -> None:
        self.latencies_ms.append(time.time() * 1000 - (tweet_id >> 22) - EPOCH_MS)


def latencies_ms(servers: Servers, rate: float, seconds: float) -> list[float]:
    """Of the tweets of so many seconds, behind the first ones."""
    path = servers.folder / "tweets.jsonl"
    count = int(rate * (seconds + WARM_UP_SECONDS))
    with (
        processes.new_topic(servers.kafka) as topic,
        processes.twitter("--file", str(path), "--rate", str(rate), "--limit", str(count)) as simulated,
    ):
        environment = servers.environment(simulated.url, "track", topic)
        traptor = TimedTraptor.from_settings(settings.load({**environment, "LOG_STDOUT": False}))
        assert isinstance(traptor, TimedTraptor)
        traptor.run(tweet_limit=count)
    return list(traptor.latencies_ms)[int(rate * WARM_UP_SECONDS) :]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 100, 1000, 5000], help="tweets a second")
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    table = Table("tweets/s", "tweets", "p50 ms", "p99 ms", "p99.9 ms", "most ms", box=MARKDOWN)
    with tempfile.TemporaryDirectory() as folder, processes.servers(Path(folder)) as servers:
        rule_set = tweets.rules("track", RULES)
        servers.load("track", rule_set)
        tweets.write(servers.folder / "tweets.jsonl", rule_set, "track", DIFFERENT_TWEETS)
        for rate in options.rates:
            found = sorted(latencies_ms(servers, rate, options.seconds))
            cuts = quantiles(found, n=1000)
            table.add_row(
                f"{rate:,g}", f"{len(found):,}", *(f"{cut:.1f}" for cut in (cuts[499], cuts[989], cuts[998], found[-1]))
            )
        Console().print(f"broker: {servers.kafka.kind}; {RULES} rules")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
