"""When ``traptor-restart`` stops a process, by stand-ins for supervisor and for what it starts."""

import getpass
import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.hosts import ROOT

CTL = """\
#!/bin/sh
echo "$1" >>"$TRAPTOR_DIRECTORY/asked"
case $1 in
status) echo "traptor:track-0 RUNNING" ;;
start) echo "waiting for the credential" >>"$TRAPTOR_DIRECTORY/traptor-track-0.log" ;;
esac
"""
STANDS_BY = "echo waiting for the credential; exec sleep 60"
NO_REDIS = "echo no lease on the credential; echo Redis fails; exec sleep 60"
"""It goes on, and might stand by in a while."""


@pytest.mark.parametrize(
    "run,code,told,asked",
    [
        (STANDS_BY, 0, "", ["status", "stop", "start"]),
        ("echo KAFKA_HOSTS: wrong >&2; exit 2", 2, "has ended: KAFKA_HOSTS: wrong\n", ["status"]),
        ("echo no such module; exit 1", 1, "has ended: no such module\n", ["status"]),
        ("exit 0", 1, "has ended: \n", ["status"]),
        pytest.param(NO_REDIS, 1, "finds no Redis: no lease on the credential\n", ["status"], marks=pytest.mark.heavy),
    ],
)
def test_who_runs_is_stopped_for_one_that_can_start(
    run: str, code: int, told: str, asked: list[str], tmp_path: Path
) -> None:
    for name, script in (("supervisorctl", CTL), ("traptor-run", f"#!/bin/sh\n{run}\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o700)
    (tmp_path / "traptor.env").write_text(f"LOG_DIR='{tmp_path}'\n")
    (tmp_path / "track:0.env").touch()
    (tmp_path / "tmp").mkdir()
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path / "tmp"),
        "TRAPTOR_DIRECTORY": str(tmp_path),
        "TRAPTOR_SETTINGS": str(tmp_path),
        "TRAPTOR_USER": getpass.getuser(),
    }
    command = [ROOT / "supervisor/traptor-restart", "track:0"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, (tmp_path / "asked").read_text().split()) == (code, asked)
    assert done.stderr.endswith(told)
    assert list((tmp_path / "tmp").iterdir()) == []
