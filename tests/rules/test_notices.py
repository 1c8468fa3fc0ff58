"""Restart messages, from a publish to its payload."""

from itertools import islice
from unittest.mock import MagicMock

import fakeredis
import pytest
import redis

from traptor.rules import notices
from traptor.rules.notices import SUBSCRIBED

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
