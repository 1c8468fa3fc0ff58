"""Log lines and where they go."""

import ast
import io
import json
import logging
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from traptor import logs, settings
from traptor.settings import Settings

LOGGER = logging.getLogger("traptor.track-0")


@pytest.fixture(autouse=True)
def _set_up_undone() -> Iterator[None]:
    yield
    for name in ("traptor", "kafka"):
        for handler in list(logging.getLogger(name).handlers):
            logging.getLogger(name).removeHandler(handler)
            handler.close()


def made(**wanted: Any) -> Settings:
    return settings.load({"LOG_DIR": "/dev/null", **wanted}, {}, {})


def record(message: str, *args: object, error: Exception | None = None, **extra: object) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    return LOGGER.makeRecord("traptor.track-0", logging.INFO, "", 0, message, args, info, extra=extra)


TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LINES: list[tuple[logging.LogRecord, str, dict[str, Any]]] = [
    (record("streaming"), "streaming", {"message": "streaming"}),
    (
        record("streaming", rules=3, url="http://x"),
        "streaming  rules=3 url=http://x",
        {"message": "streaming", "rules": 3, "url": "http://x"},
    ),
    (record("%s of %d", "one", 2), "one of 2", {"message": "one of 2"}),
    (record("key", key=b"7"), "key  key=b'7'", {"message": "key", "key": "b'7'"}),
    (record("été", tag="日本"), "été  tag=日本", {"message": "été", "tag": "日本"}),
    (
        record("failed", error=OSError("disk")),
        "failed\n    OSError: disk",
        {"message": "failed", "exception": "OSError: disk"},
    ),
]


def test_a_line_goes_to_what_stands_for_standard_error_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live line takes its place while it is shown, and what is logged would stick to it."""
    logs.set_up(made(LOG_STDOUT=True))
    taken = io.StringIO()
    monkeypatch.setattr("sys.stderr", taken)
    LOGGER.warning("above the live line")
    assert taken.getvalue().endswith("above the live line\n")


@pytest.mark.parametrize("given,plain,fields", LINES)
def test_a_record_is_a_line_with_its_facts(given: logging.LogRecord, plain: str, fields: dict[str, Any]) -> None:
    line = logs.PlainFormatter().format(given)
    assert re.fullmatch(rf"{TIME} INFO traptor\.track-0: {re.escape(plain)}", line)
    parsed = json.loads(logs.JsonFormatter().format(given))
    assert re.fullmatch(TIME, parsed.pop("timestamp"))
    assert parsed == {"level": "INFO", "logger": "traptor.track-0", **fields}


def test_lines_go_to_standard_error_and_to_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(made(LOG_DIR=str(tmp_path / "deep" / "logs"), LOG_JSON=True, LOG_FILE_NAME="mine.log"))
    LOGGER.info("streaming")
    LOGGER.debug("unseen")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert json.loads(shown.err)["message"] == "streaming"
    assert (tmp_path / "deep/logs/mine.log").read_text() == shown.err


@pytest.mark.parametrize("wanted,shown", [({"LOG_STDOUT": False}, False), ({"LOG_STDOUT": True}, True)])
def test_the_terminal_can_be_left_out(
    wanted: dict[str, Any], shown: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up(made(LOG_DIR=str(tmp_path), **wanted))
    LOGGER.info("streaming")
    assert ("streaming" in capsys.readouterr().err) is shown
    assert "streaming" in (tmp_path / "traptor.log").read_text()


@pytest.mark.parametrize("wanted", [{"LOG_STDOUT": False}, {"LOG_STDOUT": True}])
def test_a_directory_that_cannot_be_written_is_a_warning(
    wanted: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    logs.set_up(made(LOG_DIR=str(tmp_path / "file"), **wanted))
    LOGGER.info("streaming")
    warning, line = capsys.readouterr().err.splitlines()
    assert "WARNING traptor.logs: no log file: set LOG_DIR" in warning
    assert str(tmp_path / "file") in warning
    assert line.endswith("streaming")


def test_the_file_is_rotated(tmp_path: Path) -> None:
    logs.set_up(made(LOG_DIR=str(tmp_path), LOG_STDOUT=False, LOG_MAX_BYTES=500, LOG_BACKUPS=2))
    for number in range(40):
        LOGGER.info("line", extra={"number": number})
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["traptor.log", "traptor.log.1", "traptor.log.2"]
    assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())
    assert "number=39" in (tmp_path / "traptor.log").read_text()


@pytest.mark.parametrize(
    "level,logger,told",
    [
        ("INFO", "traptor.stream", {"INFO", "WARNING"}),
        ("DEBUG", "traptor.stream", {"DEBUG", "INFO", "WARNING"}),
        ("ERROR", "traptor.stream", set()),
        ("INFO", "kafka.conn", set()),
        ("DEBUG", "kafka.conn", {"INFO", "WARNING"}),
    ],
)
def test_levels(level: str, logger: str, told: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(made(LOG_LEVEL=level))
    capsys.readouterr()
    for one in ("DEBUG", "INFO", "WARNING"):
        logging.getLogger(logger).log(logging.getLevelNamesMapping()[one], "told")
    assert {line.split()[1] for line in capsys.readouterr().err.splitlines()} == told


def test_where_nothing_is_to_be_logged_nothing_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Python itself writes warnings to standard error where there is no handler."""
    logs.set_up(made(LOG_STDOUT=False, LOG_DIR="none"))
    LOGGER.error("told")
    assert capsys.readouterr().err == ""


def test_set_up_twice_tells_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        logs.set_up(made())
    capsys.readouterr()
    LOGGER.warning("told")
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert all(handler.stream is sys.stderr for handler in logging.getLogger("traptor").handlers)  # type: ignore[attr-defined]


@pytest.mark.parametrize("secret", ['qu"oted', "back\\slash", "schlüssel", "鍵鍵鍵鍵鍵鍵", "line\nfeed"])
@pytest.mark.parametrize("formatter", [logs.PlainFormatter, logs.JsonFormatter])
def test_a_secret_is_blotted_out_however_it_is_written(secret: str, formatter: Any) -> None:
    made(MYSQL_PASSWORD=secret)
    line = formatter().format(record(f"key {secret!r}", key=secret, of={"them": secret}))
    written = [secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]]
    assert [form for form in written if form in line] == []


def test_the_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    logs.set_up(made(LOG_DIR=str(tmp_path / "log"), LOG_MAX_BYTES="100"))
    for _ in range(5):
        LOGGER.warning("a line long enough that the file is soon to be rotated")
    files = list((tmp_path / "log").iterdir())
    assert len(files) > 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


def test_a_stranger_s_text_is_one_line_that_acts_on_nothing() -> None:
    given = record("rule \x1b]0;title\x07\n%s", "forged\u202e", tag="a\rb", error=OSError("x\x1b[31m\nforged line"))
    plain = logs.PlainFormatter().format(given)
    head, *rest = plain.split("\n")
    assert head.endswith(r"rule \x1b]0;title\x07\nforged\u202e  tag=a\rb")
    assert rest == [r"    OSError: x\x1b[31m", "    forged line"]
    assert len(logs.JsonFormatter().format(given).splitlines()) == 1
    assert "\x1b" not in logs.JsonFormatter().format(given)


@pytest.mark.parametrize("formatter", [logs.PlainFormatter, logs.JsonFormatter])
def test_a_line_is_bounded(formatter: Any) -> None:
    assert len(formatter().format(record("x" * 10**6, tag="y" * 10**6, error=OSError("z" * 10**6)))) < 50_000


def to_file(path: Path, **wanted: Any) -> None:
    logs.set_up(made(LOG_DIR=str(path), LOG_STDOUT=False, **wanted))


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    to_file(tmp_path)
    LOGGER.info("one")
    (tmp_path / "traptor.log").rename(tmp_path / "traptor.log.1")
    LOGGER.info("two")
    assert (tmp_path / "traptor.log.1").read_text().count("one") == 1
    assert (tmp_path / "traptor.log").read_text().splitlines()[0].endswith("two")


def test_a_file_that_is_copied_and_truncated_goes_on(tmp_path: Path) -> None:
    to_file(tmp_path)
    LOGGER.info("one")
    os.truncate(tmp_path / "traptor.log", 0)
    LOGGER.info("two")
    assert (tmp_path / "traptor.log").read_bytes().endswith(b"two\n")
    assert b"\0" not in (tmp_path / "traptor.log").read_bytes()


def test_a_folder_that_disappears_is_made_anew(tmp_path: Path) -> None:
    to_file(tmp_path / "logs")
    LOGGER.info("one")
    shutil.rmtree(tmp_path / "logs")
    LOGGER.info("two")
    assert (tmp_path / "logs" / "traptor.log").read_text().endswith("two\n")


def test_a_log_that_cannot_be_written_is_told_once_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_file(tmp_path / "logs")
    LOGGER.info("one")
    shutil.rmtree(tmp_path / "logs")
    (tmp_path / "logs").write_text("in the way")
    for _ in range(20):
        LOGGER.info("lost")
    [told] = capsys.readouterr().err.splitlines()
    assert "WARNING traptor.logs: the log file cannot be written  path=" in told
    (tmp_path / "logs").unlink()
    LOGGER.info("two")
    [told] = capsys.readouterr().err.splitlines()
    assert told.endswith("left_out=20")
    assert "can be written again" in told
    lines = (tmp_path / "logs" / "traptor.log").read_text().split("\n")
    assert [line for line in lines if line.endswith("two")]
    assert [line for line in lines if line.endswith("left_out=20")]


def test_a_full_disk_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "traptor.log").symlink_to("/dev/full")
    to_file(tmp_path)
    for _ in range(20):
        LOGGER.info("lost")
    [told] = capsys.readouterr().err.splitlines()
    assert "No space left on device" in told


SHORT = {"s", "ms", "sec", "secs", "b", "kb", "mb", "num", "cnt", "msg", "err", "idx", "ts"}


def fields_of(tree: ast.AST) -> Iterator[str]:
    """The names of the facts that are given to log calls as they stand there."""
    for call in ast.walk(tree):
        for extra in call.keywords if isinstance(call, ast.Call) else ():
            if extra.arg == "extra" and isinstance(extra.value, ast.Dict):
                yield from (key.value for key in extra.value.keys if isinstance(key, ast.Constant))


def test_facts_have_names_of_whole_words() -> None:
    sources = Path(logs.__file__).parent.rglob("*.py")
    names = {name for source in sources for name in fields_of(ast.parse(source.read_text(encoding="utf-8")))}
    assert {"error", "put_off_seconds"} <= names
    assert [name for name in names if SHORT & set(name.split("_"))] == []
