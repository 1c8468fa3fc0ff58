"""How what people write in a setting becomes its value, and what is allowed there."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from traptor.redaction import Secret, SecretUrl, redact, reveal

_BLANKS = " \t\r\n\v\f\0\xa0\u200b\u2060\ufeff"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class SettingError(ValueError):
    """A setting is wrong: says which, its value (never a secret's), and what is allowed."""


class Wrong(ValueError):
    """A value is wrong in a way that can be told in words, without a secret in them."""


@dataclass(frozen=True)
class Kind:
    """How a setting is read: ``parse`` raises ValueError for what is not ``allowed``."""

    parse: Callable[[Any], Any]
    allowed: str


def parsed(name: str, kind: Kind, raw: Any, *, secret: bool = False) -> Any:
    """The value of the setting of this name. Raises SettingError, which shows it unless it may hold a secret."""
    raw = clean(raw)
    try:
        return kind.parse(raw)
    except Wrong as wrong:
        raise SettingError(f"{name}: {redact(str(wrong))}") from None
    except (ValueError, TypeError, RecursionError):
        shown = "its value" if secret or "@" in str(raw) else redact(repr(raw))
        raise SettingError(f"{name}: {shown} is not allowed; allowed is {kind.allowed}") from None


def clean(raw: Any) -> Any:
    """A text without what editors, shells and files of other systems leave around it: blanks, a carriage return, a
    byte order mark, a pair of quotes.
    """
    if not isinstance(raw, str):
        return raw
    text = reveal(raw).strip(_BLANKS)
    while len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip(_BLANKS)
    return text


def _word(value: Any) -> str:
    """Of numbers and words even a quote without its other half is taken off."""
    return str(clean(value)).strip("'\"" + _BLANKS)


def _boolean(value: Any) -> bool:
    word = _word(value).lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError(word)


def _text(value: Any) -> str:
    text = str(value)
    if isinstance(value, list | tuple | set | dict) or _CONTROLS.search(text):
        raise ValueError(value)
    return text


def _topic(value: Any) -> str:
    name = _word(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) or name in {".", ".."}:
        raise ValueError(value)
    return name


def json_object(value: Any) -> dict[str, Any]:
    found = value if isinstance(value, dict) else json.loads(value)
    if not isinstance(found, dict):
        raise ValueError(value)
    return found


def _hosts(value: Any) -> str:
    names = value if isinstance(value, list | tuple) else _word(value).split(",")
    hosts = [_word(name) for name in names]
    for host in hosts:
        parts = urlsplit(f"//{host}")
        # Asking for the port is what checks it.
        if not parts.hostname or parts.port == 0 or parts.path or parts.username or parts.hostname.isdecimal():
            raise ValueError(value)
        _text(host)
    return ",".join(hosts)


def _server_url(value: Any) -> str:
    url = str(value).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.port == 0 or parts.path or parts.query:
        raise ValueError(value)
    return SecretUrl(url) if parts.username or parts.password else _text(url)


_FIXED_IN_REDIS = {"protocol", "legacy_responses", "decode_responses", "encoding", "encoding_errors", "retry_on_error"}
"""What Traptor decides itself."""


def _redis_url(value: Any) -> str:
    from redis import ConnectionPool, RedisError  # slow to import, and seldom needed

    url = SecretUrl(str(value))
    parts = urlsplit(reveal(url))
    if fixed := sorted(_FIXED_IN_REDIS & parse_qs(parts.query, keep_blank_values=True).keys()):
        raise Wrong(f"the option {', '.join(fixed)} is Traptor's own; take it out")
    try:
        pool = ConnectionPool.from_url(reveal(url))
        pool.make_connection()
    except (TypeError, AttributeError, RedisError) as error:
        # redis-py names the option, not its value.
        raise Wrong(f"an option is not allowed: {error}; allowed are those of redis-py, with its values") from None
    database = parts.path.strip("/")
    if parts.scheme not in {"redis", "rediss"} or not pool.connection_kwargs.get("host"):
        raise ValueError(value)
    if not (database or "0").isdecimal():
        raise ValueError(value)
    return url


def _dsn(value: Any) -> str:
    parts = urlsplit(str(value))
    if parts.scheme not in {"http", "https"} or not parts.username or not parts.hostname or not parts.path.strip("/"):
        raise ValueError(value)
    Secret(parts.username)  # the key of the project
    return SecretUrl(str(value))


def _secret(value: Any) -> Secret:
    if not (text := str(value)):
        raise ValueError("empty")
    return Secret(text)


def whole(least: int, most: int | None = None) -> Kind:
    def parse(value: Any) -> int:
        number = int(_word(value))
        if number < least or (most is not None and number > most):
            raise ValueError(value)
        return number

    return Kind(parse, f"a whole number from {least}" + (f" to {most}" if most is not None else ""))


def number() -> Kind:
    return Kind(_at_least(0.0), "a number, 0 or more")


def seconds(*, above: float = 0.0) -> Kind:
    return Kind(_at_least(above), f"a number of seconds, {above:g} or more")


def _at_least(least: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        found = float(_word(value))
        if not least <= found < float("inf"):
            raise ValueError(value)
        return found

    return parse


def one_of(*words: str, change: Callable[[str], str] = str.lower) -> Kind:
    def parse(value: Any) -> str:
        word = change(_word(value))
        if word not in words:
            raise ValueError(value)
        return word

    return Kind(parse, ", ".join(words[:-1]) + f" or {words[-1]}")


TEXT = Kind(_text, "text on one line")
BOOLEAN = Kind(_boolean, "true/false, yes/no, on/off or 1/0")
HOSTS = Kind(_hosts, "host:port, several separated by commas")
TOPIC = Kind(_topic, "up to 249 letters, digits, dots, underscores and hyphens")
SERVER_URL = Kind(_server_url, "https://host:port or http://host:port, without a path")
REDIS_URL = Kind(_redis_url, "redis:// or rediss://host:port/db, with options of redis-py")
DSN = Kind(_dsn, "https://key@host/project")
SECRET = Kind(_secret, "a text that is not blank")
