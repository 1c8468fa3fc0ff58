"""Rules: read, checked, ordered, joined and written."""

import json
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from traptor import keys
from traptor.rules import checked, stored
from traptor.rules.checked import Problem
from traptor.rules.progress import Progress
from traptor.tweets.rule import version


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
def conn(request: pytest.FixtureRequest) -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(decode_responses=request.param)


def valued(*values: str) -> list[dict[str, str]]:
    return [{"rule_id": str(number), "value": value} for number, value in enumerate(values)]


def test_only_this_traptors_rules_are_read_in_order_of_rule_id(conn: fakeredis.FakeRedis) -> None:
    for key in ("traptor-track:0:10", "traptor-track:0:9", "traptor-track:0:b", "traptor-track:0:a:1"):
        conn.hset(key, mapping={"tag": "test", "value": key})
    for other in ("traptor-track:1:1", "traptor-follow:0:1", "traptor-track:00:1"):
        conn.hset(other, mapping={"value": "other"})
    assert stored.read(conn, "track", 0) == [
        {"rule_id": rule_id, "tag": "test", "value": f"traptor-track:0:{rule_id}"}
        for rule_id in ("9", "10", "a:1", "b")
    ]


@pytest.mark.parametrize(
    "fields,expected",
    [
        ({"value": "happy"}, {"rule_id": "7", "value": "happy"}),
        ({"value": "happy", "rule_id": "other"}, {"rule_id": "other", "value": "happy"}),
        ({"value": "été 日本 😀", "note": ""}, {"rule_id": "7", "value": "été 日本 😀", "note": ""}),
        ({b"value": b"caf\xe9"}, {"rule_id": "7", "value": "caf\ufffd"}),
    ],
)
def test_every_field_of_the_hash_is_carried_as_text(fields: dict[Any, Any], expected: dict[str, str]) -> None:
    conn = fakeredis.FakeRedis()
    conn.hset("traptor-track:0:7", mapping=fields)
    assert stored.read(conn, "track", 0) == [expected]


def test_a_key_that_is_no_hash_is_a_rule_without_a_value(conn: fakeredis.FakeRedis) -> None:
    conn.set("traptor-track:0:1", "happy")
    conn.hset("traptor-track:0:2", "value", "happy")
    sound = checked.check("track", stored.read(conn, "track", 0))
    assert sound.rules == [{"rule_id": "2", "value": "happy"}]
    assert sound.problems == [Problem("1", "", "has no value")]


@pytest.mark.parametrize("decoded", [True, False], ids=["text", "bytes"])
def test_a_rule_under_a_key_that_is_not_utf_8_is_a_rule(decoded: bool) -> None:
    conn = fakeredis.FakeRedis(decode_responses=decoded, encoding_errors="surrogateescape" if decoded else "strict")
    for key, value in ((b"caf\xe9", "flood"), (b"caf\xe8", "storm"), (b"\xff", "")):
        conn.hset(b"traptor-track:0:" + key, mapping={"value": value} if value else {"tag": b"\xfe"})
    conn.set(b"traptor-track:0:\xc3", "no hash")
    sound = checked.check("track", stored.read(conn, "track", 0))
    assert sorted(rule["value"] for rule in sound.rules) == ["flood", "storm"]
    assert {rule["rule_id"] for rule in sound.rules} == {"caf\ufffd"}
    assert [(problem.rule_id, problem.reason) for problem in sound.problems] == [("\ufffd", "has no value")] * 2
    held = stored.read_all(conn, "track")[0]
    for rule_id, rule in held.items():
        assert conn.exists(keys.rule("track", 0, rule_id).encode("utf-8", "surrogateescape"))
        assert rule["rule_id"].isprintable()
    assert len(held) == 4


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=8), st.binary(max_size=8)), max_size=5))
def test_no_key_and_no_value_loses_a_rule(hashes: list[tuple[bytes, bytes]]) -> None:
    conn = fakeredis.FakeRedis(decode_responses=True, encoding_errors="surrogateescape")
    for key, value in hashes:
        conn.hset(b"traptor-track:0:" + key, "value", value)
    found = stored.read(conn, "track", 0)
    assert len(found) == len({key for key, _ in hashes})
    sound = checked.check("track", found)
    assert len(sound.rules) + len(sound.problems) == len(found)
    json.dumps([sound.rules, sound.problems], ensure_ascii=False).encode("utf-8")


def test_many_rules_are_read_whole_and_once(conn: fakeredis.FakeRedis) -> None:
    stored.write(conn, "follow", 0, [{"rule_id": number, "value": number} for number in range(2500)])
    assert [rule["rule_id"] for rule in stored.read(conn, "follow", 0)] == [str(number) for number in range(2500)]


def test_a_read_that_fails_half_way_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fakeredis.FakeServer()
    conn = fakeredis.FakeRedis(server=server)
    stored.write(conn, "track", 0, valued("happy", "sad"))
    scan_iter = conn.scan_iter

    def gone_after_the_first(*args: Any, **options: Any) -> Any:
        yield next(iter(scan_iter(*args, **options)))
        server.connected = False

    monkeypatch.setattr(conn, "scan_iter", gone_after_the_first)
    with pytest.raises(redis.ConnectionError):
        stored.read(conn, "track", 0)


@pytest.mark.parametrize(
    "ids,expected",
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["b", "10", "a", "9"], ["9", "10", "a", "b"]),
        (["02", "1", "2", "0"], ["0", "1", "02", "2"]),
        (["9" * 5000, "x", "10"], ["10", "9" * 5000, "x"]),
        (["²", "3", "x", "-1", ""], ["3", "", "-1", "x", "²"]),
    ],
)
def test_order(ids: list[str], expected: list[str]) -> None:
    assert [rule["rule_id"] for rule in sorted(({"rule_id": one} for one in ids), key=checked.order)] == expected


@pytest.mark.parametrize(
    "traptor_type,value,reason",
    [
        ("track", "happy", None),
        ("track", "flood warning,storm", None),
        ("track", "x" * 60, None),
        ("track", "é" * 30, None),
        ("track", "x" * 61, "has 61 bytes; allowed are 1 to 60"),
        ("track", "é" * 31, "has 62 bytes"),
        ("track", "storm," + "日" * 21, "has 63 bytes"),
        ("track", "", "has no value"),
        ("track", " \t", "has no value"),
        ("track", " , ,", "has no phrase, only commas"),
        ("track", "caf\ufffd", "is not UTF-8"),
        ("follow", "17919972", None),
        ("follow", " 17919972 ", None),
        ("follow", str(2**63 - 1), None),
        ("follow", str(2**63), "is not a user id"),
        ("follow", "9" * 5000, "is not a user id"),
        ("follow", "0017919972", "no zeros before it"),
        ("follow", "0", "is not a user id"),
        ("follow", "@nasa", "is not a user id"),
        ("follow", "1,2", "is not a user id"),
        ("follow", "-1", "is not a user id"),
        ("follow", "１２", "is not a user id"),
        ("locations", "-122.75,36.8,-121.75,37.8", None),
        ("locations", "-180,-90,180,90", None),
        ("locations", "0,0,1,1,2,2,3,3", None),
        ("locations", "0,0,1", "has 3 numbers"),
        ("locations", "0,0,1,north", "is not a box"),
        ("locations", "nan,0,1,1", "is not a box"),
        ("locations", "-181,0,1,1", "longitude outside"),
        ("locations", "0,-91,1,1", "latitude outside"),
        ("locations", "0,1,1,0", "south above its north"),
        ("locations", "170,0,-170,1", "west beyond its east"),
    ],
)
def test_what_twitter_would_refuse_is_left_out_with_its_reason(
    traptor_type: str, value: str, reason: str | None
) -> None:
    sound = checked.check(traptor_type, valued(value))
    if reason is None:
        assert sound == (valued(value), [])
    else:
        (problem,) = sound.problems
        assert (sound.rules, problem.rule_id, problem.value) == ([], "0", value)
        assert reason in problem.reason


@pytest.mark.parametrize(
    "traptor_type,values,kept",
    [
        ("track", [str(number) for number in range(401)], 400),
        ("track", ["a,b"] * 401, 401),
        ("track", [f"a{number},b{number}" for number in range(201)], 200),
        ("follow", [str(number) for number in range(1, 5002)], 5000),
        ("locations", [f"{number},0,{number}.5,1" for number in range(26)], 25),
        ("locations", ["0,0,1,1,2,0,3,1"] * 13 + ["5,0,6,1"], 14),
    ],
)
def test_the_limit_counts_what_is_sent(traptor_type: str, values: list[str], kept: int) -> None:
    sound = checked.check(traptor_type, valued(*values))
    assert sound.rules == valued(*values)[:kept]
    assert [problem.rule_id for problem in sound.problems] == [str(number) for number in range(kept, len(values))]
    assert all("over the limit of" in problem.reason for problem in sound.problems)


@pytest.mark.parametrize(
    "fields,size_bytes",
    [
        ({"note": "x" * 99_954}, None),
        ({"note": "x" * 99_955}, 100_001),
        ({"note": "x" * 1_200_000}, 1_200_046),
        ({"x" * 100_000: "note"}, 100_046),
        ({"note": "é" * 20_000}, 120_046),
        ({"note": "😀" * 9_000}, 108_046),
        ({f"n{number:05}": "x" * 10 for number in range(5000)}, 120_034),
        ({"note": 5}, None),
    ],
)
def test_a_rule_that_would_not_fit_a_message_is_left_out_with_its_size(
    fields: dict[str, Any], size_bytes: int | None
) -> None:
    sound = checked.check("track", [{"rule_id": "7", "value": "storm", **fields}, *valued("rain")])
    assert [rule["value"] for rule in sound.rules] == (["rain"] if size_bytes else ["storm", "rain"])
    reason = f"has {size_bytes} bytes in all its fields; allowed are 100000, for tweets carry them"
    assert [problem.reason for problem in sound.problems] == ([reason] if size_bytes else [])


def test_a_smaller_rule_still_fits_behind_one_that_is_too_large() -> None:
    values = [",".join(f"a{number}" for number in range(399)), "b,c", "d"]
    assert [rule["rule_id"] for rule in checked.check("track", valued(*values)).rules] == ["0", "2"]


@pytest.mark.parametrize(
    "traptor_type,values,joined",
    [
        ("track", ["happy"], "happy"),
        ("track", [" flood warning , storm", "storm,rain"], "flood warning,storm,rain"),
        ("follow", ["17919972", "17919972", " 5"], "17919972,5"),
        ("locations", ["-122.75,36.8,-121.75,37.8"], "-122.75,36.8,-121.75,37.8"),
        ("locations", [" -74.0, 40 ,-73,+41.50"], "-74,40,-73,41.5"),
        ("locations", ["0,0,1,1", "0.0,0,1,1.0,2,2,3,3"], "0,0,1,1,2,2,3,3"),
        ("locations", ["-0.1234567,0,0.1234567,1"], "-0.1234567,0,0.1234567,1"),
        ("locations", ["-0.00001,-90,0.00001,90"], "-0.00001,-90,0.00001,90"),
        ("track", [], ""),
    ],
)
def test_join(traptor_type: str, values: list[str], joined: str) -> None:
    assert checked.join(traptor_type, valued(*values)) == joined


def test_the_version_tells_rule_sets_apart() -> None:
    sets = [[], valued("a"), valued("b"), valued("a", "b"), [{"value": "a", "rule_id": "0", "tag": "t"}]]
    assert len({version(one) for one in sets}) == len(sets)
    assert version(valued("a")) == checked.version([{"value": "a", "rule_id": "0"}])
    assert version([{"value": "\ud800"}])


def test_what_is_written_is_read_again(conn: fakeredis.FakeRedis) -> None:
    rule_set = [{"rule_id": "1", "tag": "weather", "value": "storm"}, {"rule_id": "2", "value": "été"}]
    stored.write(conn, "track", 4, rule_set)
    assert stored.read(conn, "track", 4) == rule_set
    assert conn.exists(keys.rule("track", 4, 1), keys.rule("track", 4, 2)) == 2


@pytest.mark.parametrize(
    "listed,found",
    [
        (None, {0: ["9", "10"], 2: ["b"], 11: ["1"]}),
        ({}, {}),
        ({2: ["b"]}, {2: ["b"]}),
        ({11: ["1"], 0: ["10", "9"]}, {0: ["9", "10"], 11: ["1"]}),
        ({0: ["10", "gone"], 7: []}, {0: ["10"]}),
    ],
)
def test_the_rules_of_all_traptors_of_a_type_or_of_some(
    conn: fakeredis.FakeRedis, listed: dict[int, list[str]] | None, found: dict[int, list[str]]
) -> None:
    names = ("track:0:10", "track:0:9", "track:2:b", "track:11:1", "follow:0:1", "track:x:1")
    for name in names:
        conn.hset(f"traptor-{name}", mapping={"value": name})
    read = stored.read_all(conn, "track", listed)
    assert list(read) == list(found)
    assert {traptor_id: list(rules) for traptor_id, rules in read.items()} == found
    assert all(
        rule == {"rule_id": rule_id, "value": f"track:{traptor_id}:{rule_id}"}
        for traptor_id, rules in read.items()
        for rule_id, rule in rules.items()
    )


def test_how_many_rules_have_been_read_is_told(conn: fakeredis.FakeRedis) -> None:
    told: list[str] = []
    for name in ("0:1", "0:2", "1:1"):
        conn.hset(f"traptor-track:{name}", mapping={"value": "happy"})
    stored.read_all(conn, "track", progress=Progress(told.append))
    assert told == ["2 track rules read", "3 track rules read"]


def test_a_client_of_somebodys_own_is_asked_by_redis_own_methods() -> None:
    """As people's tests bring one."""
    real = fakeredis.FakeRedis()
    stored.write(real, "track", 0, [{"rule_id": "1", "value": "storm"}])
    plain = SimpleNamespace(scan_iter=real.scan_iter, pipeline=real.pipeline)
    assert stored.read(plain, "track", 0) == [{"rule_id": "1", "value": "storm"}]  # type: ignore[arg-type]
