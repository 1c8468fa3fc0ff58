"""What a look at one piece comes to."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One line. ``level`` is ok, warning or error."""

    level: str
    subject: str
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def warning(subject: str, text: str, advice: str) -> Finding:
    return Finding("warning", subject, text, advice)


def error(subject: str, text: str, advice: str) -> Finding:
    return Finding("error", subject, text, advice)
