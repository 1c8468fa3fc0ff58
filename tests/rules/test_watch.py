"""When the rules are looked at, what is made of what is found, and which rules left out are told."""

import threading
from typing import Any

import pytest
import redis

from tests.servers import wait_until
from traptor.rules.checked import Problem
from traptor.rules.watch import Watch

REFRESH, LEAST, RETRY = 300.0, 5.0, 60.0
OLD, NEW = [{"rule_id": "0", "value": "happy"}], [{"rule_id": "0", "value": "sad"}]
LONG, EMPTY = Problem("1", "x" * 61, "too long"), Problem("2", "", "empty")


@pytest.fixture
def watch() -> Watch:
    return Watch(REFRESH, LEAST, RETRY)


def look(watch: Watch, now: float, found: Any = NEW) -> None:
    """A look that is over."""
    woken = threading.Event()
    watch.look(now, lambda: found, woken.set)
    assert woken.wait(10)


def test_without_a_stream_only_a_notice_makes_it_look(watch: Watch) -> None:
    assert not watch.is_due(1e9, noticed=False)
    assert watch.is_due(0.0, noticed=True)


@pytest.mark.parametrize("after_seconds,is_due", [(REFRESH - 1, False), (REFRESH, True), (REFRESH + 1, True)])
def test_an_open_stream_is_looked_after_every_so_often(watch: Watch, after_seconds: float, is_due: bool) -> None:
    watch.opened(1000.0)
    assert watch.is_due(1000.0 + after_seconds, noticed=False) is is_due


def test_without_a_refresh_it_never_looks_by_itself() -> None:
    watch = Watch(0, LEAST, RETRY)
    watch.opened(1000.0)
    assert not watch.is_due(1e9, noticed=False)


@pytest.mark.parametrize("after_seconds,is_due,left", [(0, False, 5.0), (2, False, 3.0), (5, True, 0.0), (9, True, 0)])
def test_a_storm_of_notices_is_answered_once_in_a_while(
    watch: Watch, after_seconds: float, is_due: bool, left: float
) -> None:
    watch.answered(1000.0)
    now = 1000.0 + after_seconds
    assert watch.is_due(now, noticed=True) is is_due
    assert watch.put_off_seconds(now) == left


def test_a_look_in_the_background_finds_once_and_only_one_goes_on(watch: Watch) -> None:
    going_on, woken = threading.Event(), threading.Event()
    watch.opened(1000.0)
    assert watch.found() is None
    watch.look(1400.0, lambda: NEW if going_on.wait(10) else OLD, woken.set)
    assert watch.found() is None
    assert not watch.is_due(1e9, noticed=True)
    going_on.set()
    wait_until(woken.is_set, "the look")
    assert watch.found() == NEW
    assert watch.found() is None
    assert [watch.is_due(now, noticed=False) for now in (1699.0, 1700.0)] == [False, True]


def test_a_look_that_fails_is_raised_and_another_may_follow(watch: Watch) -> None:
    woken = threading.Event()
    watch.look(0.0, lambda: {}["no such"], woken.set)
    wait_until(woken.is_set, "the look")
    with pytest.raises(KeyError):
        watch.found()


def test_what_was_looked_at_before_the_stream_was_opened_is_of_no_use(watch: Watch) -> None:
    look(watch, 0.0)
    watch.opened(1.0)
    assert watch.found() is None
    assert watch.is_due(1.0, noticed=True)


@pytest.mark.parametrize(
    "found,last,noticed,kept,told,looks_again",
    [
        (NEW, OLD, False, NEW, [], False),
        (NEW, OLD, True, NEW, [], False),
        (OLD, OLD, True, OLD, ["rules unchanged"], False),
        (OLD, OLD, False, OLD, [], False),
        ([], OLD, False, OLD, ["no rules in Redis, and no notice came: the last rules stay"], True),
        ([], OLD, True, [], [], False),
        ([], [], False, [], [], False),
        (None, OLD, True, OLD, ["Redis cannot be read: the last rules stay"], True),
        (None, [], False, [], ["Redis cannot be read: check REDIS_HOST and REDIS_PORT, or REDIS_URL"], True),
    ],
)
def test_what_is_read_or_the_last_whole_set(
    watch: Watch,
    caplog: pytest.LogCaptureFixture,
    *,
    found: Any,
    last: Any,
    noticed: bool,
    kept: Any,
    told: list[str],
    looks_again: bool,
) -> None:
    """None stands for a Redis that cannot be read."""
    caplog.set_level("INFO")

    def read() -> Any:
        if found is None:
            raise redis.ConnectionError("gone")
        return iter(found)

    assert watch.read(read, last, 1000.0, noticed=noticed) == kept
    assert [record.message for record in caplog.records] == told
    assert watch.is_due(1000.0 + RETRY, noticed=False) is looks_again
    assert not watch.is_due(1000.0 + RETRY - 1, noticed=False)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Any]]:
    """What has been logged since this was last asked."""
    found = [(one.message, vars(one).get("rule_id", vars(one).get("count"))) for one in caplog.records]
    caplog.clear()
    return found


def test_each_rule_left_out_is_told_once_for_as_long_as_it_stays_so(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.left_out([LONG])
    assert told(caplog) == [("rule left out", "1"), ("rules left out in all", 1)]
    watch.left_out([LONG])
    assert told(caplog) == []
    watch.refused([EMPTY])
    assert told(caplog) == [("rule left out", "2"), ("rules left out in all", 2)]
    assert watch.problems == [LONG, EMPTY]
    watch.left_out([])
    assert told(caplog) == [("rules left out in all", 1)]
    watch.refused([])
    assert told(caplog) == []
    watch.left_out([LONG])
    assert told(caplog) == [("rule left out", "1"), ("rules left out in all", 1)]
