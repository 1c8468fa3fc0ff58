"""What holds in every database; the classes of the tests give it as the fixture ``database``."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.samples import (
    GAP,
    LIMIT,
    aged,
    delete,
    located,
    matched,
    messages,
    quote,
    retweet,
    scrub_geo,
    tweet,
)  # fmt: skip
from traptor.store.destination import Destination, Selection

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


def ids(database: Destination) -> list[int]:
    return [row["id"] for row in database.tweets(Selection())]


class Facts:
    """``database`` keeps raw messages; ``search`` gives the ids of the tweets with a phrase."""

    order_step = 7
    """Where the order of five messages matters, it is tried with every so many-th of the 120."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "order" in metafunc.fixturenames:
            metafunc.parametrize("order", list(permutations(range(5)))[:: self.order_step])

    def search(self, database: Destination, words: str) -> list[int]:
        raise NotImplementedError

    def everything(self, database: Destination) -> str:
        """All that stands anywhere of tweets and of what was set apart, as text, raw messages unpacked."""
        raise NotImplementedError

    def test_a_tweet_of_two_traptors_is_one_with_the_matches_of_both(self, database: Destination) -> None:
        first = database.write(messages(matched(tweet(1), 0, "1")))
        second = database.write(messages(matched(tweet(1), 1, "9"), matched(tweet(1), 0, "1"), topic="other"))
        assert (first["stored"], second["stored"], second["merged"] + second["again"]) == (1, 0, 2)
        assert [(row["id"], row["rules"]) for row in database.tweets(Selection())] == [(1, "track:0:1 track:1:9")]

    def test_texts_are_whole(self, database: Destination) -> None:
        long = tweet(1, LONG[:100], truncated=True, extended_tweet={"full_text": LONG})
        database.write(messages(long, retweet(2, long), quote(3, long)))
        found = [(row["text"], row["quoted_text"]) for row in database.tweets(Selection())]
        assert found == [(LONG, None), (LONG, None), ("look", LONG)]

    # What is taken back

    @pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "one by one"])
    def test_what_is_deleted_is_gone_everywhere(
        self, database: Destination, order: Sequence[int], at_once: bool
    ) -> None:
        secret = tweet(1, "confidential", author=70)
        apart = b'{"id_str":"1","text":"confidential'
        values = [matched(secret), retweet(2, secret), quote(3, secret), apart, delete(1)]
        batches = [[values[at] for at in order]] if at_once else [[values[at]] for at in order]
        for time in range(2):
            for at, batch in enumerate(batches):
                counts = database.write(messages(*batch, first=10 * at, topic=f"reading {time}"))
                assert balance(counts)
        assert ids(database) == [3]
        assert "confidential" not in self.everything(database)
        assert "user70" not in self.everything(database)
        assert self.search(database, "confidential") == []
        assert self.search(database, "look") == [3]

    def test_a_place_that_is_taken_back_is_gone_everywhere(self, database: Destination, order: Sequence[int]) -> None:
        here = located(tweet(5))
        apart = b'{"id_str":"5","user":{"id":7},"place":"San Francisco'
        values = [here, retweet(8, here), quote(9, here), scrub_geo(7, 6), apart]
        later = located(tweet(7))
        for at in order:
            assert balance(database.write(messages(values[at], first=at, topic=f"topic {at}")))
        assert "San Francisco" not in self.everything(database)
        assert "-122.4" not in self.everything(database)
        database.write(messages(later, topic="later"))
        assert [row["id"] for row in database.tweets(Selection()) if row["place_id"]] == [7]

    def test_what_is_withheld_is_told(self, database: Destination) -> None:
        notices = [
            {"status_withheld": {"id": 1, "user_id": 7, "withheld_in_countries": ["DE", "AR"]}},
            {"user_withheld": {"id": 8, "withheld_in_countries": ["XX"]}},
        ]
        database.write(messages(*notices))
        database.write(messages(tweet(1), retweet(2, tweet(1)), tweet(3, withheld_in_countries=["FR"]), first=5))
        told = {row["id"]: set(row["withheld_in"].split(",")) for row in database.tweets(Selection())}
        assert told == {1: {"AR", "DE"}, 2: {"AR", "DE", "XX"}, 3: {"FR"}}

    def test_what_is_missing_stands_beside_what_came(self, database: Destination) -> None:
        for time in range(2):
            counts = database.write(messages(tweet(1), {"gap": GAP}, LIMIT, topic=f"reading {time}"))
            assert (counts["notices"], balance(counts)) == (2, True)
        found = database.overview()
        assert (found.minutes, found.withheld) == ([(1_611_669_960, 1, 0)], [(1_611_619_200, 5)])
        assert [(one.until - one.since, one.traptor, one.cause) for one in found.gaps] == [(90, "track:0", "cut")]

    # What is too old

    def keeping(self, database: Destination, age: timedelta) -> Destination:
        """The same, opened once more by one who lets older tweets go."""
        raise NotImplementedError

    def test_what_is_too_old_goes_and_nothing_younger(self, database: Destination) -> None:
        """In a search server whole months go, by the id; a tweet of an id without a time by itself."""
        old, antique, young = aged(125, LONG, author=70), aged(125.1, "antique", author=71), aged(89, "young")
        late = {**aged(1), "retweeted_status": old}
        yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        gaps = [{"gap": GAP}, {"gap": {**GAP, "from": yesterday, "to": yesterday}}]
        database.write(messages(*map(matched, (tweet(1), antique, old, young, late)), *gaps, LIMIT))
        keeping = self.keeping(database, timedelta(days=90))
        while keeping.tidy():
            pass
        keeping.close()
        assert [(row["id"], row["text"]) for row in database.tweets(Selection())] == [
            (young["id"], "young"), (late["id"], LONG),
        ]  # fmt: skip
        assert (self.search(database, "antique"), self.search(database, "bay")) == ([], [late["id"]])
        everything = self.everything(database)
        assert ("user70" in everything, "user71" in everything) == (True, False)
        found = database.overview()
        assert (len(found.gaps), found.withheld) == (1, [])

    # Whatever comes

    def test_what_cannot_be_stored_is_set_apart_and_stops_nothing(self, database: Destination) -> None:
        counts = database.write(messages(tweet(1), *BAD, tweet(2)))
        assert (counts["stored"], counts["apart"]) == (2, len(BAD))
        apart = list(database.apart())
        assert [one.value for one in apart] == BAD
        assert all(one.reason for one in apart)
        database.forget_apart(apart[1:])
        assert [one.value for one in database.apart()] == BAD[:1]

    @pytest.mark.parametrize("raw", [b"\\ud83d", b"\\u0000", b"\\udc00\\ud800"])
    def test_what_no_database_takes_is_replaced(self, database: Destination, raw: bytes) -> None:
        body = json.dumps(matched(tweet(1, "TEXT storm", project="TEXT"))).encode().replace(b"TEXT", raw)
        assert database.write(messages(body))["stored"] == 1
        assert [row["text"].strip("\ufffd") for row in database.tweets(Selection())] == [" storm"]

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
    def test_any_value_anywhere_is_stored_or_set_apart(self, database: Destination, value: Any, name: str) -> None:
        offset = (database.progress().get(("traptor", 0))) or 0
        wild = {**matched(tweet(1 + offset)), name: value}
        counts = database.write(messages(wild, value, tweet(10_000 + offset), first=offset))
        assert (counts["read"], balance(counts)) == (3, True)
        assert database.lacking([(10_000 + offset, None)]) == []

    # How far

    def test_words_are_found_in_every_script(self, database: Destination) -> None:
        database.write(messages(*(tweet(id_, text) for id_, (text, _) in SCRIPTS.items())))
        found = {(id_, words): self.search(database, words) for id_, (_, parts) in SCRIPTS.items() for words in parts}
        accents = {"deja", "sao paulo"} if self.keeps_accents else set()
        assert {key: ids for key, ids in found.items() if ids != [key[0]] and key[1] not in accents} == {}

    keeps_accents = False

    def test_a_selection_is_of_a_rule_and_a_time(self, database: Destination) -> None:
        later = tweet(2, created_at="Wed Jan 27 00:00:00 +0000 2021")
        database.write(messages(matched(tweet(1)), matched(later, 0, "2"), tweet(3)))

        def ids(*wanted: str | None) -> list[int]:
            return [row["id"] for row in database.tweets(Selection(*wanted))]

        day = "2021-01-27T00:00:00+00:00"
        assert (ids("weather"), ids("2"), ids("storm", None, day), ids("none")) == ([1, 2], [2], [1], [])
        assert (ids(None, day), ids(None, None, day), ids()) == ([2], [1, 3], [1, 2, 3])

    def test_what_the_database_lacks_is_named(self, database: Destination) -> None:
        database.write(messages(tweet(1), delete(5)))
        assert database.lacking([(1, None), (2, None), (5, None), (6, 5), (7, 1)]) == [2, 7]

    def test_what_was_taken_back_is_known(self, database: Destination) -> None:
        database.write(messages(tweet(1), delete(5), scrub_geo(7, 9)))
        assert database.taken_back([1, 5, 7, 9]) == {5, 7}
