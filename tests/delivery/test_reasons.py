"""Why Kafka's clients cannot connect: heard from their logs, the most telling reason first."""

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
)

from traptor.delivery import reasons

HANGS_UP = KafkaConnectionError("socket disconnected")


@pytest.fixture(autouse=True)
def _nothing_heard() -> Iterator[None]:
    reasons._heard.clear()
    yield
    reasons._heard.clear()


def logged(error: Exception) -> None:
    """As kafka-python does."""
    text = "Bootstrap connection to %s failed: %s (backoff %.2f secs)"
    logging.getLogger("kafka.net.manager").warning(text, "bootstrap-0", error, 0.1)


@pytest.mark.parametrize(
    "reason,meaning",
    [
        ("[Error 58] SaslAuthenticationFailedError: Invalid username or password", "see user, password"),
        ("sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed", "see user, password"),
        ("[Error 33] UnsupportedSaslMechanismError", "does not have this sasl_mechanism"),
        ("SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism", "does not have this"),
        ("[Error 34] IllegalSaslStateError", "no login is asked for"),
        ("Broker: Request not valid in current SASL state", "no login is asked for"),
        ("Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "see ssl_cafile"),
        ("Handshake failed: [SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred", "no TLS at this port"),
        ("SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?", "no TLS at this port"),
        ("InvalidReceiveError: Invalid frame length: 352518912", "TLS, or something other than Kafka"),
        ("DNS lookup failed for nowhere.invalid:9092", "advertised by a broker"),
        ("x.invalid:9092/bootstrap: Failed to resolve 'x.invalid:9092'", "advertised by a broker"),
        ("KafkaConnectionError: 111 ECONNREFUSED", "nobody listens there"),
        ("h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused", "nobody listens there"),
        ("[Error 7] RequestTimedOutError: Request timed out", "no answer"),
        ("KafkaConnectionError: socket disconnected", "the broker hangs up"),
        ("Failed to get metadata: Local: Broker transport failure", "the broker hangs up"),
    ],
)
def test_a_reason_comes_with_what_it_means(reason: str, meaning: str) -> None:
    told = reasons.explained(reason)
    assert told.startswith(f"{reason} (")
    assert meaning in told


def test_one_of_which_nothing_is_known_is_told_as_it_is() -> None:
    assert reasons.explained("the moon is full") == "the moon is full"


def test_the_most_telling_reason_is_told_whenever_it_came() -> None:
    for error in (HANGS_UP, SaslAuthenticationFailedError("Invalid username or password"), HANGS_UP):
        logged(error)
    assert "Invalid username or password" in reasons.lately()


@pytest.mark.parametrize("vague", [HANGS_UP, KafkaConnectionError("111 ECONNREFUSED")])
def test_an_unknown_reason_says_more_than_that_nobody_answers(vague: Exception) -> None:
    logged(vague)
    logged(KafkaConnectionError("the moon is full"))
    logged(vague)
    assert reasons.lately() == "KafkaConnectionError: the moon is full"


def test_what_was_told_long_ago_is_told_no_more() -> None:
    logged(HANGS_UP)
    assert reasons.lately() != ""
    assert reasons.lately(-1) == ""


def test_the_same_reason_is_the_same_text() -> None:
    for text in (
        "Request timed out after 290 ms",
        "Request timed out after 3 ms",
        "(_ssl.c:1) x (after 5ms in state UP)",
    ):
        reasons.hear(text)
    assert list(reasons._heard) == ["Request timed out", " x"]


def test_a_name_that_nobody_knows_is_heard() -> None:
    logging.getLogger("kafka.net.inet").warning("DNS lookup failed for nowhere.invalid:9092")
    assert reasons.lately().startswith("DNS lookup failed for nowhere.invalid:9092 (")


def test_they_are_bounded_and_fit_for_a_terminal() -> None:
    for number in range(3 * reasons.MOST_HEARD):
        reasons.hear(f"reason {number}")
    assert len(reasons._heard) == reasons.MOST_HEARD
    reasons._heard.clear()
    reasons.hear("SaslAuthenticationFailed \x1b]0;owned\x07")
    assert "\x1b" not in reasons.lately()


def test_clients_tell_them_in_threads_of_their_own() -> None:
    def many(client: int) -> None:
        for number in range(10_000):
            reasons.hear(f"reason {number} of {client}")

    usual = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor() as threads:
            list(threads.map(many, range(4)))
    finally:
        sys.setswitchinterval(usual)
    assert len(reasons._heard) == reasons.MOST_HEARD


def test_an_error_says_why() -> None:
    def fails() -> None:
        logged(KafkaConnectionError("111 ECONNREFUSED"))
        logged(KafkaTimeoutError("Unable to bootstrap"))
        raise KafkaTimeoutError("Unable to bootstrap")

    with pytest.raises(KafkaTimeoutError, match=r"Unable to bootstrap: .*ECONNREFUSED \(nobody"), reasons.told():
        fails()


def test_one_that_says_it_itself_says_it_once() -> None:
    with pytest.raises(KafkaError) as raised, reasons.told():
        raise KafkaConnectionError("Local: Broker transport failure")
    assert str(raised.value).count("transport failure") == 1
    assert "hangs up" in str(raised.value)


@pytest.mark.parametrize(
    "error, text",
    [
        (KafkaTimeoutError("not in time"), "KafkaTimeoutError: not in time"),
        (MessageSizeTooLargeError("big"), "MessageSizeTooLargeError: big"),
        (KafkaConnectionError(), "KafkaConnectionError"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_an_error_has_its_name_once(error: Exception, text: str) -> None:
    assert reasons.named(error) == text
