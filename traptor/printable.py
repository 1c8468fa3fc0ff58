"""What strangers wrote, made fit for a terminal or a log."""

import codecs
import json
import re

from traptor.redaction import redact

MOST_CHARACTERS = 2_000
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]")
"""Controls of terminals (C0, C1), ends of lines, what turns the direction of a text, and halves of characters."""
_FORMULA = re.compile(r"'*[=+\-@\t\r]")

READABLE = "readable"
"""How streams whose encoding lacks a sign write it: ours in signs that every one has, others as in JSON."""
_PLAIN = {"→": "->", "…": "...", "·": "-", "»": ">>", "■": "#", **dict(zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True))}


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or json.dumps(sign)[1:-1] for sign in signs), error.end


codecs.register_error(READABLE, _readable)


def printable(text: object, most: int = MOST_CHARACTERS) -> str:
    """On one line, at most so many characters, and signs that would act on the terminal as a Python string has them."""
    whole = str(text)
    shown = _ACTING.sub(lambda sign: repr(sign[0])[1:-1], whole[:most])
    return shown if len(whole) <= most else f"{shown}… ({len(whole)} characters)"


def harmless(text: object, most: int = MOST_CHARACTERS) -> str:
    """The same, with every secret blotted out."""
    return printable(redact(str(text)), most)


def counted(number: int, noun: str) -> str:
    """``1 rule``, ``2,000 rules``."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def in_json(text: str) -> str:
    """JSON in which those signs are escaped, too."""
    return _ACTING.sub(lambda sign: json.dumps(sign[0])[1:-1], text)


def cell(text: object) -> str:
    """For a CSV: a spreadsheet takes what begins like a formula for text where a quote stands before it."""
    whole = str(text)
    return f"'{whole}" if _FORMULA.match(whole) else whole


def from_cell(text: str) -> str:
    """What ``cell`` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
