"""What a file is packed in: gzip, bzip2, xz, lzma, zstd, a UTF other than UTF-8, also several around each other.

The first bytes tell, not the name. Each step gives a bounded piece, and what grows beyond all measure is ended.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any

import zstandard

HEAD_BYTES = 512
"""By so much of its beginning one can tell what something is: a block of a tar."""
BUFFER_BYTES = 1 << 20
MAX_WINDOW_BYTES = 1 << 31
"""Large zstd archives are packed with a window of up to 2 GiB."""
ZSTD_STEP_BYTES = 512
"""A block of four bytes may stand for 128 KiB: so much makes 16 MiB at most."""
MAX_LAYERS = 4
MAX_RATIO = 200
"""Tweets become 5 to 20 times as much; gzip can make 1,000 times as much of zeros, the others far more."""
FREE_BYTES = 64 << 20
"""What may come out before the ratio counts: a small file may be the same tweet over and over."""


class TooMuchError(Exception):
    """What is packed so that nobody means well by it."""


DAMAGE = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    tarfile.TarError,
    zipfile.BadZipFile,
    UnicodeDecodeError,  # a name in a zip's directory, a text that is no UTF-16
    RuntimeError,  # zipfile's, of a member that is encrypted or packed in a way of its own
    TooMuchError,
    MemoryError,  # xz's, for a dictionary larger than what there is
)
"""What a file or member raises while it is read that is damaged, or packed to do harm."""


def reason(error: BaseException) -> str:
    """An error in few words."""
    if isinstance(error, TooMuchError):
        return str(error)
    if isinstance(error, NotImplementedError):  # zipfile's: Windows packs what is large by Deflate64
        return f"{error}: unpack it first"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Span(io.RawIOBase):
    """The next ``size_bytes`` of an open file, or all that it has. Raises EOFError where the file ends sooner.

    It reads a piece at a time, so that an error takes nothing with it that was read before, and asks for no more than
    ``step_bytes`` at once. The first piece is as large as a block of a tar, if there is so much, by which one can tell
    what it is. ``packed_bytes`` tells how much was read of what this comes out of. Raises TooMuchError once it is far
    more than that. ``before_reading`` is called before each piece, for which it may have to wait.
    """

    def __init__(
        self,
        opened: Any,
        size_bytes: int | None = None,
        packed_bytes: Callable[[], int] | None = None,
        step_bytes: int = BUFFER_BYTES,
        before_reading: Callable[[], object] = lambda: None,
    ) -> None:
        self.read_bytes = 0
        self._before_reading = before_reading
        self._opened = opened
        self._size_bytes = size_bytes
        self._packed_bytes = packed_bytes
        self._step_bytes = step_bytes
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._error:
            raise self._error
        count = self._read_into(buffer)
        try:
            while 0 < self.read_bytes < HEAD_BYTES and (more := self._read_into(memoryview(buffer)[count:])):
                count += more
        except DAMAGE as error:
            self._error = error
        return count

    def _read_into(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._step_bytes)
        if self._size_bytes is not None:
            wanted = min(wanted, self._size_bytes - self.read_bytes)
        self._before_reading()
        data = self._opened.read1(wanted)
        if wanted and not data and self._size_bytes is not None:
            raise EOFError(f"ends after {self.read_bytes} of {self._size_bytes} bytes")
        buffer[: len(data)] = data
        self.read_bytes += len(data)
        if self._packed_bytes and self.read_bytes > FREE_BYTES + MAX_RATIO * self._packed_bytes():
            raise TooMuchError(f"unpacks to more than {MAX_RATIO} times its size: a bomb, not tweets")
        return len(data)


class ZstdFrames:
    """zstd, frame after frame. Raises EOFError where the last is cut, of which zstandard's own reader says nothing."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self._frame = self._decompressor.decompressobj()
        self._begun = False
        self._ready = memoryview(b"")

    def read1(self, size: int) -> memoryview:
        """At most ``size`` bytes, none at the end."""
        while not self._ready and (data := self._next_input()):
            if self._frame.eof:
                self._frame = self._decompressor.decompressobj()
            self._ready = memoryview(self._frame.decompress(data))
            self._begun = True
        piece, self._ready = self._ready[:size], self._ready[size:]
        return piece

    def _next_input(self) -> bytes:
        data = (self._frame.unused_data if self._frame.eof else b"") or self._packed.read(ZSTD_STEP_BYTES)
        if not data and self._begun and not self._frame.eof:
            raise EOFError("ends in the middle of a zstd frame")
        return data


class Recoded:
    """A text in another encoding, as UTF-8."""

    def __init__(self, packed: IO[bytes], encoding: str) -> None:
        self._text = io.TextIOWrapper(packed, encoding, errors="surrogatepass", newline="")

    def read1(self, size: int) -> bytes:
        """At most ``size`` bytes, which are four at least."""
        return self._text.read(size // 4).encode("utf-8", "surrogatepass")


_UNPACK: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x5d\0\0": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": ZstdFrames,
    b"\xff\xfe\0\0": lambda packed: Recoded(packed, "utf-32"),
    b"\xff\xfe": lambda packed: Recoded(packed, "utf-16"),
    b"\xfe\xff": lambda packed: Recoded(packed, "utf-16"),
    b"{\0": lambda packed: Recoded(packed, "utf-16-le"),
    b"[\0": lambda packed: Recoded(packed, "utf-16-le"),
    b"\0{": lambda packed: Recoded(packed, "utf-16-be"),
    b"\0[": lambda packed: Recoded(packed, "utf-16-be"),
}
"""By the first bytes of what is packed. All of them read on where one stream ends and the next begins."""
_UTF8_MARK = b"\xef\xbb\xbf"


def unpacked(stream: "io.BufferedReader[Any]") -> "io.BufferedReader[Any]":
    """What is inside, of a buffered Span and as one. Raises what DAMAGE names."""
    for _ in range(MAX_LAYERS + 1):
        head = stream.peek(HEAD_BYTES)
        if head.startswith(_UTF8_MARK):
            stream.read(len(_UTF8_MARK))
        unpack = next((unpack for magic, unpack in _UNPACK.items() if head.startswith(magic)), None)
        if unpack is None:
            return stream
        stream = _buffered(unpack(stream), stream.raw)
    raise TooMuchError(f"is packed more than {MAX_LAYERS} times over")


def _buffered(unpacking: Any, packed: Any) -> "io.BufferedReader[Any]":
    return io.BufferedReader(Span(unpacking, packed_bytes=lambda: packed.read_bytes), BUFFER_BYTES)
