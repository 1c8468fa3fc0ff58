"""The Traptor on v2, as far as it can be seen without a stream."""

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
from traptor.sources.v2.collector import V2Traptor
from traptor.sources.v2.stream import Translated

STORM = {"rule_id": "1", "value": "storm"}


def traptor(**wanted: Any) -> V2Traptor:
    conn = fakeredis.FakeRedis(decode_responses=True)
    made = V2Traptor(conn, conn, conn, test=True)
    made._adopt(settings.load({"TWITTER_API": "2", "BEARER_TOKEN": "one", **wanted}, {}, {}))
    return made


@pytest.mark.parametrize("minutes, window, posts", [(5, 10_000, 75_000), (1, 20_000, 20_000), (0, 10, 10), (5, 0, 0)])
def test_the_window_for_duplicates_holds_a_backfill(minutes: int, window: int, posts: int) -> None:
    made = traptor(V2_BACKFILL_MINUTES=minutes, DEDUPE_WINDOW=window)
    ids = list(map(str, range(posts + 1)))
    assert [id_str for id_str in ids if made._recent.is_known(id_str)] == []
    assert [made._recent.is_known(id_str) for id_str in ids[1:]] == [True] * posts


def test_new_secrets_do_not_make_posts_forgotten() -> None:
    made = traptor()
    for _ in range(500):
        made._budget.note()
    made.settings = settings.load({"TWITTER_API": "2", "BEARER_TOKEN": "two"}, {}, {})
    made._setup_birdy()
    assert made._budget.read == 500


def test_a_post_that_comes_twice_is_paid_once() -> None:
    """Twitter bills a post once a day."""
    made = traptor()
    made._compiled([STORM])
    message = Translated(json.dumps({"id": 20, "id_str": "20", "text": "a storm"}).encode())
    for _ in range(2):
        made._handle_bytes([message])
    assert (made._budget.read, made.account.counts["dropped:duplicate"]) == (1, 1)


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
    assert made._change_rules([STORM], [])
    assert made._read_rules_at - made._vitals.progress_at == pytest.approx(seconds)


def test_a_rule_that_is_left_out_is_told_once_whoever_refuses_it(caplog: pytest.LogCaptureFixture) -> None:
    """Each look at the rules sees the ones that cannot be translated, each synchronisation those that are refused."""

    class Client:
        def synchronise(self, *_: Any, **__: Any) -> Synchronised:
            return Synchronised(1, [Problem("1", "storm", "is refused by Twitter: no room")], [], 1000)

    made = traptor()
    made.birdy_conn = Client()
    write(made.redis_conn, "track", 0, [STORM, {"rule_id": "2", "value": "x" * 600}])
    for _ in range(3):
        made.redis_rules = made._read_rules(noticed=False)
        made._synchronise()
    told = [vars(record)["rule_id"] for record in caplog.records if record.message == "rule left out"]
    assert sorted(told) == ["1", "2"]
