"""What `rules list` prints, and when."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from traptor.commands import console


@pytest.mark.parametrize("values", [[], [{"a": 1}], [{"a": "é"}, {"b": [2]}]])
def test_a_list_is_the_json_of_its_values(capsys: pytest.CaptureFixture[str], values: list[Any]) -> None:
    console.say_json_list(iter(values))
    assert capsys.readouterr().out == json.dumps(values, ensure_ascii=False) + "\n"


def test_a_long_table_begins_before_its_end_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PAGE_ROWS", 2)
    seen = []

    def rows() -> Iterator[tuple[str, int]]:
        for number in range(5):
            seen.append(capsys.readouterr().out)
            yield f"word{number}", number

    console.say_long_table(("value", ">matches"), rows())
    pages = ["value  matches\nword0        0\nword1        1\n", "word2        2\nword3        3\n"]
    assert seen == ["", "", pages[0], "", pages[1]]
    assert capsys.readouterr().out == "word4        4\n"


def test_a_table_without_rows_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    console.say_long_table(("value", ">matches"), [])
    assert capsys.readouterr().out == "value  matches\n"
