import bz2
import gzip
import io
import os
import re
import select
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from traptor.archives import reading
from traptor.archives.reading import Line, Part, Problem, Reading

TEXT = b'{"a":1}\r\n\r\n{"a":2}\n{"a":"\\u00e9"}\n{"last":"without an end"}'
BODIES = [b'{"a":1}', b'{"a":2}', b'{"a":"\\u00e9"}', b'{"last":"without an end"}']
NUMBERS = [1, 3, 4, 5]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def read(*paths: Path | str) -> list[Line | Problem]:
    found: list[Line | Problem] = []
    for part in reading.parts(map(str, paths)):
        found += [part] if isinstance(part, Problem) else Reading(part)
    return found


def bodies(found: list[Line | Problem]) -> list[bytes]:
    return [step.body for step in found if isinstance(step, Line)]


def problems(found: list[Line | Problem]) -> list[Problem]:
    return [step for step in found if isinstance(step, Problem)]


@pytest.mark.parametrize(
    "name, pack",
    [
        ("plain.json", lambda text: text),
        ("plain.jsonl.gz", gzip.compress),
        ("plain.json.bz2", bz2.compress),
        ("plain.zst", zstd),
        ("several-streams.gz", lambda text: gzip.compress(text[:20]) + gzip.compress(text[20:])),
        ("several-streams.bz2", lambda text: bz2.compress(text[:20]) + bz2.compress(text[20:])),
        ("several-frames.zst", lambda text: zstd(text[:20]) + zstd(text[20:])),
        ("wrongly-named.gz", bz2.compress),
        ("packed-twice.gz.bz2", lambda text: bz2.compress(gzip.compress(text))),
    ],
)
def test_a_file_however_packed_is_its_lines(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / name
    path.write_bytes(pack(TEXT))
    found = read(path)
    assert found == [Line(str(path), number, body) for number, body in zip(NUMBERS, BODIES, strict=True)]


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
        ("day.zip", zipped),
    ],
)
def test_an_archive_is_the_lines_of_its_members(
    tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(pack(MEMBERS))
    assert read(path) == [
        Line(f"{path}!2021/01/26/14/05.json.bz2", 1, b'{"a":1}'),
        Line(f"{path}!2021/01/26/14/05.json.bz2", 2, b'{"a":2}'),
        Line(f"{path}!2021/01/26/14/06.json.gz", 1, b'{"a":3}'),
        Line(f"{path}!2021/01/26/14/07.json", 1, b'{"a":4}'),
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
        archive.writestr("sound.json", b"[]\n")
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
    assert bodies(found)[-1] == b"[]"
    assert [problem.reason.partition(":")[0] for problem in problems(found)] == [reason]


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
def test_an_archive_without_members_is_empty(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    path = tmp_path / "empty"
    path.write_bytes(pack({}))
    assert read(path) == []


@pytest.mark.parametrize("pack", [tar, lambda members: gzip.compress(tar(members))])
def test_a_zip_inside_another_archive_is_told(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(pack({"inner.zip": zipped(MEMBERS), "sound.json": b"{}\n"}))
    found = read(path)
    assert bodies(found) == [b"{}"]
    assert [(problem.place, "unpack it first" in problem.reason) for problem in problems(found)] == [
        (f"{path}!inner.zip", True)
    ]


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_bytes(b"{}\n" + b"x" * 1000 + b"\n[]\n")
    assert read(path) == [
        Line(str(path), 1, b"{}"),
        Problem(f"{path}, line 2", "is longer than 100 bytes"),
        Line(str(path), 3, b"[]"),
    ]


def test_what_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "gone.json"
    path.symlink_to(tmp_path / "nowhere")
    assert [type(step) for step in read(path)] == [Problem]
    assert reading.size_bytes([str(tmp_path)]) == 0


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
