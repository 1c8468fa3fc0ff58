"""docs/production.md: what its commands say and make, as far as they need no fleet."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.hosts import ROOT

BLOCKS: list[str] = re.findall(r"^```\n(.*?)^```", (ROOT / "docs/production.md").read_text(), re.MULTILINE | re.DOTALL)
EXAMPLE = (ROOT / "ansible/inventories/example/group_vars/all.yml").read_text()


def block(words: str) -> str:
    [found] = [one for one in BLOCKS if words in one]
    return found


def test_the_plan_is_the_one_shown(tmp_path: Path) -> None:
    rules = [f"follow,{user},newsroom" for user in range(1, 5501)] + [f"track,phrase {n},weather" for n in range(352)]
    (tmp_path / "rules.csv").write_text("\n".join(["type,value,tag", *rules]))
    command, _, shown = block("rules plan").partition("\n")
    arguments = command.removeprefix("$ traptor ").split()
    done = subprocess.run(
        [sys.executable, "-m", "traptor", *arguments],
        check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == shown


def test_the_certificates_are_those_that_the_example_names(tmp_path: Path) -> None:
    subprocess.run(["sh", "-ec", block("openssl")], check=True, cwd=tmp_path, capture_output=True)
    named = set(re.findall(r"certificates/(\S+)", EXAMPLE))
    assert named <= {path.name for path in (tmp_path / "certificates").iterdir()}
    verify = ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", "store", "store.crt"]
    subprocess.run(verify, check=True, cwd=tmp_path / "certificates")


def test_the_inventory_is_the_example() -> None:
    hosts = (ROOT / "ansible/inventories/example/hosts.ini").read_text()
    assert block("[traptor-redis]") == "".join(re.findall(r"^(?!#).*\n", hosts, re.MULTILINE)).lstrip()
