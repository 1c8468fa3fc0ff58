"""What holds in every SQL database; the classes of the tests give it as the fixture ``database``."""

import json
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.samples import (
    delete,
    located,
    matched,
    messages,
    quote,
    retweet,
    scrub_geo,
    tweet,
)  # fmt: skip
from traptor.store.destination import Selection
from traptor.store.sql import Database
from traptor.store.words import phrase

LONG = "a storm is coming over the bay, says everybody who has looked " * 3
SCRIPTS = {
    1: ("Déjà vu: a #storm over São Paulo", ["deja", "storm", "sao paulo"]),
    2: ("Москва слезам не верит", ["москва", "слезам"]),
    3: ("مرحبا بالعالم كتاب", ["كتاب"]),
    4: ("यह हिन्दी में है", ["हिन्दी"]),
    5: ("我住在臺北市信義區", ["臺北", "信義區", "北市"]),
    6: ("東京タワーに行きました", ["東京", "タワー", "行き"]),
    7: ("ฉันรักภาษาไทยมาก", ["ภาษา", "ไทย"]),
    8: ("한국어를 배워요", ["한국어를"]),
}
BAD = [b"", b"no JSON", b'{"id_str":"5"', b"\xff\xfe", b"[]", b"7", b"null", b'{"id_str":"x"}', b'{"id_str":null}',
       b'{"id_str":"99999999999999999999"}', b'{"what_comes_next_year":[1]}', b'{"delete":{}}', b'{"limit":7}',
       b"[" * 5000, b'{"gap":{"from":"soon"}}', b'{"user_withheld":{"id":1}}']  # fmt: skip
MOST = (1 << 63) - 1
FIELDS = [*matched(located(quote(2, tweet(1)))), "extended_tweet", "retweeted_status", "withheld_in_countries"]


def balance(counts: Any) -> bool:
    whole = ("stored", "merged", "deleted", "apart", "notices", "again")
    return bool(counts["read"] == sum(counts[name] for name in whole))


def rows(database: Database, statement: str, *values: Any) -> list[Any]:
    with database.transaction():
        return [tuple(row) for row in database.execute(statement, *values)]


def everything(database: Database) -> str:
    """All that stands in any table, as text, raw messages unpacked."""
    found: list[Any] = []
    for table in ("tweets", "users", "places", "hashtags", "urls", "mentions", "media", "matches", "apart"):
        found += rows(database, f"SELECT * FROM {table}")
    unpacked = [database.unpacked(raw) for (raw,) in rows(database, "SELECT raw FROM tweets WHERE raw IS NOT NULL")]
    return f"{found} {unpacked}"


class Facts:
    """``database`` keeps raw messages; ``search`` gives the ids of the tweets with a phrase."""

    def search(self, database: Database, words: str) -> list[int]:
        raise NotImplementedError

    def test_a_tweet_of_two_traptors_is_one_row_with_the_matches_of_both(self, database: Database) -> None:
        first = database.write(messages(matched(tweet(1), 0, "1")))
        second = database.write(messages(matched(tweet(1), 1, "9"), matched(tweet(1), 0, "1"), topic="other"))
        assert (first["stored"], second["stored"], second["merged"]) == (1, 0, 2)
        assert rows(database, "SELECT count(*) FROM tweets") == [(1,)]
        assert rows(database, "SELECT traptor, rule_id FROM matches ORDER BY 1") == [("track:0", "1"), ("track:1", "9")]

    def test_texts_are_whole(self, database: Database) -> None:
        long = tweet(1, LONG[:100], truncated=True, extended_tweet={"full_text": LONG})
        database.write(messages(long, retweet(2, long), quote(3, long)))
        assert rows(database, "SELECT text, quoted_text FROM tweets ORDER BY id") == [
            (LONG, None), (LONG, None), ("look", LONG),
        ]  # fmt: skip

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

    # What is taken back

    @pytest.mark.parametrize("order", list(permutations(["tweet", "retweet", "quote", "apart", "delete"], 5))[::7])
    @pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "one by one"])
    def test_what_is_deleted_is_gone_everywhere(self, database: Database, order: Sequence[str], at_once: bool) -> None:
        secret = tweet(1, "confidential", author=70)
        values = {
            "tweet": matched(secret), "retweet": retweet(2, secret), "quote": quote(3, secret), "delete": delete(1),
            "apart": b'{"id_str":"1","text":"confidential',
        }  # fmt: skip
        batches = [[values[name] for name in order]] if at_once else [[values[name]] for name in order]
        for time in range(2):
            for at, batch in enumerate(batches):
                counts = database.write(messages(*batch, first=10 * at, topic=f"reading {time}"))
                assert balance(counts)
        assert rows(database, "SELECT id FROM tweets") == [(3,)]
        assert rows(database, "SELECT id FROM users") == [(9,)]
        assert "confidential" not in everything(database)
        assert self.search(database, "confidential") == []
        assert self.search(database, "look") == [3]

    @pytest.mark.parametrize("order", list(permutations(range(4))))
    def test_a_place_that_is_taken_back_is_gone_everywhere(self, database: Database, order: Sequence[int]) -> None:
        here = located(tweet(5))
        values = [here, retweet(8, here), quote(9, here), scrub_geo(7, 6)]
        later = located(tweet(7))
        for at in order:
            assert balance(database.write(messages(values[at], first=at, topic=f"topic {at}")))
        assert "San Francisco" not in everything(database)
        assert "-122.4" not in everything(database)
        database.write(messages(later, topic="later"))
        assert rows(database, "SELECT id FROM tweets WHERE place_id IS NOT NULL") == [(7,)]

    def test_what_is_withheld_is_told(self, database: Database) -> None:
        notices = [
            {"status_withheld": {"id": 1, "user_id": 7, "withheld_in_countries": ["DE", "AR"]}},
            {"user_withheld": {"id": 8, "withheld_in_countries": ["XX"]}},
        ]
        database.write(messages(*notices))
        database.write(messages(tweet(1), retweet(2, tweet(1)), tweet(3, withheld_in_countries=["FR"]), first=5))
        told = rows(database, "SELECT tweet_id, kind, country FROM withheld_tweets ORDER BY 1, 2, 3")
        assert told == [
            (1, "tweet", "AR"), (1, "tweet", "DE"), (2, "tweet", "AR"), (2, "tweet", "DE"), (2, "user", "XX"),
            (3, "tweet", "FR"),
        ]  # fmt: skip

    def test_what_is_missing_stands_beside_what_came(self, database: Database) -> None:
        gap = {
            "type": "track", "id": 0, "from": "2021-01-26T10:00:00.000+00:00", "to": "2021-01-26T10:01:30.500+00:00",
            "cause": "cut", "last_tweet_id": "1", "first_tweet_id": None, "rule_set": "0123", "reconnects": 2,
        }  # fmt: skip
        limit = {"limit": {"track": 5, "timestamp_ms": "1611669960000"}}
        for time in range(2):
            counts = database.write(messages(tweet(1), {"gap": gap}, limit, topic=f"reading {time}"))
            assert (counts["notices"], balance(counts)) == (2, True)
        ((day, *told),) = rows(database, "SELECT day, tweets, gaps, gap_seconds, withheld FROM missing")
        assert (str(day), [float(number) for number in told]) == ("2021-01-26", [1, 1, 90.5, 5])
        found = database.overview()
        assert (found.minutes, found.withheld) == ([(1_611_669_960, 1, 0)], [(1_611_619_200, 5)])
        assert [(one.until - one.since, one.traptor, one.cause) for one in found.gaps] == [(90, "track:0", "cut")]

    # Whatever comes

    def test_what_cannot_be_stored_is_set_apart_and_stops_nothing(self, database: Database) -> None:
        counts = database.write(messages(tweet(1), *BAD, tweet(2)))
        assert (counts["stored"], counts["apart"]) == (2, len(BAD))
        apart = list(database.apart())
        assert [one.value for one in apart] == BAD
        assert all(one.reason for one in apart)
        database.forget_apart(apart[1:])
        assert [one.value for one in database.apart()] == BAD[:1]

    @pytest.mark.parametrize("raw", [b"\\ud83d", b"\\u0000", b"\\udc00\\ud800"])
    def test_what_no_database_takes_is_replaced(self, database: Database, raw: bytes) -> None:
        body = json.dumps(matched(tweet(1, "TEXT storm", project="TEXT"))).encode().replace(b"TEXT", raw)
        assert database.write(messages(body))["stored"] == 1
        ((text,),) = rows(database, "SELECT text FROM tweets")
        assert text.strip("\ufffd") == " storm"

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner),
        ),
        st.sampled_from(FIELDS),
    )
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    def test_any_value_anywhere_is_stored_or_set_apart(self, database: Database, value: Any, name: str) -> None:
        offset = (database.progress().get(("traptor", 0))) or 0
        wild = {**matched(tweet(1 + offset)), name: value}
        counts = database.write(messages(wild, value, tweet(10_000 + offset), first=offset))
        assert (counts["read"], balance(counts)) == (3, True)
        assert rows(database, "SELECT 1 FROM tweets WHERE id = ?", 10_000 + offset) == [(1,)]

    # How far

    def test_what_was_stored_is_not_stored_again(self, database: Database) -> None:
        assert database.progress() == {}
        database.write(messages(tweet(1), tweet(2), b"no JSON", first=5))
        counts = database.write(messages(tweet(2), b"no JSON", tweet(3), first=6))
        assert (counts["again"], counts["stored"], counts["apart"]) == (2, 1, 0)
        assert database.progress() == {("traptor", 0): 9}
        database.write(messages(tweet(3), topic="-"))
        assert database.progress() == {("traptor", 0): 9}

    def test_words_are_found_in_every_script(self, database: Database) -> None:
        database.write(messages(*(tweet(id_, text) for id_, (text, _) in SCRIPTS.items())))
        found = {(id_, words): self.search(database, words) for id_, (_, parts) in SCRIPTS.items() for words in parts}
        accents = {"deja", "sao paulo"} if self.keeps_accents else set()
        assert {key: ids for key, ids in found.items() if ids != [key[0]] and key[1] not in accents} == {}

    keeps_accents = False

    def test_a_selection_is_of_a_rule_and_a_time(self, database: Database) -> None:
        later = tweet(2, created_at="Wed Jan 27 00:00:00 +0000 2021")
        database.write(messages(matched(tweet(1)), matched(later, 0, "2"), tweet(3)))

        def ids(*wanted: str | None) -> list[int]:
            return [row["id"] for row in database.tweets(Selection(*wanted))]

        day = "2021-01-27T00:00:00+00:00"
        assert (ids("weather"), ids("2"), ids("storm", None, day), ids("none")) == ([1, 2], [2], [1], [])
        assert (ids(None, day), ids(None, None, day), ids()) == ([2], [1, 3], [1, 2, 3])

    def test_what_the_database_lacks_is_named(self, database: Database) -> None:
        database.write(messages(tweet(1), delete(5)))
        assert database.lacking([(1, None), (2, None), (5, None), (6, 5), (7, 1)]) == [2, 7]


__all__ = ["Facts", "phrase"]
