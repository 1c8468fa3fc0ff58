import logging
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from traptor import redaction

LOOPBACK = ("127.", "localhost", "::1")

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """What is packed holds the time: a test that is called after it has another name in each worker."""
    return argname if isinstance(val, bytes) and len(val) > 60 else None


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of the tests are on this machine, wherever it reaches others through a proxy."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost,::1")


@pytest.fixture(autouse=True)
def loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test that reaches for another machine fails."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0].startswith(LOOPBACK), f"a unit test connects to {address}"
        connect(self, address)

    if not request.node.get_closest_marker("integration"):
        monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def no_level_of_others() -> None:
    """What one test has logged, the next need not."""
    logging.getLogger("traptor").setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def no_secrets() -> None:
    """What one test keeps secret, the next may show."""
    redaction.forget()
