"""Where spool and log stand: in the system's folders, or in the user's own where those cannot be written."""

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import platformdirs

SYSTEM = {"SPOOL_DIR": "/var/spool/traptor", "LOG_DIR": "/var/log/traptor"}
"""By setting."""

log = logging.getLogger(__name__)


def usual(setting: str) -> str:
    """The system's folder where we may write there, as root and a service's user may; else the user's own."""
    system = SYSTEM[setting]
    own = _own(setting)
    # Without a home there is none.
    return system if can_be_written(Path(system)) or not own.is_absolute() else str(own)


def _own(setting: str) -> Path:
    """That which the platform has for it: on Linux ``~/.local/state/traptor/…``."""
    if setting == "LOG_DIR":
        return platformdirs.user_log_path("traptor", appauthor=False)
    return platformdirs.user_state_path("traptor", appauthor=False) / "spool"


def can_be_written(path: Path) -> bool:
    """May we write this file, or into this folder, or make it?"""
    there = standing(path)
    if os.path.isdir(there):
        return os.access(there, os.W_OK | os.X_OK) and _holds_files(there)
    return there == path.absolute() and os.path.isfile(there) and os.access(there, os.W_OK)


def _holds_files(folder: Path) -> bool:
    """Where root may write, as in /proc and /sys, files need not stand: what has no blocks is tried."""
    try:
        if not os.statvfs(folder).f_blocks:
            tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def standing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there. One that we may not look at counts as there."""
    there = path.absolute()
    while not _is_there(there):
        there = there.parent
    return there


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True


def searched(spool_dir: str, sources: Mapping[str, str]) -> list[Path]:
    """The folders in which spools may stand: SPOOL_DIR, and the system's where it is only not ours to write."""
    system = Path(SYSTEM["SPOOL_DIR"])
    found = [Path(spool_dir)]
    return [*found, system] if sources.get("SPOOL_DIR") == "default" and found != [system] else found


def forbidden(spool: Path, sources: Mapping[str, str]) -> str:
    """Why a folder that somebody has set is none for a spool, in words: a disk that is read-only for now is one."""
    there = standing(spool)
    if sources.get("SPOOL_DIR") == "default" or can_be_written(spool) or _is_read_only(there):
        return ""
    return f"{spool.parent} cannot be written; allowed is a folder of this user's, and {there} is none"


def _is_read_only(path: Path) -> bool:
    """Is the disk? Of a path that we may not look at nobody knows."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except PermissionError:
        return False


def tell(spool: Path, sources: Mapping[str, str]) -> None:
    """Log, as a Traptor begins, that its spool cannot be written, or stands where one would not look for it."""
    if not can_be_written(spool):
        log.error(
            "the spool cannot be written: what waits for Kafka when this ends will be lost; set SPOOL_DIR",
            extra={"spool": str(spool)},
        )
    elif system := searched(str(spool.parent), sources)[1:]:
        log.log(
            logging.WARNING if _is_there(system[0]) else logging.INFO,
            "the spool stands in this user's own folder, for the system's cannot be written; SPOOL_DIR sets another",
            extra={"spool": str(spool), "system": str(system[0])},
        )
