"""Tweets out of a database, as spreadsheets and others read them."""

import csv
import io
import re
from typing import Any

import pytest

from traptor.store.export import comma_separated

ID = 2127337646408597505


def exported(**row: Any) -> str:
    out = io.BytesIO()
    assert comma_separated([row], out) == 1
    return out.getvalue().decode()


@pytest.mark.parametrize(
    "name, value, cell",
    [
        ("id", ID, f'"\t{ID}"'),
        ("quoted_id", None, '""'),
        ("retweet_count", 5, "5"),
        ("longitude", -122.5, "-122.5"),
        ("text", "plain", '"plain"'),
        ("text", 'of "one"', '"of ""one"""'),
        ("text", "a;b\tc", '"a;b\tc"'),
        *(("text", f"{first}1+1", f'"\'{first}1+1"') for first in "=+-@\t\r\n"),
    ],
)
def test_a_cell(name: str, value: Any, cell: str) -> None:
    assert exported(**{name: value}) == f'\ufeff"{name}"\r\n{cell}\r\n'


def test_who_splits_at_tabs_and_semicolons_too_finds_the_same_cells() -> None:
    """As LibreOffice does."""
    table = exported(id=ID, text="one; two\tthree, four", retweet_count=0, lang=None)
    cells = re.findall(r'"(?:[^"]|"")*"|[^,;\t\r\n]+', table.removeprefix("\ufeff"))
    assert len(cells) == 8
    assert list(csv.reader(io.StringIO(table.removeprefix("\ufeff"), newline="")))[1] == [
        f"\t{ID}", "one; two\tthree, four", "0", "",
    ]  # fmt: skip
