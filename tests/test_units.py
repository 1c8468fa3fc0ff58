"""The units of systemd and the programs of supervisor have no more rights than they need."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
UNITS = sorted((REPOSITORY / "systemd").glob("*.service"))
MOST_EXPOSED = 20
"""Tenths, of what `systemd-analyze security` calls exposure: below 5 is medium, below 2 as good as a service gets."""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_a_unit_is_exposed_little(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_as_its_own_user_and_writes_for_it_alone(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    assert {"User=traptor", "UMask=0077", "NoNewPrivileges=yes", "CapabilityBoundingSet="} <= set(lines)
    # The lease tells dead processes of this boot from others by what stands there.
    assert "ProcSubset=pid" not in lines


@pytest.mark.parametrize("conf", sorted((REPOSITORY / "supervisor").glob("*.conf")), ids=lambda conf: conf.name)
def test_a_program_of_supervisor_runs_as_its_own_user_and_writes_for_it_alone(conf: Path) -> None:
    programs = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    programs.read(conf)
    found = [dict(programs[name]) for name in programs.sections() if name.startswith("program:")]
    assert found
    assert {(program["user"], program["umask"]) for program in found} == {("traptor", "077")}
