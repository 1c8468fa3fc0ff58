"""Archives of tweets: files, folders, tar and zip members, each read from beginning to end, message by message.

What a file is, its first bytes tell, not its name; names only choose among the files of a folder or an archive.
"""

import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from io import BufferedReader
from itertools import chain
from multiprocessing import connection
from typing import IO, NamedTuple

from traptor.archives import companions, forms
from traptor.archives.forms import Message, Problem
from traptor.archives.packing import BUFFER_BYTES, DAMAGE, HEAD_BYTES, Span, TooMuchError, reason, unpacked

STANDARD_INPUT = "-"
_WANTED = re.compile(
    r"(?i).*\.(?:json|jsonl|ndjson|jl|json-seq|gz|bz2|xz|lzma|zst|tar|tgz|tbz2?|txz|tlz|zip)"
    r"|(?:.*/)?(?:tweets?(?:-part\d+)?|data/js/tweets/\d{4}_\d\d)\.js"
)
"""The names that archives of tweets have; those in ``.js`` are of what Twitter gives a user of their own tweets."""
ZIPPED = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip archive begins, with members and without."""
ZIP_STEP_BYTES = 512
"""zipfile unpacks all at once that it has read of a member packed with LZMA."""
MAX_HEADER_BYTES = 1 << 20
_BEFORE_ANOTHER = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
)  # fmt: skip
"""Headers with something to say of the next one, which tarfile reads whole."""
MAX_NESTED = 3
"""Archives inside each other; some contain themselves."""
_OTHERS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


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


def size_bytes(paths: Iterable[str]) -> int | None:
    """What there is to read in all; None with standard input among it. What cannot be opened is a problem later."""
    total_bytes = 0
    for file in _all_files(paths):
        if file == STANDARD_INPUT:
            return None
        if isinstance(file, str):
            with suppress(OSError):
                total_bytes += os.stat(file).st_size
    return total_bytes


def parts(paths: Iterable[str]) -> Iterator[Part | Problem]:
    """The parts of all files, folders in order of name; a tar or zip archive that is damaged has a problem as well."""
    for file in _all_files(paths):
        if isinstance(file, Problem):
            yield file
        elif file == STANDARD_INPUT:
            yield Part(file)
        else:
            try:
                yield from _parts_of(file)
            except DAMAGE as error:
                yield Problem(file, reason(error))


def _all_files(paths: Iterable[str]) -> Iterable[str | Problem]:
    """Each once, however often it is named."""
    return dict.fromkeys(chain.from_iterable(map(_files, companions.without(paths))))


def _files(path: str) -> Iterator[str | Problem]:
    """A file as it is; of a folder, everything that looks like an archive, nested folders included."""
    if not os.path.isdir(path):
        yield path
        return
    choice = _Choice(path)
    unreadable: list[OSError] = []
    for folder, folders, names in os.walk(path, onerror=unreadable.append):
        folders.sort()
        wanted = [os.path.join(folder, name) for name in sorted(names) if choice.takes(name)]
        for file in [os.path.join(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]:
            yield Problem(file, "is a link to a folder: it is not followed")
        for file in companions.without(wanted):
            yield Problem(file, LEADS_OUT) if _leads_out(file, path) else file
    yield from (Problem(str(error.filename), reason(error)) for error in unreadable)
    yield from choice.problems()


LEADS_OUT = "is a link that leads out of the folder: it is not followed"


def _leads_out(file: str, folder: str) -> bool:
    return os.path.islink(file) and not os.path.realpath(file).startswith(os.path.join(os.path.realpath(folder), ""))


class _Choice:
    """Which files of a folder or an archive are read, by their names; tells where there are none."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._is_any = False
        self._passed_over: Counter[str] = Counter()

    def takes(self, name: str) -> bool:
        is_wanted = bool(_WANTED.fullmatch(name)) and not os.path.basename(name).startswith(".")
        self._is_any |= is_wanted
        if not is_wanted:
            self._passed_over[os.path.splitext(name)[1].lower() or "without a suffix"] += 1
        return is_wanted

    def problems(self) -> Iterator[Problem]:
        if not self._is_any:
            has = ", ".join(f"{count} {suffix}" for suffix, count in self._passed_over.most_common(3)) or "no files"
            yield Problem(
                self._place, f"has nothing by whose name it could be tweets (.json, .jsonl, .gz, …), but {has}"
            )


def _parts_of(file: str) -> Iterator[Part | Problem]:
    if other := _OTHERS.get(stat.S_IFMT(os.stat(file).st_mode)):
        yield Problem(file, f"is {other}, not a file; a pipe can be given as standard input: -")
        return
    with open(file, "rb") as opened:
        head = opened.read(HEAD_BYTES)
    if _is_tar(head):
        yield from _tar_parts(file)
    elif head.startswith(ZIPPED):
        yield from _zip_parts(file)
    else:
        yield Part(file, size_bytes=os.stat(file).st_size)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar" or head == bytes(HEAD_BYTES)


def _tar_parts(file: str) -> Iterator[Part | Problem]:
    with tarfile.open(file, "r:", tarinfo=_Header) as archive:
        for member in _members(archive, file):
            if isinstance(member, Problem):
                yield member
            else:
                yield Part(file, member.name, member.offset_data, member.size)


class _Header(tarfile.TarInfo):
    """At a damaged header tarfile stops without a word; a sound archive ends with a block of zeros.

    What one has to say of the next has a bound.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # typeshed does not know it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the tar archive is damaged or cut at byte {archive.offset}: {error}") from None

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """tarfile's own way into each kind of header, the same in every Python."""
        if self.type in _BEFORE_ANOTHER and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"the tar archive has a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return] # typeshed does not know it


def _members(archive: tarfile.TarFile, place: str) -> Iterator[tarfile.TarInfo | Problem]:
    """The members that are read. Nothing is written anywhere, and no link is followed."""
    choice = _Choice(place)
    for member in archive:
        if member.isdir():
            continue
        if choice.takes(member.name):
            # A sparse one has but a few bytes, and may say that it stands for any number of zeros.
            is_file = member.isreg() and not member.issparse()
            yield member if is_file else Problem(f"{place}!{member.name}", "is a link, a device or sparse, not a file")
        archive.members.clear()  # type: ignore[attr-defined] # else it keeps all of a month's
    yield from choice.problems()


def _zip_parts(file: str) -> Iterator[Part | Problem]:
    choice = _Choice(file)
    with _zip(file) as archive:
        for name in _zip_names(archive, choice):
            yield Part(file, name, size_bytes=archive.getinfo(name).file_size)
    yield from choice.problems()


def _zip(file: str | IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        told = f"{error}, or one that is cut, for its directory stands at its end; zip -FF may save what is there"
        raise zipfile.BadZipFile(told) from None


def _zip_names(archive: zipfile.ZipFile, choice: _Choice) -> list[str]:
    """Of several members of one name the last is meant, which has taken the place of the others."""
    wanted = [one.filename for one in archive.infolist() if not one.is_dir() and choice.takes(one.filename)]
    return companions.without(dict.fromkeys(wanted))


class Reading:
    """One part while it is read. ``read_bytes`` says how far, in bytes of the file itself.

    ``when_quiet`` is called when standard input has nothing more for now, before it is waited for.
    """

    def __init__(self, part: Part, standard_input: int = 0, when_quiet: Callable[[], object] = lambda: None) -> None:
        self._part = part
        self._standard_input = standard_input
        self._when_quiet = when_quiet
        self._span: Span | None = None

    @property
    def read_bytes(self) -> int:
        return self._span.read_bytes if self._span else 0

    def __iter__(self) -> Iterator[Message | Problem]:
        """All messages, member by member; what is damaged is a problem, and the next member goes on."""
        beside = self._beside()
        if isinstance(beside, Problem):
            yield beside
        if isinstance(beside, Message):
            yield from companions.joined(self._messages(), self._part.member or self._part.path, beside.body)
        else:
            yield from self._messages()

    def _messages(self) -> Iterator[Message | Problem]:
        try:
            with self._opened() as self._span:
                yield from _messages_of(self._span, self._part.place)
        except DAMAGE as error:
            yield Problem(self._part.place, reason(error))

    @contextmanager
    def _opened(self) -> Iterator[Span]:
        path, member, start, size_bytes = self._part
        if member and not start:
            with _zip(path) as archive:
                yield _zip_span(archive, member)
        else:
            is_piped = path == STANDARD_INPUT
            # Whoever handed standard input on closes it.
            with open(self._standard_input if is_piped else path, "rb", closefd=not is_piped) as opened:
                if start:
                    opened.seek(start)
                yield Span(opened, size_bytes, before_reading=self._look_for_more if is_piped else lambda: None)

    def _look_for_more(self) -> None:
        if not connection.wait([self._standard_input], 0):
            self._when_quiet()

    def _beside(self) -> Message | Problem | None:
        """What this part's companion has, where there is one in the same folder or zip."""
        path, member, start, _ = self._part
        companion = companions.name(member or path)
        if not companion or start:
            return None
        if member:
            with suppress(KeyError):
                return next(iter(Reading(Part(path, companion))), None)
        elif os.path.isfile(companion) and not os.path.islink(companion):
            return next(iter(Reading(Part(companion))), None)
        return None


def _messages_of(span: Span, place: str, depth: int = 0) -> Iterator[Message | Problem]:
    """The messages of a text, or of an archive's members, unpacked as often as it is packed."""
    stream = unpacked(BufferedReader(span, BUFFER_BYTES))
    head = stream.peek(HEAD_BYTES)
    if not _is_tar(head) and not head.startswith(ZIPPED):
        yield from forms.messages(stream, place)
        return
    if depth == MAX_NESTED:
        raise TooMuchError(f"is an archive in an archive, more than {MAX_NESTED} times over")
    for inside in _tar_spans(stream, place) if _is_tar(head) else _zip_spans(stream, place):
        if isinstance(inside, Problem):
            yield inside
            continue
        name, member = inside
        try:
            yield from _messages_of(member, f"{place}!{name}", depth + 1)
        except DAMAGE as error:
            yield Problem(f"{place}!{name}", reason(error))


def _tar_spans(stream: IO[bytes], place: str) -> Iterator[tuple[str, Span] | Problem]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        for member in _members(archive, place):
            yield (
                member if isinstance(member, Problem) else (member.name, Span(archive.extractfile(member), member.size))
            )


def _zip_spans(stream: IO[bytes], place: str) -> Iterator[tuple[str, Span] | Problem]:
    """A zip has its directory at the end: what comes from a pipe or another archive waits in a file without a name."""
    choice = _Choice(place)
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file, BUFFER_BYTES)
        with _zip(file) as archive:
            for name in _zip_names(archive, choice):
                yield name, _zip_span(archive, name)
    yield from choice.problems()


def _zip_span(archive: zipfile.ZipFile, name: str) -> Span:
    member = archive.getinfo(name)
    if member.compress_type == zipfile.ZIP_BZIP2:
        return _as_it_is(archive, member)
    opened, step_bytes = archive.open(member), BUFFER_BYTES
    if member.compress_type == zipfile.ZIP_LZMA:
        step_bytes = opened.MIN_READ_SIZE = ZIP_STEP_BYTES  # type: ignore[attr-defined]
    return Span(opened, member.file_size, lambda: member.compress_size, step_bytes)


def _as_it_is(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Span:
    """A member as it is packed, to be unpacked as a bzip2 file: of 40 bytes zipfile would make 45 MB at once."""
    packed = copy(member)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, member.compress_size
    del packed.CRC  # that of what is inside; bzip2 has its own
    return Span(archive.open(packed), member.compress_size)
