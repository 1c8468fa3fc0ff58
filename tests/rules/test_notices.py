"""Restart messages, from a publish to its payload."""

from itertools import islice
from unittest.mock import MagicMock

import fakeredis
import pytest
import redis

from traptor.rules import notices
from traptor.rules.notices import NOTICE, SUBSCRIBED, Listener

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
    assert next(heard) is SUBSCRIBED
    for payload in ("track:1", "track:0"):
        conn.publish(CHANNEL, payload)
    assert [one for one in islice(heard, 2) if one] == [NOTICE]
    conn.publish(CHANNEL, "track:0")
    assert next(listener.heard()) is NOTICE


def test_a_listener_says_when_nothing_has_come() -> None:
    assert list(islice(Listener(fakeredis.FakeRedis(), CHANNEL, "track", 0).heard(), 3)) == [SUBSCRIBED, None, None]


def test_a_listener_subscribes_anew_after_redis_went_away() -> None:
    conn = MagicMock()
    conn.pubsub.return_value.get_message.side_effect = [redis.ConnectionError("gone"), {"data": "track:0"}]
    listener = Listener(conn, CHANNEL, "track", 0)
    with pytest.raises(redis.ConnectionError):
        list(listener.heard())
    assert list(islice(listener.heard(), 2)) == [SUBSCRIBED, NOTICE]
