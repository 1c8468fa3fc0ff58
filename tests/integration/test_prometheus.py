"""A Prometheus that scrapes a running Traptor and what rebalances, under the rules that we ship."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.conftest import missing
from tests.integration.daemon import Daemon, to_stdout
from tests.integration.prometheus import PrometheusServer
from tests.servers import RedisServer, ServerMissing, free_port, wait_until
from traptor.rules import stored
from traptor.simulator import Simulator


@pytest.fixture
def prometheus(tmp_path: Path, redis_server: RedisServer, redis_db: redis.Redis) -> Iterator[PrometheusServer]:
    stored.write(redis_db, "track", 0, [{"rule_id": "1", "value": "storm", "tag": "weather"}])
    ports = {"traptor": free_port(), "traptor-rebalance": free_port()}
    watching = Daemon(tmp_path, REDIS_URL=redis_server.url)
    watching.command[3:] = ["rules", "rebalance", "--watch", "--metrics-port", str(ports["traptor-rebalance"])]
    try:
        with (
            Simulator(rate=50) as twitter,
            to_stdout(tmp_path, redis_server, twitter.url, METRICS_PORT=ports["traptor"]),
            watching,
            PrometheusServer(tmp_path, ports) as server,
        ):
            yield server
    except ServerMissing as error:
        missing(error)


def test_it_scrapes_both_without_a_warning(prometheus: PrometheusServer) -> None:
    wanted = {("traptor", "up"), ("traptor-rebalance", "up")}
    wait_until(lambda: health(prometheus) == wanted, "both scraped")
    wait_until(lambda: value(prometheus, 'rate(traptor_received_total{kind="tweet"}[10s])') > 0, "a rate of tweets")
    wait_until(lambda: value(prometheus, 'traptor_state{state="streaming"}') == 1, "a streaming Traptor")
    wait_until(lambda: value(prometheus, "time() - traptor_rebalance_look_timestamp_seconds") < 30, "a look")
    wait_until(lambda: {rule["health"] for rule in rules(prometheus)} == {"ok"}, "every rule evaluated")
    wait_until(lambda: {rule["state"] for rule in rules(prometheus)} == {"inactive"}, "no alert any more")
    assert prometheus.log.read_text() == ""


def health(prometheus: PrometheusServer) -> set[tuple[str, str]]:
    return {(target["labels"]["job"], target["health"]) for target in prometheus.ask("targets")["activeTargets"]}


def rules(prometheus: PrometheusServer) -> list[dict[str, str]]:
    [group] = prometheus.ask("rules")["groups"]
    return list(group["rules"])


def value(prometheus: PrometheusServer, query: str) -> float:
    """The only value that this query finds; where it finds none yet, one that is neither more nor less than any."""
    found = prometheus.ask("query", query=query)["result"]
    return float(found[0]["value"][1]) if found else float("nan")
