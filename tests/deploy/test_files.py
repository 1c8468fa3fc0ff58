"""What can be said of the deployment's files without running them, each by its own linter."""

import subprocess
from pathlib import Path

import pytest

from tests.deploy.hosts import ROOT

TOOLS = ROOT / ".deploy/ansible/bin"


@pytest.mark.parametrize(
    "folder, command",
    [
        ("ansible", [TOOLS / "ansible-lint", "--nocolor"]),
        (".", [TOOLS / "hadolint", "Dockerfile"]),
        (".", ["docker-compose", "--file", "compose.yaml", "config", "--quiet"]),
        (".", ["vagrant", "validate", "--ignore-provider"]),
    ],
)
def test_its_linter_has_nothing_to_say(folder: str, command: list[str | Path], tmp_path: Path) -> None:
    environment = {"PATH": f"{TOOLS}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, check=False, cwd=ROOT / folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
