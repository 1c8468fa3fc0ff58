"""The servers that the other tests lean on do what those tests expect of them."""

from pathlib import Path

import pytest
import redis
from kafka import KafkaProducer

from tests import servers
from tests.servers import Broker, KafkaBroker, RedisServer


def produce(broker: Broker, topic: str, *ids: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.hosts)
    for future in [producer.send(topic, key=id_str, value=b"tweet " + id_str) for id_str in ids]:
        future.get(timeout=10)
    producer.close()


def test_redis_starts_each_test_empty(redis_db: redis.Redis) -> None:
    assert redis_db.dbsize() == 0
    redis_db.set("left", "behind")


def test_redis_is_flushed_between_tests(redis_db: redis.Redis) -> None:
    assert redis_db.get("left") is None


def test_redis_comes_back_empty_on_its_port(redis_server: RedisServer, redis_db: redis.Redis) -> None:
    redis_db.set("rule", "cat")
    redis_server.stop()
    assert not redis_server.answers()
    redis_server.start()
    assert redis_db.keys() == []


def test_a_frozen_redis_answers_when_thawed(redis_server: RedisServer) -> None:
    redis_server.freeze()
    assert not redis_server.answers()
    redis_server.thaw()
    assert redis_server.answers()


def test_what_is_produced_is_consumed_in_order(kafka_broker: KafkaBroker, topic: str) -> None:
    produce(kafka_broker, topic, b"1", b"2", b"3")
    assert kafka_broker.consume(topic, 3) == [(b"1", b"tweet 1"), (b"2", b"tweet 2"), (b"3", b"tweet 3")]


def test_a_new_topic_is_empty(kafka_broker: KafkaBroker, topic: str) -> None:
    assert kafka_broker.consume(topic, 0) == []


@pytest.mark.heavy
def test_a_broker_comes_back_on_its_port(kafka_broker: KafkaBroker, topic: str) -> None:
    produce(kafka_broker, topic, b"1")
    kafka_broker.stop()
    assert not kafka_broker.answers()
    kafka_broker.start()
    kafka_broker.create_topic(topic)
    produce(kafka_broker, topic, b"2")
    kept = [b"1"] if kafka_broker.kind == "kafka" else []
    assert [key for key, _ in kafka_broker.consume(topic, len(kept) + 1)] == [*kept, b"2"]


def test_a_frozen_broker_answers_when_thawed(kafka_broker: KafkaBroker) -> None:
    kafka_broker.freeze()
    assert not kafka_broker.answers()
    kafka_broker.thaw()
    assert kafka_broker.answers()


def test_no_other_broker_stands_in_for_apache_kafka_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAPTOR_TEST_KAFKA", "apache")
    monkeypatch.setattr(servers.apache_kafka, "at_hand", lambda: False)
    with pytest.raises(servers.ServerMissing):
        servers.kafka(tmp_path)
