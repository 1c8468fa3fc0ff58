"""Simulator to Traptor to broker, each a process of its own: CPU time per tweet, and tweets a second.

Beside it, in turns: a bare relay, the loop that one would write instead, and ``json.loads`` as the yardstick of the
machine. ``python -m bench.pipeline --help`` has the options.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench import processes, tweets
from bench.processes import Servers, Twitter, Watch
from traptor.settings import CONFLUENT, KAFKA_PYTHON

DIFFERENT_TWEETS = 4000
STALL_SECONDS = 6.0
RUN_SECONDS = 120.0
TRAPTOR = (sys.executable, "-m", "traptor", "--delay", "0")
BASELINE = (sys.executable, "-m", "bench.baselines")


@dataclass(frozen=True)
class Contender:
    """A program under one set of rules, and how many tweets tell its speed."""

    name: str
    rule_type: str
    rules: int
    command: tuple[str, ...]
    tweets: int
    to_kafka: bool = True
    client: str = KAFKA_PYTHON
    claims: bool = False
    """With DEDUPE_ACROSS."""

    def said(self) -> str:
        return f"{self.name} {self.rules} {self.rule_type} {self.client}"


def contenders(tweets_each: int) -> list[Contender]:
    return [
        Contender("relay", "track", 400, (*BASELINE, "relay"), tweets_each),
        *(Contender("traptor", "track", count, TRAPTOR, tweets_each) for count in (1, 50, 400)),
        Contender("traptor, DEDUPE_ACROSS", "track", 400, TRAPTOR, tweets_each, claims=True),
        Contender("traptor, to nowhere", "track", 400, (*TRAPTOR, "--test"), tweets_each, to_kafka=False),
        Contender("relay", "track", 400, (*BASELINE, "relay"), tweets_each, client=CONFLUENT),
        Contender("traptor", "track", 400, TRAPTOR, tweets_each, client=CONFLUENT),
        Contender("loop", "track", 400, (*BASELINE, "loop"), tweets_each, client=CONFLUENT),
        Contender("relay", "follow", 5000, (*BASELINE, "relay"), tweets_each),
        *(Contender("traptor", "follow", count, TRAPTOR, tweets_each) for count in (1, 500, 5000)),
        Contender("relay", "follow", 5000, (*BASELINE, "relay"), tweets_each, client=CONFLUENT),
        Contender("traptor", "follow", 5000, TRAPTOR, tweets_each, client=CONFLUENT),
        Contender("relay", "locations", 25, (*BASELINE, "relay"), tweets_each),
        *(Contender("traptor", "locations", count, TRAPTOR, tweets_each) for count in (1, 25)),
    ]


class Result(NamedTuple):
    """``rate`` is in tweets per second; 0 where nobody counts."""

    cpu_us: float
    yardstick_us: float
    rate: float


class Bench:
    """Runs contenders on the same servers."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._lines: dict[tuple[str, int], list[bytes]] = {}

    def run(self, contender: Contender) -> Result:
        rule_set = tweets.rules(contender.rule_type, contender.rules)
        lines = self._write_tweets(contender, rule_set)
        self._servers.load(contender.rule_type, rule_set)
        with processes.new_topic(self._servers.kafka) as topic:
            cpu_us = self._cpu_us(contender, topic)
            rate = self._check_and_rate(contender, topic) if contender.to_kafka else 0.0
        return Result(cpu_us, yardstick_us(lines), rate)

    def _write_tweets(self, contender: Contender, rule_set: list[dict[str, str]]) -> list[bytes]:
        key = contender.rule_type, contender.rules
        if key not in self._lines:
            self._lines[key] = tweets.write(self._path(contender), rule_set, contender.rule_type, DIFFERENT_TWEETS)
        return self._lines[key]

    def _path(self, contender: Contender) -> Path:
        return self._servers.folder / f"{contender.rule_type}-{contender.rules}.jsonl"

    def _cpu_us(self, contender: Contender, topic: str) -> float:
        """Between two moments of rest: behind the start with its first tweets, and behind the last tweet."""
        first = contender.tweets // 4
        faults = processes.stall(first, STALL_SECONDS, self._servers.folder / "faults.json")
        options = ("--file", str(self._path(contender)), "--rate", "0", "--faults", faults)
        with processes.twitter(*options, "--limit", str(first + contender.tweets)) as simulated:
            environment = self._servers.environment(simulated.url, contender.rule_type, topic)
            environment |= {"KAFKA_CLIENT": contender.client, "DEDUPE_ACROSS": str(contender.claims)}
            log = self._servers.folder / "contender.log"
            with processes.started(contender.command, environment, log) as process:
                watch = Watch(process)
                before = self._cpu_seconds_after(first, simulated, watch, contender, topic)
                assert simulated.sent() == first, "the stall was too short"
                after = self._cpu_seconds_after(first + contender.tweets, simulated, watch, contender, topic)
                return (after - before) / contender.tweets * 1e6

    def _cpu_seconds_after(
        self, tweets_sent: int, simulated: Twitter, watch: Watch, contender: Contender, topic: str
    ) -> float:
        """Once so many tweets are sent, and at the broker, and the program is at rest."""
        processes.wait_for_sent(simulated, tweets_sent, RUN_SECONDS)
        if contender.to_kafka:
            processes.wait_for_records(self._servers.kafka, topic, tweets_sent, RUN_SECONDS)
        return watch.cpu_seconds_when_still()

    def _check_and_rate(self, contender: Contender, topic: str) -> float:
        """Tweets a second by the broker's records, of which there must be one for each tweet."""
        first = contender.tweets // 4
        held = processes.records(self._servers.kafka, topic, first)
        assert held.messages == first + contender.tweets, f"{held.messages} arrived of {first + contender.tweets}"
        return contender.tweets / held.seconds


def yardstick_us(lines: list[bytes]) -> float:
    """CPU time of ``json.loads`` per tweet."""
    began = time.process_time()
    for line in lines:
        json.loads(line)
    return (time.process_time() - began) / len(lines) * 1e6


Round = dict[Contender, Result]


def table(rounds: list[Round]) -> Table:
    """Medians over the rounds; a ratio is made within its round."""
    figures = "CPU µs/tweet", "tweets/s", "× relay", "loop ÷", "× json.loads"
    made = Table("program", "client", "rules", *figures, box=MARKDOWN)
    for contender in rounds[0]:
        relay = _baseline(rounds[0], contender, "relay", contender.client)
        loop = _baseline(rounds[0], contender, "loop", CONFLUENT)
        own = [results[contender] for results in rounds]
        made.add_row(
            contender.name,
            contender.client if contender.to_kafka else "",
            f"{contender.rules:,} {contender.rule_type}",
            f"{median(result.cpu_us for result in own):.0f}",
            f"{median(result.rate for result in own):,.0f}" if contender.to_kafka else "",
            f"{median(_ratio(results, contender, relay) for results in rounds):.2f}" if relay else "",
            f"{median(_ratio(results, loop, contender) for results in rounds):.1f}" if loop else "",
            f"{median(result.cpu_us / result.yardstick_us for result in own):.2f}",
        )
    return made


def _baseline(results: Round, contender: Contender, name: str, client: str) -> Contender | None:
    wanted = name, contender.rule_type, client
    return next((one for one in results if (one.name, one.rule_type, one.client) == wanted), None)


def _ratio(results: Round, above: Contender, below: Contender) -> float:
    return results[above].cpu_us / results[below].cpu_us


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=__doc__)
    parser.add_argument("--tweets", type=int, default=16_000, help="of each program and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="a part of the names of program, rules and client, like '400 track'")
    options = parser.parse_args()
    wanted = [one for one in contenders(options.tweets) if options.only in one.said()]
    with tempfile.TemporaryDirectory() as folder, processes.servers(Path(folder)) as servers:
        bench = Bench(servers)
        rounds = [{contender: bench.run(contender) for contender in wanted} for _ in range(options.rounds)]
        Console().print(f"broker: {servers.kafka.kind}; {options.rounds} rounds of {options.tweets} tweets")
    Console(width=120).print(table(rounds))


if __name__ == "__main__":
    main()
