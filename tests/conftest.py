import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from traptor import redaction

LOOPBACK = ("127.", "localhost", "::1")
MOST_OF_AN_ID = 60

pytest.register_assert_rewrite("tests.store.facts", "tests.store.sql_facts")

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A long value names no test; and what is packed holds the time, so that no two workers have the same."""
    return argname if isinstance(val, bytes | str) and len(val) > MOST_OF_AN_ID else None


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
def no_log_of_others() -> Iterator[None]:
    """What one test logs, and where, the next need not."""
    loggers = [logging.getLogger(name) for name in ("traptor", "kafka")]
    before = {handler for logger in loggers for handler in logger.handlers}
    loggers[0].setLevel(logging.NOTSET)
    yield
    for logger in loggers:
        for handler in set(logger.handlers) - before:
            logger.removeHandler(handler)
            handler.close()


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The command sets its own, for the whole process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def no_secrets() -> None:
    """What one test keeps secret, the next may show."""
    redaction.forget()
