"""``replay``: where its rules come from."""

import click
import pytest
import redis

from traptor import settings
from traptor.commands import replay
from traptor.rules import stored


@pytest.mark.parametrize(
    "every_tweet,environ,is_told",
    [(True, {}, True), (True, {"REDIS_HOST": "localhost"}, False), (False, {}, False)],
)
def test_who_wants_every_tweet_needs_no_redis(
    monkeypatch: pytest.MonkeyPatch, *, every_tweet: bool, environ: dict[str, str], is_told: bool
) -> None:
    """But one that is named is to be there: its rules would be missing in what is written."""

    def away(*_: object) -> None:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(stored, "read", away)
    said: list[str] = []
    wanted = settings.load({}, environ, {})
    if is_told:
        assert replay._rules(None, wanted, said.append, every_tweet=every_tweet) == []
    else:
        with pytest.raises(click.UsageError, match="Redis cannot be read: refused; --rules FILE needs no Redis"):
            replay._rules(None, wanted, said.append, every_tweet=every_tweet)
    assert said == ["replay: no Redis and no --rules: no tweet is matched"] * is_told
