"""KAFKA_OPTIONS: what the options of kafka-python's producer may be, and which of them fit together.

kafka-python takes any unknown protocol for clear text, and numbers as texts until they meet a number: so values are
checked as names are, before anything is sent. The same spelling means the same with either client.
"""

from collections.abc import Callable, Mapping
from typing import Any

PROTOCOLS = PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL = "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER", "AWS_MSK_IAM")
COMPRESSIONS = ("gzip", "snappy", "lz4", "zstd")
NUMBERS = {
    "batch_size", "bootstrap_timeout_ms", "connections_max_idle_ms", "delivery_timeout_ms", "linger_ms", "max_block_ms",
    "max_in_flight_requests_per_connection", "max_request_size", "metadata_max_age_ms", "metrics_num_samples",
    "metrics_sample_window_ms", "receive_buffer_bytes", "receive_message_max_bytes", "reconnect_backoff_max_ms",
    "reconnect_backoff_ms", "request_timeout_ms", "retries", "retry_backoff_ms", "send_buffer_bytes",
    "transaction_timeout_ms",
}  # fmt: skip
BOOLEANS = {"allow_auto_create_topics", "enable_idempotence", "metrics_enabled", "ssl_check_hostname"}
_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class WrongOption(ValueError):
    """Names the option, what is wrong with it, and what is allowed."""


def typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as kafka-python takes them; those that it does not know stay as they are. Raises WrongOption."""
    found = {name: _typed(name, value) for name, value in options.items()}
    _check_encryption(found)
    _check_login(found)
    return found


def risks(options: Mapping[str, Any]) -> list[str]:
    """What is allowed, but puts tweets at risk, in words."""
    told = {
        "acks 1: what one broker has acknowledged is lost if it fails before others have it": options.get("acks") == 1,
        "enable_idempotence false: tweets may come twice, and in another order, after an error": (
            options.get("enable_idempotence") is False
        ),
    }
    return [text for text, holds in told.items() if holds]


def _typed(name: str, value: Any) -> Any:
    kind: Callable[[Any], Any] | None = _KINDS.get(name)
    if kind is None:
        kind = _number if name in NUMBERS else _boolean if name in BOOLEANS else None
    if kind is None or value is None:
        return value
    try:
        return kind(value)
    except WrongOption:
        raise
    except ValueError as allowed:
        raise WrongOption(f"{name} {value!r} is not allowed; allowed is {allowed}") from None


def _number(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 10:
        raise ValueError("a whole number")
    return int(text)


def _boolean(value: Any) -> bool:
    if (found := _WORDS.get(str(value).strip().lower())) is None:
        raise ValueError("true or false")
    return found


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    plain = {_plain(word): word for word in words}

    def kind(value: Any) -> str:
        if (found := plain.get(_plain(value))) is None:
            raise ValueError(f"one of {', '.join(words)}")
        return found

    return kind


def _plain(word: Any) -> str:
    return str(word).strip().upper().replace("-", "_")


def _acks(value: Any) -> int | str:
    word = str(value).strip().lower()
    if word not in {"all", "-1", "1"}:
        raise ValueError("all, or 1; with 0 what never arrived would count as delivered")
    return 1 if word == "1" else "all"


_KINDS: dict[str, Callable[[Any], Any]] = {
    "acks": _acks,
    "compression_type": _one_of(COMPRESSIONS),
    "sasl_mechanism": _one_of(MECHANISMS),
    "security_protocol": _one_of(PROTOCOLS),
}


def _check_encryption(options: Mapping[str, Any]) -> None:
    """TLS that is asked for and not used is an error."""
    protocol = options.get("security_protocol", PLAINTEXT)
    unused = sorted(name for name in options if name.startswith("ssl_"))
    if unused and protocol not in {SSL, SASL_SSL}:
        raise WrongOption(f"{unused[0]} asks for TLS, but security_protocol is {protocol}; allowed is SSL or SASL_SSL")


def _check_login(options: Mapping[str, Any]) -> None:
    """So is a login that is asked for and not used, or that cannot be one."""
    protocol, mechanism = options.get("security_protocol", PLAINTEXT), options.get("sasl_mechanism")
    asked = sorted(name for name in options if name.startswith("sasl_"))
    if protocol not in {SASL_PLAINTEXT, SASL_SSL}:
        if asked:
            allowed = SASL_SSL if protocol == SSL else f"{SASL_SSL} or {SASL_PLAINTEXT}"
            raise WrongOption(f"{asked[0]} asks for a login, but security_protocol is {protocol}; allowed is {allowed}")
    elif mechanism is None:
        raise WrongOption(f"security_protocol {protocol} needs a sasl_mechanism: one of {', '.join(MECHANISMS)}")
