"""Twitter's times in ISO 8601."""

import re
from datetime import UTC

from dateutil import parser

_MONTHS = {
    name: f"{number:02}"
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}

_CREATED_AT = re.compile(r"... (...) ([0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) \+0000 ([0-9]{4})")


def iso_time(created_at: str) -> str:
    """``Mon Feb 22 01:34:53 +0000 2016`` as ``2016-02-22T01:34:53+00:00``. Raises ValueError for what is no time.

    Twitter always writes the one form, in UTC, so it is cut to pieces; anything else goes to dateutil.
    """
    found = _CREATED_AT.fullmatch(created_at)
    if found and (month := _MONTHS.get(found[1])):
        return f"{found[4]}-{month}-{found[2]}T{found[3]}+00:00"
    try:
        time = parser.parse(created_at)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()


def iso_time_or_none(created_at: object) -> str | None:
    """The time, or None where the tweet has none that can be read."""
    try:
        return iso_time(created_at) if isinstance(created_at, str) else None
    except ValueError:
        return None
