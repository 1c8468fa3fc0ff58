"""Where spool and log stand, and what is told of it."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from traptor import folders, settings

NOT_TO_BE_WRITTEN = "/dev/null/traptor"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setitem(folders.SYSTEM, "SPOOL_DIR", NOT_TO_BE_WRITTEN)
    monkeypatch.setitem(folders.SYSTEM, "LOG_DIR", NOT_TO_BE_WRITTEN)
    return tmp_path


def test_where_the_system_s_folders_cannot_be_written_they_are_the_user_s_own(home: Path) -> None:
    made = settings.load({}, {}, {})
    assert str(home / "state" / "traptor" / "spool") == made.SPOOL_DIR
    assert str(home / "state" / "traptor" / "log") == made.LOG_DIR
    assert made.sources["SPOOL_DIR"] == "default"


@pytest.mark.parametrize("name", ["there", "there/not/yet"])
def test_where_they_can_be_they_stay(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (home / "there").mkdir()
    monkeypatch.setitem(folders.SYSTEM, "SPOOL_DIR", str(home / name))
    assert str(home / name) == settings.load({}, {}, {}).SPOOL_DIR


def test_one_that_is_set_is_taken_at_its_word() -> None:
    assert settings.load({}, {"SPOOL_DIR": NOT_TO_BE_WRITTEN}, {}).SPOOL_DIR == NOT_TO_BE_WRITTEN


def test_without_a_home_there_is_none_of_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_own", lambda setting: Path("~/.local/state"))
    assert folders.usual("SPOOL_DIR") == NOT_TO_BE_WRITTEN


@pytest.mark.parametrize(
    "name,expected",
    [("file", True), ("folder", True), ("new", True), ("new/in/new", True), ("file/below", False)],
)
def test_what_can_be_written(home: Path, name: str, expected: bool) -> None:
    (home / "file").write_text("")
    (home / "folder").mkdir()
    assert folders.can_be_written(home / name / "track-0.spool") is (expected and name != "file")
    assert folders.can_be_written(home / name) is expected


@pytest.mark.parametrize("path", ["/proc", "/proc/spool", "/sys/spool"])
def test_where_root_may_write_and_no_file_can_stand(path: str) -> None:
    if not os.path.ismount(f"/{path.split('/')[1]}"):
        pytest.skip("it is a folder like any other here")
    assert not folders.can_be_written(Path(path))
    assert "cannot be written" in folders.forbidden(Path(path, "track-0.spool"), {"SPOOL_DIR": "environment"})


@pytest.mark.parametrize(
    "environ,is_wrong", [({"SPOOL_DIR": NOT_TO_BE_WRITTEN}, True), ({"SPOOL_DIR": "."}, False), ({}, False)]
)
def test_one_that_is_set_and_cannot_be_written_is_a_wrong_setting(
    environ: dict[str, str], is_wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settings.load({}, environ, {})
    spool = Path(made.SPOOL_DIR) / "track-0.spool"
    assert bool(folders.forbidden(spool, made.sources)) is is_wrong

    def not_allowed(path: Path) -> None:
        raise PermissionError(path)

    if is_wrong:
        monkeypatch.setattr(os, "statvfs", not_allowed)
        assert folders.forbidden(spool, made.sources)
    # A disk that is read-only for now keeps nobody from collecting.
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY, f_blocks=1))
    assert not folders.forbidden(spool, made.sources)


@pytest.mark.parametrize(
    "environ,level,text",
    [
        ({"SPOOL_DIR": NOT_TO_BE_WRITTEN}, "ERROR", "set SPOOL_DIR"),
        ({}, "INFO", "SPOOL_DIR sets another"),
        ({"SPOOL_DIR": "."}, "", ""),
    ],
)
def test_it_is_told_as_a_traptor_begins(
    environ: dict[str, str], level: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = settings.load({}, environ, {})
    folders.tell(Path(made.SPOOL_DIR) / "track-0.spool", made.sources)
    assert [(one.levelname, text in one.message) for one in caplog.records] == ([(level, True)] if level else [])
