from collections.abc import Iterator
from datetime import UTC, datetime

import fakeredis
import pytest
import redis

from traptor.sources.v2.budget import Budget


@pytest.fixture
def conn() -> Iterator[redis.Redis]:
    with fakeredis.FakeRedis(decode_responses=True) as client:
        yield client


class Clock:
    def __init__(self, day: int = 1, month: int = 8) -> None:
        self.now = datetime(2026, month, day, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_the_posts_of_all_processes_are_one_count(conn: redis.Redis) -> None:
    one, two = Budget("app", 0, Clock()), Budget("app", 0, Clock())
    one.note(1)
    two.note(1)
    two.note(1)
    one.write(conn)
    two.write(conn)
    assert (one.read, two.read) == (1, 3)
    one.write(conn)
    assert one.read == 3
    assert conn.get("traptor:posts:app:2026-08") == "3"
    assert 0 < conn.ttl("traptor:posts:app:2026-08") <= 40 * 86_400


@pytest.mark.parametrize("limit, posts, is_spent", [(0, 5, False), (3, 2, False), (3, 3, True), (3, 4, True)])
def test_a_budget_is_spent_when_its_posts_are_read(limit: int, posts: int, is_spent: bool) -> None:
    budget = Budget("app", limit, Clock())
    for _ in range(posts):
        budget.note(1)
    assert budget.is_spent() is is_spent


def test_a_restart_does_not_forget(conn: redis.Redis) -> None:
    before = Budget("app", 3, Clock())
    for _ in range(3):
        before.note(1)
    before.write(conn)
    after = Budget("app", 3, Clock())
    after.write(conn)
    assert after.is_spent()


def test_a_new_month_begins_at_nothing(conn: redis.Redis) -> None:
    clock = Clock()
    budget = Budget("app", 1, clock)
    budget.note(1)
    budget.write(conn)
    assert budget.is_spent()
    clock.now = clock.now.replace(month=9)
    assert (budget.is_spent(), budget.read) == (False, 0)
    budget.write(conn)
    assert sorted(conn.keys()) == ["traptor:posts:app:2026-08", "traptor:posts:app:2026-09"]


def test_without_redis_nothing_is_lost() -> None:
    budget = Budget("app", 0, Clock())
    budget.note(1)
    server = fakeredis.FakeServer()
    server.connected = False
    with fakeredis.FakeRedis(server=server) as conn, pytest.raises(redis.ConnectionError):
        budget.write(conn)
    assert budget.read == 1


@pytest.mark.parametrize("begins_with", ["reading", "noting"])
def test_a_new_month_begins_with_whatever_is_done_first(begins_with: str) -> None:
    clock = Clock(31, 8)
    budget = Budget("app", 0, clock)
    budget.note(5)
    clock.now = datetime(2026, 9, 1, tzinfo=UTC)
    if begins_with == "noting":
        budget.note(2)
        assert budget._unwritten == 2
    else:
        assert budget.read == 0
