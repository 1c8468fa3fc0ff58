"""The closed list of metrics, in Prometheus' text format, and ``/healthz``."""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from traptor.account.state import HEALTHY, State
from traptor.account.vitals import Vitals
from traptor.account.web_server import Answer, Asked, Server
from traptor.connections import is_loopback
from traptor.settings import SettingError, Settings
from traptor.tweets.kinds import KINDS
from traptor.tweets.snowflakes import posted_ms

COUNTERS = {
    "received": ("kind", "messages received, by kind"),
    "received_bytes": ("", "bytes received, gzip undone"),
    "taken_up": ("", "messages that an earlier run left in the spool"),
    "delivered": ("", "messages that Kafka acknowledged"),
    "spooled": ("", "messages written to the spool"),
    "apart": ("", "messages set apart because Kafka will never take them"),
    "spool_damaged_files": ("", "spools that were damaged and set aside, with the messages in them"),
    "dropped": ("reason", "messages dropped, by reason"),
    "matched": ("", "tweets that satisfied a rule"),
    "unmatched": ("", "tweets that satisfied none"),
    "disagreed": ("", "tweets for which v2's server and the matcher name different rules"),
    "fields_left_out": ("field", "fields of v2's tweets that did not fit v1.1's shape, by their path"),
    "reconnects": ("cause", "times that the stream was opened again, by cause"),
    "withheld": ("", "tweets that Twitter says it withheld: a lower bound"),
}
"""Counters of the account: name, label, meaning."""
KNOWN_LABELS = {
    "received": ("tweet", *KINDS, "unknown", "unreadable", "gap"),
    "dropped": (
        "duplicate", "deleted", "other_rules", "not_json", "too_long", "spool_full", "memory_full", "spool_damaged",
        "spool_lost", "refused_by_kafka", "unsaved", "not_written",
    ),
}  # fmt: skip
"""Told from the start, at 0: a count that begins with its first event has no increase for Prometheus."""
GAUGES = {
    "gap_seconds": "time without a stream, all gaps that are over",
    "waiting_messages": "messages that Kafka has not acknowledged, in memory and on disk",
    "spool_messages": "messages in the spool",
    "spool_bytes": "size of the messages in the spool",
    "spool_max_bytes": "size up to which messages are spooled",
    "ack_lag_seconds": "age of the oldest message that Kafka has not acknowledged",
    "stall_percent_full": "how full Twitter's queue for us is, by its last stall warning",
    "seconds_since_last_byte": "time since anything came, keep-alives included",
    "seconds_since_last_tweet": "time since a tweet came",
    "rules": "rules asked for",
    "rules_left_out": "rules that Twitter would refuse, or that are too many",
}
LATENCY_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
ID_DIGITS = 20
"""An id has 64 bits at most."""


class Latency:
    """From a tweet's creation to Kafka's acknowledgement. A tweet's id holds its time in milliseconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENCY_BUCKETS_SECONDS) + 1)
        self._sum_seconds = 0.0

    def observe(self, id_strs: Iterable[bytes], now: float) -> None:
        """``now`` in seconds since 1970. Ids from before snowflakes, and what is no id, say nothing."""
        for id_str in id_strs:
            if id_str.isdigit() and len(id_str) <= ID_DIGITS and (created_ms := posted_ms(int(id_str))):
                seconds = max(0.0, now - created_ms / 1000)
                self._counts[bisect_left(LATENCY_BUCKETS_SECONDS, seconds)] += 1
                self._sum_seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        total, found = 0, []
        for bound, count in zip([*map(str, LATENCY_BUCKETS_SECONDS), "+Inf"], self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found

    def sum_seconds(self) -> float:
        return self._sum_seconds


class TraptorCollector(Collector):
    """Reads everything when it is asked; nothing is kept twice.

    ``counts`` gives the account's counts, ``gauges`` the values of GAUGES by name, ``state`` the state.
    """

    def __init__(
        self,
        labels: dict[str, str],
        counts: Callable[[], dict[str, int]],
        gauges: Callable[[], dict[str, float]],
        state: Callable[[], State],
        latency: Latency,
    ) -> None:
        self._labels = labels
        self._counts = counts
        self._gauges = gauges
        self._state = state
        self._latency = latency

    def collect(self) -> Iterator[Metric]:
        names, values = list(self._labels), list(self._labels.values())
        counts = self._counts()
        for name, (label, meaning) in COUNTERS.items():
            family = CounterMetricFamily(f"traptor_{name}", meaning, labels=[*names, *([label] if label else [])])
            for labelled, count in self._labelled(counts, name, bool(label)):
                family.add_metric([*values, *labelled], count)
            yield family
        gauges = self._gauges()
        for name, meaning in GAUGES.items():
            gauge = GaugeMetricFamily(f"traptor_{name}", meaning, labels=names)
            if name in gauges:
                gauge.add_metric(values, gauges[name])
            yield gauge
        states = GaugeMetricFamily("traptor_state", "1 for the state that holds", labels=[*names, "state"])
        now = self._state()
        for state in State:
            states.add_metric([*values, state.value], float(state is now))
        yield states
        latency = HistogramMetricFamily(
            "traptor_latency_seconds", "from a tweet's creation to Kafka's acknowledgement", labels=names
        )
        latency.add_metric(values, buckets=self._latency.buckets(), sum_value=self._latency.sum_seconds())
        yield latency

    @staticmethod
    def _labelled(counts: dict[str, int], name: str, has_label: bool) -> Iterator[tuple[list[str], int]]:
        if not has_label:
            yield [], counts.get(name, 0)
            return
        known = dict.fromkeys((f"{name}:{label}" for label in KNOWN_LABELS.get(name, ())), 0)
        for key, count in (known | counts).items():
            prefix, _, label = key.partition(":")
            if prefix == name:
                yield [label], count


Health = Callable[[], tuple[bool, str]]
"""Are we well, and in which state?"""

log = logging.getLogger(__name__)


def serve(address: str, port: int, collector: Collector, state: Callable[[], State]) -> Server:
    """Serve a Traptor's ``/metrics`` and ``/healthz`` in the background until ``shutdown``. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(collector)

    def health() -> tuple[bool, str]:
        now = state()
        return now in HEALTHY, now.value

    return serve_registry(address, port, registry, health)


def serve_registry(address: str, port: int, registry: CollectorRegistry, health: Health) -> Server:
    """As ``serve``, for any metrics. Warns where others than this machine can read them."""

    def answer(asked: Asked) -> Answer:
        if asked.path == "/metrics":
            return Answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
        if asked.path == "/healthz":
            is_well, text = health()
            return Answer(200 if is_well else 503, "text/plain", f"{text}\n".encode())
        return Answer(404, "text/plain", b"there are /metrics and /healthz\n")

    server = Server(address, port, answer).in_background("traptor-metrics")
    if not is_loopback(address):
        log.warning(
            "metrics are open, without a login, to whoever reaches this address: a firewall may be wanted",
            extra={"address": address, "port": server.server_port},
        )
    return server


def serve_vitals(wanted: Settings, vitals: Vitals, latency: Latency) -> Server | None:
    """Serve one Traptor's, where METRICS_PORT asks for it. Raises SettingError where the port cannot be used."""
    address, port = wanted.METRICS_ADDRESS, wanted.METRICS_PORT
    if not port:
        return None
    labels = {"type": wanted.TRAPTOR_TYPE, "id": str(wanted.TRAPTOR_ID)}
    try:
        return serve(
            address, port, TraptorCollector(labels, vitals.counts, vitals.gauges, vitals.state, latency), vitals.state
        )
    except OSError as error:
        raise SettingError(f"METRICS_PORT: {address}:{port} cannot be used: {error.strerror}") from None
