"""Who brought a tweet first; the script itself runs in a real Redis, in tests/integration/test_redis_keys.py."""

import logging
from collections.abc import Callable, Sequence

import pytest
import redis

from traptor.account.claims import OFF_SECONDS, Claims
from traptor.tweets.snowflakes import EPOCH_MS

FIRST_MS = 1_950_000_000_000
"""When ten seconds begin."""


def id_str(ms: int, number: int = 0) -> str:
    return str((FIRST_MS + ms - EPOCH_MS << 22) + number)


class Remembering:
    """A Redis that does what the script says; it fails while ``error`` is set."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.asked = 0
        self.error: redis.RedisError | None = None

    def register_script(self, script: str) -> Callable[[Sequence[str], Sequence[str]], list[str]]:
        return self._run

    def _run(self, keys: Sequence[str], args: Sequence[str]) -> list[str]:
        self.asked += 1
        if self.error:
            raise self.error
        name, _, *ids = args
        return [self.held.setdefault(one, name) for one in zip(keys, ids, strict=True)]


@pytest.fixture
def conn() -> Remembering:
    return Remembering()


def test_the_first_to_bring_a_tweet_has_it(conn: Remembering) -> None:
    ours, theirs = Claims(conn, "track", 0), Claims(conn, "follow", 3)
    one, two, three = (id_str(5, number) for number in range(3))
    assert ours.claim([one, two]) == {}
    assert theirs.claim([two, three]) == {two: "track:0"}
    assert ours.claim([one, two, three]) == {three: "follow:3"}
    assert conn.asked == 3


def test_tweets_of_ten_seconds_stand_under_one_key(conn: Remembering) -> None:
    times_ms = [0, 9_999, 10_000]
    Claims(conn, "track", 0).claim([id_str(ms) for ms in times_ms])
    first, second, third = [key for key, _ in conn.held]
    assert first == second != third


@pytest.mark.parametrize("given", [[], ["", "12", "x", "١٢", "9" * 30]])
def test_an_id_that_tells_no_time_is_left_alone(conn: Remembering, given: list[str]) -> None:
    assert Claims(conn, "track", 0).claim(given) == {}
    assert conn.asked == 0


def test_a_redis_that_fails_is_left_alone_for_a_while_and_told_once(
    conn: Remembering, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    claims = Claims(conn, "track", 0, lambda: now)
    conn.error = redis.TimeoutError("Timeout reading from socket")
    for at, asked in ((0.0, 1), (OFF_SECONDS - 1, 1), (OFF_SECONDS, 2), (OFF_SECONDS + 1, 2)):
        now = at
        assert claims.claim([id_str(0)]) == {}
        assert conn.asked == asked
    conn.error, now = None, 2 * OFF_SECONDS
    claims.claim([id_str(0)])
    claims.claim([id_str(0)])
    assert [record.message for record in caplog.records] == [
        "tweets that others have brought are not marked: Redis fails",
        "tweets that others have brought are marked again",
    ]
