"""Logging set-up: plain or JSON lines on standard error and in a rotated file, never with a secret in them."""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path
from typing import Any, TextIO

from traptor.permissions import private_folder, private_opener
from traptor.printable import MOST_CHARACTERS, printable
from traptor.redaction import redact
from traptor.settings import Settings

log = logging.getLogger(__name__)

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that the caller gave as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}


NO_FILE = "none"


MOST_OF_AN_EXCEPTION = 20_000


class _Formatter(logging.Formatter):
    """A line with every known secret blotted out, in which nothing acts on a terminal."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"
    converter = staticmethod(time.gmtime)


class PlainFormatter(_Formatter):
    """``time LEVEL logger: message  name=value name=value``; the lines of an exception are indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={_shown(value)}" for name, value in _facts(record).items())
        record.message = _shown(record.message)
        return super().formatMessage(record) + (f"  {facts}" if facts else "")

    def formatException(self, info: Any) -> str:
        lines = redact(super().formatException(info))[-MOST_OF_AN_EXCEPTION:].splitlines()
        return "\n".join(f"    {printable(line)}" for line in lines)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JsonFormatter(_Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        facts = {name: _bounded(value) for name, value in _facts(record).items()}
        line = {
            "timestamp": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _bounded(record.getMessage()),
            **facts,
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))[-MOST_OF_AN_EXCEPTION:]
        return redact(json.dumps(line, default=str))


def _shown(value: Any) -> str:
    text = str(value)
    # A secret that is cut would no longer be found.
    return printable(redact(text) if len(text) > MOST_CHARACTERS else text)


def _bounded(value: Any) -> Any:
    return redact(value)[:MOST_CHARACTERS] if isinstance(value, str) and len(value) > MOST_CHARACTERS else value


class Terminal(logging.StreamHandler[TextIO]):
    """Standard error as it is at the time: where a live line is shown on it, what is logged stands above that."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class LogFile(RotatingFileHandler, WatchedFileHandler):
    """A rotated file that only its owner may read; one that others move away or delete is begun anew.

    Where it cannot be written, the ``terminal`` is told once, and once more when it can be again.
    """

    def __init__(self, path: Path, terminal: logging.Handler, *, most_bytes: int, backups: int) -> None:
        self._terminal = terminal
        self._left_out = 0
        super().__init__(path, maxBytes=most_bytes, backupCount=backups, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=private_opener)  # noqa: SIM115
        found = os.fstat(opened.fileno())
        self.dev, self.ino = found.st_dev, found.st_ino
        return opened

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.reopenIfNeeded()
            if self.shouldRollover(record):
                self.doRollover()
            self.stream = self.stream or self._open()
            # A line that found no room may have been written in part.
            self.stream.write(f"{self.terminator * bool(self._left_out)}{self.format(record)}{self.terminator}")
            self.stream.flush()
        except OSError as error:
            self._left_out += 1
            self._give_up(error)
        except Exception:
            self.handleError(record)
        else:
            self._go_on()

    def _give_up(self, error: Exception) -> None:
        stream, self.stream = self.stream, None
        with contextlib.suppress(OSError):
            if stream:
                stream.close()
        if self._left_out == 1:
            self._tell("the log file cannot be written", path=self.baseFilename, error=str(error))

    def _go_on(self) -> None:
        left_out, self._left_out = self._left_out, 0
        if left_out:
            self.emit(self._tell("the log file can be written again", path=self.baseFilename, left_out=left_out))

    def _tell(self, text: str, **facts: Any) -> logging.LogRecord:
        record = log.makeRecord(log.name, logging.WARNING, "", 0, text, (), None, extra=facts)
        self._terminal.handle(record)
        return record


def set_up(settings: Settings) -> None:
    """Send what Traptor and kafka-python log to standard error and to LOG_DIR/LOG_FILE; ``none``: no file.

    A directory that cannot be written is a warning: the log then goes to standard error alone.
    """
    formatter = JsonFormatter() if settings.LOG_JSON else PlainFormatter()
    terminal = Terminal()
    terminal.setFormatter(formatter)
    _give_handlers([terminal], settings.LOG_LEVEL)
    handlers: list[logging.Handler] = [terminal] if settings.LOG_STDOUT else []
    problem = None
    if settings.LOG_DIR != NO_FILE:
        try:
            handlers.append(_file(settings, terminal))
        except OSError as error:
            problem = error
            handlers = [terminal]
    # Without any, Python itself would write to standard error, secrets and all.
    handlers = handlers or [logging.NullHandler()]
    for handler in handlers:
        handler.setFormatter(formatter)
    _give_handlers(handlers, settings.LOG_LEVEL)
    if problem:
        facts = {"log_dir": settings.LOG_DIR, "error": str(problem)}
        log.warning("no log file: set LOG_DIR to a directory that can be written", extra=facts)
    for misnomer in settings.misnomers:
        log.warning(str(misnomer))


def _file(settings: Settings, terminal: logging.Handler) -> LogFile:
    """Raises OSError."""
    folder = Path(settings.LOG_DIR)
    private_folder(folder)
    return LogFile(
        folder / settings.LOG_FILE, terminal, most_bytes=settings.LOG_MAX_BYTES, backups=settings.LOG_BACKUPS
    )


def _give_handlers(handlers: Sequence[logging.Handler], level: str) -> None:
    for name in ("traptor", "sentry"):
        _replace_handlers(logging.getLogger(name), handlers, level)
    _replace_handlers(logging.getLogger("kafka"), handlers, "INFO" if level == "DEBUG" else "WARNING")
    if level != "DEBUG":
        for handler in handlers:
            handler.addFilter(_is_no_chatter)


def _is_no_chatter(record: logging.LogRecord) -> bool:
    """kafka-python warns at each try to connect; what it comes to is told once, by ``delivery.reasons``."""
    return not record.name.startswith("kafka") or record.levelno >= logging.CRITICAL


def _replace_handlers(logger: logging.Logger, handlers: Sequence[logging.Handler], level: str) -> None:
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(level)
