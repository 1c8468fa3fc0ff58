"""Producers: made from the settings, by either client, and what they answer that is for good."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.net.compat import KafkaNetClient

from traptor import kafka_options
from traptor.delivery import broker, reasons
from traptor.delivery.partitioner import KeyPartitioner
from traptor.settings import KAFKA_PYTHON, SettingError

log = logging.getLogger(__name__)

PRODUCER = {
    "partitioner": KeyPartitioner(),
    # Waits and batches as measured for load and for quiet: see bench/.
    "linger_ms": 15,
    "batch_size": 896 * 1024,
    "max_request_size": 2 * 1024 * 1024,
    "acks": "all",
    "bootstrap_timeout_ms": 5_000,
    # The main loop sends: a topic that is gone may cost it no more.
    "max_block_ms": 100,
    # A link of 80 KB/s carries the largest request within it. Before it gives up, a producer tries the same one again,
    # which the broker then knows: so nothing comes twice.
    "request_timeout_ms": 30_000,
    "delivery_timeout_ms": 600_000,
    "reconnect_backoff_max_ms": 2_000,
    "metrics_enabled": False,
}

NEVER_TAKEN = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidRecordError,
    InvalidTimestampError,
    ValueError,
    TypeError,
)
"""What is wrong with the message itself, not with Kafka."""

CAUTIOUS = {"enable_idempotence": False, "batch_size": 1, "linger_ms": 0}
"""For a producer that answers for each message by itself, whatever the user's options say.

An idempotent one of kafka-python refuses everything, for the same reason, from the first message on that a broker
refuses; and of a batch it does not say which message is to blame.
"""


def is_refusal(error: BaseException) -> bool:
    """Is a message to blame, or another of its batch? Of that both clients tell by an error without a name."""
    return isinstance(error, NEVER_TAKEN) or type(error) is KafkaError


_is_cautious = ContextVar("_is_cautious", default=False)


def cautiously(make: Callable[[], Any]) -> Any:
    """What this makes, where a producer that it connects is a CAUTIOUS one."""
    token = _is_cautious.set(True)
    try:
        return make()
    finally:
        _is_cautious.reset(token)


def connect(hosts: str, topic: str, options: dict[str, Any], *, client: str = KAFKA_PYTHON) -> Any:
    """A producer that knows the topic, with Traptor's waits and batches and the user's options on top.

    Raises KafkaError where the broker does not answer or does not have a topic; SettingError where the client is not
    there or makes no producer with such options, which kafka-python finds out when a broker has answered.
    """
    wanted = {**PRODUCER, **kafka_options.revealed(options), **(CAUTIOUS if _is_cautious.get() else {})}
    with reasons.told():
        if client == KAFKA_PYTHON:
            return _connect_kafka_python(hosts, topic, wanted)
        return _confluent().connect(hosts, topic, wanted)


def _connect_kafka_python(hosts: str, topic: str, options: dict[str, Any]) -> KafkaProducer:
    if find_spec("crc32c") is None:
        log.warning(
            "crc32c is missing: each tweet costs several times the CPU time; pip install 'kafka-python[crc32c]' helps"
        )
    clients: list[KafkaNetClient] = []

    def make_client(**arguments: Any) -> KafkaNetClient:
        clients.append(KafkaNetClient(**arguments))
        return clients[-1]

    try:
        producer = KafkaProducer(bootstrap_servers=hosts.split(","), kafka_client=make_client, **options)
    except BaseException as error:
        # kafka-python does not close its own where no broker answers.
        for client in clients:
            client.close()
        if isinstance(error, KafkaConfigurationError | ValueError | TypeError | RuntimeError):
            raise SettingError(f"KAFKA_OPTIONS: kafka-python makes no producer with them: {error}") from error
        raise
    try:
        broker.partitions(producer, topic)
    except BaseException:
        broker.close(producer, 0.0)
        raise
    return producer


def _confluent() -> ModuleType:
    """Raises SettingError where it is not installed."""
    if find_spec("confluent_kafka") is None:
        raise SettingError("KAFKA_CLIENT: confluent is not installed; pip install confluent-kafka brings it")
    from traptor.delivery import confluent

    return confluent


def check(options: dict[str, Any], client: str) -> None:
    """Raises SettingError where this client is not there, or has nothing for one of the options."""
    if client != KAFKA_PYTHON and (unknown := sorted(options.keys() & _confluent().WITHOUT_COUNTERPART)):
        raise SettingError(f"KAFKA_OPTIONS: {client} has nothing for {', '.join(unknown)}: take it out")
