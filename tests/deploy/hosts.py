"""Hosts for the tests: Debian roots, each with processes and a network of its own, joined by a bridge in ours.

``tests/deploy/run`` has put this process into a network without a way out, so that 192.0.2.0/24 is all there is. What
a host writes goes to an overlay over the root of its Debian. A host ends with the process that made it.
"""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
TRIXIE, BOOKWORM = ROOT / ".deploy/trixie", ROOT / ".deploy/bookworm"
"""Debian 13, and Debian 12."""
DEBIANS = (TRIXIE, BOOKWORM)
KAFKA = "/var/cache/kafka.tgz"
"""What stands for Apache's archive, on every host."""
CONTROL = "192.0.2.1"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

START = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/changes,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
mount -t tmpfs tmpfs "$2/root/run"
mkdir "$2/root/run/sshd"
hostname "$3"
ip link set lo up
exec chroot "$2/root" tini -- /usr/sbin/sshd -D -e
"""


def make_network() -> None:
    """A bridge for the hosts, with this process at it."""
    for line in ("set lo up", "add br0 type bridge", "set br0 up"):
        _ip("link", *line.split())
    _ip("address", "add", f"{CONTROL}/24", "dev", "br0")


def name_addresses(names: Mapping[str, str], folder: Path) -> str:
    """Make these names known to this process and its children. Gives the text, for the hosts."""
    text = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in names.items())
    (folder / "hosts").write_text(text)
    subprocess.run(["mount", "--bind", str(folder / "hosts"), "/etc/hosts"], check=True)
    return text


def kafka_sha256() -> str:
    """Of the archive that stands for Apache's."""
    return hashlib.sha256((TRIXIE / KAFKA.lstrip("/")).read_bytes()).hexdigest()


def copy_checkout(target: Path) -> None:
    """What is in the repository, or would be with the next commit."""
    target.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    subprocess.run(
        ["rsync", "--archive", "--from0", "--files-from=-", f"{ROOT}/", str(target)], check=True, input=listed.stdout
    )


class Host:
    """A Debian with sshd, for as long as a ``with`` lasts. What ``changes`` holds by then lies over its root."""

    process: subprocess.Popen[bytes]
    pid: int

    def __init__(self, folder: Path, name: str, address: str, debian: Path = TRIXIE) -> None:
        self.folder = folder
        self.debian = debian
        self.name = name
        self.address = address
        self.changes = folder / "changes"
        for part in ("changes", "work", "root"):
            (folder / part).mkdir(parents=True)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.changes / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        target.write_text(text)
        target.chmod(mode)

    def __enter__(self) -> Self:
        arguments = [str(self.debian), str(self.folder), self.name]
        namespaces = ["--net", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
        with (self.folder / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", *namespaces, "sh", "-ec", START, "host", *arguments], stdout=log, stderr=log
            )
        wait_until(self._is_up, f"the host {self.name}")
        self._connect()
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def _is_up(self) -> bool:
        assert self.process.poll() is None, (self.folder / "sshd.log").read_text()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0]) if children else 0
        return bool(children) and Path(f"/proc/{self.pid}/comm").read_text() == "tini\n"

    def _connect(self) -> None:
        link = f"veth{self.process.pid}"
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        _ip("link", "set", link, "master", "br0", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """What the command, run as root in there, prints, errors included. AssertionError unless it succeeds."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts", "--root", "--wd"]
        done = subprocess.run(
            [*inside, *command],
            check=False,
            env={"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert not check or done.returncode == 0, f"{command} on {self.name}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def files(self, *folders: str) -> set[str]:
        """Every file in these folders, as a line that changes with it."""
        return set(self.run("find", *folders, "-printf", "%p %y %m %u:%g %s %T@ %l\n").splitlines())

    def processes(self) -> Mapping[str, tuple[str, int]]:
        """State and pid of what supervisor runs, by name."""
        lines = [line.split() for line in self.run("supervisorctl", "status", check=False).splitlines()]
        return {line[0]: (line[1], int(line[3].rstrip(",")) if line[1] == "RUNNING" else 0) for line in lines}


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
