"""A client of the simulator's v2, and what is asked of it again and again."""

import re
import time
from collections.abc import Callable
from typing import Any

from traptor.simulator import CREDENTIAL, Simulator
from traptor.simulator.v2 import bearer_token
from traptor.sources.v2.client import V2Client
from traptor.sources.v2.stream import FilteredStream

RULES = [{"rule_id": "1", "value": "storm,flood warning"}, {"rule_id": "2", "value": "#rocket"}]


def client(twitter: Simulator, bearer: str = bearer_token(CREDENTIAL)) -> V2Client:
    return V2Client(CREDENTIAL.consumer_key, CREDENTIAL.consumer_secret, bearer, twitter.url)


def synchronise(api: V2Client, *wanted: dict[str, str], traptor_id: int = 0, **limits: int) -> list[Any]:
    """Gives the problems."""
    return api.synchronise("track", traptor_id, wanted, **{"length": 1024, "limit": 1000, **limits}).problems


def numbered(count: int) -> list[dict[str, str]]:
    return [{"rule_id": str(number), "value": f"phrase number {number}"} for number in range(count)]


def rule_ids(tag: str) -> list[str]:
    return re.findall(r"(\w+)=", tag)


def values(api: V2Client) -> list[str]:
    return [rule.value for rule in api.held_rules()]


def opened(twitter: Simulator, backfill_minutes: int = 0) -> FilteredStream:
    api = client(twitter)
    synchronise(api, RULES[0])
    return api.open(backfill_minutes)


def take(stream: FilteredStream, wanted: Callable[[Any], bool], timeout_seconds: float = 10) -> Any:
    """The first message that is as wanted."""
    deadline = time.monotonic() + timeout_seconds
    for message in stream.messages():
        assert time.monotonic() < deadline, "no such message"
        if message is not None and wanted(message):
            return message
    raise AssertionError("the stream has ended")
