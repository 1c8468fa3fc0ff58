"""What a database has, counted for a report."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

MOST_NAMES = 1000


class Gap(NamedTuple):
    """Times in seconds since 1970."""

    since: int
    until: int
    traptor: str
    cause: str


class Overview(NamedTuple):
    minutes: list[tuple[int, int, int]]
    """Seconds since 1970, tweets, and those of them that matched a rule."""
    rules: list[tuple[str, str, str, str, int]]
    """Traptor, rule_id, tag, value, tweets."""
    languages: list[tuple[str, int]]
    hashtags: list[tuple[str, int]]
    accounts: list[tuple[str, int]]
    gaps: list[Gap]
    withheld: list[tuple[int, int]]
    """The day, in seconds since 1970, and at least how many tweets Twitter withheld in it."""


def overview(execute: Callable[..., Iterable[Any]], seconds: Callable[[str], str]) -> Overview:
    """``seconds`` writes a column of time as whole seconds since 1970 in the database's own SQL."""
    minute, day = f"{seconds('created_at')} / 60 * 60", f"{seconds('at')} / 86400 * 86400"
    has_match = "EXISTS (SELECT 1 FROM matches WHERE tweet_id = tweets.id)"
    return Overview(
        _rows(execute(
            f"SELECT {minute}, count(*), sum(CASE WHEN {has_match} THEN 1 ELSE 0 END) FROM tweets"
            " WHERE created_at IS NOT NULL GROUP BY 1 ORDER BY 1"
        )),
        _rows(execute("SELECT traptor, rule_id, tag, value, tweets FROM tweets_by_rule")),
        _rows(execute("SELECT coalesce(lang, 'und'), tweets FROM tweets_by_language")),
        _rows(execute(_counted("lower(tag)", "hashtags WHERE sign = '#'", "DISTINCT tweet_id"))),
        _rows(execute(_counted("screen_name", "tweets JOIN users ON users.id = tweets.user_id", "*"))),
        [Gap(*row) for row in execute(
            f"SELECT {seconds('since')}, {seconds('until')}, traptor, coalesce(cause, '') FROM gaps"
            " WHERE until IS NOT NULL ORDER BY since"
        )],
        _rows(execute(f"SELECT {day}, max(tweets) FROM limits GROUP BY 1 ORDER BY 1")),
    )  # fmt: skip


def _counted(name: str, source: str, what: str) -> str:
    return (
        f"SELECT name, tweets FROM (SELECT {name} AS name, count({what}) AS tweets FROM {source} GROUP BY 1) AS counted"
        f" WHERE name IS NOT NULL ORDER BY tweets DESC LIMIT {MOST_NAMES}"
    )


def _rows(cursor: Iterable[Any]) -> list[Any]:
    return [tuple(row) for row in cursor]
