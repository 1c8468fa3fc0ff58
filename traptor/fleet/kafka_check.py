"""Is there a Kafka that takes what a Traptor sends?"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, TopicAlreadyExistsError

from traptor import kafka_options
from traptor.delivery import producers, reasons
from traptor.fleet.finding import Finding, error, ok, warning
from traptor.settings import SettingError, Settings

SMALL_MESSAGE_BYTES = 256 * 1024
"""The largest tweets seen with their rules stay well below."""
TIMEOUT_SECONDS = 5.0


def examine(wanted: Settings, probe_topic: str | None) -> Iterator[Finding]:
    """Reachable, the topics there or creatable, and large enough messages; with a probe topic, one message sent."""
    if not wanted.KAFKA_ENABLED:
        yield ok("kafka", "switched off by KAFKA_ENABLED")
        return
    options = wanted.KAFKA_OPTIONS or {}
    try:
        producers.check(options, wanted.KAFKA_CLIENT)
    except SettingError as wrong:
        yield error("kafka", str(wrong), "or set KAFKA_CLIENT to kafka-python")
        return
    for risk in kafka_options.risks(options):
        yield warning("kafka", risk, "see KAFKA_OPTIONS")
    common = {"bootstrap_timeout_ms": 5_000, **kafka_options.shared(options, KafkaAdminClient.DEFAULT_CONFIG)}
    hosts = wanted.KAFKA_HOSTS.split(",")
    try:
        with reasons.told():
            admin = KafkaAdminClient(bootstrap_servers=hosts, **common)
    except KafkaError as failed:
        text = f"cannot be used at {wanted.KAFKA_HOSTS}: {failed}"
        yield error("kafka", text, "see to the broker, KAFKA_HOSTS and KAFKA_OPTIONS")
        return
    try:
        yield ok("kafka", f"answers at {wanted.KAFKA_HOSTS}")
        for topic in filter(None, (wanted.KAFKA_TOPIC, wanted.KAFKA_NOTICES_TOPIC)):
            with reasons.told():
                findings = list(_topic(admin, topic))
            yield from findings
    except (KafkaConnectionError, KafkaTimeoutError) as failed:
        text = f"a broker of {wanted.KAFKA_HOSTS} cannot be reached: {failed}"
        yield error("kafka", text, "see to what the brokers advertise")
        return
    except KafkaError as failed:
        yield warning("kafka", f"does not say how it is set up: {failed!r}", "give its user DESCRIBE")
    finally:
        admin.close()
    wide = {**producers.PRODUCER, "max_block_ms": 5_000, **kafka_options.revealed(options)}
    with reasons.told(), contextlib.closing(KafkaProducer(bootstrap_servers=hosts, **wide)) as producer:
        if probe_topic:
            yield _probe(producer, probe_topic)


def _topic(admin: Any, topic: str) -> Iterator[Finding]:
    if topic not in admin.list_topics():
        try:
            admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=-1)], validate_only=True)
            yield warning("kafka", f"topic {topic} is not there, and can be made", "make it, with partitions to taste")
        except TopicAlreadyExistsError:
            yield ok("kafka", f"topic {topic} is there")
        except KafkaError as failed:
            yield error("kafka", f"topic {topic} is not there and cannot be made: {failed!r}", "have it made")
        return
    yield ok("kafka", f"topic {topic} is there")
    largest_bytes = _largest_message_bytes(admin, topic)
    if largest_bytes and largest_bytes < SMALL_MESSAGE_BYTES:
        yield warning("kafka", f"topic {topic} takes {largest_bytes} bytes at most", "raise its max.message.bytes")


def _largest_message_bytes(admin: Any, topic: str) -> int:
    """The topic's max.message.bytes; 0 where the broker does not say."""
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    setting = found.get("topic", {}).get(topic, {}).get("max.message.bytes", {})
    return int(setting.get("value") or 0)


def _probe(producer: Any, topic: str) -> Finding:
    try:
        started = time.perf_counter()
        producer.send(topic, b"traptor doctor").get(timeout=TIMEOUT_SECONDS)
    except (KafkaError, *producers.NEVER_TAKEN) as failed:
        return error("kafka", f"did not take a message for {topic}: {failed!r}", "see the broker's log, or its ACLs")
    return ok("kafka", f"took a message for {topic} in {(time.perf_counter() - started) * 1000:.0f} ms")
