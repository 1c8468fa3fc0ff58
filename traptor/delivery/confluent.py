"""librdkafka in the place of kafka-python: a producer with the same methods, options and errors.

``pip install confluent-kafka`` brings it, and KAFKA_CLIENT=confluent chooses it.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import KafkaException
from confluent_kafka import Producer as Client
from kafka import errors

from traptor.delivery import reasons
from traptor.delivery.broker import TOPIC_SECONDS
from traptor.settings import SettingError

BASE = {
    "enable.idempotence": True,
    "queue.buffering.max.messages": 0,  # no limit: how much is on its way is counted in bytes
    "log_level": 2,  # what goes wrong comes with the answers
}
COUNTERPARTS = {
    "max_request_size": "message.max.bytes",
    "receive_buffer_bytes": "socket.receive.buffer.bytes",
    "request_timeout_ms": "socket.timeout.ms",
    "sasl_plain_password": "sasl.password",
    "sasl_plain_username": "sasl.username",
    "send_buffer_bytes": "socket.send.buffer.bytes",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_check_hostname": "ssl.endpoint.identification.algorithm",
    "ssl_ciphers": "ssl.cipher.suites",
    "ssl_crlfile": "ssl.crl.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
}
"""librdkafka's names for kafka-python's options, other than a dot for each underscore."""
WITHOUT_COUNTERPART = {
    "allow_auto_create_topics",
    "api_version",
    "key_serializer",
    "max_block_ms",
    "metric_reporters",
    "metrics_enabled",
    "metrics_num_samples",
    "metrics_sample_window_ms",
    "partitioner",
    "proxy_url",
    "sasl_kerberos_domain_name",
    "sasl_kerberos_name",
    "sasl_oauth_token_provider",
    "selector",
    "socket_options",
    "socks5_proxy",
    "ssl_context",
    "transaction_timeout_ms",
    "transactional_id",
    "value_serializer",
}
MOST_RETRIES = 2**31 - 1
LISTENING_SECONDS = 0.5
"""librdkafka piles up what it has to tell until it is asked: so often at least."""
CLOSING_SECONDS = 0.5
"""What librdkafka may take to give back what it has not delivered."""
_OURS = "bootstrap_timeout_ms"
_ERRORS = {
    LibraryError._AUTHENTICATION: errors.SaslAuthenticationFailedError,
    LibraryError._MSG_TIMED_OUT: errors.KafkaTimeoutError,
    LibraryError._TIMED_OUT: errors.KafkaTimeoutError,
    LibraryError._ALL_BROKERS_DOWN: errors.KafkaConnectionError,
    LibraryError._RESOLVE: errors.KafkaConnectionError,
    LibraryError._SSL: errors.KafkaConnectionError,
    LibraryError._TRANSPORT: errors.KafkaConnectionError,
}
"""Of librdkafka's own errors, which are negative; a broker's have the same code everywhere."""

log = logging.getLogger(__name__)


class Answer:
    """What becomes of a message, like a future of kafka-python's. librdkafka tells it only while it is asked."""

    __slots__ = ("_client", "_is_done", "exception")

    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_done = False
        self.exception: errors.KafkaError | None = None

    @property
    def is_done(self) -> bool:
        if not self._is_done:
            self._client.poll(0)
        return self._is_done

    def failed(self) -> bool:
        return self.exception is not None

    def get(self, timeout: float) -> None:
        """Wait for it so many seconds. Raises the KafkaError that it is, or KafkaTimeoutError."""
        deadline = time.monotonic() + timeout
        while not self.is_done:
            if (left := deadline - time.monotonic()) <= 0:
                raise errors.KafkaTimeoutError(f"no answer for {timeout:g} s")
            self._client.poll(min(left, LISTENING_SECONDS))
        if self.exception is not None:
            raise self.exception

    def told(self, error: LibraryError | None, _message: object) -> None:
        """librdkafka calls this."""
        self.exception = None if error is None else translated(error)
        self._is_done = True


class Producer:
    """The methods of kafka-python's that Traptor uses."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._closed = threading.Event()
        threading.Thread(target=self._listen, name="traptor-librdkafka", daemon=True).start()

    def _listen(self) -> None:
        while not self._closed.wait(LISTENING_SECONDS):
            self._client.poll(0)

    def send(self, topic: str, value: bytes, key: bytes | None = None) -> Answer:
        """Raises KafkaError for a message that librdkafka does not take."""
        answer = Answer(self._client)
        try:
            self._client.produce(topic, value, key, on_delivery=answer.told)
        except KafkaException as error:
            raise translated(error.args[0]) from None
        except BufferError as error:
            raise errors.KafkaTimeoutError(str(error)) from None
        return answer

    def partitions_for(self, topic: str) -> set[int]:
        """Raises KafkaError where there is no such topic."""
        try:
            told = self._client.list_topics(topic, TOPIC_SECONDS).topics[topic]
        except KafkaException as error:
            raise translated(error.args[0]) from None
        if told.error:
            raise translated(told.error)
        return set(told.partitions)

    def close(self, timeout: float) -> None:
        """Deliver nothing more: what has no answer fails now."""
        self._closed.set()
        self._client.purge()
        self._client.flush(max(timeout, CLOSING_SECONDS))


def connect(hosts: str, topic: str, options: Mapping[str, Any]) -> Producer:
    """A producer, once a broker has told of the topic. Raises KafkaError, or SettingError for options."""
    wanted = {"bootstrap.servers": hosts, **BASE, **properties(options), "logger": log}
    wanted["error_cb"] = _hear
    _look_for(topic, wanted, _timeout_seconds(options))
    return Producer(_client(wanted))


def properties(options: Mapping[str, Any]) -> dict[str, Any]:
    """kafka-python's options in librdkafka's terms, less those that it has not."""
    return {
        COUNTERPARTS.get(name, name.replace("_", ".")): _value(name, value)
        for name, value in options.items()
        if name not in WITHOUT_COUNTERPART | {_OURS}
    }


def translated(error: LibraryError) -> errors.KafkaError:
    """librdkafka's error as kafka-python's."""
    code = error.code()
    kind = errors.for_code(code) if code >= LibraryError.UNKNOWN else _ERRORS.get(code, errors.KafkaError)
    made: errors.KafkaError = kind(error.str())
    return made


def _value(name: str, value: Any) -> Any:
    if name == "ssl_check_hostname":
        return "https" if value else "none"
    if name == "retries":
        return min(value, MOST_RETRIES)
    return value


def _timeout_seconds(options: Mapping[str, Any]) -> float:
    try:
        return max(0.0, float(options[_OURS]) / 1000)
    except (TypeError, ValueError):
        raise SettingError(f"KAFKA_OPTIONS: {_OURS} is not a number") from None


def _client(wanted: dict[str, Any]) -> Client:
    try:
        return Client(wanted)
    except KafkaException as error:
        reason = error.args[0].str().strip()
        raise SettingError(f"KAFKA_OPTIONS: librdkafka makes no producer with them: {reason}") from None


def _look_for(topic: str, wanted: dict[str, Any], timeout_seconds: float) -> None:
    """By a client of its own, so that one that lasts is made only where there is a broker.

    Raises KafkaError when there is no broker, or no such topic.
    """
    scout = _client(wanted)
    try:
        _wait_for_topic(scout, topic, timeout_seconds)
    except KafkaException as error:
        scout.poll(0)
        raise translated(error.args[0]) from None


def _wait_for_topic(scout: Client, topic: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + TOPIC_SECONDS
    while error := scout.list_topics(topic, timeout_seconds).topics[topic].error:
        if time.monotonic() > deadline:
            raise KafkaException(error)
        scout.poll(0.1)


def _hear(error: LibraryError) -> None:
    """librdkafka tells each client why a connection failed, and then that there is none."""
    if error.code() != LibraryError._ALL_BROKERS_DOWN:
        reasons.hear(error.str())
