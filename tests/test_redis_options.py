"""Options of REDIS_URL: a name, a type and allowed values for each, as redis-py takes them."""

from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import Certificates
from traptor import redis_options, settings
from traptor.connections import connect_to_redis
from traptor.settings import SettingError


def url(query: str, scheme: str = "redis") -> str:
    return f"{scheme}://redis/1?{query}"


@pytest.mark.parametrize(
    "query,found",
    [
        ("socket_timeout=3", {"socket_timeout": 3.0}),
        ("socket_keepalive=off&retry_on_timeout=Yes", {"socket_keepalive": False, "retry_on_timeout": True}),
        ("health_check_interval=0&max_connections=9", {"health_check_interval": 0, "max_connections": 9}),
        ("username=ana&password=p%40ss", {"username": "ana", "password": "p@ss"}),
        ("db=3", {"db": 3}),
        ("client_name='me'", {"client_name": "me"}),
    ],
)
def test_options_are_read_as_people_write_them(query: str, found: dict[str, Any]) -> None:
    wanted = settings.load({}, {"REDIS_URL": url(query)}, {})
    assert redis_options.options(wanted.REDIS_URL) == found
    with connect_to_redis(wanted) as conn:
        made = conn.connection_pool.connection_kwargs
    assert {name: made[name] for name in found if name != "max_connections"} == {
        name: value for name, value in found.items() if name != "max_connections"
    }
    assert made["host"] == "redis"


@pytest.mark.parametrize(
    "wrong,told",
    [
        ("redis://h/0?nosuch=x", "the option nosuch is not allowed; allowed are client_name, "),
        ("redis://h/0?host=other", "the option host is not allowed"),
        ("redis://h/0?decode_responses=0", "the option decode_responses is not allowed"),
        ("redis://h/0?retry=3", "the option retry is not allowed"),
        ("redis://h/0?socket_timeout=abc", "socket_timeout: 'abc' is not allowed; allowed is a number of seconds"),
        ("redis://h/0?socket_timeout=0", "socket_timeout: '0' is not allowed"),
        ("redis://h/0?socket_keepalive=perhaps", "socket_keepalive: 'perhaps' is not allowed; allowed is true/false"),
        (
            "rediss://h/0?ssl_cert_reqs=nope",
            "ssl_cert_reqs: 'nope' is not allowed; allowed is required, optional or none",
        ),
        ("rediss://h/0?ssl_ca_certs=/nowhere", "ssl_ca_certs: '/nowhere' is no file that can be read"),
        ("rediss://h/0?ssl_ca_certs=/etc/hostname", "ssl_ca_certs: '/etc/hostname' holds no certificates in PEM"),
        ("rediss://h/0?ssl_certfile=/etc/hostname", "ssl_certfile, ssl_keyfile and ssl_password do not belong"),
        ("rediss://h/0?ssl_keyfile=/etc/hostname", "ssl_keyfile is not used without ssl_certfile"),
        ("redis://h/0?ssl_cert_reqs=required", "ssl_cert_reqs asks for TLS, but redis:// has none"),
        *[(wrong, "its value is not allowed") for wrong in ("redis://h:0", "redis://h/x", "redis://h/1/2", "redis://")],
        *[(wrong, "its value is not allowed") for wrong in ("unix:///redis", "redis://h:99999", "redis://[::1")],
    ],
)
def test_what_is_wrong_is_told(wrong: str, told: str) -> None:
    with pytest.raises(SettingError) as raised:
        settings.load({}, {"REDIS_URL": wrong}, {})
    assert str(raised.value).startswith(f"REDIS_URL: {told}")


def test_a_wrong_option_shows_no_password() -> None:
    with pytest.raises(SettingError) as raised:
        settings.load({}, {"REDIS_URL": "rediss://:s3cr3t-one@h/0?password=s3cr3t-two&ssl_password=&nosuch=1"}, {})
    assert "s3cr3t" not in str(raised.value)


def test_tls_is_what_redis_py_makes_of_it(tmp_path: Path) -> None:
    Certificates(tmp_path)
    wanted = settings.load(
        {}, {"REDIS_URL": url(f"ssl_ca_certs={tmp_path}/ca.pem&ssl_check_hostname=off", "rediss")}, {}
    )
    with connect_to_redis(wanted) as conn:
        made: Any = conn.connection_pool.make_connection()
    assert isinstance(made, redis.SSLConnection)
    assert (made.ca_certs, made.check_hostname) == (f"{tmp_path}/ca.pem", False)


@pytest.mark.parametrize(
    "query,count", [("", 0), ("ssl_cert_reqs=required", 0), ("ssl_cert_reqs=none", 1), ("ssl_check_hostname=no", 1)]
)
def test_risks_are_named(query: str, count: int) -> None:
    assert len(redis_options.risks(url(query, "rediss"))) == count


@given(name=st.sampled_from(sorted(redis_options.OPTIONS)), value=st.text(st.characters(codec="utf-8"), max_size=20))
def test_whatever_is_written_is_taken_or_told(name: str, value: str) -> None:
    """Never anything but a client or a SettingError."""
    try:
        wanted = settings.load({}, {"REDIS_URL": url(f"{name}={value}", "rediss")}, {})
    except SettingError:
        return
    with connect_to_redis(wanted) as conn:
        conn.connection_pool.make_connection()
