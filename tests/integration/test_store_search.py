"""What holds in every database, in a real OpenSearch; and what a server can do wrong."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.servers import OpenSearchServer
from tests.store.facts import LONG, MOST, Facts, ids
from tests.store.samples import aged, delete, located, matched, messages, scrub_geo, tweet
from traptor.store.destination import Away, Destination, Refused, WrongDestination
from traptor.store.destinations import destination
from traptor.store.search.destination import Search
from traptor.tweets.snowflakes import EPOCH_MS


@pytest.fixture
def database(opensearch: OpenSearchServer) -> Iterator[Search]:
    one = Search(opensearch.new_destination(), keep_raw=True)
    one.open()
    yield one
    call(one, "DELETE", one._indices.tweets.replace("tweets-*", "*"))
    one.close()


def call(database: Search, method: str, path: str, body: Any = None) -> Any:
    response = requests.request(method, f"{database._server.url}/{path}", json=body, timeout=30)
    assert response.ok, response.text
    return response.json()


def stored(database: Search) -> list[dict[str, Any]]:
    database._server.refresh(database._indices.tweets)
    found = call(database, "GET", f"{database._indices.tweets}/_search", {"size": 100, "sort": ["id.number"]})
    return [hit["_source"] for hit in found["hits"]["hits"]]


class TestSearch(Facts):
    order_step = 35

    def search(self, database: Destination, words: str) -> list[int]:
        assert isinstance(database, Search)
        database._server.refresh(database._indices.tweets)
        body = {"query": {"match_phrase": {"text": words}}}
        found = call(database, "GET", f"{database._indices.tweets}/_search", body)
        return [int(hit["_id"]) for hit in found["hits"]["hits"]]

    def everything(self, database: Destination) -> str:
        assert isinstance(database, Search)
        return f"{stored(database)} {[one.value for one in database.apart()]}"

    def keeping(self, database: Destination, age: timedelta) -> Search:
        assert isinstance(database, Search)
        return Search(database.name.replace("http", "opensearch+http", 1), keep=age)


def test_a_document_keeps_what_the_tweet_had(database: Search) -> None:
    video = {"variants": [{"bitrate": 1, "url": "low"}, {"bitrate": 5, "url": "best"}]}
    medium = {"id": 3, "type": "video", "media_url_https": "m", "video_info": video}
    entities = {
        "hashtags": [{"text": "été"}, {"text": "a"}],
        "symbols": [{"text": "GOOG"}],
        "urls": [{"url": "t.co/1", "expanded_url": "https://example.com/1"}],
        "user_mentions": [{"id": 4, "screen_name": "ana", "name": "Ana"}],
    }
    one = located(tweet(MOST, entities=entities, extended_entities={"media": [medium]}, retweet_count=5))
    database.write(messages(matched(one, project="bay")))
    (found,) = stored(database)
    assert json.loads(found.pop("raw")) == matched(one, project="bay")
    place = found.pop("place")
    assert found == {
        "id": str(MOST), "created_at": "2021-01-26T14:06:00+00:00", "text": "storm", "lang": "en", "retweet_count": 5,
        "user": {"id": "7", "screen_name": "user7", "name": "Name 7"}, "point": {"lon": -122.4, "lat": 37.75},
        "hashtags": ["été", "a"], "cashtags": ["GOOG"], "urls": [{"url": "t.co/1", "expanded_url": "https://example.com/1"}],
        "mentions": [{"user_id": "4", "screen_name": "ana", "name": "Ana"}],
        "media": [{"id": "3", "type": "video", "url": "m", "video_url": "best"}],
        "matches": [{"traptor": "track:0", "rule_id": "1", "tag": "weather", "value": "storm", "matched_in": ["text"],
                     "rule_set": "0123456789ab", "fields": {"project": "bay"}}],
        "rules": ["track:0:1"],
    }  # fmt: skip
    assert place["box"] == {"type": "envelope", "coordinates": [[-122.5, 37.8], [-122.3, 37.7]]}


def test_how_far_it_is_stands_beside(database: Search) -> None:
    database.write(messages(tweet(1), tweet(2), b"no JSON", first=5))
    assert database.progress() == {("traptor", 0): 8}
    database.write(messages(tweet(1), first=2))
    database.write(messages(tweet(3), topic="-"))
    assert database.progress() == {("traptor", 0): 8}
    counts = database.write(messages(tweet(1), tweet(2), first=5))
    assert (counts["again"], counts["stored"]) == (2, 0)


def test_a_month_has_its_index_by_the_id(database: Search) -> None:
    now = datetime.now(UTC)
    january = (int(datetime(2021, 1, 26, tzinfo=UTC).timestamp() * 1000) - EPOCH_MS) << 22
    database.write(messages(tweet(january), aged(0), tweet(1)))
    names = set(call(database, "GET", database._indices.tweets))
    assert names == {database._indices.of_month(month) for month in ("2021.01", f"{now:%Y.%m}", "undated")}
    database._server.refresh(database._indices.tweets)
    assert call(database, "GET", f"{database._indices.of_month('').rstrip('-')}/_count")["count"] == 3


def test_what_the_server_refuses_is_set_apart_alone(database: Search) -> None:
    """Somebody has made the month's index otherwise."""
    index = database._indices.of_month("undated")
    call(database, "PUT", index, {"mappings": {"properties": {"source": {"type": "integer"}}}})
    bad = matched(tweet(2, source="web"))
    counts = database.write(messages(matched(tweet(1)), bad, matched(tweet(3))))
    assert (counts["stored"], counts["apart"]) == (2, 1)
    (apart,) = database.apart()
    assert (apart.offset, "source" in apart.reason) == (1, True)
    with pytest.raises(Refused, match="source"):
        database.write(messages(bad, first=9))
    assert database.set_apart(messages(bad, first=9)[0], "source")["apart"] == 1
    database.write(messages(delete(2), first=20))
    assert (list(database.apart()), ids(database)) == ([], [1, 3])


def test_a_delete_that_comes_in_between_is_seen(database: Search) -> None:
    """Another store remembers and erases after we have asked, and before we write."""
    other = Search(database.name.replace("http", "opensearch+http", 1))
    put = database._tweets.put

    def late(found: Any) -> Any:
        other.write(messages(delete(1), scrub_geo(7, 5), topic="notices"))
        return put(found)

    database._tweets.put = late  # type: ignore[method-assign]
    database.write(messages(tweet(1, LONG), located(tweet(5))))
    other.close()
    (found,) = stored(database)
    assert (found["id"], "place" in found, "point" in found) == ("5", False, False)


def test_two_stores_merge_at_once(database: Search) -> None:
    """Between reading and writing, somebody else has added a match."""
    other = Search(database.name.replace("http", "opensearch+http", 1))
    database.write(messages(matched(tweet(1), 0, "1")))
    get = database._tweets.get

    def late(*asked: Any) -> Any:
        found = get(*asked)
        other.write(messages(matched(tweet(1), 1, "2"), topic="other"))
        return found

    database._tweets.get = late  # type: ignore[method-assign]
    database.write(messages(matched(tweet(1), 2, "3"), first=9))
    other.close()
    assert stored(database)[0]["rules"] == ["track:0:1", "track:1:2", "track:2:3"]


def test_a_write_block_is_waited_for(database: Search) -> None:
    database.write(messages(tweet(1)))
    settings = f"{database._indices.tweets}/_settings"
    for block in ("write", "read_only_allow_delete"):
        call(database, "PUT", settings, {"index.blocks": {block: True}})
        with pytest.raises(Away, match="block"):
            database.write(messages(tweet(2), first=1))
        call(database, "PUT", settings, {"index.blocks": {block: None}})
    assert database.progress() == {("traptor", 0): 1}
    assert database.write(messages(tweet(2), first=1))["stored"] == 1


def test_a_server_that_is_stopped_or_frozen_is_away(
    opensearch: OpenSearchServer, database: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.write(messages(tweet(1)))
    monkeypatch.setattr("traptor.store.search.server.TIMEOUT_SECONDS", (1.0, 1.0))
    opensearch.freeze()
    with pytest.raises(Away, match="timed out"):
        database.write(messages(tweet(2), first=1))
    opensearch.thaw()
    monkeypatch.undo()
    opensearch.stop()
    with pytest.raises(Away, match="refused"):
        database.write(messages(tweet(2), first=1))
    opensearch.start()
    database.open()
    database.write(messages(tweet(2), tweet(3), first=1))
    assert (ids(database), database.progress()) == ([1, 2, 3], {("traptor", 0): 3})


def test_documents_of_another_version_are_refused(database: Search) -> None:
    name = f"_index_template/{database._indices.of_month('').rstrip('-')}"
    found = call(database, "GET", name)["index_templates"][0]["index_template"]
    call(database, "PUT", name, {**found, "_meta": {"traptor": "7"}})
    with pytest.raises(WrongDestination, match="version 7"):
        database.open()


@pytest.mark.parametrize(
    "url, told",
    [
        ("opensearch+http://127.0.0.1:port", "host and a port"),
        ("elasticsearch+https:///traptor", "host and a port"),
        ("opensearch+http://127.0.0.1:9200/A B", "cannot begin the names"),
    ],
)
def test_a_url_that_cannot_be_one_is_named(url: str, told: str) -> None:
    with pytest.raises(WrongDestination, match=told):
        destination(url)


def test_a_password_is_nowhere_to_be_seen() -> None:
    one = destination("opensearch+http://me:secret@127.0.0.1:1/tweets")
    assert one.name == "http://127.0.0.1:1/tweets"
    with pytest.raises(Away) as caught:
        one.open()
    assert "secret" not in f"{caught.value!r} {vars(one)}"


def test_a_query_of_the_page_is_answered(database: Search) -> None:
    database.write(messages(matched(tweet(1, "A storm comes")), tweet(2, "storm"), matched(tweet(3, "rain"))))
    database._server.refresh(database._indices.tweets)
    alias = database._indices.of_month("").rstrip("-")
    found = call(database, "GET", f"{alias}/_search?q=text:storm+AND+matches.tag:weather")
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["1"]
