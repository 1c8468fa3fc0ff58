from typing import Any

import pytest

from traptor.account.state import HEALTHY, QUIET_SECONDS, STALLED_SECONDS, State, of_stream, read, worst
from traptor.delivery.door import Trouble


@pytest.mark.parametrize(
    "byte_seconds,message_seconds,state",
    [
        (0, 0, State.STREAMING),
        (QUIET_SECONDS - 30, QUIET_SECONDS - 1, State.STREAMING),
        (1, QUIET_SECONDS, State.QUIET),
        (29, 86_400, State.QUIET),
        (STALLED_SECONDS - 1, QUIET_SECONDS, State.QUIET),
        (STALLED_SECONDS, STALLED_SECONDS, State.STALLED),
        (STALLED_SECONDS, 86_400, State.STALLED),
    ],
)
def test_quiet_is_not_stalled(byte_seconds: float, message_seconds: float, state: State) -> None:
    assert of_stream(byte_seconds, message_seconds) is state


@pytest.mark.parametrize("stream", list(State))
@pytest.mark.parametrize(
    "troubles,told",
    [
        (set(), None),
        ({Trouble.KAFKA_DOWN}, State.KAFKA_DOWN),
        ({Trouble.SPOOL_FAILS}, State.SPOOL_FAILS),
        ({Trouble.KAFKA_DOWN, Trouble.SPOOL_FAILS}, State.SPOOL_FAILS),
        ({Trouble.KAFKA_DOWN, Trouble.SPOOL_FULL}, State.SPOOL_FULL),
        (set(Trouble), State.SPOOL_FULL),
    ],
)
def test_what_loses_messages_is_told_first(stream: State, troubles: set[Trouble], told: State | None) -> None:
    is_the_end = stream in {State.REFUSED, State.STOPPING}
    assert worst(stream, troubles) is (stream if is_the_end or told is None else told)


def test_the_states_have_the_names_that_people_know() -> None:
    assert {str(state) for state in State} == {
        "starting", "waiting-for-rules", "connecting", "streaming", "quiet", "stalled", "backing-off", "kafka-down",
        "database-down", "spool-full", "spool-fails", "refused", "stopping",
    }  # fmt: skip
    assert HEALTHY.isdisjoint(
        {
            State.STALLED,
            State.BACKING_OFF,
            State.KAFKA_DOWN,
            State.SPOOL_FULL,
            State.SPOOL_FAILS,
            State.REFUSED,
            State.STOPPING,
        }
    )


V2 = {"posts": 1, "cap": 2, "limit": 0, "cost": 0.1}


@pytest.mark.parametrize(
    "name,value,is_kept",
    [
        ("predicates", 0, True),
        ("predicates", (1 << 63) - 1, True),
        ("predicates", 1 << 63, False),
        ("predicates", -1, False),
        ("predicates", "7", False),
        ("predicates", None, False),
        ("ack_lag_seconds", 0.5, True),
        ("state", "streaming", True),
        ("state", 7, False),
        ("rates", [0, 1.5], True),
        ("rates", [], True),
        ("rates", [0, "x"], False),
        ("rates", {}, False),
        ("rates", 7, False),
        ("v2", V2, True),
        ("v2", {**V2, "cost": "dear"}, False),
        ("v2", {}, False),
        ("v2", [], False),
        ("host", None, True),
        ("reason", ["x"], False),
        ("risks", {}, False),
        ("until", 5, False),
        ("matched", "a", False),
        ("something_new", [], True),
    ],
)
def test_what_is_not_what_a_traptor_writes_is_not_read(name: str, value: Any, is_kept: bool) -> None:
    assert read({name: value, "version": "x"}) == ({name: value} if is_kept else {}) | {"version": "x"}
