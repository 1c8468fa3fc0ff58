"""A real supervisord with the program group that is shipped, for a user without rights on this machine."""

import getpass
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.servers import wait_until
from traptor.simulator import Credential

ROOT = Path(__file__).parents[2]
SECTIONS = """\
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[unix_http_server]
file={folder}/socket
[supervisorctl]
serverurl=unix://{folder}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""


class Supervisord:
    """``supervisor/traptor.conf`` with its user, its places and the number of its track processes changed."""

    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path, track_processes: int) -> None:
        self.folder = folder
        self.settings = folder / "settings"
        self.config = folder / "supervisord.conf"
        self.temporary = folder / "tmp"
        self.home = {"TRAPTOR_HOME": sys.prefix, "TRAPTOR_SETTINGS": str(self.settings), "PYTHONPATH": str(ROOT)}
        self.settings.mkdir()
        shipped = (ROOT / "supervisor/traptor.conf").read_text()
        for old, new in {
            "user=traptor\n": "",
            "/usr/local/bin/": f"{ROOT}/supervisor/",
            "/var/lib/traptor": str(folder),
            "/var/log/traptor": str(folder),
            "numprocs=1": f"numprocs={track_processes}",
        }.items():
            assert old in shipped
            shipped = shipped.replace(old, new)
        self.config.write_text(SECTIONS.format(folder=folder) + shipped)

    def write_settings(self, **settings: object) -> None:
        self._write("traptor", settings)

    def write_key(self, traptor: str, credential: Credential) -> None:
        """``traptor`` is TYPE:ID."""
        self._write(traptor, {name.upper(): value for name, value in credential._asdict().items()})

    def _write(self, name: str, settings: dict[str, object]) -> None:
        path = self.settings / f"{name}.env"
        path.touch(mode=0o600)
        path.write_text("".join(f"{setting}='{value}'\n" for setting, value in settings.items()))

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(self.config)]
        with (self.folder / "supervisord.out").open("wb") as out:
            self.process = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **self.home}, stdout=out, stderr=out)
        wait_until((self.folder / "socket").exists, "supervisord's socket")
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(60)

    def restart(self, traptor: str) -> str:
        """What ``traptor-restart`` says, for our own user; all that it needs stands in the folder."""
        self.temporary.mkdir(exist_ok=True)
        binaries = self.folder / "bin"
        binaries.mkdir(exist_ok=True)
        ctl = binaries / "supervisorctl"
        ctl.write_text(f'#!/bin/sh\nexec {sys.executable} -m supervisor.supervisorctl -c {self.config} "$@"\n')
        ctl.chmod(0o700)
        environment = {
            **self.home,
            "PATH": f"{binaries}:{ROOT}/supervisor:/usr/bin:/bin",
            "TMPDIR": str(self.temporary),
            "TRAPTOR_DIRECTORY": str(self.folder),
            "TRAPTOR_USER": getpass.getuser(),
        }
        command = [ROOT / "supervisor/traptor-restart", traptor]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
        return done.stdout + done.stderr

    def ctl(self, *arguments: str) -> str:
        """What ``supervisorctl`` answers."""
        command = [sys.executable, "-m", "supervisor.supervisorctl", "--configuration", str(self.config), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout

    def state(self, process: str) -> str:
        return self.ctl("status", f"traptor:{process}").split()[1]

    def wait_for_state(self, process: str, state: str, timeout_seconds: float = 60) -> None:
        wait_until(lambda: self.state(process) == state, f"{process} {state}", timeout_seconds)

    def pid(self, process: str) -> int:
        return int(self.ctl("pid", f"traptor:{process}"))

    def log(self) -> str:
        return (self.folder / "supervisord.log").read_text()
