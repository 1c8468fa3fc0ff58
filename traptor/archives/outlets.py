"""Where a replay writes: standard output and files here, Kafka in ``topic``. They hold it up, but lose nothing."""

import gzip
import os
import re
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

FILE_BYTES = 256 << 20
"""Size at which a file is full, compressed."""


class NotWritten(Exception):
    """We were told to stop while something could not be written; says what."""


class Unfinished(NamedTuple):
    """A file that is being written. What it has beyond ``size_bytes`` is not noted as written."""

    path: str
    size_bytes: int


class Outlet(Protocol):
    counts: Counter[str]
    """written, and refused by Kafka for good."""

    def write(self, key: bytes, value: bytes) -> None: ...

    def flush(self, *, is_last: bool = False) -> Unfinished | None:
        """When this returns, everything written so far is there for good. Gives the file that will be written next.

        After the last flush there is none.
        """
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

    def flush(self, *, is_last: bool = False) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing waits here."""


class Folder:
    """``tweets-000001.jsonl.gz`` and so on, after what is there already. Other replays may write there as well."""

    def __init__(self, folder: Path, file_bytes: int = FILE_BYTES) -> None:
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._file_bytes = file_bytes
        self._file: BinaryIO | None = None
        self._packer: gzip.GzipFile | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._number = max(map(_number, folder.iterdir()), default=0)

    def write(self, key: bytes, value: bytes) -> None:
        if self._packer is None:
            self._packer = gzip.GzipFile(filename="", mode="wb", fileobj=self._begun(), compresslevel=6)
        self._packer.write(value + b"\n")
        self.counts["written"] += 1

    def flush(self, *, is_last: bool = False) -> Unfinished | None:
        """Ends the gzip stream, so that the file can be read as it is; the next one follows in the same file."""
        file = self._begun()
        if self._packer:
            self._packer.close()
            self._packer = None
            file.flush()
            os.fsync(file.fileno())
        if is_last and not file.tell():
            self._path().unlink()
        if is_last or file.tell() >= self._file_bytes:
            self.close()
        if is_last:
            return None
        size_bytes = self._begun().tell()
        return Unfinished(str(self._path().absolute()), size_bytes)

    def close(self) -> None:
        if self._packer:
            self._packer.close()
            self._packer = None
        if self._file:
            self._file.close()
            self._file = None

    def _begun(self) -> BinaryIO:
        """The file to write into, a new one where there is none."""
        while self._file is None:
            self._number += 1
            with suppress(FileExistsError):
                self._file = self._path().open("xb")
        return self._file

    def _path(self) -> Path:
        return self._folder / f"tweets-{self._number:06}.jsonl.gz"


def take_back(unfinished: Unfinished) -> None:
    """Remove what a replay that was killed had written and not noted, so that the next writes each tweet once."""
    path = Path(unfinished.path)
    if path.exists() and path.stat().st_size >= unfinished.size_bytes:
        os.truncate(path, unfinished.size_bytes)
        if not unfinished.size_bytes:
            path.unlink()


def _number(path: Path) -> int:
    """Which of our files this is; 0 for others."""
    named = re.fullmatch(r"tweets-(\d{6,})\.jsonl\.gz", path.name)
    return int(named[1]) if named else 0
