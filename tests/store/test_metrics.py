import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from tests.store.samples import messages, tweet
from tests.store.test_loop import Reader
from traptor.store.loop import Store
from traptor.store.metrics import COUNTERS, StoreCollector
from traptor.store.sqlite import SQLite


def test_the_account_is_told_to_prometheus(tmp_path: Path) -> None:
    store = Store(Reader(messages(tweet(1), tweet(1), b"no JSON")), SQLite(tmp_path / "tweets.db"), threading.Event())
    store.run()
    registry = CollectorRegistry()
    registry.register(StoreCollector(store))
    told = generate_latest(registry).decode().splitlines()
    values = dict(line.removeprefix("traptor_store_").rsplit(" ", 1) for line in told if not line.startswith("#"))
    assert {name: float(values[f"{name}_total"]) for name in COUNTERS} == {
        "read": 3, "stored": 1, "merged": 1, "deleted": 0, "apart": 1, "notices": 0, "again": 0, "erased": 0,
    }  # fmt: skip
    assert (values['state{state="stopping"}'], values['state{state="streaming"}']) == ("1.0", "0.0")


def test_a_batch_that_is_written_while_they_are_told_is_in_none_of_them(tmp_path: Path) -> None:
    first, second = messages(tweet(1), tweet(2))
    store = Store(Reader([first], [second]), SQLite(tmp_path / "tweets.db"), threading.Event())
    store.step()
    told = StoreCollector(store).collect()
    values = [next(told).samples[0].value]
    store.step()
    values.append(next(told).samples[0].value)
    store.run()
    assert values == [1, 1]
    assert store.counts["stored"] == 2
