"""What has come in: noted, counted, and sorted."""

from typing import Any
from unittest.mock import Mock

import pytest

from traptor.account.gaps import Gaps
from traptor.account.intake import SKIPPED_HEAD_BYTES, Intake
from traptor.account.ledger import Account
from traptor.sources.stream import MAX_MESSAGE_BYTES
from traptor.tweets import fields
from traptor.tweets.duplicates import RecentIds

NOW = 1234.5


class Turned:
    """A turn that remembers what it is told."""

    def __init__(self) -> None:
        self.has_received = False
        self.codes: list[int | None] = []

    def received(self) -> None:
        self.has_received = True

    def disconnected(self, code: int | None) -> None:
        self.codes.append(code)


class Room:
    def __init__(self) -> None:
        self.vitals: Any = Mock(account=Account(), progress_at=NOW, last_message_at=0.0, last_tweet_at=0.0)
        self.vitals.percent_full = 50
        self.gaps = Gaps("track", 0, lambda gap: None)
        self.turn: Any = Turned()
        self.intake = Intake(self.vitals, self.gaps, self.turn, RecentIds(10))

    def sorted(self, *raws: bytes) -> list[tuple[list[bytes], Any]]:
        portions = list(self.intake.sort(raws, fields.decode))
        return [([raw for raw, _ in tweets], odd and odd[0]) for tweets, odd in portions]

    @property
    def counts(self) -> dict[str, int]:
        return {name: count for name, count in self.vitals.account.counts.items() if count}


@pytest.fixture
def room() -> Room:
    return Room()


def tweet(number: int) -> bytes:
    return b'{"id_str":"%d","text":"happy"}' % number


LIMIT = b'{"limit":{"track":5}}'
APART = b'{"id_str":"9","traptor":{}}'
"""A tweet whose bytes cannot stay."""


@pytest.mark.parametrize(
    "raws,portions",
    [
        ([], [([], None)]),
        ([tweet(1), tweet(2)], [([tweet(1), tweet(2)], None)]),
        ([LIMIT], [([], LIMIT), ([], None)]),
        ([tweet(1), LIMIT, tweet(2)], [([tweet(1)], LIMIT), ([tweet(2)], None)]),
        ([tweet(1), APART, LIMIT], [([tweet(1)], APART), ([], LIMIT), ([], None)]),
        ([tweet(1), tweet(2), tweet(1)], [([tweet(1), tweet(2)], None)]),
        ([tweet(1), b"<html>", tweet(2)], [([tweet(1), tweet(2)], None)]),
    ],
)
def test_tweets_come_up_to_each_message_that_is_handled_by_itself(
    room: Room, raws: list[bytes], portions: list[Any]
) -> None:
    assert room.sorted(*raws) == portions


def test_a_tweet_is_counted_each_time_and_comes_once(room: Room) -> None:
    room.sorted(tweet(1), tweet(1), tweet(2))
    assert room.counts == {"received:tweet": 3, "dropped:duplicate": 1}
    assert room.gaps.last_tweet_id == "2"
    assert (room.vitals.last_message_at, room.vitals.last_tweet_at) == (NOW, NOW)
    assert room.turn.has_received


def test_tweets_without_an_id_are_all_new(room: Room) -> None:
    assert [room.intake.is_new("") for _ in range(2)] == [True, True]
    assert room.counts == {"received:tweet": 2}


def test_a_notice_is_a_message_and_no_tweet(room: Room) -> None:
    room.sorted(LIMIT)
    assert (room.vitals.last_message_at, room.vitals.last_tweet_at, room.turn.has_received) == (NOW, 0.0, True)


def test_what_is_not_ours_is_counted(room: Room) -> None:
    room.intake.not_ours(2)
    room.intake.not_ours(3)
    assert room.counts == {"dropped:other_rules": 5}


@pytest.mark.parametrize(
    "notice,counted,codes,percent_full,told",
    [
        ({"limit": {"track": 5}}, "limit", [], 50, []),
        ({"delete": {"status": {"id_str": "1"}}}, "delete", [], 50, []),
        ({"disconnect": {"code": 7}}, "disconnect", [7], 50, ["Twitter disconnects us"]),
        ({"disconnect": {}}, "disconnect", [None], 50, ["Twitter disconnects us"]),
        ({"warning": {"code": "FALLING_BEHIND", "percent_full": 60}}, "warning", [], 60, ["Twitter warns"]),
        ({"warning": {"code": "other"}}, "warning", [], 0, ["Twitter warns"]),
        (["what"], "unknown", [], 50, []),
    ],
)
def test_a_notice_is_counted_and_what_it_says_of_the_stream_remembered(
    room: Room,
    caplog: pytest.LogCaptureFixture,
    *,
    notice: Any,
    counted: str,
    codes: list[int | None],
    percent_full: int,
    told: list[str],
) -> None:
    for times in (1, 2):
        room.intake.heed(notice)
        assert room.counts == {f"received:{counted}": times}
    assert room.turn.codes == codes * 2
    assert room.vitals.percent_full == percent_full
    assert [record.message for record in caplog.records] == told * 2


@pytest.mark.parametrize(
    "raw,reason,codes",
    [
        (b"<html>", "not_json", []),
        (b"x" * MAX_MESSAGE_BYTES, "not_json", []),
        (b"x" * (MAX_MESSAGE_BYTES + 1), "too_long", []),
        (b"Exceeded connection limit for user", "not_json", [2]),
    ],
    ids=["html", "longest", "too long", "connection limit"],
)
def test_what_is_no_message_is_counted_and_told(
    room: Room, caplog: pytest.LogCaptureFixture, raw: bytes, reason: str, codes: list[int]
) -> None:
    for times in (1, 2):
        assert room.sorted(raw) == [([], None)]
        assert room.counts == {"received:unreadable": times, f"dropped:{reason}": times}
    assert room.turn.codes == codes * 2
    assert not room.turn.has_received
    told = vars(caplog.records[0])
    assert (told["msg"], told["reason"], told["head"]) == ("message skipped", reason, repr(raw[:SKIPPED_HEAD_BYTES]))
