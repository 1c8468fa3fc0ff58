"""``rules test``: what it says of texts, of files, and of rules from a file."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from traptor.cli import command


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_of(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["rules", "test", *arguments])


test_of.__test__ = False  # type: ignore[attr-defined]


def tweet(id_: int, text: str, **more: Any) -> str:
    return json.dumps({"id_str": str(id_), "text": text, "user": {"id_str": "7", "screen_name": "ann"}, **more})


@pytest.mark.parametrize(
    "arguments,expected",
    [
        (
            ["storm,flood warning", "Storms and a flood"],
            ["does not hold", "no   storm is not there: Storms is another word", "no   flood (text), warning is not"],
        ),
        (["storm,flood warning", "a STORM"], ["HOLDS", "yes  storm (text)", "no   flood is not there, warning is not"]),
        (["#storm", "a storm"], ["no   #storm is not there, only storm"]),
        (["#storm", "a #Storm"], ["yes  #storm (hashtag)"]),
        (["@ann bay", "@ann in the bay"], ["yes  @ann (mention), bay (text)"]),
        (["example com", "https://www.example.com/a"], ["yes  example (link), com (link)"]),
        (["storm", tweet(1, "x", quoted_status={"text": "storm"})], ["yes  storm (quoted text)"]),
        (["--type", "follow", "17", "17"], ["yes  17 (author)"]),
        (["--type", "locations", "-122.75,36,-121,37.8", "-122.4,37.7"], ["yes  -122.75,36,-121,37.8 (point)"]),
        (["-122.75,36.8,-121.75,37.8", "--type", "locations", "0,0"], ["no   -122.75,36.8,-121.75,37.8 is not there"]),
        (["storm,flood warning"], ["asks for any of\n  storm\n  flood and warning\n"]),
    ],
)  # fmt: skip
def test_a_text_is_explained_word_for_word(arguments: list[str], expected: list[str]) -> None:
    result = test_of(*arguments)
    assert result.exit_code == 0, result.output
    for part in expected:
        assert part in result.stdout


def test_a_file_gives_a_table_and_examples(folder: Path) -> None:
    tweets = [tweet(1, "a storm"), tweet(2, "storm and sun"), tweet(3, "fog"), "{damaged", tweet(4, "the sun")]
    (folder / "tweets.jsonl.gz").write_bytes(gzip.compress("\n".join(tweets).encode()))
    (folder / "rules.csv").write_text("value,tag\nsun,s\nstorm,w\nsnow,x\n")
    result = test_of("rules.csv", "tweets.jsonl.gz")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[:5] == [
        "track: 4 tweets, 3 matched", "rule tag matches where", "sun s 2 text 2", "storm w 2 text 2", "snow x 0",
    ]  # fmt: skip
    assert "s, w @ann *storm* and *sun* (text)" in lines
    assert "not read: 1" in result.stderr
    assert result.exit_code == 0


def test_json_is_for_programs(folder: Path) -> None:
    (folder / "tweets.jsonl").write_text(tweet(1, "a storm"))
    found = json.loads(test_of("storm", "no", "tweets.jsonl", "--json").stdout)
    [[rule]] = [one["rules"] for one in found["texts"]]
    assert (rule["value"], rule["holds"]) == ("storm", False)
    assert rule["parts"] == [{"text": "storm", "holds": False, "words": [{"text": "storm", "fields": []}]}]
    [of_files] = found["files"]
    assert (of_files["tweets"], of_files["rules"][0]["matches"], of_files["rules"][0]["examples"]) == (1, 1, ["1"])


@pytest.mark.parametrize(
    "arguments,told",
    [
        (["a" * 61, "x"], "bytes; allowed are 1 to 60"),
        (["--type", "follow", "ann", "x"], "is not a user id"),
        (["storm", "{broken"], "begins like a tweet in JSON"),
    ],
)
def test_a_malformed_rule_is_told(arguments: list[str], told: str) -> None:
    result = test_of(*arguments)
    assert result.exit_code in {1, 2}
    assert told in result.stderr


@pytest.mark.parametrize("arguments", [("storm", "nosuch.jsonl"), ("nosuch.csv", "storm"), ("storm", "./no/such")])
def test_a_file_that_is_not_there_is_no_text(folder: Path, arguments: tuple[str, ...]) -> None:
    done = test_of(*arguments)
    assert (done.exit_code, "there is no file" in done.output) == (2, True)


def test_what_is_no_point_is_a_text(folder: Path) -> None:
    assert test_of("--type", "locations", "--", "-1,-1,1,1", "1.2.3,4").exit_code == 0
