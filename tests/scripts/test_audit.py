"""What pip-audit says, and what we make of it: a hole fails, a database that is away is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import audit

KNOWN = {"name": "requests", "version": "2.0", "vulns": []}
SKIPPED = {"name": "birdy", "skip_reason": "Dependency not found on PyPI and could not be audited"}
HOLED = {"name": "click", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}]}


@pytest.mark.parametrize(
    "packages,holes,summary",
    [
        ([KNOWN, SKIPPED], [], "1 packages looked up, 1 not known there"),
        ([HOLED, KNOWN], ["click 1.0: PYSEC-1, mended in 1.1, 2.0"], "2 packages looked up"),
        ([SKIPPED], [], "cannot be reached from here"),
        (None, [], "cannot be reached from here"),
    ],
)
def test_what_was_found(packages: list[dict[str, object]] | None, holes: list[str], summary: str) -> None:
    said = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    found, told = audit.told(said)
    assert found == holes
    assert summary in told


@pytest.mark.parametrize("packages,code", [([HOLED], 1), ([KNOWN], 0), ([SKIPPED], 0), (None, 0)])
def test_only_a_hole_fails(packages: list[dict[str, object]] | None, code: int, tmp_path: Path) -> None:
    said = "" if packages is None else json.dumps({"dependencies": packages})
    stand_in = tmp_path / "pip-audit"
    stand_in.write_text(f"#!/bin/sh\necho '{said}'\nexit {int(packages is None)}\n")
    stand_in.chmod(0o755)
    command = [sys.executable, "-m", "scripts.audit", str(stand_in)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "audit: " in done.stdout
