"""librdkafka's options and errors, in kafka-python's words."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError as LibraryError
from kafka import KafkaProducer, errors

from traptor.delivery import confluent, partitioner, producers
from traptor.settings import SettingError

NOBODY = "127.0.0.1:1"
EXAMPLES = {
    "acks": "all",
    "client_dns_lookup": "use_all_dns_ips",
    "client_id": "traptor",
    "compression_type": "zstd",
    "enable_idempotence": False,
    "max_in_flight_requests_per_connection": 5,
    "reconnect_backoff_ms": 50,
    "sasl_kerberos_service_name": "kafka",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_password": "secret",
    "sasl_plain_username": "traptor",
    "security_protocol": "SSL",
    "ssl_check_hostname": True,
    "ssl_ciphers": "ECDHE-RSA-AES256-GCM-SHA384",
    "ssl_password": "secret",
}
FILES = {"ssl_cafile", "ssl_certfile", "ssl_crlfile", "ssl_keyfile"}
OF_KAFKA_PYTHON = set(KafkaProducer.DEFAULT_CONFIG) - {"bootstrap_servers", "kafka_client"}


@pytest.mark.parametrize("name", sorted(OF_KAFKA_PYTHON - confluent.WITHOUT_COUNTERPART - FILES))
def test_librdkafka_has_a_counterpart_for_each_option_that_is_allowed(name: str) -> None:
    assert confluent.Client({**confluent.BASE, **confluent.properties({name: EXAMPLES.get(name, 100_000)})})


def test_why_no_broker_answers_is_told() -> None:
    with pytest.raises(errors.KafkaConnectionError, match="Connection refused"):
        producers.connect(NOBODY, "traptor", {"bootstrap_timeout_ms": 50}, client="confluent")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_not_there_is_a_wrong_option(name: str) -> None:
    options = {"bootstrap_timeout_ms": 50, "security_protocol": "SSL", name: "/nowhere.pem"}
    with pytest.raises(SettingError, match=r"^KAFKA_OPTIONS: librdkafka makes no producer with them: .*ssl\..* failed"):
        confluent.connect(NOBODY, ["traptor"], options)


def test_what_is_without_counterpart_is_an_option_of_kafka_python() -> None:
    assert confluent.WITHOUT_COUNTERPART < OF_KAFKA_PYTHON


@pytest.mark.parametrize(
    "options, wanted",
    [
        ({"linger_ms": 5, "compression_type": "lz4"}, {"linger.ms": 5, "compression.type": "lz4"}),
        ({"ssl_cafile": "ca.pem"}, {"ssl.ca.location": "ca.pem"}),
        ({"ssl_check_hostname": True}, {"ssl.endpoint.identification.algorithm": "https"}),
        ({"ssl_check_hostname": False}, {"ssl.endpoint.identification.algorithm": "none"}),
        (producers.CAUTIOUS, {"enable.idempotence": False, "batch.size": 1, "linger.ms": 0}),
        ({"partitioner": partitioner.KeyPartitioner(), "max_block_ms": 1000, "bootstrap_timeout_ms": 5000}, {}),
    ],
)
def test_options_are_translated(options: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert confluent.properties(options) == wanted


@pytest.mark.parametrize(
    "options, text",
    [
        ({"compression_type": "lz9"}, "lz9"),
        ({"linger_ms": "soon"}, "Invalid value"),
        ({"delivery_timeout_ms": 10}, "must be greater"),
        ({"acks": 1}, "enable.idempotence"),
        ({"bootstrap_timeout_ms": "soon"}, "bootstrap_timeout_ms"),
    ],
)
def test_values_that_no_producer_can_have_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingError, match=text):
        producers.connect(NOBODY, "traptor", options, client="confluent")


def test_the_options_that_librdkafka_has_not_are_named() -> None:
    options = {"acks": "all", "max_block_ms": 5, "ssl_context": None}
    with pytest.raises(SettingError, match="confluent has nothing for max_block_ms, ssl_context: take it out"):
        producers.check(options, "confluent")
    producers.check(options, "kafka-python")


def test_without_the_package_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"^KAFKA_CLIENT: .*pip install confluent-kafka"):
        producers.connect(NOBODY, "traptor", {}, client="confluent")
    with pytest.raises(SettingError, match=r"^KAFKA_CLIENT: "):
        producers.check({}, "confluent")


@pytest.mark.parametrize(
    "code, kind",
    [
        (LibraryError.MSG_SIZE_TOO_LARGE, errors.MessageSizeTooLargeError),
        (LibraryError.INVALID_RECORD, errors.InvalidRecordError),
        (LibraryError.NOT_ENOUGH_REPLICAS, errors.NotEnoughReplicasError),
        (LibraryError.TOPIC_AUTHORIZATION_FAILED, errors.TopicAuthorizationFailedError),
        (LibraryError.UNKNOWN, errors.UnknownError),
        (LibraryError._MSG_TIMED_OUT, errors.KafkaTimeoutError),
        (LibraryError._TRANSPORT, errors.KafkaConnectionError),
        (LibraryError._AUTHENTICATION, errors.SaslAuthenticationFailedError),
        (LibraryError._PURGE_QUEUE, errors.KafkaError),
        (LibraryError._FATAL, errors.KafkaError),
    ],
)
def test_errors_are_translated(code: int, kind: type[Exception]) -> None:
    error = LibraryError(code)
    assert type(confluent.translated(error)) is kind
    assert error.str() in str(confluent.translated(error))


@pytest.fixture
def producer() -> confluent.Producer:
    """Whose broker does not answer."""
    options = {"bootstrap.servers": NOBODY, "message.max.bytes": 1000, "log_level": 2}
    return confluent.Producer(confluent.Client(options))


@pytest.mark.parametrize(
    "message, kind",
    [
        ({"topic": "traptor", "value": b"x" * 2000}, errors.MessageSizeTooLargeError),
        ({"topic": None, "value": b"{}"}, TypeError),
    ],
)
def test_a_message_that_is_wrong_is_not_taken(
    producer: confluent.Producer, message: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        producer.send(**message)
    assert issubclass(kind, producers.NEVER_TAKEN)


def test_what_is_closed_fails_and_is_not_delivered(producer: confluent.Producer) -> None:
    answer = producer.send("traptor", b"{}", b"1")
    assert not answer.is_done
    with pytest.raises(errors.KafkaTimeoutError):
        answer.get(timeout=0.01)
    producer.close(timeout=0)
    assert (answer.is_done, answer.failed()) == (True, True)
    with pytest.raises(errors.KafkaError, match="Purged in queue"):
        answer.get(timeout=0)


class FakeClient:
    """Tells of a delivery at the poll of this number."""

    def __init__(self, tells_at: int = 1, error: LibraryError | None = None) -> None:
        self.tells_at = tells_at
        self.error = error
        self.polled: list[float] = []
        self.flushed: list[float] = []
        self.tell: Any = None

    def produce(self, topic: str, value: bytes, key: bytes | None, on_delivery: Any) -> None:
        self.tell = on_delivery

    def poll(self, seconds: float) -> None:
        self.polled.append(seconds)
        if len(self.polled) == self.tells_at:
            self.tell(self.error, None)

    def purge(self) -> None:
        self.flushed.clear()

    def flush(self, seconds: float) -> None:
        self.flushed.append(seconds)


def test_an_answer_is_asked_for_until_it_is_there() -> None:
    client = FakeClient(tells_at=2)
    answer = confluent.Producer(client).send("traptor", b"{}")
    assert [answer.is_done for _ in range(4)] == [False, True, True, True]
    assert client.polled == [0, 0]


@pytest.mark.parametrize("error", [None, LibraryError(LibraryError._MSG_TIMED_OUT)])
def test_an_answer_is_waited_for_and_nothing_is_listened_to_for_longer_than_a_moment(
    error: LibraryError | None,
) -> None:
    client = FakeClient(tells_at=2, error=error)
    answer = confluent.Producer(client).send("traptor", b"{}")
    if error:
        with pytest.raises(errors.KafkaTimeoutError):
            answer.get(timeout=1000)
    else:
        answer.get(timeout=1000)
    assert client.polled == [0, confluent.LISTENING_SECONDS]


def test_an_answer_that_does_not_come_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    client = FakeClient(tells_at=99)
    monkeypatch.setattr(confluent, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(client, "poll", lambda seconds: now.__setitem__(0, now[0] + seconds / 2 + 0.25))
    with pytest.raises(errors.KafkaTimeoutError, match="no answer for 1 s"):
        confluent.Producer(client).send("traptor", b"{}").get(timeout=1)
    assert 51.0 <= now[0] <= 51.5


@pytest.mark.parametrize("timeout, seconds", [(0.0, confluent.CLOSING_SECONDS), (3.0, 3.0)])
def test_closing_gives_back_what_is_not_delivered(timeout: float, seconds: float) -> None:
    client = FakeClient()
    client.flushed.append(-1.0)
    confluent.Producer(client).close(timeout)
    assert client.flushed == [seconds]


@pytest.mark.parametrize("tries, is_told", [(3, True), (99, False)])
def test_a_topic_is_waited_for_as_it_is_made(tries: int, is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [50.0], []

    class Scout:
        def list_topics(self, topic: str, timeout: float) -> Any:
            asked.append(now[0])
            error = LibraryError(LibraryError.UNKNOWN_TOPIC_OR_PART) if len(asked) < tries else None
            return SimpleNamespace(topics={topic: SimpleNamespace(error=error)})

        def poll(self, seconds: float) -> None:
            now[0] += 2.0

    monkeypatch.setattr(confluent, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(confluent, "Client", lambda wanted: Scout())
    if is_told:
        assert confluent.connect(NOBODY, "traptor", {"bootstrap_timeout_ms": 50})
    else:
        with pytest.raises(errors.UnknownTopicOrPartitionError):
            confluent.connect(NOBODY, "traptor", {"bootstrap_timeout_ms": 50})
    assert asked == [50.0 + 2 * number for number in range(3 if is_told else 7)]
