"""`search/` on a real OpenSearch: its pipeline makes the documents of `traptor store`, as rsyslog ships them, too."""

import functools
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.saved_objects import objects
from tests.integration.conftest import missing
from tests.integration.daemon import ROOT
from tests.integration.test_store import send
from tests.servers import KafkaBroker, OpenSearchServer, ServerMissing, wait_until
from tests.store.samples import delete, located, matched, messages, quote, retweet, scrub_geo, tweet, user
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.tweets import Writer
from traptor.store.search.destination import Search

pytestmark = pytest.mark.heavy

GAP = {
    "gap": {
        "type": "track", "id": 0, "from": "2021-01-26T14:00:00+00:00", "to": "2021-01-26T14:05:00+00:00",
        "cause": "killed", "last_tweet_id": "5", "first_tweet_id": "9", "rule_set": "0123456789ab", "reconnects": 1,
    }
}  # fmt: skip
LIMIT = {"limit": {"track": 7, "timestamp_ms": "1611669600123"}}
VIDEO = {
    "id": 3, "type": "video", "media_url_https": "m", "expanded_url": "e",
    "video_info": {"variants": [{"url": "none"}, {"bitrate": 1, "url": "low"}, {"bitrate": 5, "url": "best"}]},
}  # fmt: skip
EXTENDED = tweet(
    21, "cut…", extended_tweet={"full_text": "whole " * 30, "entities": {"hashtags": [{"text": "Late"}]},
                                "extended_entities": {"media": [VIDEO]}},
)  # fmt: skip
TWEETS = [
    tweet(1, "plain", lang=None),
    matched(tweet(2), project="p"),
    retweet(22, EXTENDED),
    quote(23, EXTENDED),
    retweet(24, quote(25, EXTENDED)),
    located(tweet(3)),
    tweet(4, withheld_in_countries=["DE", "AT"], user=user(70, withheld_in_countries=["FR"])),
    tweet(5, created_at="never", source="<a>"),
    tweet(2**60, created_at="never"),
    tweet(7, created_at="2021-01-26T15:06:00+01:00"),
    tweet(6, in_reply_to_status_id=2**60, in_reply_to_user_id=7, possibly_sensitive=True, favorite_count=5),
    tweet(2**62, "of a time to come"),
]
"""And of those that the simulator makes up, so many."""
MADE_UP = 300


@functools.cache
def all_tweets() -> list[dict[str, Any]]:
    writer, times = Writer(random.Random(1), Predicates(track=["storm", "#sun"], follow=["12"])), Snowflakes()
    return TWEETS + [matched(writer.tweet(times.next())) for _ in range(MADE_UP)]


def set_up(server: OpenSearchServer, prefix: str) -> None:
    done = subprocess.run([ROOT / "search/setup", server.url, prefix], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert not done.stderr


def documents(server: OpenSearchServer, prefix: str) -> dict[str, Any]:
    """By index and id, without the prefix."""
    requests.post(f"{server.url}/{prefix}-*/_refresh", timeout=30)
    names = ",".join(f"{prefix}-{name}" for name in ("tweets-*", "gaps", "limits"))
    answer = requests.get(f"{server.url}/{names}/_search?size=2000", timeout=30).json()
    return {f"{hit['_index'].removeprefix(prefix)} {hit['_id']}": hit["_source"] for hit in answer["hits"]["hits"]}


def stored(server: OpenSearchServer, prefix: str) -> dict[str, Any]:
    """What `traptor store` makes of them."""
    database = Search(f"opensearch+{server.url}/{prefix}")
    database.open()
    counts = database.write(messages(*all_tweets(), GAP, LIMIT))
    assert counts["stored"] == len(all_tweets())
    database.close()
    return documents(server, prefix)


def test_the_pipeline_makes_the_same_documents(opensearch: OpenSearchServer) -> None:
    for _ in range(2):
        set_up(opensearch, "pipeline")
    lines = []
    for message in (*all_tweets(), GAP, LIMIT, delete(1), scrub_geo(7, 9), {"warning": {"code": "FALLING_BEHIND"}}):
        lines += [{"create": {}}, message]
    body = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    address = f"{opensearch.url}/pipeline-tweets-undated/_bulk?pipeline=pipeline"
    answer = requests.post(address, body, headers={"Content-Type": "application/x-ndjson"}, timeout=60).json()
    assert not answer["errors"], answer
    assert documents(opensearch, "pipeline") == stored(opensearch, "stored")


def test_rsyslog_ships_the_same_documents(
    tmp_path: Path, opensearch: OpenSearchServer, kafka_broker: KafkaBroker, topic: str
) -> None:
    if (
        len([*Path("/usr/lib").glob("*/rsyslog/imkafka.so"), *Path("/usr/lib").glob("*/rsyslog/omelasticsearch.so")])
        < 2
    ):
        missing(ServerMissing("no rsyslog: apt-get install rsyslog-kafka rsyslog-elasticsearch"))
    set_up(opensearch, "traptor")
    values = [json.dumps(one).encode() for one in (*all_tweets(), GAP, LIMIT, delete(1))]
    send(kafka_broker, topic, values)
    given = (ROOT / "search/rsyslog.conf").read_text()
    for shipped, here in (
        ("localhost:9092", kafka_broker.hosts), ('topic="traptor"', f'topic="{topic}"'),
        ("http://localhost:9200", opensearch.url), ("/var/log/traptor/", f"{tmp_path}/"),
    ):  # fmt: skip
        assert shipped in given
        given = given.replace(shipped, here)
    (tmp_path / "rsyslog.conf").write_text(f'global(workDirectory="{tmp_path}")\n{given}')
    command = ["/usr/sbin/rsyslogd", "-n", "-f", tmp_path / "rsyslog.conf", "-i", tmp_path / "rsyslog.pid"]
    expected = stored(opensearch, "stored2")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as rsyslog:
        try:
            wait_until(lambda: len(documents(opensearch, "traptor")) >= len(expected), "all documents")
        finally:
            rsyslog.terminate()
            said, _ = rsyslog.communicate(timeout=30)
    assert documents(opensearch, "traptor") == expected, said
    assert not (tmp_path / "rsyslog-refused.json").exists()


def test_each_panel_of_the_dashboard_has_something_to_show(opensearch: OpenSearchServer) -> None:
    """No Kibana asks here, but the server is asked for what Kibana would ask."""
    set_up(opensearch, "panels")
    stored(opensearch, "panels")
    wanted = {}
    for one in objects("OpenSearch Dashboards"):
        _, *buckets = json.loads(one["attributes"].get("visState", '{"aggs": [1]}'))["aggs"]
        for bucket in buckets:
            more = {"calendar_interval": "day"} if bucket["type"] == "date_histogram" else {}
            wanted[f"{one['id']} {bucket['id']}"] = {bucket["type"]: {"field": bucket["params"]["field"], **more}}
    body = {"size": 0, "aggs": wanted}
    answer = requests.post(f"{opensearch.url}/panels-tweets/_search", json=body, timeout=30).json()
    assert len(wanted) == 6
    assert all(answer["aggregations"][name]["buckets"] for name in wanted)
