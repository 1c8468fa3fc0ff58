"""``replay``: where its rules come from."""

import click
import pytest
import redis

from traptor import settings
from traptor.commands import replay
from traptor.rules import stored


@pytest.mark.parametrize(
    "every_tweet,environ,kind,is_told",
    [
        (True, {}, redis.ConnectionError, True),
        (True, {"REDIS_HOST": "localhost"}, redis.ConnectionError, False),
        (True, {"REDIS_DB": "1"}, redis.ConnectionError, False),
        (True, {}, redis.AuthenticationError, False),
        (True, {}, redis.BusyLoadingError, False),
        (False, {}, redis.ConnectionError, False),
    ],
)
def test_who_wants_every_tweet_needs_no_redis(
    monkeypatch: pytest.MonkeyPatch,
    *,
    every_tweet: bool,
    environ: dict[str, str],
    kind: type[redis.RedisError],
    is_told: bool,
) -> None:
    """But one that is named, or that answers, has rules: they would be missing in what is written."""

    def away(*_: object) -> None:
        raise kind("refused")

    monkeypatch.setattr(stored, "read", away)
    said: list[str] = []
    wanted = settings.load({}, environ, {})
    if is_told:
        assert replay._rules(None, wanted, said.append, every_tweet=every_tweet) == []
    else:
        with pytest.raises(click.UsageError, match="Redis cannot be read: refused; --rules FILE needs no Redis"):
            replay._rules(None, wanted, said.append, every_tweet=every_tweet)
    assert said == ["replay: no Redis and no --rules: no tweet is matched"] * is_told
