"""X API v2 as the source of a Traptor, as far as it can be seen without a stream."""

import json
import time
from typing import Any

import fakeredis
import pytest
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor import settings
from traptor.rules.checked import Problem
from traptor.rules.stored import write
from traptor.sources.v2.client import Synchronised
from traptor.sources.v2.stream import Translated
from traptor.traptor import Traptor

STORM = {"rule_id": "1", "value": "storm"}


def traptor(**wanted: Any) -> Traptor:
    conn = fakeredis.FakeRedis(decode_responses=True)
    made = Traptor(conn, conn, conn, test=True)
    made._adopt(settings.load({"TWITTER_API": "2", "BEARER_TOKEN": "one", **wanted}, {}, {}))
    return made


@pytest.mark.parametrize("minutes, window, posts", [(5, 10_000, 75_000), (1, 20_000, 20_000), (0, 10, 10), (5, 0, 0)])
def test_the_window_for_duplicates_holds_a_backfill(minutes: int, window: int, posts: int) -> None:
    intake = traptor(V2_BACKFILL_MINUTES=minutes, DEDUPE_WINDOW=window)._intake
    ids = list(map(str, range(posts + 1)))
    assert all(map(intake.is_new, ids))
    assert [intake.is_new(id_str) for id_str in ids[1:]] == [False] * posts


def test_new_secrets_do_not_make_posts_forgotten() -> None:
    made = traptor()
    made._source.note(500)
    made.settings = settings.load({"TWITTER_API": "2", "BEARER_TOKEN": "two"}, {}, {})
    made._setup_birdy()
    assert made._source.status()["v2"]["posts"] == 500


def test_a_post_that_comes_twice_is_paid_once() -> None:
    """Twitter bills a post once a day."""
    made = traptor()
    made._make_twitter_rules([STORM])
    message = Translated(json.dumps({"id": 20, "id_str": "20", "text": "a storm"}).encode())
    for _ in range(2):
        made._handle_bytes([message])
    assert (made._source.status()["v2"]["posts"], made.account.counts["dropped:duplicate"]) == (1, 1)


class Shouting(Traptor):
    def _enrich_tweet(self, tweet: Any) -> Any:
        return {**super()._enrich_tweet(tweet), "text": "A STORM"}


def test_a_post_is_paid_whatever_way_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    made = traptor()
    made.__class__ = Shouting
    made._make_twitter_rules([STORM])
    made._handle_bytes_as_dicts([Translated(json.dumps({"id": 20, "id_str": "20", "text": "a storm"}).encode())])
    assert made._source.status()["v2"]["posts"] == 1
    assert json.loads(capsys.readouterr().out)["text"] == "A STORM"


NOW = 1_800_000_000.0
RESET = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": f"{NOW + 600:.0f}"}


@pytest.mark.parametrize(
    "error, seconds",
    [
        (TwitterClientError("no network"), 15),
        (answered := TwitterApiError("busy"), 15),
        (limited := TwitterApiError("Too Many Requests"), 600),
    ],
)
def test_changed_rules_are_tried_again_when_twitter_wants_it(
    error: Exception, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        def synchronise(self, *_: Any, **__: Any) -> None:
            raise error

    answered.status_code, answered.headers = 503, RESET
    limited.status_code, limited.headers = 429, RESET
    made = traptor()
    made.birdy_conn = Client()
    monkeypatch.setattr(time, "time", lambda: NOW)
    assert made._take_up_rules([STORM])
    assert made.redis_rules == []
    assert made._watch._look_at - made._vitals.progress_at == pytest.approx(seconds, abs=1)


def test_a_rule_that_is_left_out_is_told_once_whoever_refuses_it(caplog: pytest.LogCaptureFixture) -> None:
    """Each look at the rules sees the ones that cannot be translated, each synchronisation those that are refused."""

    class Client:
        def synchronise(self, *_: Any, **__: Any) -> Synchronised:
            return Synchronised(1, [Problem("1", "storm", "is refused by Twitter: no room")], [], 1000)

    made = traptor()
    made.birdy_conn = Client()
    write(made.redis_conn, "track", 0, [STORM, {"rule_id": "2", "value": "x" * 600}])
    for _ in range(3):
        made.redis_rules = []
        made._take_up_rules(made._read_rules(noticed=False))
    told = [vars(record)["rule_id"] for record in caplog.records if record.message == "rule left out"]
    assert sorted(told) == ["1", "2"]
