"""What needs root and a network of its own runs under ``make test-deploy`` alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import hosts, podman
from tests.servers import KafkaBroker, kafka

IN_NETWORK = bool(os.environ.get("TRAPTOR_TEST_DEPLOY"))
IMAGE = "localhost/traptor"
PLANTED = "planted-secret"
TOPIC = "tweets"
ANYWHERE = {"test_plan.py", "test_production.py", "test_restart.py", "test_supervisor.py"}
HERE = Path(__file__).parent
OURS = {path.name for path in HERE.glob("test_*.py")}
ALONE = "test_ansible"
"""The longest story, whose waits have limits: it has a worker of its own, beside that of all the others."""
collect_ignore = sorted(ANYWHERE if IN_NETWORK else OURS - ANYWHERE)


def pytest_configure(config: pytest.Config) -> None:
    """The network is there before pytest-xdist's workers are."""
    if IN_NETWORK and not hasattr(config, "workerinput"):
        hosts.make_network()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module is one story: its tests run one after the other, in one worker."""
    for item in items:
        if IN_NETWORK and item.path.parent == HERE:
            item.add_marker(pytest.mark.xdist_group(ALONE if item.path.stem == ALONE else "others"))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Traptor's, built from a checkout in which its user has left keys, on a Debian that stands for what it names."""
    folder = tmp_path_factory.mktemp("image")
    hosts.copy_checkout(folder / "checkout")
    for place in ("localsettings.py", "traptor/localsettings.py", "traptor/.env", ".env", "key.env"):
        (folder / "checkout" / place).write_text(f"CONSUMER_SECRET = '{PLANTED}'\n")
    podman.prepare(folder / "base")
    podman.build(folder / "checkout", IMAGE)
    return IMAGE


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One that has the topic."""
    with kafka(tmp_path_factory.mktemp("kafka")) as started:
        started.create_topic(TOPIC)
        yield started
