"""Images and containers of our own: no registry, no engine that runs for long, nothing outside of .deploy."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.deploy.hosts import ROOT, TRIXIE
from tests.servers import wait_until

RUN = Path("/run/traptor-podman")
STORAGE = f"""\
[storage]
driver = "overlay"
graphroot = "{ROOT}/.deploy/containers"
runroot = "{RUN}/storage"
"""
ENGINE = f"""\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{RUN}/libpod"
[network]
network_backend = "netavark"
network_config_dir = "{RUN}/networks"
"""
"""runc takes any kind of cgroups, and no more files and processes than this are allowed everywhere."""
ENVIRONMENT = {
    **os.environ,
    "CONTAINERS_STORAGE_CONF": f"{RUN}/storage.conf",
    "CONTAINERS_CONF": f"{RUN}/containers.conf",
}
STAND_IN = "python:3.13-slim"
LEFT_OUT = ("dev/*", "proc/*")


def prepare(folder: Path) -> None:
    """What an earlier run left has ended with it, which podman sees by an empty folder, and by no locks of its own."""
    RUN.mkdir(exist_ok=True)
    for place in (RUN, "/dev/shm"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    (RUN / "storage.conf").write_text(STORAGE)
    (RUN / "containers.conf").write_text(ENGINE)
    podman("rm", "--all", "--force", "--volumes")
    make_base(folder)


def make_base(folder: Path) -> None:
    """An image of Debian 13, with a ``python`` as that of Docker's image has."""
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/python").symlink_to("python3")
    left_out = [f"--exclude=./{place}" for place in LEFT_OUT]
    pack = ["tar", "--create", *left_out, f"--directory={TRIXIE}", ".", f"--directory={folder}", "./usr/bin/python"]
    receive = ["podman", "import", "--quiet", "-", f"docker.io/library/{STAND_IN}"]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packed:
        subprocess.run(receive, env=ENVIRONMENT, check=True, stdin=packed.stdout, capture_output=True)


def podman(*arguments: str | Path, check: bool = True) -> str:
    """What it prints; AssertionError unless it succeeds."""
    return run(["podman", *arguments], check=check)


def build(context: Path, tag: str, dockerfile: str = "Dockerfile") -> None:
    """In Docker's format, the only one that has a HEALTHCHECK."""
    options = ["--pull-never", "--isolation=chroot", "--format=docker", "--no-cache", f"--tag={tag}"]
    run(["buildah", "bud", *options, f"--file={context}/{dockerfile}", context])


def inspect(image: str) -> dict[str, Any]:
    [found] = json.loads(podman("image", "inspect", image))
    return dict(found)


def run(command: Sequence[str | Path], *, check: bool = True, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, check=False, cwd=cwd, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def is_healthy(container: str) -> bool:
    """What the HEALTHCHECK of its image says now."""
    command = ["podman", "healthcheck", "run", container]
    return subprocess.run(command, env=ENVIRONMENT, check=False, capture_output=True).returncode == 0


class Container:
    """One of the image, for as long as a ``with`` lasts: in this process' network, with a root that is read-only."""

    def __init__(self, name: str, image: str, *arguments: str, volumes: Mapping[str, str], **settings: object) -> None:
        self.name = name
        environment = [f"--env={setting}={value}" for setting, value in settings.items()]
        mounted = [f"--volume={volume}:{place}" for volume, place in volumes.items()]
        read_only = ["--read-only", "--read-only-tmpfs=false"]
        options = [f"--name={name}", "--detach", "--network=host", *read_only, *environment, *mounted]
        self._command = ["run", *options, image, *arguments]

    def __enter__(self) -> Self:
        podman(*self._command)
        return self

    def __exit__(self, *error: object) -> None:
        podman("rm", "--force", "--time=0", self.name)

    def run(self, *command: str) -> str:
        """What this command, run in there as its user, prints."""
        return podman("exec", self.name, *command)

    def stop(self) -> tuple[int, str]:
        """By SIGTERM. Gives its exit code, and all that it has said."""
        podman("stop", "--time=20", self.name)
        logs = ["podman", "logs", self.name]
        said = subprocess.run(logs, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return int(podman("inspect", "--format={{.State.ExitCode}}", self.name)), said.stdout.decode()

    def wait_for_health(self, wanted: bool) -> None:
        """Ask the image's HEALTHCHECK until this is the answer."""
        what = f"{self.name} {'healthy' if wanted else 'unhealthy'}"
        wait_until(lambda: is_healthy(self.name) is wanted, what)
