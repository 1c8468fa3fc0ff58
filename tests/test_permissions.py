"""Who may write what we run, and read what we write."""

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from traptor import permissions
from traptor.permissions import private_folder, private_opener, stranger

NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir(mode=0o755)
    made = tmp_path / "folder" / "localsettings.py"
    made.write_text("TRAPTOR_ID = 7\n")
    made.chmod(0o644)
    return made


def test_a_file_of_ours_is_nobody_elses(file: Path) -> None:
    assert stranger(file) is None


@pytest.mark.parametrize(
    "where,bits,told",
    [
        ("file", 0o666, "can be written by everybody: `chmod o-w "),
        ("folder", 0o777, "can be written by everybody: `chmod o-w "),
        ("folder", 0o1777, "can be written by everybody: `chmod o-w "),
        ("above", 0o777, "can be written by everybody: `chmod o-w "),
        ("above", 0o1777, None),
        ("file", 0o640, None),
    ],
)
def test_what_others_may_write_is_told_with_what_to_do(file: Path, where: str, bits: int, told: str | None) -> None:
    path = {"file": file, "folder": file.parent, "above": file.parent.parent}[where]
    path.chmod(bits)
    found = stranger(file)
    path.chmod(0o755)
    assert (found is None) if told is None else (found is not None and f"{path} {told}{path}`" == found)


@pytest.mark.parametrize("is_private", [True, False])
def test_a_group_is_trusted_where_it_is_ours_alone(
    file: Path, is_private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permissions, "_is_private", lambda group: is_private)
    file.chmod(0o664)
    assert (stranger(file) is None) is is_private


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_told(file: Path) -> None:
    os.chown(file, NOBODY, -1)
    assert "belongs to the user nobody: run as that user, or `chown` it" in str(stranger(file))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_is_followed_to_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.py"
    link.symlink_to(file)
    assert stranger(link) is None
    os.chown(file, NOBODY, -1)
    assert f"{file} belongs to the user nobody" in str(stranger(link))


def test_localsettings_that_others_could_have_written_is_not_run(file: Path) -> None:
    file.write_text("print('run')\n")
    file.parent.chmod(0o1777)
    for command in (["status"], ["doctor"], []):
        done = subprocess.run(
            [sys.executable, "-m", "traptor", *command],
            cwd=file.parent,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (1 if command == ["doctor"] else 2)
        assert "run\n" not in done.stdout
        assert (
            "localsettings.py is code that another user could have written, and is not run" in done.stdout + done.stderr
        )
        assert "chmod o-w" in done.stdout + done.stderr


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_is_ours_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        private_folder(tmp_path / "deep" / "spool")
        with open(tmp_path / "log", "w", opener=private_opener) as file:
            file.write("x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "deep" / "spool") == 0o700
    assert mode(tmp_path / "log") == 0o600


def test_what_is_there_with_more_is_mended_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "traptor.log").write_text("x")
    (folder / "traptor.log").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        private_folder(folder)
        with open(folder / "traptor.log", "a", opener=private_opener):
            pass
    assert (mode(folder), mode(folder / "traptor.log")) == (0o700, 0o600)
    told = [(record.message, record.mode) for record in caplog.records]  # type: ignore[attr-defined]
    assert told == [
        ("others could look into a folder of ours: they no longer can", "0755"),
        ("others could look into a file of ours: they no longer can", "0644"),
    ]


@pytest.mark.parametrize("bits,entry", [(0o755, "home.txt"), (0o1777, "traptor.log")])
def test_a_folder_that_others_use_is_told_once_and_left_alone(
    tmp_path: Path, bits: int, entry: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / entry).write_text("")
    folder.chmod(bits)
    with caplog.at_level(logging.WARNING):
        private_folder(folder)
        private_folder(folder)
    assert mode(folder) == bits
    assert [record.message for record in caplog.records] == [
        "others could look into a folder of ours: see to its owner and mode"
    ]
