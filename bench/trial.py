"""One Traptor on real parts while something goes wrong, and what became of every tweet that Twitter sent it."""

import contextlib
import json
import os
import re
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.daemon import Daemon
from tests.servers import KafkaCluster, OwnBroker, RedisServer, free_port, wait_until
from traptor import keys
from traptor.account.ledger import Account
from traptor.delivery.spool import file_name
from traptor.rules import stored
from traptor.simulator import Simulator
from traptor.tweets.snowflakes import EPOCH_MS

RATE = 200
"""Tweets per second."""
DRAIN_SECONDS = 180
LAST_SECOND_SECONDS = 1.0
"""What a killed process had received so shortly before may be missing."""
COSTS_NO_TWEET = {"duplicate", "not_json", "too_long"}
"""Reasons for a drop after which Kafka has every tweet all the same."""
RULES = [{"rule_id": "1", "tag": "drinks", "value": "coffee"}, {"rule_id": "2", "tag": "space", "value": "rocket"}]


class Servers(NamedTuple):
    """What a Traptor works with: a folder for files, servers, and what it needs to be told of them."""

    folder: Path
    redis: RedisServer
    broker: OwnBroker | KafkaCluster
    settings: Mapping[str, object] = {}
    replicas: Mapping[int, Sequence[int]] = {}
    """Of a cluster: which nodes have the topic's partitions."""


class Sample(NamedTuple):
    """The daemon as the operating system sees it."""

    rss_bytes: int
    open_files: int
    threads: int


class Outcome(NamedTuple):
    """What became of it all. ``missing`` is what Kafka does not have: in a gap, at a kill, or else dropped."""

    sent: int
    account: Counter[str]
    again: int
    """Messages that Kafka has more than once."""
    missing: Counter[str]
    oldest_lost_seconds: float
    """How long before a kill the oldest tweet had come that went missing with it."""
    gaps: list[dict[str, Any]]
    samples: list[Sample]

    def dropped(self) -> dict[str, int]:
        drops = {name.partition(":")[2]: count for name, count in self.account.items() if name.startswith("dropped:")}
        return {reason: count for reason, count in drops.items() if count}

    def gap_seconds(self) -> float:
        ends = [[datetime.fromisoformat(gap[name]) for name in ("from", "to")] for gap in self.gaps]
        return sum((end - begin).total_seconds() for begin, end in ends)

    def unexplained(self) -> int:
        """Tweets that are not in Kafka and that nothing speaks of."""
        lost = sum(count for reason, count in self.dropped().items() if reason not in COSTS_NO_TWEET)
        return max(0, self.missing["dropped"] - lost - self.account["apart"])


class Trial:
    """A simulated Twitter, a Traptor, and a topic of their own. ``settings`` are Traptor's."""

    daemon: Daemon

    def __init__(
        self, servers: Servers, *, rate: float = RATE, faults: Iterable[Mapping[str, Any]] = (), **settings: object
    ) -> None:
        self.redis, self.broker, self._replicas = servers.redis, servers.broker, servers.replicas
        self.topic = f"chaos-{uuid.uuid4().hex[:12]}"
        self.folder = servers.folder / self.topic
        self.twitter = Simulator(rate=rate, faults=faults, keep_alive_seconds=5)
        self.samples: list[Sample] = []
        self.killed_at: list[float] = []
        """Seconds since 1970."""
        self._settings = {
            "TWITTER_STREAM_URL": self.twitter.url,
            "TWITTER_API_URL": self.twitter.url,
            "REDIS_URL": self.redis.url,
            "KAFKA_HOSTS": self.broker.hosts,
            "KAFKA_TOPIC": self.topic,
            "RULE_REFRESH_INTERVAL": 5,
            **servers.settings,
            **settings,
        }
        self.spool = Path(str(self._settings.get("SPOOL_DIR", self.folder / "spool"))) / file_name("track", 0)
        self._daemons: list[Daemon] = []
        self._exits = contextlib.ExitStack()
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self.folder.mkdir()
        self.write_rules()
        if self.broker.answers():
            if isinstance(self.broker, KafkaCluster):
                self.broker.create_topic(self.topic, self._replicas)
            else:
                self.broker.create_topic(self.topic)
        self._exits.enter_context(self.twitter)
        self.start()
        sampler = threading.Thread(target=self._take_samples, daemon=True)
        sampler.start()
        self._exits.callback(sampler.join)
        self._exits.callback(self._done.set)
        return self

    def __exit__(self, *error: object) -> None:
        self._exits.close()

    def write_rules(self) -> None:
        with self.client() as conn:
            conn.flushall()
            stored.write(conn, "track", 0, RULES)

    def client(self) -> redis.Redis:
        return self.redis.client(decode_responses=True)

    def start(self) -> None:
        """A new process, the first one or after the end of the one before."""
        self._metrics_port = free_port()
        started = Daemon(self.folder, **{**self._settings, "METRICS_PORT": self._metrics_port})
        self.daemon = self._exits.enter_context(started)  # the sampler sees none that has not begun
        self._daemons.append(started)

    def wait_for_tweets(self, more: int) -> None:
        """Until Twitter has sent so many more than now."""
        try:
            self.twitter.wait_for_sent(self.twitter.tweets + more, DRAIN_SECONDS)
        except TimeoutError as error:
            raise AssertionError(f"{error}; {self.daemon.said()}") from error

    def wait_for_status(self) -> None:
        """Until it has told Redis how it is."""
        with self.client() as conn:
            wait_until(lambda: conn.exists(keys.status("track", 0)) == 1, "a status")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Before it has begun, a process ends by the signal."""
        self.daemon.signal(number)
        code = self.daemon.wait_for_exit()
        assert code == 0 or (code == -number and not self.daemon.stderr.lines), self.daemon.said()

    def kill(self) -> None:
        self.killed_at.append(time.time())
        self.daemon.signal(signal.SIGKILL)
        self.daemon.process.wait()

    def _take_samples(self) -> None:
        while not self._done.wait(1.0):
            with contextlib.suppress(OSError, IndexError):
                self.samples.append(self._sample())

    def open_files(self) -> Iterator[str]:
        """What each of the process's file descriptors stands for. Raises OSError where there is no process."""
        for descriptor in Path(f"/proc/{self.daemon.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                yield str(descriptor.readlink())

    def _sample(self) -> Sample:
        process = Path(f"/proc/{self.daemon.process.pid}")
        pages = int((process / "statm").read_text().split()[1])
        open_files, threads = (len(os.listdir(process / name)) for name in ("fd", "task"))
        return Sample(pages * os.sysconf("SC_PAGE_SIZE"), open_files, threads)

    # What became of it

    def outcome(self) -> Outcome:
        """Let Twitter fall silent and everything settle; read every account, and what Kafka has."""
        self.twitter.finish()
        try:
            wait_until(lambda: self._waiting() == 0, "nothing to wait", DRAIN_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; account {dict(self.account())}; {self.daemon.said()}") from error
        account = self.account()
        assert_balanced(account)
        self._check_against_status(account)
        self.daemon.stop()
        self._check_against_summary(account)
        arrived = Counter(key.decode() for key, _ in self.broker.consume(self.topic, account["delivered"]) if key)
        gaps = [record for daemon in self._daemons for record in daemon.logged("gap")]
        missing, oldest_lost_seconds = self._missing(arrived.keys(), gaps)
        return Outcome(
            sent=len(self.twitter.sent),
            account=account,
            again=arrived.total() - len(arrived),
            missing=missing,
            oldest_lost_seconds=oldest_lost_seconds,
            gaps=gaps,
            samples=self.samples,
        )

    def _waiting(self) -> int:
        """What waits, for as long as that changes nothing any more. -1 while it does."""
        before, now = self.account(), self.account()
        return now["waiting"] if before == now else -1

    def account(self) -> Counter[str]:
        """As /metrics tells it; ``waiting`` among it."""
        text = requests.get(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=5).text
        counts: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if family.type == "counter" and sample.name.endswith("_total"):
                    name = family.name.removeprefix("traptor_")
                    label = next((value for key, value in sample.labels.items() if key not in {"type", "id"}), "")
                    counts[f"{name}:{label}" if label else name] += int(sample.value)
        counts["waiting"] = int(re.findall(r"^traptor_waiting_messages\S* (\S+)$", text, re.MULTILINE)[0].split(".")[0])
        return counts

    def _check_against_status(self, account: Counter[str]) -> None:
        with self.client() as conn:
            wait_until(lambda: self._status_agrees(conn, account), f"a status that says {dict(account)}", 30)

    @staticmethod
    def _status_agrees(conn: redis.Redis, account: Counter[str]) -> bool:
        status = json.loads(conn.get(keys.status("track", 0)) or "{}")
        told = [status.get(name) for name in ("received", "taken_up", "delivered", "waiting", "apart", "dropped")]
        return told == [total(account, "received"), account["taken_up"], account["delivered"], account["waiting"],
                        account["apart"], total(account, "dropped")]  # fmt: skip

    def _check_against_summary(self, account: Counter[str]) -> None:
        summary = Counter(self.daemon.summary())
        assert summary["received"] == account["received:tweet"]
        assert [summary[name] for name in ("taken_up", "delivered", "waiting", "apart", "dropped")] == [
            account["taken_up"], account["delivered"], 0, account["apart"], total(account, "dropped")
        ]  # fmt: skip

    def _missing(self, arrived: Iterable[str], gaps: list[dict[str, Any]]) -> tuple[Counter[str], float]:
        """What Kafka does not have, by where it is missing, and how long before a kill the oldest of it was sent."""
        sent = list(dict.fromkeys(self.twitter.sent))
        place = {tweet_id: number for number, tweet_id in enumerate(sent)}
        between = [(place.get(gap["last_tweet_id"], -1), place.get(gap["first_tweet_id"], len(sent))) for gap in gaps]
        missing, oldest = Counter[str](), 0.0
        for tweet_id in sorted(set(sent) - set(arrived), key=int):
            before_kill = [at - _sent_at(tweet_id) for at in self.killed_at if at >= _sent_at(tweet_id)]
            if before_kill and min(before_kill) <= LAST_SECOND_SECONDS:
                oldest = max(oldest, min(before_kill))
                missing["at a kill"] += 1
            elif any(last < place[tweet_id] < first for last, first in between):
                missing["in a gap"] += 1
            else:
                missing["dropped"] += 1
        return missing, oldest


def assert_balanced(counts: Counter[str]) -> None:
    account = Account()
    account.counts = counts
    assert account.is_balanced(counts["waiting"]), f"the account does not balance: {dict(counts)}"


def total(counts: Mapping[str, int], name: str) -> int:
    return sum(count for key, count in counts.items() if key.partition(":")[0] == name)


def _sent_at(tweet_id: str) -> float:
    """Seconds since 1970: a tweet's id has its time."""
    return ((int(tweet_id) >> 22) + EPOCH_MS) / 1000
