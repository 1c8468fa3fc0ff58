"""Restart messages, from a publish to its payload."""

import contextlib
from itertools import islice
from unittest.mock import MagicMock

import fakeredis
import pytest
import redis

from traptor.rules import notices
from traptor.rules.notices import SUBSCRIBED, Listener

CHANNEL = "traptor-notify"


@pytest.mark.parametrize("decode_responses,expected", [(True, "track:0"), (False, b"track:0")])
def test_payloads_come_between_nones(decode_responses: bool, expected: object) -> None:
    conn = fakeredis.FakeRedis(decode_responses=decode_responses)
    payloads = notices.payloads(conn, CHANNEL)
    assert next(payloads) is SUBSCRIBED
    assert conn.publish(CHANNEL, "track:0") == 1
    assert conn.publish("another-channel", "track:0") == 0
    assert [one for one in islice(payloads, 5) if not isinstance(one, int | None)] == [expected]


@pytest.mark.parametrize("message", [None, 1, "track:0", b"track:0", [], {}, {"type": "message"}])
def test_what_is_no_message_counts_as_none(message: object) -> None:
    conn = MagicMock()
    conn.pubsub.return_value.get_message.return_value = message
    assert list(islice(notices.payloads(conn, CHANNEL), 2)) == [SUBSCRIBED, None]
    conn.pubsub.return_value.subscribe.assert_called_once_with(CHANNEL)


@pytest.mark.parametrize("broken", ["subscribe", "get_message"])
def test_when_redis_goes_away_the_subscription_is_closed(broken: str) -> None:
    conn = MagicMock()
    getattr(conn.pubsub.return_value, broken).side_effect = redis.ConnectionError("gone")
    with pytest.raises(redis.ConnectionError):
        list(notices.payloads(conn, CHANNEL))
    conn.pubsub.return_value.close.assert_called_once_with()


def test_a_listener_hears_what_is_for_its_traptor_and_is_subscribed_once() -> None:
    conn = fakeredis.FakeRedis()
    listener = Listener(conn, CHANNEL, "track", 0)
    heard = listener.heard()
    assert next(heard) is False
    for payload in ("track:1", "track:0"):
        conn.publish(CHANNEL, payload)
    assert next(heard) is True
    conn.publish(CHANNEL, "track:0")
    assert next(listener.heard()) is True


def test_a_listener_says_when_nothing_has_come() -> None:
    assert list(islice(Listener(fakeredis.FakeRedis(), CHANNEL, "track", 0).heard(), 3)) == [False, False, False]


def test_a_listener_subscribes_anew_after_redis_went_away() -> None:
    conn = MagicMock()
    conn.pubsub.return_value.get_message.side_effect = [redis.ConnectionError("gone"), {"data": "track:0"}]
    listener = Listener(conn, CHANNEL, "track", 0)
    with pytest.raises(redis.ConnectionError):
        list(listener.heard())
    assert next(listener.heard()) is True
    assert conn.pubsub.call_count == 2


@pytest.mark.parametrize("gone", [False, True])
def test_what_came_before_a_subscription_may_have_been_missed(gone: bool) -> None:
    conn = MagicMock()
    conn.pubsub.return_value.get_message.side_effect = [redis.ConnectionError("gone") if gone else None, None]
    listener = Listener(conn, CHANNEL, "track", 0)
    assert not listener.may_have_missed
    for _ in range(2):
        with contextlib.suppress(redis.ConnectionError):
            next(listener.heard())
        assert listener.may_have_missed is (gone or not _)
        listener.may_have_missed = False
