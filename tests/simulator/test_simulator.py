"""The simulator over real HTTP on free ports of this machine."""

import gzip
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from requests_oauthlib import OAuth1Session

from traptor.commands.simulate import assignments, simulate
from traptor.simulator import CREDENTIAL, Credential, Simulator
from traptor.simulator.faults import KINDS, parse
from traptor.simulator.feed import Synthetic, Template, encode
from traptor.simulator.predicates import Filter, Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.tweets.snowflakes import EPOCH_MS

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "simulator.md"
PATH = "/1.1/statuses/filter.json"
OTHER_CREDENTIAL = Credential("other-key", "other-secret", "other-token", "other-token-secret")


def tweet(number: int, text: str = "coffee") -> dict[str, Any]:
    user = {"id": 7, "id_str": "7", "screen_name": "ana"}
    return {"id": number, "id_str": str(number), "text": text, "lang": "en", "user": user, "entities": {}}


TWEETS = [tweet(number) for number in range(1, 11)]


def request(
    twitter: Simulator, credential: Credential = CREDENTIAL, encoding: str = "identity", **form: str
) -> requests.Response:
    with OAuth1Session(*credential) as session:
        headers = {"Accept-Encoding": encoding}
        return session.post(
            twitter.url + PATH, data=form or {"track": "coffee"}, headers=headers, stream=True, timeout=60
        )


def lines(response: requests.Response) -> Iterator[bytes]:
    """Everything that ends with CR LF, without it; a blank one is a keep-alive."""
    rest = b""
    while data := response.raw.read1(65536, decode_content=True):
        *whole, rest = (rest + data).split(b"\r\n")
        yield from whole
    assert not rest


def ids(received: list[bytes]) -> list[int | None]:
    return [json.loads(line).get("id") for line in received]


def test_what_is_sent_is_what_arrives() -> None:
    with Simulator(rate=500, limit=100) as twitter, request(twitter, track="coffee,#rain", follow="12") as response:
        received = [json.loads(line)["id_str"] for line in islice(lines(response), 100)]
        assert response.status_code == 200
        assert received == twitter.wait_for_sent(100) == twitter.connections[0].sent
        assert len(set(received)) == 100


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_each_message_arrives_when_it_is_pushed(encoding: str) -> None:
    with Simulator(tweets=[]) as twitter, request(twitter, encoding=encoding) as response:
        assert response.headers.get("Content-Encoding", "identity") == encoding
        stream = lines(response)
        for message in (tweet(1, "no rule has this"), {"limit": {"track": 5}}, tweet(2)):
            assert twitter.push(message) == 1
            assert json.loads(next(stream)) == message
        assert twitter.wait_for_sent(2) == ["1", "2"]
        assert twitter.connections[0].messages == 3


@pytest.mark.parametrize(
    "message,sent",
    [
        (b'{"id_str":"18446744073709551615"}', []),
        (b'{"id_str":"9223372036854775807"}', ["9223372036854775807"]),
        (b'{"id_str":["5"]}', []),
        (b'["id_str"]', []),
        (b"\xff\xfe", []),
        (b"[" * 5000, []),
    ],
)
def test_whatever_is_pushed_is_sent(message: bytes, sent: list[str]) -> None:
    with Simulator(tweets=[]) as twitter, request(twitter) as response:
        twitter.push(message)
        assert next(lines(response)) == message
        assert twitter.wait_for_sent(len(sent)) == sent


def test_bytes_go_out_as_they_are() -> None:
    raw = b'{ "id_str":"5", "text":"\xe2\x98\x95 coffee", "id":5e0}'
    with Simulator(tweets=[raw]) as twitter, request(twitter) as response:
        assert next(lines(response)) == raw


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(
    "odd", [b"not json", b"[" * 100_000, b'{"id_str":5,"text":"coffee"}', b'{"id_str":null,"text":"coffee"}'], ids=len
)
def test_bytes_that_are_no_tweet_go_out_too(odd: bytes, loop: bool) -> None:
    with Simulator(tweets=[odd, tweet(1)], loop=loop, rate=0) as twitter, request(twitter) as response:
        assert next(lines(response)) == odd


def test_a_quiet_stream_is_kept_alive() -> None:
    with Simulator(tweets=TWEETS[:1], keep_alive_seconds=0.05) as twitter, request(twitter) as response:
        assert [line == b"" for line in islice(lines(response), 4)] == [False, True, True, True]


@pytest.mark.parametrize(
    "form,expected",
    [
        ({"track": "tea"}, [2]),
        ({"track": "tea,coffee"}, [1, 2]),
        ({"track": "coffee", "follow": "8"}, [1, 3]),
        ({"locations": "-74,40,-73,41"}, [4]),
        ({"follow": "8,7", "language": "fr"}, [3]),
    ],
)
def test_only_what_the_request_asks_for_is_sent(form: dict[str, str], expected: list[int]) -> None:
    point = {"type": "Point", "coordinates": [-73.9, 40.7]}
    tweets = [
        tweet(1, "Coffee!"),
        tweet(2, "tea"),
        {**tweet(3, "eau"), "user": {"id": 8, "id_str": "8"}, "lang": "fr"},
        {**tweet(4, "here"), "coordinates": point, "user": {"id": 9, "id_str": "9"}},
        {**tweet(5, "tea"), "user": {"id": 9, "id_str": "9"}, "text": "teapot"},
    ]
    faults = [{"fault": "end", "after": len(expected)}]
    with Simulator(tweets=tweets, rate=0, faults=faults) as twitter, request(twitter, **form) as response:
        assert ids(list(lines(response))) == expected


NO_PREDICATES = "No filter parameters found. Expect at least one parameter: follow track locations"


@pytest.mark.parametrize(
    "form,status,body",
    [
        ({"stall_warnings": "true"}, 406, NO_PREDICATES),
        ({"track": ""}, 406, NO_PREDICATES),
        ({"track": "a" * 60}, 200, ""),
        ({"track": "é" * 30}, 200, ""),
        ({"track": "ok,The Longest Ride Clouds over the " + "x" * 30}, 406,
         "Parameter track item index 1 too long: The Longest Ride Clouds over t"),
        ({"track": "日" * 21}, 406, "Parameter track item index 0 too long: " + "日" * 21),
        ({"track": "a,,b"}, 406, "Parameter track item index 1 too short"),
        ({"track": ",".join(map(str, range(400)))}, 200, ""),
        ({"track": ",".join(map(str, range(401)))}, 413, "Parameter track has 401 items, more than 400"),
        ({"follow": "12,alice"}, 406, "Parameter follow item index 1 is not a user id: alice"),
        ({"follow": "0017919972"}, 406, "Parameter follow item index 0 is not a user id: 0017919972"),
        ({"follow": "12,9223372036854775808"}, 406, "Parameter follow item index 1 is not a user id: 922337203"),
        ({"follow": ",".join(map(str, range(5001)))}, 413, "Parameter follow has 5001 items, more than 5000"),
        ({"locations": "-74,40,-73"}, 406, "has 3 numbers"),
        ({"locations": "-73,41,-74,40"}, 406, "south-west corner comes first"),
        ({"locations": ",".join(["-74,40,-73,41"] * 26)}, 413, "Parameter locations has 26 items, more than 25"),
        ({"track": "a", "count": "100"}, 416, "count"),
    ],
)  # fmt: skip
def test_requests_are_checked_as_twitter_did(form: dict[str, str], status: int, body: str) -> None:
    with Simulator(tweets=[]) as twitter, request(twitter, **form) as response:
        assert response.status_code == twitter.wait_for_connection().status == status
        assert body in (response.content.decode() if status != 200 else "")


@pytest.mark.parametrize(
    "credential",
    [
        CREDENTIAL._replace(consumer_key="unknown"),
        CREDENTIAL._replace(access_token="unknown"),
        CREDENTIAL._replace(consumer_secret="wrong"),
        CREDENTIAL._replace(access_token_secret="wrong"),
    ],
)
def test_a_wrong_credential_is_refused(credential: Credential) -> None:
    with Simulator() as twitter, request(twitter, credential) as response:
        assert (response.status_code, response.headers["Connection"]) == (401, "close")
        assert twitter.connections[0].cause == "refused"


@pytest.mark.parametrize("offset_seconds,status", [(-290, 200), (290, 200), (-400, 401), (400, 401)])
def test_a_wrong_clock_is_refused(offset_seconds: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())
    monkeypatch.setattr("oauthlib.oauth1.rfc5849.generate_timestamp", lambda: str(now + offset_seconds))
    with Simulator(tweets=[]) as twitter, request(twitter) as response:
        assert response.status_code == status
        assert abs(parsedate_to_datetime(response.headers["Date"]).timestamp() - now) < 60


@pytest.mark.parametrize(
    "method,path,status",
    [("PUT", PATH, 405), ("DELETE", PATH, 405), ("GET", "/1.1/statuses/sample.json", 404), ("POST", "/", 404)],
)
def test_other_requests_are_refused(method: str, path: str, status: int) -> None:
    with Simulator() as twitter, OAuth1Session(*CREDENTIAL) as session:
        assert session.request(method, twitter.url + path, timeout=60).status_code == status


def test_get_takes_the_predicates_from_the_address() -> None:
    with Simulator(tweets=TWEETS[:1]) as twitter, OAuth1Session(*CREDENTIAL) as session:
        response = session.get(f"{twitter.url}{PATH}?track=tea%2Ccoffee", stream=True, timeout=60)
        with response:
            assert ids([next(lines(response))]) == [1]


def test_who_has_gone_is_not_replaced() -> None:
    with Simulator(tweets=[], credentials=[CREDENTIAL]) as twitter:
        for _ in range(20):
            with request(twitter):
                pass
        assert {twitter.wait_for_close(number).cause for number in range(1, 21)} == {"client went away"}


def test_a_newer_connection_ends_the_older() -> None:
    with (
        Simulator(tweets=[], credentials=[CREDENTIAL, OTHER_CREDENTIAL]) as twitter,
        request(twitter) as older,
        request(twitter, OTHER_CREDENTIAL) as other,
        request(twitter) as newer,
    ):
        (last,) = lines(older)
        assert json.loads(last)["disconnect"]["code"] == 7
        assert twitter.wait_for_close().cause == "replaced by connection 3"
        assert twitter.push(tweet(1)) == 2
        assert ids([next(lines(newer)), next(lines(other))]) == [1, 1]


def test_a_new_connection_goes_on_where_the_last_one_stopped() -> None:
    with Simulator(tweets=TWEETS, rate=0, faults=[{"fault": "end", "after": 4, "times": 2}]) as twitter:
        for expected in ([1, 2, 3, 4], [5, 6, 7, 8]):
            with request(twitter) as response:
                assert ids(list(lines(response))) == expected
        assert twitter.sent == list("12345678")


def test_a_client_that_goes_away_is_noticed_on_a_quiet_stream() -> None:
    with Simulator(tweets=[]) as twitter:
        request(twitter).close()
        assert twitter.wait_for_close().cause == "client went away"


def test_stopping_is_quick_even_if_clients_do_not_read() -> None:
    with Simulator(rate=0) as twitter:
        older = request(twitter)
        twitter.wait_for_sent(100)
        newer = request(twitter)
        began = time.monotonic()
    assert time.monotonic() - began < 15
    assert [twitter.wait_for_close(number).cause for number in (1, 2)] == [
        "replaced by connection 2",
        "simulator stopped",
    ]
    older.close()
    newer.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(twitter.url.rsplit(":", 1)[1])))


def test_finish_leaves_the_stream_open_and_quiet() -> None:
    with Simulator(rate=0, keep_alive_seconds=0.05) as twitter, request(twitter) as response:
        twitter.wait_for_sent(50)
        twitter.finish()
        received = []
        for line in lines(response):
            if not line:
                break
            received.append(json.loads(line)["id_str"])
        assert received == twitter.sent


STREAM_FAULTS = [
    ({"fault": "duplicate", "after": 2, "copies": 2}, [1, 2, 2, 2, 3, 4]),
    ({"fault": "disorder", "after": 2, "tweets": 3}, [1, 2, 5, 4, 3, 6]),
    ({"fault": "limit", "after": 2, "track": [5, 3]}, [1, 2, {"limit": {"track": 5}}, {"limit": {"track": 3}}, 3, 4]),
    ({"fault": "garbage", "after": 2, "text": "<html>"}, [1, 2, b"<html>", 3, 4, 5]),
    ({"fault": "message", "after": 2, "message": {"new": {}}}, [1, 2, {"new": {}}, 3, 4, 5]),
    ({"fault": "notice", "after": 2, "kind": "delete"},
     [1, 2, {"delete": {"status": {"id": 2, "id_str": "2", "user_id": 7, "user_id_str": "7"}}}, 3, 4, 5]),
    ({"fault": "notice", "after": 2, "kind": "scrub_geo"},
     [1, 2, {"scrub_geo": {"user_id": 7, "user_id_str": "7", "up_to_status_id": 2, "up_to_status_id_str": "2"}},
      3, 4, 5]),
    ({"fault": "notice", "after": 2, "kind": "status_withheld"},
     [1, 2, {"status_withheld": {"id": 2, "user_id": 7, "withheld_in_countries": ["DE", "AR"]}}, 3, 4, 5]),
    ({"fault": "notice", "after": 2, "kind": "user_withheld"},
     [1, 2, {"user_withheld": {"id": 7, "withheld_in_countries": ["DE", "AR"]}}, 3, 4, 5]),
    ({"fault": "notice", "after": 2, "kind": "warning"}, [1, 2, 3, 4, 5, 6]),
    ({"fault": "split", "after": 2, "bytes": 7}, [1, 2, 3, 4, 5, 6]),
    ({"fault": "slow", "after": 2, "bytes": 50, "pause_seconds": 0.001}, [1, 2, 3, 4, 5, 6]),
    ({"fault": "newline", "after": 2}, [1, 2, 3, 4, 5, 6]),
    ({"fault": "stall", "after": 2, "seconds": 0.1}, [1, 2, 3, 4, 5, 6]),
]  # fmt: skip


@pytest.mark.parametrize("fault,expected", STREAM_FAULTS)
def test_faults_that_leave_the_stream_open(fault: dict[str, Any], expected: list[Any]) -> None:
    faults = [fault, {"fault": "end", "after": 6}]
    with Simulator(tweets=TWEETS, rate=0, faults=faults) as twitter, request(twitter) as response:
        received = list(lines(response))
        assert list(map(told, received)) == expected
        assert twitter.sent == [str(item) for item in expected if isinstance(item, int)]


def told(line: bytes) -> Any:
    """A tweet by its id, a notice without its time, anything else as it is."""
    try:
        message = json.loads(line)
    except ValueError:
        return line
    for body in message.values():
        if isinstance(body, dict):
            body.pop("timestamp_ms", None)
    return message.get("id", message)


@pytest.mark.parametrize(
    "fault,error,cause",
    [
        ({"fault": "cut", "after": 2}, "IncompleteRead", "fault: cut"),
        ({"fault": "reset", "after": 2}, "Connection reset", "fault: reset"),
    ],
)
def test_faults_that_break_the_stream(fault: dict[str, Any], error: str, cause: str) -> None:
    with Simulator(tweets=TWEETS, rate=0, faults=[fault]) as twitter, request(twitter) as response:
        received = b""
        with pytest.raises(Exception, match=error):  # noqa: PT012
            while data := response.raw.read1(65536):
                received += data
        whole, _, half = received.rpartition(b"\r\n")
        assert ids(whole.split(b"\r\n")) == [1, 2]
        assert bool(half) == (fault["fault"] == "cut")
        assert twitter.sent == ["1", "2"]
        assert twitter.wait_for_close().cause == cause


def test_a_disconnect_message_ends_the_stream() -> None:
    faults = [{"fault": "disconnect", "after": 2, "code": 4}]
    with Simulator(tweets=TWEETS, rate=0, faults=faults) as twitter, request(twitter) as response:
        received = list(lines(response))
        assert ids(received[:2]) == [1, 2]
        assert json.loads(received[2])["disconnect"]["reason"] == "Stall"


def test_a_stall_holds_back_keep_alives_as_well() -> None:
    faults = [{"fault": "stall", "after": 1, "seconds": 0.4}]
    with Simulator(tweets=TWEETS[:1], faults=faults, keep_alive_seconds=0.02) as twitter, request(twitter) as response:
        stream = lines(response)
        next(stream)
        began = time.monotonic()
        assert next(stream) == b""
        assert time.monotonic() - began > 0.3


def test_a_warning_goes_only_to_who_asked_for_it() -> None:
    faults = [{"fault": "notice", "kind": "warning", "percent_full": 80, "after": 1}, {"fault": "end", "after": 2}]
    with (
        Simulator(tweets=TWEETS, rate=0, faults=faults) as twitter,
        request(twitter, track="coffee", stall_warnings="true") as response,
    ):
        assert json.loads(list(lines(response))[1])["warning"]["percent_full"] == 80


def test_split_chunks_part_cr_from_lf() -> None:
    faults = [{"fault": "split", "bytes": 7}, {"fault": "end", "after": 3}]
    with Simulator(tweets=TWEETS, rate=0, faults=faults) as twitter, request(twitter) as response:
        chunks = list(response.raw.read_chunked())
    assert max(map(len, chunks)) == 7
    assert sum(one.endswith(b"\r") and other.startswith(b"\n") for one, other in pairwise(chunks)) == 3


def test_a_line_feed_between_fields_leaves_the_message_whole() -> None:
    faults = [{"fault": "newline"}, {"fault": "end", "after": 1}]
    with Simulator(tweets=TWEETS, rate=0, faults=faults) as twitter, request(twitter) as response:
        (line,) = lines(response)
        assert b"\n" in line
        assert json.loads(line) == TWEETS[0]


def test_an_oversized_message_has_the_size_that_was_asked_for() -> None:
    faults = [{"fault": "oversized", "bytes": 1_100_000}, {"fault": "end", "after": 1}]
    with Simulator(tweets=[], faults=faults) as twitter, request(twitter) as response:
        assert [len(line) for line in lines(response)] == [1_100_000]


@pytest.mark.parametrize(
    "fault,status,headers,body",
    [
        ({"fault": "status", "code": 503}, 503, {}, "Service Unavailable"),
        ({"fault": "status", "code": 420, "retry_after": 90}, 420, {"Retry-After": "90"}, "Enhance your calm"),
        ({"fault": "status", "code": 410, "body": "gone"}, 410, {}, "gone"),
        ({"fault": "calm", "seconds": 60}, 200, {}, ""),
    ],
)
def test_faults_that_refuse(fault: dict[str, Any], status: int, headers: dict[str, str], body: str) -> None:
    with Simulator(tweets=[], faults=[fault]) as twitter, request(twitter) as response:
        assert response.status_code == status
        assert headers.items() <= response.headers.items()
        assert body in (response.content.decode() if status != 200 else "")


def test_refusals_come_on_the_connections_that_they_are_for() -> None:
    faults = [{"fault": "status", "code": 503, "times": 2}, {"fault": "status", "code": 420, "connection": 4}]
    with Simulator(tweets=[], faults=faults) as twitter:
        answers = []
        for _ in range(5):
            with request(twitter) as response:
                answers.append(response.status_code)
        assert answers == [connection.status for connection in twitter.connections] == [503, 503, 200, 420, 200]


def test_a_quick_second_request_meets_420() -> None:
    with Simulator(tweets=[], faults=[{"fault": "calm", "seconds": 60}]) as twitter:
        for status in (200, 420):
            with request(twitter) as response:
                assert response.status_code == status
        (account,) = twitter._accounts.values()
        account.requested_at -= 60
        with request(twitter) as response:
            assert response.status_code == 200


def test_rate_limit_reset_is_a_time_to_come() -> None:
    faults = [{"fault": "status", "code": 429, "reset_after": 100}]
    with Simulator(faults=faults) as twitter, request(twitter) as response:
        assert 95 < int(response.headers["x-rate-limit-reset"]) - time.time() <= 101


def test_a_wrong_clock_of_twitter_shows_in_the_date() -> None:
    with Simulator(faults=[{"fault": "clock", "seconds": 3600}]) as twitter, request(twitter) as response:
        assert response.status_code == 401
        assert 3500 < parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time() < 3700


def test_a_dropped_request_has_no_answer() -> None:
    with Simulator(faults=[{"fault": "drop"}]) as twitter:
        with pytest.raises(requests.ConnectionError):
            request(twitter)
        assert twitter.wait_for_connection().status == 0


def test_a_fault_may_be_added_to_an_open_quiet_stream() -> None:
    with Simulator(tweets=[]) as twitter, request(twitter) as response:
        twitter.faults.append({"fault": "end"})
        assert list(lines(response)) == []


@pytest.mark.parametrize(
    "fault,reason",
    [
        ({"fault": "stal"}, "one of: calm, clock, cut, disconnect"),
        ({}, "one of: "),
        ({"fault": []}, "one of: "),
        ("stall", "one of: "),
        ({"fault": "stall", "second": 3}, "a stall fault has: seconds, connection, times, after"),
        ({"fault": "stall", "seconds": -1}, ">= 0"),
        ({"fault": "status", "code": 200}, "code"),
        ({"fault": "notice", "kind": "unknown"}, "kind"),
        ({"fault": "status"}, "missing required field `code`"),
    ],
)
def test_a_wrong_fault_says_what_is_allowed(fault: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Simulator(faults=[fault])


def test_the_documentation_has_every_fault_with_its_fields() -> None:
    chapter = DOCUMENTATION.read_text().partition("## Faults")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", chapter, re.MULTILINE)
    documented = {tag: set(re.findall(r"`(\w+)`", row)) - {"times"} for tag, row in rows}
    assert documented == {
        tag: set(kind.__struct_fields__) - {"connection", "times", "after"} for tag, kind in KINDS.items()
    }


def test_the_faults_of_the_documentation_are_good_ones() -> None:
    examples = re.findall(r"```json\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert [len([parse(fault) for fault in json.loads(example)]) for example in examples] == [4]


def test_the_control_interface_tells_and_takes() -> None:
    with Simulator(tweets=TWEETS[:2], rate=0) as twitter, request(twitter) as response:
        twitter.wait_for_sent(2)
        control = twitter.url + "/simulator/"
        state = requests.get(control, timeout=60).json()
        assert (state["tweets"], state["connections"][0]["track"]) == (2, ["coffee"])
        assert requests.get(control + "sent?connection=1", timeout=60).json() == ["1", "2"]
        pushed = encode(tweet(8)) + b"\n" + encode({"limit": {"track": 1}})
        assert requests.post(control + "messages", data=pushed, timeout=60).json() == {"streams": [1, 1]}
        stalled = requests.post(control + "faults", json=[{"fault": "stal"}], timeout=60)
        assert (stalled.status_code, "one of" in stalled.text) == (400, True)
        assert requests.post(control + "faults", json={"fault": "end", "after": 4}, timeout=60).json() == {"added": 1}
        assert ids(list(lines(response))) == [1, 2, 8, None]
        assert requests.get(control + "sent", timeout=60).json() == ["1", "2", "8"]
        assert requests.get(control + "sent?connection=9", timeout=60).status_code == 404
        assert requests.post(control + "nonsense", timeout=60).status_code == 404
        requests.post(control + "stop", timeout=60)
        assert twitter.stopping.is_set()


WANTED = Predicates(
    track=("coffee", "flood warning", "#rocket launch", "@nasa", "$acme", "example.com/foo", "coca-cola", "музей"),
    follow=("1001",),
    locations=("-122.75,36.8,-121.75,37.8",),
)


def made(predicates: Predicates, count: int, seed: int = 1) -> list[dict[str, Any]]:
    feed = Synthetic(seed, Snowflakes(lambda: 1_611_619_200.0)).messages(predicates)
    return [json.loads(message.body) for message in islice(feed, count)]


def test_synthetic_tweets_are_the_same_for_the_same_seed() -> None:
    assert made(WANTED, 50) == made(WANTED, 50)
    assert made(WANTED, 50) != made(WANTED, 50, seed=2)


@pytest.mark.parametrize("name", ["track", "follow", "locations"])
def test_synthetic_tweets_fit_every_predicate_of_the_request(name: str) -> None:
    tweets = made(WANTED, 300)
    for value in getattr(WANTED, name):
        fits = Filter(Predicates(**{name: (value,)}))
        assert sum(map(fits, tweets)) > 5, value


def test_synthetic_tweets_are_of_many_kinds() -> None:
    kinds = Counter(kind for tweet in made(WANTED, 1000) for kind in kinds_of(tweet))
    assert kinds.keys() == {
        "retweet", "retweet of extended", "retweet of quote", "quote", "reply", "manual reply", "extended", "media",
        "hashtag", "cashtag", "link", "mention", "coordinates", "place only", "escape", "newline", "emoji",
        "en", "es", "fr", "de", "ru", "ar", "ja", "zh", "ko", "hi",
    }  # fmt: skip
    assert min(kinds.values()) > 3


def kinds_of(tweet: dict[str, Any]) -> Iterator[str]:
    retweeted, entities, text = tweet.get("retweeted_status", {}), tweet["entities"], tweet["text"]
    yield tweet["lang"]
    kinds = {
        "retweet": retweeted,
        "retweet of extended": "extended_tweet" in retweeted,
        "retweet of quote": "quoted_status" in retweeted and "quoted_status" in tweet,
        "quote": "quoted_status" in tweet and not retweeted,
        "reply": tweet["in_reply_to_status_id"],
        "manual reply": tweet["in_reply_to_user_id"] and not tweet["in_reply_to_status_id"],
        "extended": "extended_tweet" in tweet,
        "media": "extended_entities" in tweet,
        "hashtag": entities["hashtags"],
        "cashtag": entities["symbols"],
        "link": entities["urls"],
        "mention": entities["user_mentions"],
        "coordinates": tweet["coordinates"],
        "place only": tweet["place"] and not tweet["coordinates"],
        "escape": "&amp;" in text or "&lt;" in text,
        "newline": "\n" in text,
        "emoji": any(ord(character) > 0x1F000 for character in text),
    }
    yield from (kind for kind, present in kinds.items() if present)


ALWAYS = set(
    """created_at id id_str text source truncated in_reply_to_status_id in_reply_to_status_id_str
    in_reply_to_user_id in_reply_to_user_id_str in_reply_to_screen_name user geo coordinates place contributors
    is_quote_status quote_count reply_count retweet_count favorite_count entities favorited retweeted filter_level
    lang timestamp_ms""".split()  # noqa: SIM905
)


def test_synthetic_tweets_have_the_shape_of_the_stream() -> None:
    for one in made(WANTED, 300):
        assert one.keys() >= ALWAYS
        assert (one["id"] >> 22) + EPOCH_MS == int(one["timestamp_ms"])
        assert len(one["user"].keys() - {"profile_banner_url"}) == 38
        for part in (one, one.get("retweeted_status", one), one.get("quoted_status", one)):
            assert_entities_are_in_the_text(part["text"], part["entities"])
            if whole := part.get("extended_tweet"):
                assert_entities_are_in_the_text(whole["full_text"], whole["entities"])
                assert f"status/{part['id_str']}" in part["entities"]["urls"][-1]["expanded_url"]


def assert_entities_are_in_the_text(text: str, entities: dict[str, Any]) -> None:
    named = {"hashtags": ("#", "text"), "symbols": ("$", "text"), "user_mentions": ("@", "screen_name")}
    for kind, found in entities.items():
        sign, name = named.get(kind, ("", "url"))
        for entity in found:
            start, end = entity["indices"]
            assert text[start:end] == sign + entity[name]


def test_the_wire_is_ascii_with_escaped_slashes() -> None:
    bodies = [message.body for message in islice(Synthetic(1, Snowflakes()).messages(WANTED), 200)]
    assert all(body.isascii() and b"\\/" in body for body in bodies)
    assert not any(b"/" in body.replace(b"\\/", b"") for body in bodies)


def test_a_looped_tweet_is_a_new_one_each_time() -> None:
    recorded = {**tweet(7, "100 % coffee"), "created_at": "Mon Feb 22 01:34:53 +0000 2016", "timestamp_ms": "1"}
    with Simulator(tweets=[recorded], loop=True, rate=0, limit=50) as twitter, request(twitter) as response:
        received = [json.loads(line) for line in islice(lines(response), 50)]
    assert len({one["id"] for one in received}) == 50
    for one in received:
        assert one["id_str"] == str(one["id"])
        assert (one["id"] >> 22) + EPOCH_MS == int(one["timestamp_ms"])
        assert {**one, **{name: recorded[name] for name in ("id", "id_str", "created_at", "timestamp_ms")}} == recorded


def test_a_template_renews_the_link_to_the_tweet_itself() -> None:
    snowflakes = Snowflakes()
    text = "see https://twitter.com/i/web/status/1234567890123456789"
    old = {**tweet(1234567890123456789, text), "created_at": "", "timestamp_ms": ""}
    renewed = json.loads(Template(old).message(snowflakes.next()).body)
    assert renewed["text"] == f"see https://twitter.com/i/web/status/{renewed['id_str']}"


def test_predicates_that_nothing_fits_make_a_quiet_stream() -> None:
    assert made(Predicates(track=("www.example.com/foo",)), 1) == []


def run_simulator(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "traptor", "simulate", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_listens_and_ends_well(number: signal.Signals, tmp_path: Any) -> None:
    recorded = tmp_path / "recorded.jsonl.gz"
    recorded.write_bytes(gzip.compress(b"\r\n".join(map(encode, TWEETS)) + b"\r\n"))
    with run_simulator("--file", str(recorded), "--once", "--rate", "0") as process:
        assert process.stderr
        assert process.stdout
        url = process.stderr.readline().removeprefix("listening on ").strip()
        with OAuth1Session(*CREDENTIAL) as session:
            response = session.post(url + PATH, data={"track": "coffee"}, stream=True, timeout=60)
            with response:
                assert ids(list(islice(lines(response), 10))) == list(range(1, 11))
                os.kill(process.pid, number)
                assert list(lines(response)) == []
        assert process.wait(5) == 0
        assert process.stderr.read().splitlines() == [
            "to point a Traptor at it:",
            f"  export TWITTER_STREAM_URL={url}",
            "  export CONSUMER_KEY=simulator-key CONSUMER_SECRET=simulator-secret",
            "  export ACCESS_TOKEN=simulator-token ACCESS_TOKEN_SECRET=simulator-token-secret",
            "ended: 1 request for a stream, 10 tweets sent",
        ]
        assert process.stdout.read() == ""


@pytest.mark.parametrize(
    "options,content,reason",
    [
        (["--faults"], '[{"fault": "stal"}]', "one of: calm"),
        (["--faults"], "not JSON", "Expecting value"),
        (["--faults"], "5", "input: not a JSON list"),
        (["--faults"], "null", "input: not a JSON list"),
        (["--faults"], "[" * 100_000, "input: nested too deeply"),
        (["--file"], "[" * 100_000, "line 1: nested too deeply"),
        (["--rate", "nan", "--file"], "{}", "'--rate': 'nan' is no number"),
        (["--rate", "inf", "--file"], "{}", "'--rate': 'inf' is no number"),
        (["--keep-alive", "inf", "--file"], "{}", "'--keep-alive': 'inf' is no number"),
        (["--file"], '{"id":1}\nnot JSON', "line 2: "),
    ],
)
def test_the_command_explains_what_is_wrong(options: list[str], content: str, reason: str, tmp_path: Any) -> None:
    path = tmp_path / "input"
    path.write_text(content)
    result = CliRunner().invoke(simulate, [*options, str(path)])
    assert (result.exit_code, reason in result.output) == (2, True), result.output


@pytest.mark.parametrize("pace", [{"rate": math.nan}, {"rate": math.inf}, {"keep_alive_seconds": math.inf}])
def test_a_pace_that_is_no_number_is_refused(pace: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="allowed are finite numbers"):
        Simulator(**pace)


def test_a_recording_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "monday.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id":1}\n' * 1000)[:-9])
    result = CliRunner().invoke(simulate, ["--file", str(path)])
    assert (result.exit_code, "monday.jsonl.gz: Compressed file ended" in result.output) == (2, True), result.output


def test_keys_that_somebody_has_chosen_are_not_shown() -> None:
    assert assignments("http://127.0.0.1:1", CREDENTIAL._replace(access_token_secret="theirs")) == [
        "  export TWITTER_STREAM_URL=http://127.0.0.1:1"
    ]


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(simulate, ["--port", place.partition(":")[2]])
    assert (result.exit_code, f"Error: {place} cannot be listened on: Address already" in result.output) == (2, True)


def test_help_has_worked_examples() -> None:
    result = CliRunner().invoke(simulate, ["--help"])
    assert "python -m traptor simulate --port 8080 --rate 20" in result.output


@pytest.mark.parametrize("host,is_told", [("127.0.0.1", False), ("0.0.0.0", True)])
def test_the_command_warns_of_what_it_opens(host: str, is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_briefly(simulator: Simulator, _: Credential) -> None:
        with simulator:
            pass

    monkeypatch.setattr("traptor.commands.simulate.run", run_briefly)
    result = CliRunner().invoke(simulate, ["--host", host])
    assert result.exit_code == 0
    assert (f"WARNING: whoever reaches {host}" in result.stderr) is is_told


def test_whoever_asks_is_believed_where_that_is_wanted() -> None:
    keys = [Credential(*[f"{name}{part}" for part in "abcd"]) for name in ("one", "two")]
    with Simulator(credentials=None, rate=0, limit=1) as twitter:
        with request(twitter, keys[0], track="storm") as first, request(twitter, keys[1], track="storm") as second:
            assert [first.status_code, second.status_code] == [200, 200]
        assert [one.consumer_key for one in twitter.connections] == ["onea", "twoa"]
        assert (
            requests.post(f"{twitter.url}/1.1/statuses/filter.json", data={"track": "x"}, timeout=5).status_code == 401
        )
