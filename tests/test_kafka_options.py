"""Values of KAFKA_OPTIONS: converted where they are clear, refused where they are not."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer

from tests.certificates import Certificates
from traptor import kafka_options, settings
from traptor.kafka_options import OPTIONS, read
from traptor.redaction import Secret
from traptor.values import Wrong

LOGIN = {"sasl_mechanism": "PLAIN", "sasl_plain_username": "ana", "sasl_plain_password": "s3cret-s3cret"}
TLS_LOGIN = {**LOGIN, "security_protocol": "SASL_SSL"}


def test_the_options_are_those_of_the_client() -> None:
    assert OPTIONS.keys() | kafka_options._GONE.keys() == KafkaProducer.DEFAULT_CONFIG.keys()


@pytest.mark.parametrize(
    "name,written,expected",
    [
        ("acks", "1", 1),
        ("acks", 1, 1),
        ("acks", "ALL", "all"),
        ("acks", -1, "all"),
        ("max_request_size", "1000000", 1_000_000),
        ("request_timeout_ms", 10_000, 10_000),
        ("request_timeout_ms", " '10000'\r", 10_000),
        ("retries", "3", 3),
        ("retries", "inf", float("inf")),
        ("enable_idempotence", "True", True),
        ("enable_idempotence", 0, False),
        ("compression_type", "GZIP", "gzip"),
        ("security_protocol", "ssl", "SSL"),
        ("api_version", "2.6", (2, 6)),
        ("api_version", [2, 6, 0], (2, 6, 0)),
        ("socket_options", [[6, 1, 1]], [(6, 1, 1)]),
        ("client_id", 7, "7"),
    ],
)
def test_what_is_clear_is_converted(name: str, written: Any, expected: Any) -> None:
    assert read({name: written})[name] == expected
    assert read({"linger_ms": 1, name: written})["linger_ms"] == 1


@pytest.mark.parametrize("name,written", [("acks", None), ("client_id", ""), ("compression_type", "none")])
def test_nothing_is_left_out(name: str, written: Any) -> None:
    assert read({name: written}) == {}


@pytest.mark.parametrize(
    "options,told",
    [
        ({"acks": 0}, "acks 0 is not allowed: .*; allowed is all, or 1"),
        ({"acks": "two"}, "acks: 'two' is not allowed; allowed is all, or 1"),
        ({"request_timeout_ms": "10 s"}, "request_timeout_ms: '10 s' is not allowed; allowed is a whole number"),
        ({"request_timeout_ms": True}, "request_timeout_ms: True is not allowed"),
        ({"linger_ms": 1.5}, "linger_ms: 1.5 is not allowed; allowed is a whole number"),
        ({"enable_idempotence": "perhaps"}, "enable_idempotence: 'perhaps' is not allowed; allowed is true/false"),
        ({"security_protocol": "tls"}, "security_protocol: 'tls' is not allowed; allowed is PLAINTEXT, SSL"),
        ({**TLS_LOGIN, "sasl_mechanism": "SCRAM"}, "sasl_mechanism: 'SCRAM' is not allowed; allowed is PLAIN, "),
        ({"security_protocol": "SSL", "ssl_cafile": "/not/there"}, "ssl_cafile: '/not/there' is no file"),
        ({"ssl_check_hostname": False}, "ssl_check_hostname asks for TLS, but security_protocol PLAINTEXT has none"),
        (LOGIN, "sasl_mechanism asks for a login, but security_protocol PLAINTEXT has none; allowed is SASL_SSL or"),
        ({"security_protocol": "SSL", **LOGIN}, "allowed is SASL_SSL$"),
        ({"security_protocol": "SASL_SSL"}, "security_protocol SASL_SSL needs a sasl_mechanism"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}, "needs sasl_plain_username and sasl_plain_pass"),
        ({**TLS_LOGIN, "sasl_mechanism": "GSSAPI"}, "sasl_plain_.* is not used by sasl_mechanism GSSAPI"),
        ({"enable_idempotence": True, "acks": 1}, "enable_idempotence cannot be had with acks 1"),
        ({"transactional_id": "me"}, "transactional_id is not allowed: nothing would be sent"),
        ({"bootstrap_servers": "x:1"}, "bootstrap_servers is not allowed: KAFKA_HOSTS is the setting"),
        ({"value_serializer": "json"}, "value_serializer: 'json' is not allowed; allowed is an object of Python"),
        ({"security_protocol": "SSL", "ssl_ciphers": "none of them"}, "ssl_ciphers: .* allowed is a list of ciphers"),
        ({"colour": "red"}, "colour is not allowed; allowed are options of kafka-python's producer: acks"),
    ],
)
def test_what_is_not_is_named_with_what_is_allowed(options: dict[str, Any], told: str) -> None:
    with pytest.raises(Wrong, match=told):
        read(options)
    with pytest.raises(settings.SettingError, match=f"^KAFKA_OPTIONS: .*{told}"):
        settings.load({}, {"KAFKA_OPTIONS": json.dumps(options)}, {})


def test_certificates_that_are_there_are_taken(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    cert, key = made.issue("traptor.example")
    files = {"ssl_cafile": str(made.ca), "ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    options = {"security_protocol": "SSL", **files}
    assert read(options) == options


def test_what_is_no_certificate_is_told_before_anybody_connects(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    (cert, _), (_, other_key) = made.issue("traptor.example"), made.issue("other.example")
    (tmp_path / "none.pem").write_text("no certificate")
    none = str(tmp_path / "none.pem")
    for name in ("ssl_cafile", "ssl_crlfile"):
        with pytest.raises(Wrong, match=f"^{name}: '.*none.pem' holds no certificates"):
            read({"security_protocol": "SSL", name: none})
    for keyfile in (none, str(other_key)):
        with pytest.raises(Wrong, match="ssl_certfile, ssl_keyfile and ssl_password do not belong together"):
            read({"security_protocol": "SSL", "ssl_certfile": str(cert), "ssl_keyfile": keyfile})


def test_a_key_whose_password_is_missing_is_not_asked_for(tmp_path: Path) -> None:
    """On a terminal OpenSSL would, and wait."""
    cert, key = Certificates(tmp_path).issue("traptor.example")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    key.write_bytes(private.private_bytes(*form, serialization.BestAvailableEncryption(b"s3cret-s3cret")))
    options = {"security_protocol": "SSL", "ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    with pytest.raises(Wrong, match="ssl_password"):
        read(options)
    assert read({**options, "ssl_password": "s3cret-s3cret"})


@pytest.mark.parametrize("written", ["sasl_ssl", "SASL-SSL", " Sasl_Ssl "])
def test_no_spelling_of_tls_and_login_means_clear_text(written: str) -> None:
    found = read({**LOGIN, "security_protocol": written, "sasl_mechanism": "scram-sha_256"})
    assert (found["security_protocol"], found["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-256")


@pytest.mark.parametrize(
    "options", [{"acks": 1}, {"retries": 0}, {"max_in_flight_requests_per_connection": 6}], ids=str
)
def test_idempotence_is_off_with_either_client_where_it_cannot_be_had(options: dict[str, Any]) -> None:
    assert read(options) == {**options, "enable_idempotence": False}


def test_passwords_are_secrets_until_a_client_takes_them() -> None:
    found = read(TLS_LOGIN)
    assert isinstance(found["sasl_plain_password"], Secret)
    assert "s3cret" not in f"{found}"
    assert f"{kafka_options.revealed(found)['sasl_plain_password']}" == "s3cret-s3cret"


@pytest.mark.parametrize(
    "options,told",
    [
        ({}, []),
        ({"acks": 1}, ["acks 1", "no idempotence"]),
        ({"enable_idempotence": "off"}, ["no idempotence"]),
        ({"security_protocol": "SSL", "ssl_check_hostname": "no"}, ["ssl_check_hostname false"]),
        ({**LOGIN, "security_protocol": "SASL_PLAINTEXT"}, ["SASL_PLAINTEXT"]),
    ],
)
def test_what_is_risky_is_told(options: dict[str, Any], told: list[str]) -> None:
    assert [risk.partition(":")[0] for risk in kafka_options.risks(read(options))] == told


WRITTEN = st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(sorted(OPTIONS)), WRITTEN, max_size=3))
def test_any_value_is_taken_or_named(options: dict[str, Any]) -> None:
    told = ""
    try:
        found = read(options)
    except Wrong as wrong:
        told = str(wrong)
    else:
        assert read(found) == found, "what was read once is read the same again"
    assert not told or any(name in told for name in options)
