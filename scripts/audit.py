"""Is a hole known in one of the packages installed beside this Python?

``python -m scripts.audit PIP_AUDIT`` asks the database of known holes by that program, and says how far it could.
Exit code 1 for a hole, and for nothing else: without its database there is nothing to find.
"""

import json
import subprocess
import sys
import sysconfig
from typing import Any


def ask(pip_audit: str) -> str:
    """What the program says in JSON; empty where it cannot reach its database."""
    options = ["--progress-spinner", "off", "--skip-editable", "--format", "json"]
    command = [pip_audit, *options, "--path", sysconfig.get_path("purelib")]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout


def told(said: str) -> tuple[list[str], str]:
    """The holes, a line each, and how many packages were looked up."""
    packages: list[dict[str, Any]] = json.loads(said.strip() or "{}").get("dependencies", [])
    known = [one for one in packages if "vulns" in one]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for one in known
        for hole in one["vulns"]
    ]
    if not known:
        return holes, "audit: the database of known holes cannot be reached from here; only ranges were compared"
    return holes, f"audit: {len(known)} packages looked up, {len(packages) - len(known)} not known there"


def main(pip_audit: str) -> None:
    holes, summary = told(ask(pip_audit))
    print(*holes, summary, sep="\n")
    if holes:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
