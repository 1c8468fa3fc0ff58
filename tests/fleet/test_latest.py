"""The last tweets of a topic, from a consumer of our own."""

import json
from collections.abc import Callable
from typing import Any

from kafka.errors import KafkaConnectionError

from traptor.fleet.latest import IDLE_SECONDS, KEPT, Latest


class Record:
    def __init__(self, value: bytes) -> None:
        self.value = value


class Topic:
    """In the place of a consumer: ``steps`` are polls, each with what happens before it."""

    def __init__(self, *polls: list[Any], then: Callable[[], None]) -> None:
        self.polls = list(polls)
        self.then = then
        self.is_closed = False

    def poll(self, timeout_ms: int) -> dict[str, list[Record]]:
        if len(self.polls) == 1:
            self.then()
        found = self.polls.pop(0)
        raw = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in found]
        return {"partition": [Record(value) for value in raw]} if raw else {}

    def close(self) -> None:
        self.is_closed = True


def tweet(number: int) -> dict[str, Any]:
    return {"id_str": str(number), "text": f"storm {number}"}


class Rig:
    """Read by one call: at the end somebody looks, and then nobody any more."""

    def __init__(self, *polls: list[Any]) -> None:
        self.now = 0.0
        self.tweets: list[str] = []
        self.topic = Topic(*polls, [], then=self.leave)
        self.latest = Latest(lambda: self.topic, lambda one: one["text"], clock=lambda: self.now)
        self.latest.seen()
        self.latest.read()

    def leave(self) -> None:
        self.tweets = self.latest.seen()["tweets"]
        self.now += IDLE_SECONDS + 1


def test_the_last_are_kept_the_newest_first() -> None:
    rig = Rig([tweet(n) for n in range(KEPT)], [tweet(n) for n in range(KEPT, KEPT + 5)])
    assert rig.tweets == [f"storm {n}" for n in range(KEPT + 4, 4, -1)]
    assert rig.topic.is_closed


def test_what_comes_twice_is_there_once_and_what_is_deleted_goes() -> None:
    delete = {"delete": {"status": {"id_str": "2", "user_id_str": "1"}}}
    assert Rig([tweet(1), tweet(2), tweet(1)], [delete, {"limit": {"track": 1}}]).tweets == ["storm 1"]
    assert Rig([tweet(1), tweet(2), delete]).tweets == ["storm 1"]


def test_what_is_no_tweet_is_left_out() -> None:
    assert Rig([b"", b"garbage", b"[" * 100_000, b"\xff", [1], {"a": 1}, tweet(1)]).tweets == ["storm 1"]


def test_what_is_of_an_earlier_look_is_forgotten() -> None:
    """A deletion meanwhile is not known."""
    rig = Rig([tweet(1)])
    assert (rig.tweets, rig.latest.seen()["tweets"]) == (["storm 1"], [])


def test_what_keeps_them_from_coming_is_told_and_tried_while_somebody_looks() -> None:
    now, tries = 0.0, 0

    def refused() -> Any:
        nonlocal now, tries
        tries += 1
        now += IDLE_SECONDS + 1
        raise KafkaConnectionError("nobody listens there")

    latest = Latest(refused, lambda one: one, clock=lambda: now)
    assert latest.seen()["trouble"] == "Kafka has not answered yet."
    latest.read()
    with latest:  # begins to read again, and would try
        pass
    assert tries == 1
    assert "nobody listens there" in latest.seen()["trouble"]
