"""What kind of message this is, and what the notices say."""

from typing import Any

import pytest

from traptor.tweets import kinds


@pytest.mark.parametrize(
    "message,kind",
    [
        ({"id_str": "1"}, "tweet"),
        ({"id_str": None}, "tweet"),
        ({"id_str": "1", "delete": {}}, "tweet"),
        ({"delete": {"status": {"id_str": "1"}}}, "delete"),
        ({"limit": {"track": 5, "timestamp_ms": "1456104893000"}}, "limit"),
        ({"warning": {"code": "FALLING_BEHIND", "percent_full": 60}}, "warning"),
        ({"disconnect": {"code": 4, "stream_name": "", "reason": ""}}, "disconnect"),
        ({"scrub_geo": {}}, "scrub_geo"),
        ({"status_withheld": {}}, "status_withheld"),
        ({"user_withheld": {}}, "user_withheld"),
        ({}, "unknown"),
        ({"id": 1, "text": "no id_str"}, "unknown"),
        ({"id": 1, "text": "before 2010", "user": {}}, "tweet"),
        ({"id": 1, "user": {}}, "unknown"),
        ({"text": "x", "user": {}}, "unknown"),
        ([], "unknown"),
        ("id_str", "unknown"),
        (7, "unknown"),
        (None, "unknown"),
    ],
)
def test_kinds(message: Any, kind: str) -> None:
    assert kinds.kind(message) == kind


@pytest.mark.parametrize(
    "limit,count",
    [
        ({"track": 5}, 5),
        ({"track": 0, "timestamp_ms": "1"}, 0),
        ({"track": -1}, None),
        ({"track": "5"}, None),
        ({"track": None}, None),
        ({"follow": 5}, None),
        ({}, None),
        (5, None),
        (None, None),
    ],
)
def test_limit_counts(limit: Any, count: int | None) -> None:
    assert kinds.limit_count({"limit": limit}) == count


@pytest.mark.parametrize(
    "notice,subject",
    [
        ({"delete": {"status": {"id": 12, "id_str": "12", "user_id": 3}}}, "12"),
        ({"delete": {"status": {"id": 12}}}, "12"),
        ({"delete": {"direct_message": {"id": 12, "user_id": 3}}}, None),
        ({"delete": "12"}, None),
        ({"scrub_geo": {"user_id": 3, "user_id_str": "3", "up_to_status_id": 12, "up_to_status_id_str": "12"}}, "3"),
        ({"status_withheld": {"id": 12, "user_id": 3, "withheld_in_countries": ["DE"]}}, "12"),
        ({"delete": {"status": {"id": 0}}}, "0"),
        ({"delete": {"status": {"id": -1}}}, None),
        ({"user_withheld": {"id": 3, "withheld_in_countries": ["DE"]}}, "3"),
        ({"limit": {"track": 5}}, None),
        ({"user_withheld": {"id": [3]}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_a_notice_speaks_of(notice: Any, subject: str | None) -> None:
    assert kinds.subject_id(notice) == subject


@pytest.mark.parametrize(
    "inside,scrubbed",
    [
        ({"user_id": 3, "user_id_str": "3", "up_to_status_id": 12, "up_to_status_id_str": "12"}, ("3", 12)),
        ({"user_id": 3, "up_to_status_id": 12}, ("3", 12)),
        ({"user_id": 3}, None),
        ({"user_id": 3, "up_to_status_id_str": "twelve"}, None),
        ({"user_id": 3, "up_to_status_id_str": "²"}, None),
        ({"user_id": 3, "up_to_status_id_str": "9" * 19}, ("3", int("9" * 19))),
        ({"user_id": 3, "up_to_status_id_str": "9" * 20}, None),
        (None, None),
    ],
)
def test_what_scrub_geo_asks_for(inside: Any, scrubbed: tuple[str, int] | None) -> None:
    assert kinds.scrubbed({"scrub_geo": inside}) == scrubbed


@pytest.mark.parametrize(
    "notice,said",
    [
        ({"limit": {"track": 7}}, 7),
        ({"limit": {"track": True}}, None),
        ({"limit": {"track": 10**30}}, None),
        ({"limit": {"track": -1}}, None),
        ({"limit": "7"}, None),
    ],
)
def test_what_a_limit_notice_says(notice: dict[str, Any], said: int | None) -> None:
    assert kinds.limit_count(notice) == said


@pytest.mark.parametrize("up_to", ["9" * 5000, "x", "²", None, 1.5])
def test_a_scrub_geo_notice_of_nonsense_says_nothing(up_to: Any) -> None:
    assert kinds.scrubbed({"scrub_geo": {"user_id_str": "1", "up_to_status_id_str": up_to}}) is None
