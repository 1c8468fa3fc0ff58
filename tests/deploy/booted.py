"""A Debian that systemd has booted, by systemd-nspawn, in the network of this process."""

import os
import subprocess
from pathlib import Path
from typing import Self

from tests.deploy.hosts import Host
from tests.servers import PATIENCE_SECONDS, wait_until

UNIFIED = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
"""Today's systemd boots under no other cgroups, whatever those of this machine are."""


class BootedHost(Host):
    """For as long as a ``with`` lasts. What it writes is in memory; ``bound`` folders are there to be read."""

    def __init__(self, folder: Path, name: str, debian: Path, **bound: Path) -> None:
        super().__init__(folder, name, "127.0.0.1", debian)
        self._bound = [f"--bind-ro={path}:/{place}" for place, path in bound.items()]

    def __enter__(self) -> Self:
        places = [f"--directory={self.debian}", "--volatile=overlay", f"--machine={self.name}", *self._bound]
        command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", *places]
        with (self.folder / "boot.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **UNIFIED}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._is_up, f"the boot of {self.name}", 180)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(60)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, (self.folder / "boot.log").read_text()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0]) if children else 0
        if not children or Path(f"/proc/{self.pid}/comm").read_text() != "systemd\n":
            return False
        return self.run("systemctl", "is-system-running", check=False).strip() in {"running", "degraded"}

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """What systemd says of a unit."""
        told = self.run("systemctl", "show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in told.splitlines())

    def wait_for(self, unit: str, timeout_seconds: float = PATIENCE_SECONDS, **wanted: str) -> None:
        """Until its properties are these."""
        wait_until(lambda: self.show(unit, *wanted) == wanted, f"{unit} {wanted}", timeout_seconds)
