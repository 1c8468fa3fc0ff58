import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from traptor.archives import companions, reading
from traptor.archives.forms import Message, Problem
from traptor.archives.reading import Part, Reading

TWEETS = [{"id": str(number), "text": "storm", "author_id": "12"} for number in (5, 6)]
INCLUDES = {"users": [{"id": "12", "name": "A", "username": "a"}]}
ACCOUNT = [{"account": {"accountId": "12", "username": "a", "accountDisplayName": "A"}}]
OWN = [{"tweet": {"id_str": "5", "full_text": "storm"}}]
FILES = {
    "data_6.json": json.dumps(TWEETS, indent=1),
    "users_6.json": json.dumps(INCLUDES, indent=1),
    "own/data/tweets.js": f"window.YTD.tweets.part0 = {json.dumps(OWN)}",
    "own/data/tweets-part1.js": f"window.YTD.tweets.part1 = {json.dumps(OWN)}",
    "own/data/account.js": f"window.YTD.account.part0 = {json.dumps(ACCOUNT)}",
    "own/data/follower.js": "window.YTD.follower.part0 = []",
    "own/data/deleted-tweets.js": f"window.YTD.deleted_tweets.part0 = {json.dumps(OWN)}",
}
READ = [{"data": TWEETS, "includes": INCLUDES}, *[{**OWN[0], **ACCOUNT[0]}] * 2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def read(*paths: Path) -> list[Any]:
    found = [one for part in reading.parts(map(str, paths)) if isinstance(part, Part) for one in Reading(part)]
    return [json.loads(one.body) if isinstance(one, Message) else one for one in found]


def test_files_of_a_folder_are_read_with_their_companions(folder: Path) -> None:
    assert read(folder) == READ


def test_files_that_are_named_are_read_with_their_companions(folder: Path) -> None:
    assert read(*folder.glob("*_6.json")) == READ[:1]
    assert read(folder / "data_6.json") == READ[:1]


def test_files_of_a_zip_are_read_with_their_companions(folder: Path) -> None:
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    assert read(path) == READ


def test_without_a_companion_they_are_read_as_they_are(folder: Path) -> None:
    (folder / "users_6.json").unlink()
    (folder / "own/data/account.js").unlink()
    assert read(folder) == [*TWEETS, *OWN * 2]


def test_a_companion_that_cannot_be_read_is_told_and_does_without(folder: Path) -> None:
    (folder / "users_6.json").write_text("<html>")
    problem, *tweets = read(folder / "data_6.json")
    assert isinstance(problem, Problem)
    assert (problem.place, tweets) == (str(folder / "users_6.json"), TWEETS)


def test_a_companion_that_is_a_link_is_not_followed(folder: Path) -> None:
    (folder / "users_6.json").rename(folder / "elsewhere")
    (folder / "users_6.json").symlink_to(folder / "elsewhere")
    assert read(folder / "data_6.json") == TWEETS


@pytest.mark.parametrize("damaged", [b'{"id":', b'{"id":"\xff"}', b'{"id":1e999}', b'{"id":NaN}'])
def test_a_damaged_line_takes_no_page_with_it(folder: Path, damaged: bytes) -> None:
    path = folder / "data_6.json"
    path.write_bytes(b"\n".join([json.dumps(TWEETS[0]).encode(), damaged, json.dumps(TWEETS[1]).encode()]))
    [part] = reading.parts([str(path)])
    assert isinstance(part, Part)
    bodies = [one.body for one in Reading(part) if isinstance(one, Message)]
    assert bodies[0] == damaged
    assert [json.loads(body) for body in bodies[1:]] == READ[:1]


def test_many_tweets_are_several_pages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companions, "PAGE_BYTES", 1)
    assert read(folder / "data_6.json") == [{"data": [tweet], "includes": INCLUDES} for tweet in TWEETS]
