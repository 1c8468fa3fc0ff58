"""Redis keys and channel messages, as the original's users have them."""

import contextlib
import json
import math
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    "key,parts",
    [
        ("traptor-track:0:a:b", ("traptor-track:0", "a:b")),
        ("traptor-track:0:", ("traptor-track:0", "")),
        ("traptor-track:0", ("traptor-track:0", None)),
        ("traptor-track:0:a\nb", ("traptor-track:0", "a\nb")),
        ("traptor:status:track:0", ("traptor:status:track:0", None)),
        ("x", ("x", None)),
    ],
)
def test_a_rule_names_its_traptor(key: str, parts: tuple[str, str | None]) -> None:
    assert keys.apart(key) == parts


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


@pytest.mark.parametrize(
    "stored", ["{}", '{"a":1,"b":[1.5,null,"x"],"c":{"d":true}}', b'{"a":"\xc3\xa9"}', '{"a":-9223372036854775808}']
)
def test_what_traptors_write_is_read(stored: str | bytes) -> None:
    assert keys.content(stored) == json.loads(stored)


DEEP = "[" * 10_000 + "]" * 10_000
ODD = [
    "",
    "null",
    "[]",
    "5",
    "nonsense",
    DEEP,
    b'{"a":"\xff"}',
]


@pytest.mark.parametrize("stored", ODD, ids=lambda stored: repr(stored)[:20])
def test_what_nobody_of_ours_has_written_is_a_value_error(stored: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own words
        keys.content(stored)


@pytest.mark.parametrize("stored", ['{"a":' * 9000 + "1" + "}" * 9000, f'{{"a":{DEEP}}}'], ids=len)
def test_what_is_nested_deeply_is_not_taken_up(stored: str) -> None:
    """Since Python 3.14 json reads it."""
    with contextlib.suppress(ValueError):
        assert keys.content(stored) == {}


@pytest.mark.parametrize("value", ["1e999", 1 << 63, "9" * 400, '{"b":{"c":1}}', "[[1]]", "[1e999]", '{"b":-1e999}'])
def test_a_field_that_none_of_us_has_written_is_left_out(value: str) -> None:
    assert keys.content(f'{{"a":{value},"b":1}}') == {"b": 1}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_value(value: str) -> None:
    assert keys.content(f'{{"a":{value},"b":[{value}]}}') == {"a": None, "b": [None]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3),
    max_leaves=10,
)


@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_whatever_stands_there_it_is_an_object_of_plain_values_or_a_value_error(stored: str | bytes) -> None:
    with contextlib.suppress(ValueError):
        for value in keys.content(stored).values():
            inside = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
            assert all(one is None or isinstance(one, str | bool | float | int) for one in inside)
            assert all(math.isfinite(one) for one in inside if isinstance(one, float))
            assert all(abs(one) <= 1 << 63 for one in inside if isinstance(one, int))
