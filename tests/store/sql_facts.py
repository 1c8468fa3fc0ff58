"""What holds in every SQL database beside the other facts: its tables."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.store.facts import MOST, Facts, balance, ids
from tests.store.samples import GAP, LIMIT, delete, located, matched, messages, quote, tweet
from traptor.store.destination import Destination, Selection
from traptor.store.sql import Database


def rows(database: Database, statement: str, *values: Any) -> list[Any]:
    with database.transaction():
        return [tuple(row) for row in database.execute(statement, *values)]


class Ended(Exception):
    """As a process does that is killed."""


def some(act: Callable[..., None], times: int) -> Callable[..., None]:
    """The same, but so many times only."""
    left = iter(range(times))

    def act_or_end(*given: Any) -> None:
        if next(left, None) is None:
            raise Ended
        act(*given)

    return act_or_end


class SQLFacts(Facts):
    def everything(self, database: Destination) -> str:
        assert isinstance(database, Database)
        found: list[Any] = []
        for table in ("tweets", "users", "places", "hashtags", "urls", "mentions", "media", "matches", "apart"):
            found += rows(database, f"SELECT * FROM {table}")
        unpacked = [database.unpacked(raw) for (raw,) in rows(database, "SELECT raw FROM tweets WHERE raw IS NOT NULL")]
        return f"{found} {unpacked}"

    def test_the_tables_keep_what_the_tweet_had(self, database: Database) -> None:
        video = {"variants": [{"bitrate": 1, "url": "low"}, {"bitrate": 5, "url": "best"}, {"url": "list"}]}
        medium = {"id": 3, "type": "video", "media_url_https": "m", "expanded_url": "e", "video_info": video}
        entities = {
            "hashtags": [{"text": "été"}, {"text": "a"}],
            "symbols": [{"text": "GOOG"}],
            "urls": [{"url": "t.co/1", "expanded_url": "https://example.com/1", "display_url": "example.com/1"}],
            "user_mentions": [{"id": 4, "screen_name": "ana", "name": "Ana"}],
        }
        one = located(tweet(MOST, entities=entities, extended_entities={"media": [medium]}, retweet_count=5))
        database.write(messages(matched(one, project="bay")))
        assert rows(database, "SELECT sign, tag FROM hashtags ORDER BY position") == [
            ("#", "été"), ("#", "a"), ("$", "GOOG"),
        ]  # fmt: skip
        assert rows(database, "SELECT url, expanded_url FROM urls") == [("t.co/1", "https://example.com/1")]
        assert rows(database, "SELECT user_id, screen_name FROM mentions") == [(4, "ana")]
        assert rows(database, "SELECT id, type, url, video_url FROM media") == [(3, "video", "m", "best")]
        assert rows(database, "SELECT west, north FROM places") == [(-122.5, 37.8)]
        assert rows(database, "SELECT longitude, latitude, retweet_count FROM tweets") == [(-122.4, 37.75, 5)]
        ((fields,),) = rows(database, "SELECT fields FROM matches")
        assert (json.loads(fields) if isinstance(fields, str) else fields) == {"project": "bay"}
        (wide,) = database.tweets(Selection())
        assert (wide["id"], wide["hashtags"], wide["rules"]) == (MOST, "#été #a $GOOG", "track:0:1")
        assert str(wide["created_at"]).replace(" ", "T") == "2021-01-26T14:06:00+00:00"

    def test_a_user_is_as_the_newest_tweet_shows_him(self, database: Database) -> None:
        old, new = tweet(1), tweet(2)
        new["user"]["name"] = "New"
        database.write(messages(new))
        database.write(messages(old, first=1))
        assert rows(database, "SELECT name, seen_in FROM users") == [("New", 2)]

    def test_what_was_stored_is_not_stored_again(self, database: Database) -> None:
        assert database.progress() == {}
        database.write(messages(tweet(1), tweet(2), b"no JSON", first=5))
        counts = database.write(messages(tweet(2), b"no JSON", tweet(3), first=6))
        assert (counts["again"], counts["stored"], counts["apart"]) == (2, 1, 0)
        assert database.progress() == {("traptor", 0): 9}
        database.write(messages(tweet(3), topic="-"))
        assert database.progress() == {("traptor", 0): 9}

    def test_what_ends_at_any_statement_is_undone_and_done_again(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database.write(messages(tweet(1), tweet(2)))
        batch = messages(delete(1), quote(3, tweet(2)), b"no JSON", {"gap": GAP}, first=2)
        insert = database.insert
        ended = 0
        while True:
            monkeypatch.setattr(database, "insert", some(insert, ended))
            try:
                counts = database.write(batch)
                break
            except Ended:
                ended += 1
            assert (database.progress(), list(database.apart())) == ({("traptor", 0): 2}, [])
            assert ids(database)[-1] == 2
        assert ended > 4
        assert (ids(database), database.progress()) == ([2, 3], {("traptor", 0): 6})
        assert (counts["stored"], counts["apart"], counts["notices"], balance(counts)) == (1, 1, 2, True)

    def test_views_say_what_is_missing_and_what_is_withheld(self, database: Database) -> None:
        withheld = {"user_withheld": {"id": 7, "withheld_in_countries": ["XX"]}}
        database.write(messages(tweet(1, withheld_in_countries=["FR"]), {"gap": GAP}, LIMIT, withheld))
        ((day, *told),) = rows(database, "SELECT day, tweets, gaps, gap_seconds, withheld FROM missing")
        assert (str(day), [float(number) for number in told]) == ("2021-01-26", [1, 1, 90.5, 5])
        told = rows(database, "SELECT tweet_id, kind, country FROM withheld_tweets ORDER BY 1, 2, 3")
        assert told == [(1, "tweet", "FR"), (1, "user", "XX")]

    def test_a_user_is_there_as_long_as_a_tweet_shows_him(self, database: Database) -> None:
        secret = tweet(1, author=70)
        database.write(messages(secret, quote(3, secret)))
        database.write(messages(delete(1), first=9))
        assert rows(database, "SELECT id FROM users") == [(9,)]
