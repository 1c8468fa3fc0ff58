"""Logging set-up: plain or JSON lines on standard error and in a rotated file, never with a secret in them."""

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from traptor.settings import Settings

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _on_one_line(value: Any) -> str:
    """A line break in what Redis or Twitter sent must not look like a line of ours."""
    return str(value).replace("\r", "\\r").replace("\n", "\\n")


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that the caller gave as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}


NO_FILE = "none"


class _Formatter(logging.Formatter):
    """A line with every known secret blotted out."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, secrets: Sequence[str]) -> None:
        self.converter = time.gmtime
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        # The longest first, so that one secret inside another leaves nothing behind.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def _blot(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class PlainFormatter(_Formatter):
    """``time LEVEL logger: message  name=value name=value``"""

    def formatMessage(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={_on_one_line(value)}" for name, value in _facts(record).items())
        return super().formatMessage(record) + (f"  {facts}" if facts else "")

    def format(self, record: logging.LogRecord) -> str:
        return self._blot(super().format(record))


class JsonFormatter(_Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._blot(json.dumps(line, default=str))


class _PrivateFileHandler(RotatingFileHandler):
    """A rotated file that only its owner may read."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def set_up(settings: Settings) -> None:
    """Send what Traptor and kafka-python log to standard error and to LOG_DIR/LOG_FILE; ``none``: no file.

    A directory that cannot be written is a warning: the log then goes to standard error alone.
    """
    formatter = (JsonFormatter if settings.LOG_JSON else PlainFormatter)(settings.secrets)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)] if settings.LOG_STDOUT else []
    problem = None
    if settings.LOG_DIR != NO_FILE:
        try:
            handlers.append(_file_handler(settings))
        except OSError as error:
            problem = error
            handlers = handlers or [logging.StreamHandler(sys.stderr)]
    for handler in handlers:
        handler.setFormatter(formatter)
    _replace_handlers(logging.getLogger("traptor"), handlers, settings.LOG_LEVEL)
    _replace_handlers(logging.getLogger("sentry"), handlers, settings.LOG_LEVEL)
    _replace_handlers(logging.getLogger("kafka"), handlers, "CRITICAL" if settings.LOG_LEVEL != "DEBUG" else "INFO")
    if problem:
        logging.getLogger(__name__).warning(
            "no log file: set LOG_DIR to a directory that can be written",
            extra={"log_dir": settings.LOG_DIR, "error": str(problem)},
        )


def _file_handler(settings: Settings) -> logging.Handler:
    folder = Path(settings.LOG_DIR)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _PrivateFileHandler(
        folder / settings.LOG_FILE, maxBytes=settings.LOG_MAX_BYTES, backupCount=settings.LOG_BACKUPS, encoding="utf-8"
    )


def _replace_handlers(logger: logging.Logger, handlers: Sequence[logging.Handler], level: str) -> None:
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(level)
