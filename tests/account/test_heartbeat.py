"""Signs of life in Redis."""

import re
from unittest.mock import MagicMock

import fakeredis
import pytest
import redis

from traptor.account import heartbeat

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.mark.parametrize("interval_seconds,ttl_seconds", [(5, 10), (0.5, 1), (0.1, 1), (30, 60)])
def test_a_beat_lives_for_two_intervals(interval_seconds: float, ttl_seconds: int) -> None:
    conn = fakeredis.FakeRedis(decode_responses=True)
    heartbeat.beat(conn, "follow", 3, interval_seconds)
    (key,) = map(str, conn.keys())
    assert re.fullmatch(r"follow:3:20\d{12}", key)
    assert conn.get(key) == "alive"
    assert ttl_seconds - 1 <= conn.ttl(key) <= ttl_seconds


@pytest.mark.parametrize("failures,beats", [(0, 1), (2, 1), (3, 0)])
def test_it_is_tried_three_times(failures: int, beats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redis.retry.sleep", lambda _seconds: None)
    conn = MagicMock()
    conn.setex.side_effect = [*[redis.ConnectionError("refused")] * failures, True]
    if beats:
        assert heartbeat.beat(conn, "track", 0, 5) is True
    else:
        with pytest.raises(redis.ConnectionError, match="refused"):
            heartbeat.beat(conn, "track", 0, 5)
    assert conn.setex.call_count == min(failures + 1, 3)


def test_what_a_retry_cannot_heal_is_raised_at_once() -> None:
    conn = MagicMock()
    conn.setex.side_effect = redis.ResponseError("READONLY")
    with pytest.raises(redis.ResponseError):
        heartbeat.beat(conn, "track", 0, 5)
    assert conn.setex.call_count == 1
