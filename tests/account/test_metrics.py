"""/metrics and /healthz over HTTP, as Prometheus reads them."""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from traptor.account import metrics
from traptor.account.metrics import (
    COUNTERS,
    GAUGES,
    KNOWN_LABELS,
    LATENCY_BUCKETS_SECONDS,
    Latency,
    TraptorCollector,
    serve,
)
from traptor.account.state import HEALTHY, State
from traptor.account.web_server import Server
from traptor.tweets.snowflakes import EPOCH_MS

LABELS = {"type": "track", "id": "0"}
NOW_MS = 1_456_104_893_000


class Told:
    """What a Traptor would tell."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self.state = State.STREAMING
        self.latency = Latency()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def get(told: Told) -> Iterator[Callable[[str], requests.Response]]:
    collector = TraptorCollector(LABELS, lambda: told.counts, lambda: told.gauges, lambda: told.state, told.latency)
    server = serve("127.0.0.1", 0, collector, lambda: told.state)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    yield lambda path: requests.get(url + path, timeout=60)
    server.shutdown()
    server.server_close()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and labels besides type and id."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["type"] == "track"
            assert sample.labels["id"] == "0"
            others = [value for name, value in sample.labels.items() if name not in LABELS]
            found[(sample.name, *others)] = sample.value
    return found


def test_every_count_stands_there_by_its_label(get: Any, told: Told) -> None:
    told.counts.update({"received:tweet": 5, "received:limit": 1, "delivered": 4, "dropped:spool_full": 2})
    found = samples(get("/metrics").text)
    assert found["traptor_received_total", "tweet"] == 5
    assert found["traptor_received_total", "limit"] == 1
    assert found["traptor_dropped_total", "spool_full"] == 2
    assert found["traptor_delivered_total",] == 4
    assert found["traptor_withheld_total",] == 0


def test_what_has_not_happened_is_told_as_0(get: Any, told: Told) -> None:
    """For Prometheus, a count that begins at 5 has not increased."""
    found = samples(get("/metrics").text)
    assert {found["traptor_dropped_total", reason] for reason in KNOWN_LABELS["dropped"]} == {0}
    assert found["traptor_received_total", "tweet"] == 0


def test_the_list_is_closed_and_explained(get: Any) -> None:
    names = {family.name: family for family in text_string_to_metric_families(get("/metrics").text)}
    expected = {f"traptor_{name}" for name in [*COUNTERS, *GAUGES, "state", "latency_seconds"]}
    assert names.keys() == expected
    assert all(family.documentation for family in names.values())


def test_a_gauge_is_there_when_there_is_a_value(get: Any, told: Told) -> None:
    told.gauges = {"waiting_messages": 3, "seconds_since_last_byte": 0.5}
    found = samples(get("/metrics").text)
    assert [found.get((f"traptor_{name}",)) for name in GAUGES] == [told.gauges.get(name) for name in GAUGES]


@pytest.mark.parametrize("state", list(State))
def test_one_state_holds(get: Any, told: Told, state: State) -> None:
    told.state = state
    found = samples(get("/metrics").text)
    assert {other: found["traptor_state", other.value] for other in State} == {other: other is state for other in State}
    health = get("/healthz")
    assert (health.status_code, health.text) == (200 if state in HEALTHY else 503, f"{state}\n")


def test_load_balancers_may_ask_in_their_own_way(get: Any) -> None:
    url = get("/healthz").url
    assert get("/healthz?from=balancer").status_code == 200
    answer = requests.head(url, timeout=60)
    assert (answer.status_code, answer.text, answer.headers["Content-Length"]) == (200, "", "10")
    assert answer.headers["Server"] == "traptor"  # without versions


def test_there_is_nothing_else(get: Any) -> None:
    assert get("/").status_code == 404


def id_of(seconds_ago: float) -> bytes:
    return str(int(NOW_MS - seconds_ago * 1000 - EPOCH_MS) << 22).encode()


@pytest.mark.parametrize(
    "id_str,first_bucket",
    [(id_of(0), 0.05), (id_of(0.2), 0.25), (id_of(100), 300.0), (id_of(1e6), None), (id_of(-5), 0.05)],
)
def test_a_latency_falls_into_its_bucket(get: Any, told: Told, id_str: bytes, first_bucket: float | None) -> None:
    told.latency.observe([id_str], NOW_MS / 1000)
    found = samples(get("/metrics").text)
    for bound in LATENCY_BUCKETS_SECONDS:
        expected = first_bucket is not None and bound >= first_bucket
        assert found["traptor_latency_seconds_bucket", str(bound)] == expected
    assert found["traptor_latency_seconds_bucket", "+Inf"] == found["traptor_latency_seconds_count",] == 1


def test_latencies_are_summed(get: Any, told: Told) -> None:
    told.latency.observe([id_of(2), id_of(3), id_of(-5)], NOW_MS / 1000)
    assert samples(get("/metrics").text)["traptor_latency_seconds_sum",] == pytest.approx(5)


@pytest.mark.parametrize("id_str", [b"", b"20", b"x", b"-5", "٣".encode(), b"9" * 4000])
def test_an_id_without_a_time_says_nothing(id_str: bytes) -> None:
    latency = Latency()
    latency.observe([id_str], time.time())
    assert dict(latency.buckets())["+Inf"] == 0


@pytest.fixture
def port(told: Told) -> Iterator[int]:
    collector = TraptorCollector(LABELS, lambda: told.counts, lambda: told.gauges, lambda: told.state, told.latency)
    server = serve("127.0.0.1", 0, collector, lambda: told.state)
    yield server.server_port
    server.shutdown()
    server.server_close()


def healthz(port: int) -> int:
    return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=60).status_code


def clients() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_idle_clients_take_no_more_than_a_few_threads_and_nobodys_turn(port: int) -> None:
    with contextlib.ExitStack() as idle:
        for number in range(200):
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            if number % 50 == 0:
                assert healthz(port) == 200
        assert healthz(port) == 200
        wait_until(lambda: clients() <= Server.most_clients)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\n", b"GET /heal"])
def test_a_client_that_takes_too_long_is_shown_out(port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(Server, "client_seconds", 0.1)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
        slow.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1) == b""
    wait_until(lambda: clients() == 0)


def test_a_client_that_trickles_is_shown_out(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "client_seconds", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        wait_until(lambda: not sends(slow))


def sends(line: socket.socket) -> bool:
    """Does the other end still listen?"""
    try:
        line.sendall(b"1")
    except OSError:
        return False
    return True


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_nobody_is_told_of_a_client_that_does_not_wait(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hasty.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert healthz(port) == 200
    wait_until(lambda: clients() == 0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("address,is_told", [("127.0.0.1", False), ("0.0.0.0", True), ("localhost", False)])
def test_what_is_open_to_others_is_told(address: str, is_told: bool, caplog: pytest.LogCaptureFixture) -> None:
    server = metrics.serve_registry(address, 0, CollectorRegistry(), lambda: (True, "well"))
    server.shutdown()
    server.server_close()
    assert ("metrics are open" in caplog.text) is is_told
