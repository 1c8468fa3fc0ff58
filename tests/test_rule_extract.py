"""Rules into Redis, spread over Traptors."""

from typing import Any

import fakeredis
import pytest

from scripts.rule_extract import RulesToRedis


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
def conn(request: pytest.FixtureRequest) -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(decode_responses=request.param)


def text(found: Any) -> str:
    return found.decode() if isinstance(found, bytes) else found


@pytest.mark.parametrize("traptor_type,most", [("follow", 5000), ("track", 400), ("locations", 25)])
def test_rules_fill_one_traptor_after_the_other(conn: fakeredis.FakeRedis, traptor_type: str, most: int) -> None:
    to_redis = RulesToRedis(conn)
    assert to_redis.rule_max(traptor_type) == most

    to_redis.send_rules(traptor_type, [{"tag": "test", "value": str(index)} for index in range(most + 2)])

    shards = [f"traptor-{traptor_type}:{index // most}:{index}" for index in range(most + 2)]
    assert sorted(map(text, conn.keys())) == sorted(shards)
    for index in (0, most - 1, most, most + 1):
        found = {text(name): text(value) for name, value in conn.hgetall(shards[index]).items()}
        assert found == {"tag": "test", "value": str(index)}


def test_numbers_and_no_rules_are_fine(conn: fakeredis.FakeRedis) -> None:
    RulesToRedis(conn).send_rules("track", [])
    assert conn.keys() == []
    RulesToRedis(conn).send_rules("follow", iter([{"value": 17919972, "rule_id": 7}]))
    assert text(conn.hget("traptor-follow:0:0", "value")) == "17919972"
    assert text(conn.hget("traptor-follow:0:0", "rule_id")) == "7"


@pytest.mark.parametrize("wrong", ["", "Track", "geo", "tracks"])
def test_a_type_that_is_none_is_named_with_what_is_allowed(conn: fakeredis.FakeRedis, wrong: str) -> None:
    for call in (RulesToRedis(conn).rule_max, lambda name: RulesToRedis(conn).send_rules(name, [])):
        with pytest.raises(ValueError, match=f"'{wrong}'.*follow, track, locations"):
            call(wrong)
