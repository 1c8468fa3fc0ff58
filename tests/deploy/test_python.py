"""The newest Python that Traptor is for, which Debian's testing has: its unit tests, and a wheel that is installed."""

import re
import shutil
import subprocess

import pytest

from tests.deploy.hosts import PATH, ROOT

pytestmark = pytest.mark.integration

DEBIAN = ROOT / ".deploy/testing"
WHEEL = ROOT / ".deploy/dist/traptor-7.1-py3-none-any.whl"
INSIDE = """
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
exec chroot "$0" "$@"
"""
[MINORS] = re.findall(r"for minor in \((.+)\)", (ROOT / "setup.py").read_text())
NEWEST = f"3.{MINORS.split()[-1]}"


def run(*command: str) -> str:
    """What it prints in there; AssertionError unless it succeeds."""
    inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", INSIDE, str(DEBIAN)]
    done = subprocess.run(
        [*inside, *command],
        check=False,
        env={"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_the_newest_that_setup_py_names() -> None:
    assert run("python3", "--version").startswith(f"Python {NEWEST}.")


def test_the_wheel_is_installed_and_collects() -> None:
    shutil.copy(WHEEL, DEBIAN / "traptor")
    said = run("/traptor/scripts/try_wheel", f"/traptor/{WHEEL.name}")
    assert f"Python {NEWEST}: traptor, version 7.1 is installed and collects" in said


def test_the_unit_tests_pass() -> None:
    """One core is left to Ansible, which is busy beside it."""
    print(run("make", "--directory", "/traptor", "CORES=1", "test-fast").splitlines()[-2])
