"""Why Kafka's clients cannot connect, in words: kafka-python only logs it, and librdkafka tells whoever listens."""

import contextlib
import logging
import re
import time
from collections.abc import Iterator

from kafka.errors import KafkaError

from traptor.printable import harmless

LATELY_SECONDS = 60.0
MOST_HEARD = 50

_CHANGING = re.compile(r" *(?:\(after \d+ms [^)]*\)|after \d+ ms|\(_ssl\.c:\d+\))")
"""What is different each time, though the reason is the same."""
_LOGIN = "see security_protocol, sasl_mechanism, user and password"
_WORDS = {
    r"SaslAuthenticationFailed|authentication error|Authentication failed": "see user, password and sasl_mechanism",
    r"UnsupportedSaslMechanism|Unsupported SASL mechanism": "the broker does not have this sasl_mechanism",
    r"IllegalSaslState|not valid in current SASL state": "no login is asked for at this port: see security_protocol",
    r"CERTIFICATE_VERIFY_FAILED|certificate verify failed": "see ssl_cafile, and the name in the certificate",
    r"UNEXPECTED_EOF|WRONG_VERSION|RECORD_LAYER|to a PLAINTEXT broker": "no TLS at this port: see security_protocol",
    r"Invalid frame length": "TLS, or something other than Kafka, at this port: see security_protocol",
    r"DNS lookup failed|Failed to resolve": "this name, of KAFKA_HOSTS or advertised by a broker, is not known here",
    r"REFUSED|refused": "nobody listens there",
    r"(?i)timed out": "no answer: see KAFKA_HOSTS, firewalls, and what the brokers advertise",
    r"disconnected|transport failure": f"the broker hangs up: it may want TLS, a login, or another one: {_LOGIN}",
    r"Unable to bootstrap": "",
}
"""What a reason means, the most telling first: one hides behind another where a client goes on trying."""
_VAGUE = 4
"""So many of them, the last, say less than a reason of which we know nothing."""

_heard: dict[str, float] = {}
"""When each was last told, by time.monotonic(); the oldest first."""


class _Listener(logging.Handler):
    """kafka-python has the exception among what it logs, but for names that nobody knows."""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.args if isinstance(record.args, tuple) else ()
        reasons = [str(one) for one in said if isinstance(one, Exception)]
        for reason in reasons or [record.getMessage()] * (record.name == "kafka.net.inet"):
            hear(reason)


logging.getLogger("kafka.net").addHandler(_Listener(logging.WARNING))


def hear(reason: str) -> None:
    """A client has told why a connection failed."""
    text = _CHANGING.sub("", reason)
    _heard.pop(text, None)
    _heard[text] = time.monotonic()
    for oldest in list(_heard)[:-MOST_HEARD]:  # a copy: each client tells it in threads of its own
        _heard.pop(oldest, None)


def lately(seconds: float = LATELY_SECONDS) -> str:
    """The most telling reason that was told in this time, and what it means; empty where none was."""
    since = time.monotonic() - seconds
    reasons = [reason for reason, at in list(_heard.items()) if at >= since]
    return explained(min(reasons, key=_rank)) if reasons else ""


def explained(reason: str) -> str:
    """The reason, and what it means."""
    meaning = _WORDS.get(_sign(reason))
    return harmless(f"{reason} ({meaning})" if meaning else reason)


def named(error: BaseException) -> str:
    """An error with its name, which kafka-python's tell by themselves."""
    name = type(error).__name__
    text = re.sub(rf"^(\[Error \d+\] )?{name}(: |$)", "", str(error))
    return f"{name}: {text}" if text else name


def _sign(reason: str) -> str:
    return next((sign for sign in _WORDS if re.search(sign, reason)), "")


def _rank(reason: str) -> float:
    signs = list(_WORDS)
    return signs.index(sign) if (sign := _sign(reason)) else len(signs) - _VAGUE - 0.5


@contextlib.contextmanager
def told() -> Iterator[None]:
    """A KafkaError that is raised within says why, too, as far as kafka-python has logged it meanwhile."""
    began = time.monotonic()
    try:
        yield
    except KafkaError as error:
        text = ": ".join(map(str, error.args))
        reason = lately(time.monotonic() - began)
        error.args = (f"{text}: {reason}" if reason and reason not in text else explained(text),)
        raise
