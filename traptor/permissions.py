"""Who else may write a file that we run, or read one that we write."""

import contextlib
import grp
import logging
import os
import pwd
import stat
from pathlib import Path

log = logging.getLogger(__name__)

_told: set[tuple[str, int]] = set()
"""What could not be mended, and its mode: it is told once."""


def stranger(path: Path) -> str | None:
    """Who other than we, root, and the owner of this package could have written this file, and what to do about it.

    None if nobody could. A folder above it in which others may write counts, too, and so does what a link leads to.
    """
    for file in dict.fromkeys((path.absolute(), path.resolve())):
        for one in (file, *file.parents):
            # Where a folder is sticky, others may add files, but not put theirs in the place of ours.
            if told := _stranger(one, sticky_will_do=one not in {file, file.parent}):
                return told
    return None


def _stranger(path: Path, *, sticky_will_do: bool) -> str | None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return None
    if found.st_uid not in {0, os.geteuid(), Path(__file__).stat().st_uid}:
        return f"{path} belongs to the user {_user(found.st_uid)}: run as that user, or `chown` it"
    if sticky_will_do and found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return f"{path} can be written by everybody: `chmod o-w {path}`"
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid):
        return f"{path} can be written by a group, {found.st_gid}: `chmod g-w {path}`"
    return None


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _is_private(group: int) -> bool:
    """Is it root's group, or one that has the name of our user and nobody else in it?"""
    if group == 0:
        return True
    try:
        ours, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == ours.pw_name and set(found.gr_mem) <= {ours.pw_name}


def private_opener(path: str, flags: int) -> int:
    """For ``open(opener=…)``: a file that only its owner may read, whatever the umask and however it was before."""
    descriptor = os.open(path, flags, 0o600)
    mend(path, descriptor)
    return descriptor


def mend(path: str | Path, descriptor: int) -> None:
    """Take from others what they may do with an open file of ours, and say so; where it is not ours, say only that."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o077:
        return
    if found.st_uid == os.geteuid():
        with contextlib.suppress(OSError):  # it may stand where nothing can be changed
            os.fchmod(descriptor, 0o600)
    _tell(path, found, "file")


def private_folder(folder: Path) -> None:
    """Make it, for us alone. One that is there already is mended where it holds nothing but files of Traptor's.

    Raises OSError where it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if not found.st_mode & 0o077:
        return
    is_ours = found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX
    if is_ours and all(one.name.startswith("traptor") for one in folder.iterdir()):
        with contextlib.suppress(OSError):
            folder.chmod(0o700)
    _tell(folder, found, "folder")


def _tell(path: str | Path, was: os.stat_result, what: str) -> None:
    is_mended, which = not os.stat(path).st_mode & 0o077, (str(path), was.st_mode)
    if which in _told:
        return
    if not is_mended:
        _told.add(which)
    advice = "they no longer can" if is_mended else "see to its owner and mode"
    log.warning(
        f"others could look into a {what} of ours: {advice}",
        extra={"path": str(path), "mode": f"{stat.S_IMODE(was.st_mode):04o}", "owner": _user(was.st_uid)},
    )
