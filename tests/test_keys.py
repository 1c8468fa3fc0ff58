"""Redis keys and channel messages, as the original's users have them."""

from datetime import UTC, datetime
from fnmatch import fnmatchcase

import pytest

from traptor import keys

NOON = datetime(2016, 2, 3, 12, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "built,expected",
    [
        (keys.rule("track", 0, 7), "traptor-track:0:7"),
        (keys.rule("locations", "12", "a:b"), "traptor-locations:12:a:b"),
        (keys.rules("follow", 3), "traptor-follow:3:*"),
        (keys.heartbeat("track", 0, NOON), "track:0:20160203120405"),
        (keys.stats("track", 0, "7"), "stats:track:0:7"),
        (keys.limit("follow", 1), "limit:follow:1"),
        (keys.status("locations", 2), "traptor:status:locations:2"),
        (keys.notice("track", 0), "track:0"),
    ],
)
def test_keys(built: str, expected: str) -> None:
    assert built == expected


@pytest.mark.parametrize("rule_id", ["0", "7", "weather", "a:b", "with space", "日本"])
def test_a_rule_id_comes_back_out_of_its_key(rule_id: str) -> None:
    assert keys.rule_id(keys.rule("track", 0, rule_id)) == rule_id


@pytest.mark.parametrize("traptor_type", keys.TYPES)
def test_the_pattern_of_the_fleet_finds_what_is_known_of_a_traptor(traptor_type: str) -> None:
    ours = [keys.rule(traptor_type, 0, "a:b"), keys.heartbeat(traptor_type, 10, NOON)]
    ours += [make(traptor_type, 10) for make in (keys.status, keys.life, keys.silent)]
    others = [keys.stats(traptor_type, 0, "7"), keys.limit(traptor_type, 0), keys.homes(traptor_type), keys.RULES_LOCK]
    assert [key for key in [*ours, *others, "session:0:1"] if fnmatchcase(key, keys.FLEET)] == ours
    assert all(map(keys.parse, ours))


@pytest.mark.parametrize(
    "key,named",
    [("traptor-track:0:a:b", "traptor-track:0"), ("traptor:status:track:0", "traptor:status:track:0"), ("x", "x")],
)
def test_a_rule_names_its_traptor(key: str, named: str) -> None:
    assert keys.without_rule_id(key) == named


@pytest.mark.parametrize(
    "payload,expected",
    [
        ("track:0", True),
        (b"track:0", True),
        ("  track:0\n", True),
        ("track:1", False),
        ("track:00", False),
        ("track:0:7", False),
        ("Track:0", False),
        ("follow:0", False),
        ("", False),
        (b"\xff\xfe", False),
        (1, False),
        (None, False),
        (["track:0"], False),
        ({"track": 0}, False),
    ],
)
def test_a_notice_speaks_of_one_traptor(payload: object, expected: bool) -> None:
    assert keys.is_notice_for(payload, "track", 0) is expected
