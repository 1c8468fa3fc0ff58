"""Archives of tweets: files, folders, tar and zip members, compressed in any of the usual ways, read line by line.

What a file is, its first bytes tell, not its name; names only choose among the files of a folder or an archive.
"""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import IO, Any, NamedTuple

import zstandard

STANDARD_INPUT = "-"
SUFFIXES = (".json", ".jsonl", ".ndjson", ".gz", ".bz2", ".zst", ".tar", ".tgz", ".zip")
MAX_LINE_BYTES = 16 << 20
"""A page of v2 search results on one line may have a few MiB; nothing sound has more than this."""
BUFFER_BYTES = 1 << 20
MAX_WINDOW_BYTES = 1 << 31
"""Large zstd archives are packed with a window of up to 2 GiB."""
TAR_BLOCK_BYTES = 512
ZIPPED = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip archive begins, with members and without."""
DAMAGE = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    tarfile.TarError,
    zipfile.BadZipFile,
    UnicodeDecodeError,  # a name in a zip's directory
    RuntimeError,  # zipfile's, of a member that is encrypted or packed in a way of its own
)
"""What a damaged file or member raises while it is read."""


class Part(NamedTuple):
    """What is read from beginning to end by one reader: a file, or one member of a plain tar or zip archive.

    A member of a tar begins at ``start`` and has ``size_bytes``; ``size_bytes`` is None where nobody knows it.
    """

    path: str
    member: str = ""
    start: int = 0
    size_bytes: int | None = None

    @property
    def place(self) -> str:
        return f"{self.path}!{self.member}" if self.member else self.path


class Line(NamedTuple):
    """A line that is not blank, without its end; ``number`` counts from 1 within ``place``."""

    place: str
    number: int
    body: bytes


class Problem(NamedTuple):
    """What could not be read: a file or member from ``place`` on, or one line."""

    place: str
    reason: str


def size_bytes(paths: Iterable[str]) -> int | None:
    """What there is to read in all; None with standard input among it. What cannot be opened is a problem later."""
    total_bytes = 0
    for file in chain.from_iterable(map(_files, paths)):
        if file == STANDARD_INPUT:
            return None
        with suppress(OSError):
            total_bytes += os.stat(file).st_size
    return total_bytes


def parts(paths: Iterable[str]) -> Iterator[Part | Problem]:
    """The parts of all files, folders in order of name; a tar or zip archive that is damaged has a problem as well."""
    for path in paths:
        for file in _files(path):
            if file == STANDARD_INPUT:
                yield Part(file)
                continue
            try:
                yield from _parts_of(file)
            except DAMAGE as error:
                yield Problem(file, reason(error))


def _files(path: str) -> Iterator[str]:
    """A file as it is; of a folder, everything that looks like an archive, nested folders included."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names) if _is_wanted(name))


def _is_wanted(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not os.path.basename(name).startswith(".")


def _parts_of(file: str) -> Iterator[Part | Problem]:
    with open(file, "rb") as opened:
        head = opened.read(TAR_BLOCK_BYTES)
    if _is_tar(head):
        yield from _tar_members(file)
    elif head.startswith(ZIPPED):
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if _is_wanted(member.filename):
                    yield Part(file, member.filename, size_bytes=member.file_size)
    else:
        yield Part(file, size_bytes=os.stat(file).st_size)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar" or head == bytes(TAR_BLOCK_BYTES)


def _tar_members(file: str) -> Iterator[Part | Problem]:
    with tarfile.open(file, "r:") as archive:
        for member in archive:
            if member.isreg() and _is_wanted(member.name):
                yield Part(file, member.name, member.offset_data, member.size)
            archive.members.clear()  # type: ignore[attr-defined] # else it keeps all of a month's
        end = archive.offset
    # At a damaged header tarfile stops without a word; a sound archive ends with a block of zeros.
    with open(file, "rb") as opened:
        opened.seek(end)
        if opened.read(TAR_BLOCK_BYTES) != bytes(TAR_BLOCK_BYTES):
            yield Problem(file, f"the tar archive is damaged or cut at byte {end}")


class Reading:
    """One part while it is read. ``read_bytes`` says how far, in bytes of the file itself."""

    def __init__(self, part: Part, standard_input: int = 0) -> None:
        self._part = part
        self._standard_input = standard_input
        self._span: Span | None = None

    @property
    def read_bytes(self) -> int:
        return self._span.read_bytes if self._span else 0

    def __iter__(self) -> Iterator[Line | Problem]:
        """All lines, member by member; what is damaged is a problem, and the next member goes on."""
        try:
            with self._open() as opened:
                self._span = Span(opened, self._part.size_bytes)
                yield from _lines_of(io.BufferedReader(self._span, BUFFER_BYTES), self._part.place)
        except DAMAGE as error:
            yield Problem(self._part.place, reason(error))

    def _open(self) -> IO[bytes]:
        path, member, start, _ = self._part
        if path == STANDARD_INPUT:
            return open(self._standard_input, "rb")
        if member and not start:
            return zipfile.ZipFile(path).open(member)
        opened = open(path, "rb")  # noqa: SIM115 - whoever asked closes it
        opened.seek(start)
        return opened


class Span(io.RawIOBase):
    """The next ``size_bytes`` of an open file, or all that it has. Raises EOFError where the file ends sooner.

    It reads a piece at a time, so that an error takes nothing with it that was read before. The first piece is as large
    as a block of a tar, if there is so much, by which one can tell what it is.
    """

    def __init__(self, opened: Any, size_bytes: int | None = None) -> None:
        self.read_bytes = 0
        self._opened = opened
        self._size_bytes = size_bytes
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._error:
            raise self._error
        count = self._read_into(buffer)
        try:
            while 0 < self.read_bytes < TAR_BLOCK_BYTES and (more := self._read_into(memoryview(buffer)[count:])):
                count += more
        except DAMAGE as error:
            self._error = error
        return count

    def _read_into(self, buffer: Any) -> int:
        wanted = len(buffer) if self._size_bytes is None else min(len(buffer), self._size_bytes - self.read_bytes)
        data = self._opened.read1(wanted)
        if wanted and not data and self._size_bytes is not None:
            raise EOFError(f"ends after {self.read_bytes} of {self._size_bytes} bytes")
        buffer[: len(data)] = data
        self.read_bytes += len(data)
        return len(data)


class ZstdFrames(io.RawIOBase):
    """zstd, frame after frame. Raises EOFError where the last is cut, of which zstandard's own reader says nothing."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self._frame = self._decompressor.decompressobj()
        self._begun = False
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and (data := self._next_input()):
            if self._frame.eof:
                self._frame = self._decompressor.decompressobj()
            self._ready = self._frame.decompress(data)
            self._begun = True
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _next_input(self) -> bytes:
        data = (self._frame.unused_data if self._frame.eof else b"") or self._packed.read(1 << 16)
        if not data and self._begun and not self._frame.eof:
            raise EOFError("ends in the middle of a zstd frame")
        return data


_UNPACK: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda packed: Span(gzip.GzipFile(fileobj=packed)),
    b"BZh": lambda packed: Span(bz2.BZ2File(packed)),
    b"\x28\xb5\x2f\xfd": lambda packed: Span(io.BufferedReader(ZstdFrames(packed))),
}
"""By the first bytes of what is packed. All of them read on where one stream ends and the next begins."""


def _lines_of(stream: "io.BufferedReader[Any]", place: str) -> Iterator[Line | Problem]:
    """The lines of a text, unpacked as often as it is packed, or of an archive's members."""
    head = stream.peek(TAR_BLOCK_BYTES)
    for magic, unpack in _UNPACK.items():
        if head.startswith(magic):
            yield from _lines_of(io.BufferedReader(unpack(stream), BUFFER_BYTES), place)
            return
    if _is_tar(head):
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if member.isreg() and _is_wanted(member.name):
                    yield from _member_lines(archive, member, place)
                archive.members.clear()  # type: ignore[attr-defined]
    elif head.startswith(ZIPPED):
        yield Problem(place, "is a zip archive, which can be read only from a file of its own: unpack it first")
    else:
        yield from _text_lines(stream, place)


def _member_lines(archive: tarfile.TarFile, member: tarfile.TarInfo, place: str) -> Iterator[Line | Problem]:
    opened = archive.extractfile(member)
    assert opened, "a regular file can be opened"
    span = io.BufferedReader(Span(opened, member.size), BUFFER_BYTES)
    try:
        yield from _lines_of(span, f"{place}!{member.name}")
    except DAMAGE as error:
        yield Problem(f"{place}!{member.name}", reason(error))


def _text_lines(stream: "io.BufferedReader[Any]", place: str) -> Iterator[Line | Problem]:
    number = 0
    while True:
        try:
            line = stream.readline(MAX_LINE_BYTES)
        except DAMAGE as error:
            yield Problem(f"{place}, after line {number}", reason(error))
            return
        if not line:
            return
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            yield Problem(f"{place}, line {number}", f"is longer than {MAX_LINE_BYTES} bytes")
            _skip_line(stream)
        elif body := line.strip():
            yield Line(place, number, body)


def _skip_line(stream: "io.BufferedReader[Any]") -> None:
    while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def reason(error: BaseException) -> str:
    """An error in few words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
