"""What needs root and a network of its own runs under ``make test-deploy`` alone."""

import os

import pytest

from tests.deploy import hosts

IN_NETWORK = bool(os.environ.get("TRAPTOR_TEST_DEPLOY"))
collect_ignore = (
    [] if IN_NETWORK else ["test_vagrant.py", "test_ansible.py", "test_check.py", "test_files.py", "test_store_role.py"]
)


@pytest.fixture(scope="session", autouse=IN_NETWORK)
def network() -> None:
    hosts.make_network()
