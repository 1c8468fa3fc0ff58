"""Values of KAFKA_OPTIONS: converted where they are clear, refused where they are not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer

from traptor import kafka_options, settings
from traptor.kafka_options import WrongOption, typed

LOGIN = {"sasl_mechanism": "PLAIN", "sasl_plain_username": "ana", "sasl_plain_password": "s3cret-s3cret"}


@pytest.mark.parametrize(
    "name,written,expected",
    [
        ("acks", "1", 1),
        ("acks", 1, 1),
        ("acks", "ALL", "all"),
        ("acks", -1, "all"),
        ("max_request_size", "1000000", 1_000_000),
        ("request_timeout_ms", 10_000, 10_000),
        ("enable_idempotence", "True", True),
        ("enable_idempotence", 0, False),
        ("compression_type", "GZIP", "gzip"),
        ("security_protocol", "ssl", "SSL"),
        ("compression_type", None, None),
        ("unknown", "x", "x"),
    ],
)
def test_what_is_clear_is_converted(name: str, written: Any, expected: Any) -> None:
    assert typed({name: written}) == {name: expected}


@pytest.mark.parametrize(
    "options,told",
    [
        ({"acks": 0}, "acks 0 is not allowed; allowed is all, or 1"),
        ({"acks": "two"}, "acks 'two' is not allowed"),
        ({"request_timeout_ms": "10 s"}, "request_timeout_ms '10 s' is not allowed; allowed is a whole number"),
        ({"request_timeout_ms": True}, "request_timeout_ms True is not allowed"),
        ({"enable_idempotence": "perhaps"}, "enable_idempotence 'perhaps' is not allowed; allowed is true or false"),
        ({"security_protocol": "tls"}, "security_protocol 'tls' is not allowed; allowed is one of PLAINTEXT, SSL"),
        ({"security_protocol": "sasl_ssl", **LOGIN, "sasl_mechanism": "SCRAM"}, "sasl_mechanism 'SCRAM'"),
        ({"ssl_cafile": "ca.pem"}, "ssl_cafile asks for TLS, but security_protocol is PLAINTEXT"),
        (LOGIN, "sasl_mechanism asks for a login, but security_protocol is PLAINTEXT; allowed is SASL_SSL or"),
        ({"security_protocol": "SSL", **LOGIN}, "allowed is SASL_SSL$"),
        ({"security_protocol": "SASL_SSL"}, "security_protocol SASL_SSL needs a sasl_mechanism"),
    ],
)
def test_what_is_not_is_named_with_what_is_allowed(options: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongOption, match=told):
        typed(options)


@pytest.mark.parametrize("written", ["sasl_ssl", "SASL-SSL", " Sasl_Ssl "])
def test_no_spelling_of_tls_and_login_means_clear_text(written: str) -> None:
    found = typed({"security_protocol": written, **LOGIN, "sasl_mechanism": "scram-sha_256"})
    assert (found["security_protocol"], found["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-256")


def test_every_option_is_one_of_the_clients() -> None:
    names = kafka_options.NUMBERS | kafka_options.BOOLEANS | kafka_options._KINDS.keys()
    assert names <= KafkaProducer.DEFAULT_CONFIG.keys()


@pytest.mark.parametrize("options,count", [({}, 0), ({"acks": 1}, 1), ({"acks": 1, "enable_idempotence": False}, 2)])
def test_what_is_risky_is_told(options: dict[str, Any], count: int) -> None:
    assert len(kafka_options.risks(options)) == count


@given(st.dictionaries(st.sampled_from(sorted(KafkaProducer.DEFAULT_CONFIG)), st.text() | st.integers() | st.none()))
def test_any_value_is_taken_or_named(options: dict[str, Any]) -> None:
    told = ""
    try:
        typed(options)
    except WrongOption as wrong:
        told = str(wrong)
    assert not told or any(name in told for name in options)


def test_a_wrong_option_stops_the_start() -> None:
    with pytest.raises(settings.SettingError, match=r"^KAFKA_OPTIONS: acks 0 is not allowed"):
        settings.load({}, {"KAFKA_OPTIONS": '{"acks": 0}'}, {})
