"""The account: every message that came is somewhere."""

from collections import Counter

import pytest

from traptor.account.ledger import SLOT_SECONDS, SLOTS, Account


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "counts,waiting,is_balanced",
    [
        ({}, 0, True),
        ({"received:tweet": 3, "received:limit": 1, "delivered": 4}, 0, True),
        ({"received:tweet": 3, "delivered": 1}, 2, True),
        ({"received:tweet": 3, "taken_up": 2, "delivered": 4, "apart": 1}, 0, True),
        ({"received:tweet": 3, "dropped:duplicate": 1, "dropped:spool_full": 2}, 0, True),
        ({"received:tweet": 1}, 0, False),
        ({"received:tweet": 1, "delivered": 1}, 1, False),
        ({"received_bytes": 1000, "spooled": 5, "matched": 7, "reconnects:cut": 1}, 0, True),
    ],
)
def test_what_came_is_delivered_waiting_set_apart_or_dropped(
    counts: dict[str, int], waiting: int, is_balanced: bool
) -> None:
    account = Account()
    account.counts.update(counts)
    assert account.is_balanced(waiting) == is_balanced


def test_a_sum_is_over_the_labels_of_one_name() -> None:
    account = Account()
    account.counts = Counter({"received:tweet": 2, "received:delete": 3, "received_bytes": 99, "delivered": 4})
    assert [account.sum(name) for name in ("received", "received_bytes", "delivered", "dropped")] == [5, 99, 4, 0]


def run(account: Account, clock: Clock, tweets_by_second: list[int]) -> None:
    for tweets in tweets_by_second:
        account.mark()
        account.counts["received:tweet"] += tweets
        clock.now += 1


@pytest.mark.parametrize(
    "tweets_by_second,rates",
    [
        ([], []),
        ([5] * SLOT_SECONDS, []),
        ([5] * (SLOT_SECONDS + 1), [5.0]),
        ([1] * SLOT_SECONDS + [3] * (SLOT_SECONDS + 1), [1.0, 3.0]),
        ([0] * SLOT_SECONDS + [1] + [0] * SLOT_SECONDS, [0.0, 0.1]),
    ],
)
def test_a_rate_is_that_of_a_slot_that_is_over(tweets_by_second: list[int], rates: list[float]) -> None:
    clock = Clock()
    account = Account(clock)
    run(account, clock, tweets_by_second)
    assert account.rates() == rates


@pytest.mark.parametrize(
    "began_at,tweets_by_second,rate",
    [
        (0.0, [], 0.0),
        (0.0, [5], 5.0),
        (3.0, [6, 0], 3.0),
        (8.0, [5, 5, 5], 5.0),
        (9.0, [0, 8, 8, 8], 6.0),
        (0.0, [1] * SLOT_SECONDS + [4] * (SLOT_SECONDS - 1), 4.0),
        (0.0, [1] * SLOT_SECONDS + [4] * SLOT_SECONDS + [4], 4.0),
        (0.0, [5] * SLOT_SECONDS + [0] * SLOT_SECONDS, 0.0),
    ],
)
def test_the_rate_is_that_of_the_last_seconds(began_at: float, tweets_by_second: list[int], rate: float) -> None:
    clock = Clock()
    clock.now = began_at
    account = Account(clock)
    run(account, clock, tweets_by_second)
    assert account.rate() == rate


def test_rates_are_of_the_last_five_minutes() -> None:
    clock = Clock()
    account = Account(clock)
    run(account, clock, [2] * SLOT_SECONDS * SLOTS * 2)
    assert account.rates() == [2.0] * SLOTS


def test_a_slot_without_a_mark_is_spread_over() -> None:
    """As while the main loop waits for something else."""
    clock = Clock()
    account = Account(clock)
    account.mark()
    account.counts["received:tweet"] = 60
    clock.now = 3 * SLOT_SECONDS
    account.mark()
    assert account.rates() == [2.0]
