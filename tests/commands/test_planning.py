"""The metrics of ``rules rebalance --watch``."""

import time
import urllib.request

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import HOST, free_port
from tests.test_monitoring import REBALANCE
from traptor.commands import planning
from traptor.fleet.rebalance import Balance


def test_each_look_is_counted() -> None:
    port = free_port()
    take_up = planning._metrics(HOST, port)
    with pytest.raises(click.ClickException, match=f"no metrics on {HOST}:{port}: .+in use"):
        planning._metrics(HOST, port)
    take_up(Balance({}, {"track": 3}, [], {}))
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = {(one.name, one.labels.get("type")): one.value for family in families for one in family.samples}
    assert {name for name, _ in samples} >= REBALANCE
    assert samples["traptor_orphan_rules", "track"] == 3
    assert samples["traptor_rebalance_look_timestamp_seconds", None] == pytest.approx(time.time(), abs=10)
    planning._metrics(HOST, None)(Balance({}, {}, [], {}))
