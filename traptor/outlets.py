"""Where a replay writes: standard output and files here, Kafka in ``topic``. They hold it up, but lose nothing."""

import gzip
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO, Protocol

FILE_BYTES = 256 << 20
"""Size at which a file is full, compressed."""


class NotWritten(Exception):
    """We were told to stop while something could not be written; says what."""


class Outlet(Protocol):
    counts: Counter[str]
    """written, and refused by Kafka for good."""

    def write(self, key: bytes, value: bytes) -> None: ...

    def flush(self) -> dict[str, Any]:
        """When this returns, everything written so far is there for good. Gives what a later run needs to go on."""
        ...

    def close(self) -> None: ...


class StandardOutput:
    """One tweet per line. Raises BrokenPipeError when the reader has gone."""

    def __init__(self, out: BinaryIO | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._out = out or sys.stdout.buffer

    def write(self, key: bytes, value: bytes) -> None:
        self._out.write(value + b"\n")
        self._out.flush()
        self.counts["written"] += 1

    def flush(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """Nothing waits here."""


class Folder:
    """``tweets-000001.jsonl.gz`` and so on, after what is there already.

    With ``resume``, what ``flush`` last gave, everything after that moment is taken back first, so that a replay that
    was killed and is run again writes each tweet once.
    """

    def __init__(self, folder: Path, resume: dict[str, Any], file_bytes: int = FILE_BYTES) -> None:
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._file_bytes = file_bytes
        self._file: BinaryIO | None = None
        self._packer: gzip.GzipFile | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._number = max(map(_number, folder.iterdir()), default=0)
        if resume:
            self._take_back(resume["number"], resume["bytes"])

    def write(self, key: bytes, value: bytes) -> None:
        if self._packer is None:
            self._begin()
        assert self._packer, "begun"
        self._packer.write(value + b"\n")
        self.counts["written"] += 1

    def flush(self) -> dict[str, Any]:
        """Ends the gzip stream, so that the file can be read as it is; the next one follows in the same file."""
        if self._packer and self._file:
            self._packer.close()
            self._packer = None
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._file.tell() >= self._file_bytes:
                self.close()
        return {"number": self._number, "bytes": self._path().stat().st_size if self._path().exists() else 0}

    def close(self) -> None:
        if self._packer:
            self._packer.close()
            self._packer = None
        if self._file:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        if self._file is None:
            self._number += 1
            self._file = self._path().open("ab")
        self._packer = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, compresslevel=6)

    def _path(self) -> Path:
        return self._folder / f"tweets-{self._number:06}.jsonl.gz"

    def _take_back(self, number: int, size_bytes: int) -> None:
        for path in self._folder.iterdir():
            if _number(path) > number:
                path.unlink()
        self._number = number
        if self._path().exists():
            os.truncate(self._path(), size_bytes)


def _number(path: Path) -> int:
    """Which of our files this is; 0 for others."""
    named = re.fullmatch(r"tweets-(\d{6,})\.jsonl\.gz", path.name)
    return int(named[1]) if named else 0
