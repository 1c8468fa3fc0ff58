"""What strangers wrote, as it is shown."""

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traptor.printable import READABLE, cell, counted, from_cell, harmless, in_json, printable
from traptor.redaction import Secret


@pytest.mark.parametrize(
    "written,shown",
    [
        ("storm", "storm"),
        ("été 日本 👩‍👩‍👧", "été 日本 👩‍👩‍👧"),
        ("می‌خواهم", "می‌خواهم"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("abc\u202edef\u2066", r"abc\u202edef\u2066"),
        ("a\u2028b", r"a\u2028b"),
        ("\udce9", r"\udce9"),
        (7, "7"),
    ],
)
def test_what_would_act_is_shown_as_a_text(written: object, shown: str) -> None:
    assert printable(written) == shown


@given(st.text(st.characters(codec=None)) | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_one_line_that_acts_on_nothing(text: str) -> None:
    shown = printable(text)
    assert "\n" not in shown
    assert len(shown.splitlines()) <= 1
    assert shown.encode() or not text
    assert not any(unicodedata.category(sign) == "Cc" or (unicodedata.bidirectional(sign)[:2] in {"RL", "LR", "PD"}
                   and unicodedata.category(sign) == "Cf") for sign in shown)  # fmt: skip


@given(st.text(st.characters(codec=None)))
def test_json_holds_the_same_and_acts_on_nothing(text: str) -> None:
    shown = in_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(shown) == {text: [text]}
    assert printable(shown, len(shown)) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert printable("x" * 50, 10) == "xxxxxxxxxx… (50 characters)"
    Secret("twelve-signs")
    assert harmless("x" * 5 + "twelve-signs", 10) == "xxxxx***", "no half of a secret is left by the cut"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-74,40,-73,41", "@name", "\t=1", "'=1", "''=1"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert cell(text) == f"'{text}"


@given(st.text())
def test_a_cell_can_be_read_back(text: str) -> None:
    assert from_cell(cell(text)) == text
    assert cell(text)[:1] not in {"=", "+", "-", "@", "\t", "\r"}


@pytest.mark.parametrize(
    "encoding,shown",
    [
        ("utf-8", "a → é ☕😀 ▁█"),
        ("latin-1", "a -> é \\u2615\\ud83d\\ude00 _#"),
        ("ascii", "a -> \\u00e9 \\u2615\\ud83d\\ude00 _#"),
    ],
)
def test_a_stream_of_any_encoding_takes_every_text(encoding: str, shown: str) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors=READABLE)
    stream.write("a → é ☕😀 ▁█")
    stream.flush()
    assert written.getvalue().decode(encoding) == shown


@pytest.mark.parametrize("number,expected", [(0, "0 rules"), (1, "1 rule"), (2, "2 rules"), (2000, "2,000 rules")])
def test_what_is_counted_is_told_in_its_number(number: int, expected: str) -> None:
    assert counted(number, "rule") == expected
