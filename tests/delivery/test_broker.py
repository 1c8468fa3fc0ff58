"""The producer: looked for until there is one, closed whatever its state, and a topic's partitions waited for."""

import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from kafka.errors import KafkaError, KafkaTimeoutError

from tests.servers import wait_until
from traptor.delivery import broker, producers
from traptor.delivery.broker import COUNT_SECONDS, TOPIC_SECONDS, Broker
from traptor.delivery.partitioner import KeyPartitioner
from traptor.settings import SettingError


class Producer:
    """Notes what is asked of it, and raises what it is told to."""

    def __init__(self, noted: list[str], *raises: Exception) -> None:
        self.noted = noted
        self.raises = list(raises)

    def partitions_for(self, topic: str) -> set[int]:
        self.noted.append("partitions")
        if self.raises:
            raise self.raises.pop(0)
        return {0, 1, 2}

    def close(self, timeout: float) -> None:
        self.noted.append(f"close in {timeout:g} s")


def test_a_producer_that_was_given_up_is_closed_before_there_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    monkeypatch.setattr(Broker, "_wait", lambda self: noted.append("wait"))

    def connect() -> Producer:
        noted.append("connect")
        return Producer(noted)

    looking = Broker("traptor", connect, connect)
    looking.producer = Producer(noted)
    looking.give_up(cautiously=False)
    wait_until(lambda: looking.producer is not None, "another producer")
    assert noted == ["close in 0 s", "wait", "connect", "partitions"]
    assert looking.partitions == 3


def test_a_producer_that_knows_no_topic_is_closed_and_another_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "RECONNECT_SECONDS", 0.0)
    noted: list[str] = []
    made = [Producer(noted, KafkaError("no topic")), Producer([])]
    looking = Broker("traptor", lambda: made.pop(0), Mock())
    looking.look()
    wait_until(lambda: looking.producer is not None, "a producer")
    assert noted == ["partitions", "close in 0 s"]


@pytest.mark.parametrize("end", [lambda looking: looking.stop_looking(), lambda looking: looking.close(1.0)])
def test_nobody_is_looked_for_any_more_at_the_end(end: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "RECONNECT_SECONDS", 1000.0)
    before, tried = threading.active_count(), threading.Event()

    def connect() -> Any:
        tried.set()
        raise KafkaError("nobody there")

    looking = Broker("traptor", connect, connect)
    looking.look()
    assert tried.wait(10)
    end(looking)
    wait_until(lambda: threading.active_count() <= before, "the end of the thread")


def test_between_two_tries_there_is_a_wait_and_each_reason_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After each the sockets that kafka-python leaves behind are swept up."""
    noted: list[object] = []
    errors = [KafkaError("gone"), KafkaError("gone"), ValueError("odd"), KafkaError("gone")]
    looking = Broker("traptor", Mock(side_effect=[*errors, Mock(spec=["close"])]), Mock())
    monkeypatch.setattr(looking._closing, "wait", noted.append)
    monkeypatch.setattr(broker.gc, "collect", lambda: noted.append("swept"))
    looking._connect_until_there()
    assert noted == [broker.RECONNECT_SECONDS, "swept"] * 4
    told = [(vars(record)["error"], record.exc_info is None) for record in caplog.records]
    assert told == [("KafkaError: gone", True), ("ValueError: odd", False)]


def test_options_that_make_no_producer_are_refused_but_not_once_there_was_one() -> None:
    wrong = SettingError("KAFKA_OPTIONS: odd")
    looking = Broker("traptor", Mock(side_effect=wrong), Mock())
    looking._connect_until_there()
    assert (looking.refusal, looking.producer) == (wrong, None)
    producer = Producer([])
    looking = Broker("traptor", Mock(side_effect=[producer, wrong, producer]), Mock())
    looking._closing = Mock(is_set=lambda: False)
    for _ in range(2):
        looking._connect_until_there()
    assert (looking.refusal, looking.producer, looking._closing.wait.call_count) == (None, producer, 1)


def test_a_producer_is_closed_with_its_broker_where_there_is_one() -> None:
    noted: list[str] = []
    looking = Broker("traptor", Mock(), Mock())
    looking.close(1.0)
    looking.producer = Producer(noted)
    looking.close(2.0)
    assert noted == ["close in 2 s"]


def test_the_partitions_that_a_producer_knew_that_was_given_up_do_not_count() -> None:
    looking = Broker("traptor", Mock(), Mock())
    looking.producer = Producer([])
    looking._count(Producer([]))
    assert looking.partitions == 1
    looking._count(looking.producer)
    assert looking.partitions == 3


@pytest.mark.parametrize("seconds, asked", [(TOPIC_SECONDS / 2, 3), (TOPIC_SECONDS + 1, 1)])
def test_a_topic_is_asked_for_until_its_time_is_over(
    seconds: float, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time takes so many seconds."""
    now = [100.0]
    monkeypatch.setattr(broker, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def partitions_for(topic: str) -> set[int]:
        now[0] += seconds
        raise KafkaTimeoutError("not known yet")

    producer = Mock(partitions_for=Mock(side_effect=partitions_for))
    with pytest.raises(KafkaTimeoutError):
        broker.partitions(producer, "traptor")
    assert producer.partitions_for.call_count == asked


def test_a_topic_that_is_told_of_late_is_known() -> None:
    assert broker.partitions(Producer([], KafkaTimeoutError(), KafkaTimeoutError()), "traptor") == 3


def test_a_producer_that_cannot_flush_is_closed_by_force() -> None:
    """Else its thread and its sockets stay."""
    producer = Mock(close=Mock(side_effect=KafkaTimeoutError("not flushed")))
    broker.close(producer, 0.0)
    producer._sender.force_close.assert_called_once_with()
    broker.close(Mock(close=Mock(side_effect=RuntimeError("odd"))), 0.0)


def test_partitions_are_counted_again_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    looking = Broker("traptor", Mock(), Mock())

    def thread(**_: Any) -> Any:
        asked.append(now)
        return Mock()

    monkeypatch.setattr(broker, "threading", SimpleNamespace(Thread=thread))
    for now in (0.0, 1.0, COUNT_SECONDS - 0.1, COUNT_SECONDS, COUNT_SECONDS + 1, 2 * COUNT_SECONDS):
        before = list(asked)
        looking.producer = None
        looking.count_again(now)
        assert asked == before
        looking.producer = Mock()
        looking.count_again(now)
    assert asked == [0.0, COUNT_SECONDS, 2 * COUNT_SECONDS]


# kafka-python's


def test_clients_without_a_producer_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Mock()
    monkeypatch.setattr(producers, "KafkaNetClient", lambda **options: client)

    def refused(kafka_client: Any, **options: Any) -> Any:
        kafka_client(**options)
        raise KafkaError("nobody there")

    monkeypatch.setattr(producers, "KafkaProducer", refused)
    with pytest.raises(KafkaError):
        producers.connect("localhost:9092", "traptor", {})
    client.close.assert_called_once_with()


def test_there_is_no_producer_before_the_topic_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    monkeypatch.setattr(producers, "KafkaProducer", lambda **options: Producer(noted, KafkaError("no such topic")))
    with pytest.raises(KafkaError, match="no such topic"):
        producers.connect("localhost:9092", "traptor", {})
    assert noted == ["partitions", "close in 0 s"]


@pytest.mark.parametrize("key, partition", [(b"1", 2), (b"701", 0), (b"2", 1), (None, 1)])
def test_a_key_has_its_partition_and_what_has_none_one_that_is_there(key: bytes | None, partition: int) -> None:
    cluster = Mock(
        topics=lambda: {"traptor"},
        partitions_for_topic=lambda topic: {0, 1, 2},
        available_partitions_for_topic=lambda topic: {1},
    )
    assert KeyPartitioner().partition("traptor", None, key, None, b"{}", cluster) == partition
