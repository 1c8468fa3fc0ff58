"""What a store tells Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from traptor.account.state import State
from traptor.store.loop import Store

COUNTERS = {
    "read": "messages read",
    "stored": "tweets stored",
    "merged": "tweets that were there, with the matches of one more Traptor",
    "deleted": "messages not stored because their tweet was deleted",
    "apart": "messages set apart because they cannot be stored",
    "notices": "notices and gap records",
    "again": "messages that were stored before",
    "erased": "stored tweets taken out because they were deleted",
}
"""At every moment: read = stored + merged + deleted + apart + notices + again."""


class StoreCollector(Collector):
    """Reads everything when it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        store, counts = self._store, self._store.counts
        for name, meaning in COUNTERS.items():
            yield CounterMetricFamily(f"traptor_store_{name}", meaning, value=counts[name])
        yield GaugeMetricFamily("traptor_store_behind", "messages that wait in Kafka", value=store.behind)
        yield GaugeMetricFamily(
            "traptor_store_seconds_since_last_message",
            "time since a message came",
            value=store.seconds_since_last_message(),
        )
        states = GaugeMetricFamily("traptor_store_state", "1 for the state that holds", labels=["state"])
        for state in State:
            states.add_metric([state.value], float(state is store.state))
        yield states
