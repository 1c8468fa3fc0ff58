"""Options of REDIS_URL: each of redis-py's that a URL can give, with what it may be."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

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
    one_of,
    own_certificate,
    parsed,
    seconds,
    whole,
)

SECRET_OPTIONS = {"password", "ssl_password"}
OPTIONS: Mapping[str, Kind] = {
    "client_name": TEXT,
    "db": whole(0),
    "health_check_interval": whole(0),
    "max_connections": COUNT,
    "password": PASSWORD,
    "retry_on_timeout": BOOLEAN,
    "socket_connect_timeout": seconds(above=0.01),
    "socket_keepalive": BOOLEAN,
    "socket_timeout": seconds(above=0.01),
    "ssl_ca_certs": FILE,
    "ssl_cert_reqs": one_of("required", "optional", "none"),
    "ssl_certfile": FILE,
    "ssl_check_hostname": BOOLEAN,
    "ssl_ciphers": CIPHERS,
    "ssl_keyfile": FILE,
    "ssl_password": PASSWORD,
    "username": TEXT,
}


def read(value: Any) -> SecretUrl:
    """The URL. Raises ValueError where it is none of a Redis server, and Wrong for what is wrong with an option."""
    url = SecretUrl(str(value))
    parts = urlsplit(reveal(url))
    # Asking for the port is what checks it.
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or parts.port == 0 or parts.fragment:
        raise ValueError(value)
    if not (parts.path.strip("/") or "0").isdecimal():
        raise ValueError(value)
    _encryption(parts.scheme, options(url))
    return url


def _encryption(scheme: str, wanted: Mapping[str, Any]) -> None:
    unused = sorted(name for name in wanted if name.startswith("ssl_"))
    if unused and scheme == "redis":
        raise Wrong(f"{unused[0]} asks for TLS, but redis:// has none; allowed is rediss://")
    if "ssl_keyfile" in wanted and "ssl_certfile" not in wanted:
        raise Wrong("ssl_keyfile is not used without ssl_certfile")
    if "ssl_ca_certs" in wanted:
        certificates("ssl_ca_certs", wanted["ssl_ca_certs"])
    if "ssl_certfile" in wanted:
        own_certificate(wanted["ssl_certfile"], wanted.get("ssl_keyfile"), wanted.get("ssl_password", ""))


def options(url: str) -> dict[str, Any]:
    """What stands behind the question mark, as redis-py takes it. Raises Wrong."""
    written = parse_qsl(urlsplit(reveal(url)).query, keep_blank_values=True)
    return {name: _option(name, value) for name, value in written}


def _option(name: str, value: str) -> Any:
    if name not in OPTIONS:
        raise Wrong(f"the option {name} is not allowed; allowed are {', '.join(OPTIONS)}")
    try:
        found = parsed(name, OPTIONS[name], value, secret=name in SECRET_OPTIONS)
    except SettingError as error:
        raise Wrong(str(error)) from None
    return reveal(found) if isinstance(found, Secret) else found


def address(url: str) -> str:
    """The URL without its options; a database among them counts, not the one in its path."""
    parts = urlsplit(reveal(url))
    return parts._replace(query="", path="" if "db" in options(url) else parts.path).geturl()


def risks(url: str) -> list[str]:
    """What is allowed, but puts the connection at risk, in words."""
    wanted = options(url)
    return [text for (name, value), text in _RISKS.items() if wanted.get(name) == value]


_RISKS: Mapping[tuple[str, Any], str] = {
    ("ssl_cert_reqs", "none"): "ssl_cert_reqs none: whoever answers can be the Redis, and reads the password",
    ("ssl_check_hostname", False): "ssl_check_hostname false: whoever has any certificate of the CA can be the Redis",
}
