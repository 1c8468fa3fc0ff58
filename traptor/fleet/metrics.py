"""What a loader of rules tells Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from traptor.fleet.following import Follower


class LoaderCollector(Collector):
    """Reads everything when it is asked."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def collect(self) -> Iterator[Metric]:
        follower = self._follower
        gauges = {
            "load_timestamp_seconds": ("when rules were last loaded, since 1970; 0 is never", follower.loaded_at),
            "load_pause_seconds": ("time between two loads", follower.pause_seconds),
            "refused": ("rules of the source that cannot be loaded", float(follower.refused)),
        }
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(f"traptor_rules_{name}", meaning, value=value)
        yield CounterMetricFamily("traptor_rules_load_failures", "loads that failed", value=follower.failures)
        rules = GaugeMetricFamily("traptor_rules_loaded", "rules that the source has", labels=["type"])
        for traptor_type, count in follower.rules.items():
            rules.add_metric([traptor_type], count)
        yield rules
