"""Twitter's times in ISO 8601."""

from typing import Any

import pytest

from traptor.tweets import times

CREATED_AT = "Mon Feb 22 01:34:53 +0000 2016"


@pytest.mark.parametrize(
    "created_at,iso",
    [
        (CREATED_AT, "2016-02-22T01:34:53+00:00"),
        ("Thu Dec 31 23:59:60 +0000 2020", "2020-12-31T23:59:60+00:00"),
        ("Tue Mar 21 20:50:14 -0500 2006", "2006-03-21T20:50:14-05:00"),
        ("2016-02-22 01:34:53", "2016-02-22T01:34:53+00:00"),
        ("2016-02-22T01:34:53.000Z", "2016-02-22T01:34:53+00:00"),
        ("", None),
        ("yesterday", None),
        ("Mon Feb 99 01:34:53 +0000 2016 and more", None),
        ("9" * 30, None),
        (None, None),
        (1456104893, None),
        ({}, None),
    ],
)
def test_times(created_at: Any, iso: str | None) -> None:
    assert times.iso_time_or_none(created_at) == iso
    if isinstance(created_at, str) and iso is None:
        with pytest.raises(ValueError):  # noqa: PT011 - dateutil's own words
            times.iso_time(created_at)
