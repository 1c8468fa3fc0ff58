"""The client against the simulator's v2, over real HTTP."""

import json
import re
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
from birdy.twitter import TwitterApiError, TwitterAuthError, TwitterClientError, TwitterRateLimitError
from urllib3 import HTTPResponse

from traptor.simulator import CREDENTIAL, Simulator
from traptor.simulator.feed import Synthetic
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.v2 import bearer_token, parse
from traptor.sources.stream import StreamEnded
from traptor.sources.v2.client import FilteredStream, Translated, V2Client, keep, translated
from traptor.tweets import fields

RULES = [{"rule_id": "1", "value": "storm,flood warning"}, {"rule_id": "2", "value": "#rocket"}]


@pytest.fixture
def twitter() -> Iterator[Simulator]:
    with Simulator(rate=200) as simulator:
        yield simulator


def client(twitter: Simulator, bearer: str = bearer_token(CREDENTIAL)) -> V2Client:
    return V2Client(CREDENTIAL.consumer_key, CREDENTIAL.consumer_secret, bearer, twitter.url)


def synchronise(api: V2Client, *wanted: dict[str, str], traptor_id: int = 0, **limits: int) -> list[Any]:
    """Gives the problems."""
    return api.synchronise("track", traptor_id, wanted, **{"length": 1024, "limit": 1000, **limits}).problems


def numbered(count: int) -> list[dict[str, str]]:
    return [{"rule_id": str(number), "value": f"phrase number {number}"} for number in range(count)]


def rule_ids(tag: str) -> list[str]:
    return re.findall(r"(\w+)=", tag)


def values(api: V2Client) -> list[str]:
    return [rule.value for rule in api.held_rules()]


def opened(twitter: Simulator, backfill_minutes: int = 0) -> FilteredStream:
    api = client(twitter)
    synchronise(api, RULES[0])
    return api.open(backfill_minutes)


def take(stream: FilteredStream, wanted: Callable[[Any], bool], timeout_seconds: float = 10) -> Any:
    """The first message that is as wanted."""
    deadline = time.monotonic() + timeout_seconds
    for message in stream.messages():
        assert time.monotonic() < deadline, "no such message"
        if message is not None and wanted(message):
            return message
    raise AssertionError("the stream has ended")


# Rules


def test_rules_come_go_and_stay(twitter: Simulator) -> None:
    api = client(twitter)
    assert values(api) == []
    assert synchronise(api, *RULES) == []
    assert values(api) == ["storm OR flood warning", "#rocket"]
    ids = [rule.id for rule in api.held_rules()]
    synchronise(api, *RULES)
    assert [rule.id for rule in api.held_rules()] == ids
    synchronise(api, RULES[1])
    assert values(api) == ["#rocket"]
    synchronise(api)
    assert values(api) == []


def test_rules_of_others_are_not_touched(twitter: Simulator) -> None:
    api = client(twitter)
    synchronise(api, RULES[0], traptor_id=1)
    api.request("POST", "tweets/search/stream/rules", add=[{"value": "cats"}, {"value": "dogs", "tag": "pets"}])
    synchronise(api, RULES[1])
    synchronise(api)
    assert values(api) == ["storm OR flood warning", "cats", "dogs"]


def test_rules_share_where_the_account_has_no_room(twitter: Simulator) -> None:
    api = client(twitter)
    assert synchronise(api, *RULES, limit=1) == []
    assert [(rule.value, rule_ids(rule.tag)) for rule in api.held_rules()] == [
        ("storm OR flood warning OR #rocket", ["1", "2"])
    ]


def test_many_rules_are_read_page_by_page_and_added_in_parts(
    twitter: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traptor.sources.v2.client.PAGE_RULES", 7)
    api = client(twitter)
    wanted = numbered(250)
    assert synchronise(api, *wanted, length=20) == []
    assert values(api) == [rule["value"] for rule in wanted]


def test_what_twitter_refuses_is_told_by_rule_and_the_others_stay(
    twitter: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server rule that is refused is taken apart, to find whose fault it is."""
    monkeypatch.setattr("traptor.simulator.v2.LONGEST_RULE_CHARACTERS", 12)
    api = client(twitter)
    [problem] = synchronise(api, *RULES, limit=1)
    assert problem[:2] == ("1", "storm,flood warning")
    assert problem.reason.startswith("is refused by Twitter: Rules must be at most 12 characters")
    assert values(api) == ["#rocket"]


def test_the_limit_of_the_account_is_found_where_the_setting_is_too_high(
    twitter: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules share, and what finds no room even so is told; later changes know the limit."""
    monkeypatch.setattr("traptor.simulator.v2.MOST_RULES", 25)
    api = client(twitter)
    done = api.synchronise("track", 0, numbered(200), length=100, limit=2500)
    assert (done.limit, done.placed, len(done.problems)) == (25, 25, 80)
    assert {problem.reason for problem in done.problems} == {"over the limit of 25 rules on the server"}
    kept = [rule_id for rule in api.held_rules() for rule_id in rule_ids(rule.tag)]
    assert kept + [problem.rule_id for problem in done.problems] == [rule["rule_id"] for rule in numbered(200)]
    monkeypatch.setattr(V2Client, "_post", None)
    assert api.synchronise("track", 0, numbered(200), length=100, limit=2500) == done


@pytest.mark.parametrize("most", [0, 3, 5, 7, 1001])
def test_every_limit_is_found(twitter: Simulator, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Also one that Twitter does not tell of; what is there already is not given up for it."""
    api = client(twitter)
    synchronise(api, *numbered(most // 2))
    monkeypatch.setattr("traptor.simulator.v2.MOST_RULES", most)
    done = api.synchronise("track", 0, numbered(1100), length=20, limit=25_000)
    assert done.limit <= most
    assert done.placed == len(api.held_rules()) >= most // 2
    assert len(done.problems) == 1100 - done.placed


def test_what_a_dry_run_did_not_foresee_is_told(twitter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    api = client(twitter)
    post = V2Client._post

    def refused(self: V2Client, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        if dry_run:
            return post(self, body, dry_run=dry_run)
        return {"meta": {}, "errors": [{"value": "#rocket", "title": "Invalid Rule", "detail": "changed our mind"}]}

    monkeypatch.setattr(V2Client, "_post", refused)
    assert synchronise(api, RULES[1]) == [("2", "#rocket", "is refused by Twitter: changed our mind")]


def test_rules_change_where_the_account_is_full(twitter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traptor.simulator.v2.MOST_RULES", 25)
    api = client(twitter)
    wanted = numbered(25)
    assert synchronise(api, *wanted, limit=25) == []
    wanted[3:5] = [{"rule_id": "3", "value": "changed"}, {"rule_id": "4", "value": "changed,too"}]
    assert synchronise(api, *wanted, limit=25) == []
    assert len(values(api)) == 25
    assert {"changed", "changed OR too"} < set(values(api))


def test_the_ids_of_a_value_change(twitter: Simulator) -> None:
    api = client(twitter)
    for wanted in (["1"], ["9"], ["9", "3"]):
        assert synchronise(api, *[{"rule_id": rule_id, "value": "storm"} for rule_id in wanted]) == []
        assert [(rule.value, rule_ids(rule.tag)) for rule in api.held_rules()] == [("storm", wanted)]


def test_what_others_ask_for_need_not_be_asked_for_again(twitter: Simulator) -> None:
    api = client(twitter)
    synchronise(api, RULES[1], traptor_id=1)
    done = api.synchronise("track", 0, RULES, length=1024, limit=1000)
    assert (done.placed, done.problems, [rule.value for rule in done.others]) == (2, [], ["#rocket"])
    assert values(api) == ["#rocket", "storm OR flood warning"]


def test_new_rules_are_there_before_old_ones_go(twitter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    api = client(twitter)
    synchronise(api, RULES[0])
    posted: list[str] = []
    post = V2Client._post

    def noted(self: V2Client, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        posted.extend(["dry run"] if dry_run else body)
        return post(self, body, dry_run=dry_run)

    monkeypatch.setattr(V2Client, "_post", noted)
    synchronise(api, RULES[1])
    assert posted == ["dry run", "add", "delete"]
    posted.clear()
    synchronise(api, RULES[0], limit=1)  # there is no room for both
    assert posted == ["delete", "dry run", "add"]


# Who may


def test_a_bearer_token_is_asked_for_with_the_consumer_key(twitter: Simulator) -> None:
    api = client(twitter, bearer="")
    assert values(api) == []
    assert api.access_token == bearer_token(CREDENTIAL)


def test_a_token_that_was_taken_back_is_asked_for_again(twitter: Simulator) -> None:
    api = client(twitter, bearer="")
    assert values(api) == []
    api.session.headers["Authorization"] = "Bearer of yesterday"
    with pytest.raises(TwitterAuthError):
        api.held_rules()
    assert values(api) == []


@pytest.mark.parametrize("bearer, secret, status", [("wrong", CREDENTIAL.consumer_secret, 401), ("", "wrong", 403)])
def test_wrong_secrets_are_told_as_such(twitter: Simulator, bearer: str, secret: str, status: int) -> None:
    api = V2Client(CREDENTIAL.consumer_key, secret, bearer, twitter.url)
    with pytest.raises(TwitterApiError) as caught:
        api.held_rules()
    assert caught.value.status_code == status


@pytest.mark.parametrize("bearer", ["known", ""])
def test_a_network_that_fails_is_no_answer(bearer: str) -> None:
    api = V2Client("key", "secret", bearer, "http://127.0.0.1:1")
    with pytest.raises(TwitterClientError):
        api.open()


@pytest.mark.parametrize("code, kind", [(429, TwitterRateLimitError), (503, TwitterApiError), (403, TwitterApiError)])
def test_refusals_have_status_and_headers(twitter: Simulator, code: int, kind: type[TwitterApiError]) -> None:
    twitter.faults.append({"fault": "status", "code": code, "reset_after": 60})
    with pytest.raises(kind) as caught:
        client(twitter).open()
    assert caught.value.status_code == code
    assert 0 < float(caught.value.headers["x-rate-limit-reset"]) - time.time() <= 61


def test_without_a_rule_there_is_no_stream(twitter: Simulator) -> None:
    with pytest.raises(TwitterApiError, match="RuleConfigurationIssue") as caught:
        client(twitter).open()
    assert caught.value.status_code == 409


def test_a_second_connection_is_refused(twitter: Simulator) -> None:
    api = client(twitter)
    synchronise(api, RULES[0])
    stream = api.open()
    with pytest.raises(TwitterRateLimitError, match="TooManyConnections"):
        api.open()
    stream.close()


def test_secrets_do_not_show(twitter: Simulator) -> None:
    assert repr(client(twitter)) == f"V2Client({twitter.url!r})"


@pytest.mark.parametrize(
    "path, status, body",
    [
        ("search/stream", 301, b""),
        ("search/stream", 204, b""),
        ("search/stream/rules", 301, b'{"meta":{}}'),
        ("search/stream/rules", 200, b"<html>Welcome to our network</html>"),
        ("search/stream/rules", 200, b"{}"),
    ],
)
def test_an_answer_of_somebody_else_is_an_error(path: str, status: int, body: bytes) -> None:
    """Of a portal, a proxy, or a server that has moved."""
    answer = requests.Response()
    answer.status_code, answer.url = status, f"https://api.example/2/tweets/{path}?a=b"
    answer.raw = HTTPResponse(BytesIO(body), preload_content=False)
    with pytest.raises(TwitterApiError) as caught:
        V2Client("key", "secret", "bearer", "https://api.example").handle_response("GET", answer)
    assert caught.value.status_code == status
    assert str(caught.value).startswith("not an answer of X API v2")


def test_keys_do_not_follow_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(session: requests.Session, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer.request = 307, request
        answer.raw = HTTPResponse(BytesIO(), preload_content=False)
        answer.headers["Location"] = "http://elsewhere.example"
        asked.append(str(request.url))
        return answer

    asked: list[str] = []
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", moved)
    with pytest.raises(TwitterApiError) as caught:
        V2Client("key", "secret", "", "https://api.example").held_rules()
    assert (caught.value.status_code, asked) == (307, ["https://api.example/oauth2/token"])


# The stream


def test_tweets_come_in_the_shape_of_v1_with_the_tags_of_their_rules(twitter: Simulator) -> None:
    api = client(twitter)
    synchronise(api, *RULES)
    stream = api.open()
    message = take(stream, lambda message: isinstance(message, Translated))
    stream.close()
    tweet = json.loads(message)
    assert tweet["id_str"] == json.loads(message.payload)["data"]["id"]
    assert re.fullmatch(r"traptor:track:0:[12]=\w{4}", message.tags[0])
    assert tweet["user"]["screen_name"]
    assert stream.headers["Content-Encoding"] == "gzip"


def test_a_change_of_rules_takes_effect_on_the_open_stream(twitter: Simulator) -> None:
    api = client(twitter)
    synchronise(api, RULES[0])
    stream = api.open()
    take(stream, lambda message: rule_ids(message.tags[0]) == ["1"])
    synchronise(api, RULES[1])
    take(stream, lambda message: rule_ids(message.tags[0]) == ["2"])
    stream.close()
    assert len(twitter.connections) == 1


def test_a_backfill_brings_what_was_missed_in_a_gap(twitter: Simulator) -> None:
    """And some of what came before it once more; without one the stream goes on."""
    api = client(twitter)
    synchronise(api, RULES[0])
    sent = []
    for number, minutes in enumerate([0, 2, 0], 1):
        stream = api.open(minutes)
        take(stream, lambda message: isinstance(message, Translated))
        stream.close()
        connection = twitter.wait_for_close(number)
        assert connection.backfill_minutes == minutes
        sent.append(connection.sent)
    first, second, third = sent
    assert second[: len(first)] == first
    assert len(set(first) & set(third)) == 0


@pytest.mark.parametrize("gap_seconds, tweets", [(50, 50), (1000, 120)])
def test_a_backfill_brings_the_tweets_of_the_gap_at_once(gap_seconds: float, tweets: int) -> None:
    with Simulator(rate=1) as slow:
        api = client(slow)
        synchronise(api, RULES[0])
        api.open().close()
        first = slow.wait_for_close(1)
        first.closed_at = time.time() - gap_seconds
        stream = api.open(2)
        slow.wait_for_sent(tweets, timeout_seconds=5)
        stream.close()
    assert len(set(slow.connections[1].sent)) < tweets + 10


@pytest.mark.parametrize("minutes", [6, -1, "some"])
def test_a_wrong_backfill_is_refused(twitter: Simulator, minutes: Any) -> None:
    with pytest.raises(TwitterApiError, match="backfill_minutes"):
        opened(twitter, minutes)


def test_a_quiet_stream_yields_none_and_closes_at_once() -> None:
    with Simulator(tweets=[]) as quiet:
        stream = opened(quiet)
        assert next(stream.messages()) is None
        stream.close()
        assert [message for message in stream.messages() if message] == []


def test_the_end_is_announced_as_v1_did(twitter: Simulator) -> None:
    twitter.faults.append({"fault": "disconnect", "code": 12})
    stream = opened(twitter)
    message = json.loads(take(stream, lambda message: b'"disconnect"' in message))
    assert message["disconnect"]["code"] == 12
    assert message["disconnect"]["reason"].startswith("OperationalDisconnect: ")
    with pytest.raises(StreamEnded):
        take(stream, bool)


def test_a_stream_without_keep_alives_is_stalled(twitter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traptor.sources.v2.client.STALL_SECONDS", 0.3)
    twitter.faults.append({"fault": "stall", "seconds": 10})
    with pytest.raises(StreamEnded, match="stalled"):
        take(opened(twitter), bool)


@pytest.mark.parametrize(
    "raw, messages",
    [
        (b"garbage", [b"garbage"]),
        (b'{"meta":1}', [b'{"meta":1}']),
        (b'{"data":{"id":"x","text":"y"}}', [b'{"data":{"id":"x","text":"y"}}']),
        (
            b'{"errors":[{"title":"ConnectionException","disconnect_type":"SlowReader","detail":"too slow"}]}',
            [b'{"disconnect":{"code":4,"stream_name":"v2","reason":"SlowReader: too slow"}}'],
        ),
        (b'{"errors":[{"title":"what"}]}', [b'{"disconnect":{"code":10,"stream_name":"v2","reason":"what"}}']),
        (b'{"errors":7}', [b'{"errors":7}']),
        (b"[" * 100_000, [b"[" * 100_000]),
    ],
)
def test_what_is_no_tweet(raw: bytes, messages: list[bytes]) -> None:
    assert translated(raw) == messages


def test_a_tweet_with_partial_errors_is_a_tweet() -> None:
    """Of a tweet that refers to one which is gone, v2 tells so under errors."""
    raw = b'{"data":{"id":"20","text":"x","author_id":"7"},"errors":[{"title":"Not Found Error"}]}'
    [message] = translated(raw)
    assert json.loads(message)["id_str"] == "20"


@pytest.mark.parametrize(
    "matching_rules, tags",
    [
        ('[{"id":"1","tag":"a"},{"id":"2","tag":"b"}]', ("a", "b")),
        ('[{"id":"1"},{"id":"2","tag":null},{"tag":7},{"id":"3","tag":"a"}]', ("a",)),
        ('["1",null,[]]', ()),
        ('{"id":"1"}', ()),
        ("7", ()),
        ("null", ()),
    ],
)
def test_odd_matching_rules_are_those_of_others(matching_rules: str, tags: tuple[str, ...]) -> None:
    raw = f'{{"data":{{"id":"20","text":"x","author_id":"7"}},"matching_rules":{matching_rules}}}'
    [message] = translated(raw.encode())
    assert isinstance(message, Translated)
    assert message.tags == tags


def test_the_payload_can_be_kept() -> None:
    raw = b'{"data":{"id":"20","text":"x","author_id":"7"}}'
    [message] = translated(raw)
    assert isinstance(message, Translated)
    kept = json.loads(keep(message[:-1] + b',"traptor":{"id":0}}', message))
    assert kept["traptor"] == {"id": 0, "v2": json.loads(raw)}


# The simulator's answers, as documented


def answer(twitter: Simulator, method: str, query: str = "", **body: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {bearer_token(CREDENTIAL)}"}
    url = f"{twitter.url}/2/tweets/search/stream/rules{query}"
    answered: dict[str, Any] = requests.request(method, url, json=body, headers=headers, timeout=5).json()
    return answered


def test_rules_are_answered_as_documented(twitter: Simulator) -> None:
    dry = answer(twitter, "POST", "?dry_run=true", add=[{"value": "storm"}])
    assert dry["meta"]["summary"] == {"created": 1, "not_created": 0, "valid": 1, "invalid": 0}
    assert answer(twitter, "GET") == {"meta": {"result_count": 0}}
    added = answer(twitter, "POST", add=[{"value": "storm", "tag": "a"}, {"value": 'broken "'}, {"value": "x" * 1025}])
    assert added["meta"]["summary"] == {"created": 1, "not_created": 2, "valid": 1, "invalid": 2}
    assert [error["value"][:6] for error in added["errors"]] == ["broken", "xxxxxx"]
    assert answer(twitter, "GET")["data"] == added["data"]
    deleted = answer(twitter, "POST", delete={"ids": [added["data"][0]["id"], "1"]})
    assert deleted["meta"]["summary"] == {"deleted": 1, "not_deleted": 1}


def tweet(text: str = "", link: str = "", **more: Any) -> dict[str, Any]:
    urls = [{"expanded_url": f"https://{link}", "indices": [0, 0]}] if link else []
    return {"id_str": "1", "text": text, "entities": {"urls": urls}, **more}


def at(longitude: float, latitude: float) -> dict[str, Any]:
    return tweet(coordinates={"type": "Point", "coordinates": [longitude, latitude]})


@pytest.mark.parametrize(
    "value, fitting, not_fitting",
    [
        ("storm", tweet("a storm"), tweet("calm")),
        ('"node.js"', tweet("we use node.js here"), tweet("node and js")),
        ('url:"node.js"', tweet("see", "node.js"), tweet("we use node.js here")),
        ('("a.b" OR url:"a.b") storm', tweet("storm", "a.b"), tweet("calm", "a.b")),
        ('("a.b" OR url:"a.b") storm', tweet("a.b storm"), tweet("storm", "c.d")),
        ("point_radius:[2.5 48.5 1mi]", at(2.5, 48.51), at(2.5, 48.52)),
        ("point_radius:[2.5 48.5 1mi]", at(2.52, 48.5), at(2.523, 48.5)),
        ("bounding_box:[2.5 48.5 2.6 48.6]", at(2.6, 48.5), at(2.61, 48.5)),
    ],
)
def test_what_a_value_means(value: str, fitting: dict[str, Any], not_fitting: dict[str, Any]) -> None:
    [clause] = parse(value)
    assert clause.holds(fields.view(fitting))
    assert not clause.holds(fields.view(not_fitting))


@pytest.mark.parametrize("value", ["", '"', 'a "b', "(a", ") b", "-a", "a -b", "from:1 to:2"])
def test_what_is_no_value(value: str) -> None:
    with pytest.raises(ValueError, match=r"no viable|stands alone"):
        list(parse(value))


def test_pushed_tweets_have_the_rules_that_they_fit() -> None:
    message = next(Synthetic(1, Snowflakes()).messages(Predicates(track=("storm",)))).body
    with Simulator(tweets=[]) as quiet:
        api = client(quiet)
        synchronise(api, RULES[0])
        stream = api.open()
        quiet.wait_for_connection(1)
        assert quiet.push(message) == 1
        pushed = take(stream, lambda message: isinstance(message, Translated))
        stream.close()
    assert [rule_ids(tag) for tag in pushed.tags] == [["1"]]
    assert json.loads(pushed)["id"] == json.loads(message)["id"]
