"""KAFKA_OPTIONS: each option of kafka-python's producer with what it may be, and which of them fit together.

Values are kafka-python's, whichever client sends: what is written in another way but clear is converted.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from traptor.redaction import Secret, SecretUrl, reveal
from traptor.values import (
    BOOLEAN,
    CIPHERS,
    COUNT,
    FILE,
    PASSWORD,
    TEXT,
    Kind,
    SettingError,
    Wrong,
    certificates,
    json_object,
    one_of,
    own_certificate,
    parsed,
    whole,
)

PROTOCOLS = PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL = "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"
LOGINS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS = (*LOGINS, "GSSAPI", "OAUTHBEARER", "AWS_MSK_IAM")
SECRET_OPTIONS = {"sasl_plain_password", "ssl_password", "proxy_url", "socks5_proxy"}
_GONE = {
    "bootstrap_servers": "KAFKA_HOSTS is the setting",
    "kafka_client": "KAFKA_CLIENT is the setting",
    "transactional_id": "nothing would be sent, because Traptor begins no transactions",
}


def _acks(value: Any) -> int | str:
    word = str(value).strip().lower()
    if word == "0":
        raise Wrong("acks 0 is not allowed: what is sent would count as delivered, or not; allowed is all, or 1")
    if word not in {"all", "-1", "1"}:
        raise ValueError(value)
    return 1 if word == "1" else "all"


def _refused(value: Any) -> Any:
    raise ValueError(value)


def _retries(value: Any) -> float | int:
    return float("inf") if str(value).strip().lower() in {"inf", "infinity"} else int(WHOLE.parse(value))


def _version(value: Any) -> tuple[int, ...]:
    parts = value if isinstance(value, list | tuple) else str(value).strip().split(".")
    version = tuple(int(part) for part in parts)
    return version if 2 <= len(version) <= 3 and min(version) >= 0 else _refused(value)


def _socket_options(value: Any) -> list[tuple[int, int, int]]:
    return [(int(level), int(option), int(wanted)) for level, option, wanted in value]


def _object(value: Any) -> Any:
    return _refused(value) if isinstance(value, str | int | float | list | dict) else value


def _proxy(value: Any) -> SecretUrl:
    return SecretUrl(value) if "://" in str(value) else _refused(value)


WHOLE = whole(0)
BYTES = MILLISECONDS = whole(0, 2**31 - 1)
"""As librdkafka and sockets take them: signed numbers of 32 bits."""
OBJECT = Kind(_object, "an object of Python, which localsettings.py can give")
PROXY = Kind(_proxy, "a URL such as socks5://host:port")
MECHANISM = one_of(*MECHANISMS, change=lambda word: word.upper() if "MSK" in word.upper() else _hyphened(word))


def _hyphened(word: str) -> str:
    return word.upper().replace("_", "-")


OPTIONS: Mapping[str, Kind] = {
    "acks": Kind(_acks, "all, or 1"),
    "allow_auto_create_topics": BOOLEAN,
    "api_version": Kind(_version, "a version such as 2.6 or [2, 6]"),
    "batch_size": BYTES,
    "bootstrap_timeout_ms": MILLISECONDS,
    "client_dns_lookup": one_of("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
    "client_id": TEXT,
    "compression_type": one_of("gzip", "snappy", "lz4", "zstd", "none"),
    "connections_max_idle_ms": MILLISECONDS,
    "delivery_timeout_ms": MILLISECONDS,
    "enable_idempotence": BOOLEAN,
    "key_serializer": OBJECT,
    "linger_ms": whole(0, 900_000),
    "max_block_ms": MILLISECONDS,
    "max_in_flight_requests_per_connection": COUNT,
    "max_request_size": whole(1_000, 1_000_000_000),
    "metadata_max_age_ms": MILLISECONDS,
    "metric_reporters": OBJECT,
    "metrics_enabled": BOOLEAN,
    "metrics_num_samples": COUNT,
    "metrics_sample_window_ms": MILLISECONDS,
    "partitioner": OBJECT,
    "proxy_url": PROXY,
    "receive_buffer_bytes": BYTES,
    "receive_message_max_bytes": whole(1_000, 2**31 - 1),
    "reconnect_backoff_max_ms": MILLISECONDS,
    "reconnect_backoff_ms": MILLISECONDS,
    "request_timeout_ms": whole(10, 300_000),
    "retries": Kind(_retries, "a whole number from 0, or inf"),
    "retry_backoff_ms": whole(1, 300_000),
    "sasl_kerberos_domain_name": TEXT,
    "sasl_kerberos_name": TEXT,
    "sasl_kerberos_service_name": TEXT,
    "sasl_mechanism": MECHANISM,
    "sasl_oauth_token_provider": OBJECT,
    "sasl_plain_password": PASSWORD,
    "sasl_plain_username": TEXT,
    "security_protocol": one_of(*PROTOCOLS, change=lambda word: word.upper().replace("-", "_")),
    "selector": OBJECT,
    "send_buffer_bytes": BYTES,
    "socket_options": Kind(_socket_options, "a list of [level, option, value]"),
    "socks5_proxy": PROXY,
    "ssl_cafile": FILE,
    "ssl_certfile": FILE,
    "ssl_check_hostname": BOOLEAN,
    "ssl_ciphers": CIPHERS,
    "ssl_context": OBJECT,
    "ssl_crlfile": FILE,
    "ssl_keyfile": FILE,
    "ssl_password": PASSWORD,
    "transaction_timeout_ms": MILLISECONDS,
    "value_serializer": OBJECT,
}


def read(raw: Any) -> dict[str, Any]:
    """The options as kafka-python takes them, passwords as Secrets; those that are null or empty are left out.

    Raises Wrong for an option that is not there, for a value that is not allowed, and where one would not be used.
    """
    options = {name: _option(name, value) for name, value in json_object(raw).items() if value not in (None, "")}
    if options.get("compression_type") == "none":
        del options["compression_type"]
    _encryption(options)
    _login(options)
    _promise(options)
    return options


def _option(name: str, value: Any) -> Any:
    if name in _GONE:
        raise Wrong(f"{name} is not allowed: {_GONE[name]}")
    if name not in OPTIONS:
        raise Wrong(f"{name} is not allowed; allowed are options of kafka-python's producer: {', '.join(OPTIONS)}")
    try:
        return parsed(name, OPTIONS[name], value, secret=name in SECRET_OPTIONS)
    except SettingError as error:
        raise Wrong(str(error)) from None


def _encryption(options: Mapping[str, Any]) -> None:
    protocol = options.get("security_protocol", PLAINTEXT)
    unused = sorted(name for name in options if name.startswith("ssl_"))
    if unused and protocol not in {SSL, SASL_SSL}:
        raise Wrong(f"{unused[0]} asks for TLS, but security_protocol {protocol} has none; allowed is SSL or SASL_SSL")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise Wrong("ssl_keyfile is not used without ssl_certfile")
    for name in ("ssl_cafile", "ssl_crlfile"):
        if name in options:
            certificates(name, options[name])
    if "ssl_certfile" in options:
        own_certificate(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password", ""))


def _login(options: Mapping[str, Any]) -> None:
    """Is there a login exactly where one is asked for, with all that it needs?"""
    protocol, mechanism = options.get("security_protocol", PLAINTEXT), options.get("sasl_mechanism")
    asked = sorted(name for name in options if name.startswith("sasl_"))
    if protocol not in {SASL_PLAINTEXT, SASL_SSL}:
        if asked:
            allowed = SASL_SSL if protocol == SSL else f"{SASL_SSL} or {SASL_PLAINTEXT}"
            raise Wrong(f"{asked[0]} asks for a login, but security_protocol {protocol} has none; allowed is {allowed}")
        return
    if mechanism is None:
        raise Wrong(f"security_protocol {protocol} needs a sasl_mechanism; allowed is {', '.join(MECHANISMS)}")
    needed = ("sasl_plain_username", "sasl_plain_password") if mechanism in LOGINS else ()
    if missing := [name for name in needed if name not in options]:
        raise Wrong(f"sasl_mechanism {mechanism} needs {' and '.join(missing)}")
    if not needed and (unused := [name for name in asked if name.startswith("sasl_plain_")]):
        raise Wrong(f"{unused[0]} is not used by sasl_mechanism {mechanism}; allowed is {', '.join(LOGINS)}")
    if mechanism == "AWS_MSK_IAM" and protocol != SASL_SSL:
        raise Wrong("sasl_mechanism AWS_MSK_IAM needs security_protocol SASL_SSL")


def _promise(options: dict[str, Any]) -> None:
    """Idempotence, which both clients have unless told otherwise, is an error beside what it cannot be had with where
    it was asked for by name, and is switched off where it was not.
    """
    in_flight = options.get("max_in_flight_requests_per_connection", 5)
    conflicts = {
        "acks 1": options.get("acks") == 1,
        "retries 0": options.get("retries") == 0,
        "more than 5 max_in_flight_requests_per_connection": in_flight > 5,
    }
    found = " and ".join(name for name, holds in conflicts.items() if holds)
    if found and options.setdefault("enable_idempotence", False):
        raise Wrong(f"enable_idempotence cannot be had with {found}")


def risks(options: Mapping[str, Any]) -> list[str]:
    """What is allowed, but puts tweets or passwords at risk, in words."""
    return [text for (name, value), text in _RISKS.items() if options.get(name) == value]


_RISKS: Mapping[tuple[str, Any], str] = {
    ("acks", 1): "acks 1: what a broker has acknowledged is lost if it fails before others have it",
    ("enable_idempotence", False): "no idempotence: after an error tweets may come twice, and in another order",
    ("ssl_check_hostname", False): "ssl_check_hostname false: whoever has any certificate of the CA can be the broker",
    ("security_protocol", SASL_PLAINTEXT): "SASL_PLAINTEXT: tweets go in clear text, and with PLAIN the password, too",
}


def shared(options: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """For a consumer or an admin client: those of the producer's options that it knows, too."""
    return {name: value for name, value in revealed(options).items() if name in known}


def revealed(options: Mapping[str, Any]) -> dict[str, Any]:
    """For the client: with its passwords as plain texts."""
    return {name: reveal(value) if isinstance(value, Secret) else value for name, value in options.items()}
