import bz2
import gzip
import io
import lzma
import os
import re
import select
import socket
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from traptor.archives import forms, packing, reading
from traptor.archives.forms import Message, Problem
from traptor.archives.reading import Part, Reading

TEXT = b'{"a":1}\r\n\r\n{"a":2}\n{"a":"\\u00e9"}\n{"last":"without an end"}'
BODIES = [b'{"a":1}', b'{"a":2}', b'{"a":"\\u00e9"}', b'{"last":"without an end"}']
NUMBERS = [1, 3, 4, 5]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def lzma_alone(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


def tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def zipped(members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def read(*paths: Path | str) -> list[Message | Problem]:
    found: list[Message | Problem] = []
    for part in reading.parts(map(str, paths)):
        found += [part] if isinstance(part, Problem) else Reading(part)
    return found


def bodies(found: list[Message | Problem]) -> list[bytes]:
    return [step.body for step in found if isinstance(step, Message)]


def problems(found: list[Message | Problem]) -> list[Problem]:
    return [step for step in found if isinstance(step, Problem)]


@pytest.mark.parametrize(
    "name, pack",
    [
        ("plain.json", lambda text: text),
        ("plain.jsonl.gz", gzip.compress),
        ("plain.json.bz2", bz2.compress),
        ("plain.zst", zstd),
        ("plain.json.xz", lzma.compress),
        ("plain.json.lzma", lzma_alone),
        ("with-a-mark.json", lambda text: b"\xef\xbb\xbf" + text),
        ("utf-16.json", lambda text: text.decode().encode("utf-16")),
        ("utf-16-big.json", lambda text: b"\xfe\xff" + text.decode().encode("utf-16-be")),
        ("utf-16-without-a-mark.json", lambda text: text.decode().encode("utf-16-le")),
        ("utf-32.json.gz", lambda text: gzip.compress(text.decode().encode("utf-32"))),
        ("several-streams.gz", lambda text: gzip.compress(text[:20]) + gzip.compress(text[20:])),
        ("several-streams.bz2", lambda text: bz2.compress(text[:20]) + bz2.compress(text[20:])),
        ("several-streams.lzma", lambda text: lzma_alone(text[:20]) + lzma_alone(text[20:])),
        ("several-frames.zst", lambda text: zstd(text[:20]) + zstd(text[20:])),
        ("wrongly-named.gz", bz2.compress),
        ("packed-twice.gz.bz2", lambda text: bz2.compress(gzip.compress(text))),
    ],
)
def test_a_file_however_packed_is_its_lines(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / name
    path.write_bytes(pack(TEXT))
    found = read(path)
    assert found == [Message(str(path), number, body) for number, body in zip(NUMBERS, BODIES, strict=True)]


MEMBERS = {
    "2021/01/26/14/05.json.bz2": bz2.compress(b'{"a":1}\n{"a":2}\n'),
    "2021/01/26/14/06.json.gz": gzip.compress(b'{"a":3}\n'),
    "2021/01/26/README.txt": b"not a tweet\n",
    "2021/01/26/14/07.json": b'{"a":4}\n',
}


@pytest.mark.parametrize(
    "name, pack",
    [
        ("day.tar", tar),
        ("day.tar.gz", lambda members: gzip.compress(tar(members))),
        ("day.tgz", lambda members: gzip.compress(tar(members))),
        ("day.tar.zst", lambda members: zstd(tar(members))),
        ("day.tar.xz", lambda members: lzma.compress(tar(members))),
        ("day.tlz", lambda members: lzma_alone(tar(members))),
        ("day.zip", zipped),
        ("packed-by-bzip2.zip", lambda members: zipped(members, zipfile.ZIP_BZIP2)),
        ("packed-by-lzma.zip", lambda members: zipped(members, zipfile.ZIP_LZMA)),
    ],
)
def test_an_archive_is_the_lines_of_its_members(
    tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(pack(MEMBERS))
    assert read(path) == [
        Message(f"{path}!2021/01/26/14/05.json.bz2", 1, b'{"a":1}'),
        Message(f"{path}!2021/01/26/14/05.json.bz2", 2, b'{"a":2}'),
        Message(f"{path}!2021/01/26/14/06.json.gz", 1, b'{"a":3}'),
        Message(f"{path}!2021/01/26/14/07.json", 1, b'{"a":4}'),
    ]


@pytest.mark.parametrize("pack, parts", [(tar, 3), (zipped, 3), (lambda members: gzip.compress(tar(members)), 1)])
def test_members_that_can_be_reached_at_once_are_parts_of_their_own(
    tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes], parts: int
) -> None:
    path = tmp_path / "day"
    path.write_bytes(pack(MEMBERS))
    assert len(list(reading.parts([str(path)]))) == parts


def test_a_folder_is_its_archives_in_order_of_name(tmp_path: Path) -> None:
    for name in ("01/26/14/06.json", "01/26/14/05.json", "01/25/23/59.json.gz", "01/notes.txt", "01/.hidden.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"{}\n")
    found = [part.path for part in reading.parts([str(tmp_path)]) if isinstance(part, Part)]
    wanted = ("01/25/23/59.json.gz", "01/26/14/05.json", "01/26/14/06.json")
    assert found == [str(tmp_path / name) for name in wanted]
    assert reading.size_bytes([str(tmp_path)]) == 9
    assert reading.size_bytes([str(tmp_path), "-"]) is None


MANY = b"".join(b'{"number":%d}\n' % number for number in range(20_000))


@pytest.mark.parametrize(
    "name, damaged, reason",
    [
        ("cut.gz", gzip.compress(MANY)[:-5000], "EOFError"),
        ("cut.bz2", bz2.compress(MANY[: len(MANY) // 2]) + bz2.compress(MANY)[:-5000], "EOFError"),
        ("cut.lzma", lzma_alone(MANY)[:-5000], "EOFError"),
        ("cut.zst", zstandard.ZstdCompressor(level=1).compress(MANY * 20)[:-5000], "EOFError: ends in the middle of"),
        ("bad-sum.gz", gzip.compress(MANY)[:-8] + b"12345678", "BadGzipFile: CRC"),
    ],
)
def test_what_stands_before_the_damage_is_read(tmp_path: Path, name: str, damaged: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(damaged)
    found = read(path)
    lines, [problem] = bodies(found), problems(found)
    assert len(lines) > 1000
    assert b"\n".join(lines) in MANY * 20
    assert problem.place == f"{path}, after line {len(lines)}"
    assert problem.reason.startswith(reason)


def test_a_damaged_member_does_not_stop_the_next(tmp_path: Path) -> None:
    members = {
        "1.json.bz2": bz2.compress(b"{}\n")[:20],
        "2.json.gz": gzip.compress(b"{}\n"),
        "3.zst": b"\x28\xb5\x2f\xfd?",
    }
    for name, packed in {"a.tar": tar(members), "b.tgz": gzip.compress(tar(members)), "c.zip": zipped(members)}.items():
        path = tmp_path / name
        path.write_bytes(packed)
        found = read(path)
        assert bodies(found) == [b"{}"], name
        assert [problem.place.partition(",")[0] for problem in problems(found)] == [
            f"{path}!1.json.bz2",
            f"{path}!3.zst",
        ]


@pytest.mark.parametrize(
    "damage, lines, places",
    [
        (lambda data: data[: data.index(b"3.json") + 700], 2, ["a.tar!3.json", "a.tar"]),
        (lambda data: data[: data.index(b"3.json") + 100], 2, ["a.tar"]),
        (
            lambda data: data[: data.index(b"2.json")] + b"\xff" * 300 + data[data.index(b"2.json") + 300 :],
            1,
            ["a.tar"],
        ),
    ],
    ids=["a member is cut", "a header is cut", "a header is overwritten"],
)
def test_a_damaged_tar_says_where(
    tmp_path: Path, damage: Callable[[bytes], bytes], lines: int, places: list[str]
) -> None:
    path = tmp_path / "a.tar"
    body = b'{"text":"%b"}\n' % (b"x" * 1000)
    path.write_bytes(damage(tar({f"{number}.json": body for number in (1, 2, 3)})))
    found = read(path)
    assert len([line for line in bodies(found) if line == body.strip()]) == lines
    assert [problem.place.partition(",")[0] for problem in problems(found)] == [
        str(tmp_path / place) for place in places
    ]


def zipped_by(packing: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", packing) as archive:
        archive.writestr("é.json", MANY)
        archive.writestr("sound.json", b"{}\n")
    return packed.getvalue()


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda data: data[:2000] + bytes(100) + data[2100:], "LZMAError"),
        (lambda data: re.sub(rb"(?<=PK\x01\x02....)\x02", b"\x03", data, count=1, flags=re.DOTALL), "RuntimeError"),
        (lambda data: data[:30] + b"\xff" + data[31:], "UnicodeDecodeError"),
    ],
    ids=["a packed byte", "encrypted", "a name"],
)
def test_a_zip_member_that_cannot_be_read_does_not_stop_the_next(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(damage(zipped_by(zipfile.ZIP_LZMA)))
    found = read(path)
    assert bodies(found)[-1] == b"{}"
    assert [problem.reason.partition(":")[0] for problem in problems(found)] == [reason]


def test_a_zip_that_is_cut_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a.json": MANY})[:-30])
    assert [problem.reason.partition(";")[2] for problem in problems(read(path))] == [" zip -FF may save what is there"]


def test_a_zip_member_packed_in_a_way_of_its_own_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    packed = zipped({"a.json": b"{}\n"}, zipfile.ZIP_STORED)
    path.write_bytes(re.sub(rb"(?<=PK\x01\x02......)\0", b"\x09", packed, flags=re.DOTALL))
    assert [problem.reason for problem in problems(read(path))] == [
        "That compression method is not supported: unpack it first"
    ]


def test_what_there_is_no_memory_to_unpack_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy:
        def read1(self, size: int) -> bytes:
            raise MemoryError

    monkeypatch.setitem(packing._UNPACK, b"\xfd7zXZ\0", lambda _: Greedy())
    packed, sound = tmp_path / "a.xz", tmp_path / "b.json"
    packed.write_bytes(lzma.compress(b"{}\n"))
    sound.write_bytes(b"{}\n")
    found = read(packed, sound)
    assert bodies(found) == [b"{}"]
    assert problems(found) == [Problem(str(packed), "MemoryError")]


def test_a_zip_whose_directory_is_damaged_does_not_stop_the_next_file(tmp_path: Path) -> None:
    damaged, sound = tmp_path / "a.zip", tmp_path / "b.json"
    packed = zipped_by(zipfile.ZIP_STORED)
    name_at = packed.rindex("é".encode())
    damaged.write_bytes(packed[:name_at] + b"\xff" + packed[name_at + 1 :])
    sound.write_bytes(b"{}\n")
    found = read(damaged, sound)
    assert bodies(found) == [b"{}"]
    assert [problem.place for problem in problems(found)] == [str(damaged)]


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize(
    "members, has", [({}, "no files"), ({"a.csv": b"", "b.csv": b"", "README": b""}, "2 .csv, 1 without a suffix")]
)
def test_an_archive_without_tweets_says_so(
    tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes], members: dict[str, bytes], has: str
) -> None:
    path = tmp_path / "empty"
    path.write_bytes(pack(members))
    [problem] = read(path)
    assert isinstance(problem, Problem)
    assert (problem.place, problem.reason.endswith(f"but {has}")) == (str(path), True)


@pytest.mark.parametrize("pack", [tar, lambda members: gzip.compress(tar(members)), zipped])
def test_a_zip_inside_another_archive_is_read(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(pack({"inner.zip": zipped(MEMBERS), "sound.json": b"{}\n"}))
    found = read(path)
    assert bodies(found) == [b'{"a":1}', b'{"a":2}', b'{"a":3}', b'{"a":4}', b"{}"]
    assert found[0].place == f"{path}!inner.zip!2021/01/26/14/05.json.bz2"


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MAX_MESSAGE_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_bytes(b"{}\n" + b"x" * 1000 + b"\n[]\n")
    assert read(path) == [
        Message(str(path), 1, b"{}"),
        Problem(f"{path}, line 2", "is longer than 100 bytes"),
        Message(str(path), 3, b"[]"),
    ]


def test_what_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "gone.json"
    path.symlink_to(tmp_path / "nowhere")
    assert [type(step) for step in read(path)] == [Problem]
    assert reading.size_bytes([str(tmp_path)]) == 0


@pytest.mark.parametrize("pack", [zipped, lambda members: gzip.compress(zipped(members)), tar])
def test_an_archive_comes_through_a_pipe(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    reader, writer = os.pipe()
    os.write(writer, pack(MEMBERS))
    os.close(writer)
    assert bodies(list(Reading(Part("-"), reader))) == [b'{"a":1}', b'{"a":2}', b'{"a":3}', b'{"a":4}']


# What means harm


def test_what_is_no_file_is_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.json"))
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "sound.json").write_bytes(b"{}\n")
    found = read(tmp_path)
    assert bodies(found) == [b"{}"]
    assert [problem.reason.partition(",")[0] for problem in problems(found)] == [
        reading.LEADS_OUT, "is a pipe", "is a socket",
    ]  # fmt: skip
    assert [problem.reason.partition(",")[0] for problem in read("/dev/zero")] == ["is a device"]


def test_links_are_followed_within_the_folder_alone(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    outside.mkdir()
    (outside / "a.json").write_bytes(b'{"secret":1}\n')
    (folder / "inner" / "kept.data").write_bytes(b"{}\n")
    (folder / "inside.json").symlink_to("inner/kept.data")
    (folder / "outside.json").symlink_to(outside / "a.json")
    (folder / "outside").symlink_to(outside)
    found = read(folder)
    assert bodies(found) == [b"{}"]
    assert {problem.place: problem.reason for problem in problems(found)} == {
        str(folder / "outside"): "is a link to a folder: it is not followed",
        str(folder / "outside.json"): reading.LEADS_OUT,
    }


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_links_and_devices_in_a_tar_are_passed_over(
    tmp_path: Path, kind: bytes, pack: Callable[[bytes], bytes]
) -> None:
    outside = tmp_path / "outside.json"
    outside.write_bytes(b'{"secret":1}\n')
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("a.json")
        member.type, member.linkname = kind, str(outside)
        archive.addfile(member)
        up = tarfile.TarInfo("../../b.json")
        up.size = 3
        archive.addfile(up, io.BytesIO(b"{}\n"))
    path = tmp_path / "a.tar"
    path.write_bytes(pack(packed.getvalue()))
    found = read(path)
    assert bodies(found) == [b"{}"]
    assert [problem.reason for problem in problems(found)] == ["is a link, a device or sparse, not a file"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_told(
    tmp_path: Path, kind: bytes, pack: Callable[[bytes], bytes]
) -> None:
    header = tarfile.TarInfo("a.json")
    header.type, header.size = kind, 1 << 32
    path = tmp_path / "a.tar"
    path.write_bytes(pack(tar({"0.json": b"{}\n"})[:1024] + header.tobuf() + bytes(2048)))
    found = read(path)
    assert bodies(found) == [b"{}"]
    assert [problem.reason for problem in problems(found)] == [
        f"ReadError: the tar archive has a header of {1 << 32} bytes"
    ]


def times_over(pack: Callable[[bytes], bytes], times: int) -> bytes:
    data = b"{}\n"
    for _ in range(times):
        data = pack(data)
    return data


@pytest.mark.parametrize(
    "data, told",
    [
        (times_over(gzip.compress, 100), "is packed more than 4 times over"),
        (times_over(lambda data: tar({"a.tar": data}), 5), "is an archive in an archive, more than 3 times over"),
        (times_over(lambda data: zipped({"a.zip": data}), 5), "is an archive in an archive, more than 3 times over"),
    ],
)
def test_there_is_an_end_to_what_is_packed_over_and_over(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    assert [problem.reason for problem in problems(read(path))] == [told]


def zipped_by_each() -> Iterator[Callable[[bytes], bytes]]:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield lambda data, method=method: zipped({"a.json": data}, method)


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lzma.compress, lzma_alone, zstd, *zipped_by_each()],
    ids=["gz", "bz2", "xz", "lzma", "zst", "zip", "zip with bz2", "zip with lzma"],
)
def test_a_bomb_is_told_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(packing, "FREE_BYTES", 1 << 20)
    path = tmp_path / "a.json"
    path.write_bytes(pack(b"{}\n" + (b" " * 1023 + b"\n") * (24 << 10)))
    tracemalloc.start()
    found = read(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bodies(found) == [b"{}"]
    assert ["unpacks to more than 200 times its size" in problem.reason for problem in problems(found)] == [True]
    assert peak_bytes < 20 << 20


def test_standard_input_is_read_from_a_descriptor() -> None:
    reader, writer = os.pipe()
    os.write(writer, gzip.compress(TEXT))
    os.close(writer)
    assert bodies(list(Reading(Part("-"), reader))) == BODIES


def chunks(data: bytes, first_bytes: int) -> int:
    """A pipe whose writer gives so much at first, and the rest once that is read."""
    reader, writer = os.pipe()
    os.write(writer, data[:first_bytes])

    def write_rest() -> None:
        while select.select([reader], [], [], 0)[0]:
            pass
        with open(writer, "wb") as pipe:
            pipe.write(data[first_bytes:])

    threading.Thread(target=write_rest).start()
    return reader


@pytest.mark.parametrize("first_bytes", [1, 200])
@pytest.mark.parametrize("pack", [tar, lambda members: gzip.compress(tar(members)), lambda members: zstd(tar(members))])
def test_what_comes_in_small_pieces_is_known_all_the_same(
    pack: Callable[[dict[str, bytes]], bytes], first_bytes: int
) -> None:
    found = list(Reading(Part("-"), chunks(pack(MEMBERS), first_bytes)))
    assert bodies(found) == [b'{"a":1}', b'{"a":2}', b'{"a":3}', b'{"a":4}']


def test_read_bytes_tells_how_far(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(MANY))
    reading = Reading(Part(str(path), size_bytes=path.stat().st_size))
    assert reading.read_bytes == 0
    assert len(list(reading)) == 20_000
    assert reading.read_bytes == path.stat().st_size
