"""What is deployed is what was tested, and what a release is called stands everywhere."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from traptor import __version__

ROOT = Path(__file__).parent.parent
WANTED = [
    Requirement(line.partition("#")[0])
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line.partition("#")[0].strip()
]
PINNED = re.compile(r"^(\S+)==(\S+)(?: ;.*)? \\\n((?:    --hash=sha256:.*\n?)+)", re.MULTILINE)
LOCKED = PINNED.findall((ROOT / "requirements.lock").read_text(encoding="utf-8"))


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_what_is_asked_for_is_locked(wanted: Requirement) -> None:
    [version] = [version for name, version, _ in LOCKED if name == wanted.name]
    assert wanted.specifier.contains(version)


def test_all_that_is_locked_has_hashes() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(LOCKED) == len([line for line in lines if re.match(r"\w", line)]) > len(WANTED)


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert versions[0] == __version__


def test_the_wheel_takes_along_what_is_no_python() -> None:
    told = (ROOT / "setup.py").read_text(encoding="utf-8")
    patterns = re.findall(r'"(traptor[.\w]*)": \[(.+)\]', told)
    named = {path for folder, some in patterns for one in re.findall(r'"(.+?)"', some)
             for path in (ROOT / folder.replace(".", "/")).glob(one)}  # fmt: skip
    beside = {path for path in (ROOT / "traptor").rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert beside - named == set()
