"""X API v2 as the source of a Traptor, as far as it can be seen without a stream."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import MagicMock

import fakeredis
import pytest
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor import settings
from traptor.rules.checked import Problem
from traptor.rules.stored import write
from traptor.sources.credential import Credential
from traptor.sources.turn import Turn
from traptor.sources.v2.answers import TooManyConnections
from traptor.sources.v2.client import Synchronised
from traptor.sources.v2.rules import ServerRule, label
from traptor.sources.v2.source import V2Source
from traptor.sources.v2.stream import Translated
from traptor.traptor import Traptor
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.rule import Match

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
        made._take_up_rules(made._next_look()())
    told = [vars(record)["rule_id"] for record in caplog.records if record.message == "rule left out"]
    assert sorted(told) == ["1", "2"]


class Placing:
    """A client that has placed so many rules, beside those of others, on an account that allows so many."""

    def __init__(self, placed: int = 1, others: Sequence[ServerRule] = (), limit: int = 1000) -> None:
        self.done = Synchronised(placed, [], list(others), limit)
        self.opened: list[Any] = []

    def synchronise(self, *_: Any, **__: Any) -> Synchronised:
        return self.done

    def open(self, minutes: int = 0, missed: Any = None) -> str:
        self.opened.append((minutes, missed))
        return "a stream"


def source(client: Any = None, **wanted: Any) -> V2Source:
    made = V2Source(settings.load({"TWITTER_API": "2", "BEARER_TOKEN": "one", **wanted}, {}, {}), Counter())
    made.client = client
    return made


@pytest.mark.parametrize(
    "client,told",
    [
        (Placing(), []),
        (Placing(limit=999), ["the account allows fewer rules: lower V2_RULE_LIMIT"]),
        (
            Placing(others=[ServerRule("storm", "other:1", "7")]),
            ["rules of others on the server: their posts are paid for, and dropped"],
        ),
    ],
)
def test_what_costs_is_told_when_the_stream_is_opened(
    client: Placing, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert source(client, V2_RULE_LIMIT=1000).open("storm", [STORM], missed_since=None) == "a stream"
    assert client.opened == [(0, None)]
    assert [record.message for record in caplog.records] == told


def test_without_a_rule_on_the_server_there_is_no_stream() -> None:
    client = Placing(0)
    assert source(client).open("storm", [STORM], missed_since=None) is None
    assert client.opened == []
    assert [source(Placing(placed)).change([STORM]) for placed in (0, 1, 2)] == [False, True, True]


def test_what_was_missed_is_asked_for() -> None:
    client = Placing()
    source(client, V2_BACKFILL_MINUTES=5).open("storm", [STORM], missed_since=datetime.now(UTC) - timedelta(minutes=2))
    assert client.opened[0][0] == 5


@pytest.mark.parametrize(
    "seconds,wait_seconds,is_ours_to_cut_short", [(1, 0.5, True), (60, 60, False), (None, 60, False)]
)
def test_a_stream_that_has_just_ended_may_be_counted_still(
    seconds: int | None, wait_seconds: float, is_ours_to_cut_short: bool
) -> None:
    """One that ended a while ago, or was never ours, is somebody else's."""
    client = Placing()
    refused = TooManyConnections("too many", response=MagicMock(status_code=429, headers={}))
    client.open = MagicMock(side_effect=refused)  # type: ignore[method-assign]
    since = None if seconds is None else datetime.now(UTC) - timedelta(seconds=seconds)
    turn = Turn(Credential(fakeredis.FakeRedis(), {}, "track", 0))
    verdict = turn.attempt(lambda: source(client).open("storm", [STORM], missed_since=since))
    assert verdict
    assert wait_seconds <= verdict.wait_seconds <= wait_seconds * 1.1
    assert turn.credential.may_connect_early is is_ours_to_cut_short


HERE = Match(0, ("text",))


@pytest.mark.parametrize(
    "tags,local,matches,disagreed",
    [
        ([f"traptor:track:0:{label(STORM)}"], [HERE], [HERE], 0),
        (["traptor:track:0:9=00"], [], None, 0),
        (["somebody else's"], [], None, 0),
        (["traptor:track:0:9=00"], [HERE], [HERE], 1),
    ],
)
def test_a_post_is_ours_where_the_server_or_we_say_so(
    tags: list[str], local: list[Match], matches: list[Match] | None, disagreed: int
) -> None:
    made = source()
    raw = Translated(b"{}")
    raw.tags = tags
    assert made.attribute([raw], [local], Enrichment("track", 0, [STORM])) == [matches]
    assert made._counts["disagreed"] == disagreed


def test_what_is_left_out_is_counted_and_what_was_read_is_written() -> None:
    """All of it since the start, however often it is reported."""
    conn, made = fakeredis.FakeRedis(), source()
    made.note(5)
    for count in (2, 2, 3):
        made._left_out["data.text"] = count
        made.report(conn)
        assert made._counts["fields_left_out:data.text"] == made._left_out["data.text"] == count
    assert [int(conn.get(key) or 0) for key in conn.keys("traptor:posts:*")] == [5]


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_payload_is_kept_where_that_is_wanted(is_kept: bool) -> None:
    made = V2Source(settings.load({"TWITTER_API": "2", "BEARER_TOKEN": "one", "KEEP_V2": is_kept}, {}, {}), Counter())
    tweet = Translated(b'{"id":20}')
    tweet.payload = b'{"data":{"id":"20"}}'
    enriched = [b'{"id":20,"traptor":{"id":0}}', b'{"limit":{"track":5}}']
    found = [json.loads(one) for one in made.finish([tweet, enriched[1]], enriched)]
    kept = {"v2": {"data": {"id": "20"}}} if is_kept else {}
    assert found == [{"id": 20, "traptor": {"id": 0, **kept}}, {"limit": {"track": 5}}]
