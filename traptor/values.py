"""How what people write in a setting becomes its value, and what is allowed there."""

import ipaddress
import json
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from traptor.redaction import Secret, SecretUrl, redact, reveal

_BLANKS = " \t\r\n\v\f\0\xa0\u200b\u2060\ufeff"
MOST = 10**15
"""No number of ours is larger: what is may be none of Redis', SQLite's or the operating system's."""
A_YEAR_SECONDS = 366 * 86_400
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
    if isinstance(value, bytes | list | tuple | set | dict) or _CONTROLS.search(text):
        raise ValueError(value)
    return text


def _host(value: Any) -> str:
    name = _text(value)
    if ":" in name:
        ipaddress.IPv6Address(name)
    if re.search(r"[\s/@\\]", name):
        raise ValueError(value)
    return name


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
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.port == 0:
        raise ValueError(value)
    if parts.path or parts.query or parts.fragment or re.search(r"[\s\\]", url):
        raise ValueError(value)
    return SecretUrl(url) if parts.username or parts.password else _text(url)


def _dsn(value: Any) -> str:
    parts = urlsplit(str(value))
    if parts.scheme not in {"http", "https"} or not parts.username or not parts.hostname or not parts.path.strip("/"):
        raise ValueError(value)
    Secret(parts.username)  # the key of the project
    return SecretUrl(str(value))


def _secret(value: Any) -> Secret:
    if not isinstance(value, str | int) or not str(value):
        raise ValueError("empty, or no text")
    return Secret(value if isinstance(value, str) else str(value))


def _api_key(value: Any) -> Secret:
    key = _secret(value)
    if not re.fullmatch(r"[!-~]+", reveal(key)):
        raise ValueError("not what a header of HTTP may hold")
    return key


def _file(value: Any) -> str:
    path = _text(value)
    if not (os.path.isfile(path) and os.access(path, os.R_OK)):
        raise Wrong(f"{path!r} is no file that can be read")
    return path


def _ciphers(value: Any) -> str:
    names = _text(value)
    try:
        ssl.create_default_context().set_ciphers(names)
    except ssl.SSLError:
        raise ValueError(value) from None
    return names


def certificates(name: str, path: str) -> None:
    """Raises Wrong where a file that is named by this option holds none."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        raise Wrong(f"{name}: {path!r} holds no certificates in PEM") from None


def own_certificate(certfile: str, keyfile: str | None, password: str) -> None:
    """Raises Wrong where the file holds no certificate, or has another key; a password that is missing is not asked for
    on the terminal."""
    try:
        ssl.create_default_context().load_cert_chain(certfile, keyfile, reveal(password))
    except (OSError, ValueError):
        raise Wrong("ssl_certfile, ssl_keyfile and ssl_password do not belong together, or hold no PEM") from None


def _password(value: Any) -> Secret:
    if isinstance(value, bytes | list | dict | bool):
        raise ValueError("no text")
    return Secret(value if isinstance(value, str) else str(value))


def whole(least: int, most: int | None = None) -> Kind:
    def parse(value: Any) -> int:
        number = int(_word(value))
        if not least <= number <= (MOST if most is None else most):
            raise ValueError(value)
        return number

    return Kind(parse, f"a whole number from {least} to {'10^15' if most is None else most}")


def number() -> Kind:
    return Kind(_between(0.0, MOST), "a number from 0 to 10^15")


def seconds(*, above: float = 0.0) -> Kind:
    return Kind(_between(above, A_YEAR_SECONDS), f"a number of seconds from {above:g} to a year")


def _between(least: float, most: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        found = float(_word(value))
        if not least <= found <= most:
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
DSN = Kind(_dsn, "https://key@host/project")
SECRET = Kind(_secret, "a text that is not blank")
API_KEY = Kind(_api_key, "a text of letters, digits and signs, without blanks")
HOST = Kind(_host, "the name of a host, or an address, without a port")
COUNT = whole(1, 1_000_000)
FILE = Kind(_file, "the path of a file that can be read")
PASSWORD = Kind(_password, "a text")
CIPHERS = Kind(_ciphers, "a list of ciphers that OpenSSL has")
