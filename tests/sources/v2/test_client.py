"""The client against the simulator's v2, over real HTTP: its rules, and who may."""

import json
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from birdy.twitter import TwitterApiError, TwitterAuthError, TwitterClientError, TwitterRateLimitError
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from tests.sources.v2.clients import RULES, client, numbered, opened, rule_ids, synchronise, take, values
from traptor.simulator import CREDENTIAL, Simulator
from traptor.simulator.v2 import bearer_token
from traptor.sources.stream import StreamEnded
from traptor.sources.v1 import MyBirdyClient
from traptor.sources.v2 import answers
from traptor.sources.v2.answers import RulesCapExceeded, TooManyConnections
from traptor.sources.v2.client import V2Client, recoverable
from traptor.sources.v2.stream import Disconnect, Translated

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
    monkeypatch.setattr("traptor.simulator.v2_rules.LONGEST_RULE_CHARACTERS", 12)
    api = client(twitter)
    [problem] = synchronise(api, *RULES, limit=1)
    assert problem[:2] == ("1", "storm,flood warning")
    assert problem.reason.startswith("is refused by Twitter: Rules must be at most 12 characters")
    assert values(api) == ["#rocket"]


def test_who_is_to_blame_is_found_in_an_account_that_is_full(
    twitter: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rules tried apart no more at once than it has room for."""
    monkeypatch.setattr("traptor.simulator.v2_rules.LONGEST_RULE_CHARACTERS", 20)
    monkeypatch.setattr("traptor.simulator.v2_rules.MOST_RULES", 2)
    api = client(twitter)
    assert synchronise(api, {"rule_id": "8", "value": "old"}, {"rule_id": "9", "value": "older"}) == []
    wanted = ["ice", "more than twenty letters", "fog", "dew"]
    problems = synchronise(api, *[{"rule_id": str(number), "value": value} for number, value in enumerate(wanted)])
    assert [problem.rule_id for problem in problems] == ["1"]
    assert values(api) == ["ice OR fog OR dew"]


def test_rules_of_others_take_room(twitter: Simulator) -> None:
    api = client(twitter)
    assert synchronise(api, *numbered(2), traptor_id=1) == []
    done = api.synchronise("track", 0, RULES, length=1024, limit=3)
    assert (done.placed, len(done.others), done.problems, len(values(api))) == (1, 2, [], 3)


def test_an_account_that_refuses_what_it_has_room_for_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may have taken the room meanwhile."""
    held = [{"id": str(number), "value": f"old {number}", "tag": "traptor:track:0:1=a"} for number in range(5)]
    asked: list[Any] = []

    def request(api: V2Client, method: str, path: str, **params: Any) -> Any:
        asked.append(params)
        assert len(asked) < 20
        if "add" in params:
            raise RulesCapExceeded("RulesCapExceeded", response=requests.Response())
        return SimpleNamespace(data={"data": held if path.endswith("/rules") else {}})

    monkeypatch.setattr(V2Client, "request", request)
    with pytest.raises(RulesCapExceeded):
        V2Client("key", "secret", "bearer", "https://api.example").synchronise(
            "track", 0, numbered(5), length=1024, limit=5
        )


def test_the_limit_of_the_account_is_found_where_the_setting_is_too_high(
    twitter: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules share, and what finds no room even so is told; later changes know the limit."""
    monkeypatch.setattr("traptor.simulator.v2_rules.MOST_RULES", 25)
    api = client(twitter)
    done = api.synchronise("track", 0, numbered(200), length=100, limit=2500)
    assert (done.limit, done.placed, len(done.problems)) == (25, 25, 80)
    assert {problem.reason for problem in done.problems} == {"over the limit of 25 rules on the server"}
    kept = [rule_id for rule in api.held_rules() for rule_id in rule_ids(rule.tag)]
    assert kept + [problem.rule_id for problem in done.problems] == [rule["rule_id"] for rule in numbered(200)]
    monkeypatch.setattr(V2Client, "_post", None)
    assert api.synchronise("track", 0, numbered(200), length=100, limit=2500) == done


@pytest.mark.parametrize("told, cap", [
    ({"cap_per_client_app": "25", "cap_per_project": "1000", "project_rules_count": "5",
      "client_app_rules_count": {"rule_count": 5}}, 25),
    ({"cap_per_client_app": "1000", "cap_per_project": "1000", "project_rules_count": "900",
      "client_app_rules_count": {"rule_count": 300}}, 400),
    ({"cap_per_client_app": 7}, 7), ({"cap_per_client_app": "many", "client_app_rules_count": 5}, sys.maxsize),
    ({}, sys.maxsize), ([], sys.maxsize),
])  # fmt: skip
def test_the_cap_is_what_the_account_may_have(monkeypatch: pytest.MonkeyPatch, told: Any, cap: int) -> None:
    monkeypatch.setattr(V2Client, "request", lambda *_, **__: SimpleNamespace(data={"data": told}))
    assert V2Client("key", "secret", "bearer", "https://api.example").rule_cap() == cap


def test_a_cap_that_is_told_is_kept_to_at_once(twitter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traptor.simulator.v2_rules.MOST_RULES", 7)
    done = client(twitter).synchronise("track", 0, numbered(5), length=1024, limit=1000)
    assert (done.limit, done.placed) == (7, 5)


@pytest.mark.parametrize("most", [0, 3, 5, 7, 1001])
def test_every_limit_is_found(twitter: Simulator, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Also where the account is not told of it; what is there already is not given up for it."""
    monkeypatch.setattr(V2Client, "rule_cap", lambda _: sys.maxsize)
    api = client(twitter)
    synchronise(api, *numbered(most // 2))
    monkeypatch.setattr("traptor.simulator.v2_rules.MOST_RULES", most)
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
    done = api.synchronise("track", 0, RULES[1:], length=1024, limit=1000)
    assert done == (0, [("2", "#rocket", "is refused by Twitter: changed our mind")], [], 1000)


def test_rules_change_where_the_account_is_full(twitter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traptor.simulator.v2_rules.MOST_RULES", 25)
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


@pytest.mark.parametrize(
    "bearer, secret, status, told",
    [
        ("wrong", CREDENTIAL.consumer_secret, 401, "BEARER_TOKEN is refused: Unauthorized"),
        ("", "wrong", 403, "CONSUMER_KEY and CONSUMER_SECRET are refused: Unable to verify your credentials"),
    ],
)
def test_wrong_secrets_are_told_as_such(twitter: Simulator, bearer: str, secret: str, status: int, told: str) -> None:
    api = V2Client(CREDENTIAL.consumer_key, secret, bearer, twitter.url)
    with pytest.raises(TwitterApiError, match=told) as caught:
        api.held_rules()
    assert caught.value.status_code == status


@pytest.mark.parametrize("bearer", ["known", ""])
def test_every_request_says_who_asks_and_takes_gzip_alone(bearer: str) -> None:
    headers = V2Client("key", "secret", bearer, "https://api.example").session.headers
    assert (headers["User-Agent"], headers["Accept-Encoding"]) == (MyBirdyClient.user_agent_string, "gzip")


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


def test_the_connections_that_stand_are_told(twitter: Simulator) -> None:
    stream = opened(twitter)
    with pytest.raises(TooManyConnections, match=r"; standing: [0-9a-f-]{36} from 127.0.0.1 since 20") as caught:
        client(twitter).open()
    assert len(caught.value.standing) == 1
    stream.close()


def test_the_connections_that_stand_are_ended_if_wanted(twitter: Simulator) -> None:
    first = opened(twitter)
    api = V2Client(CREDENTIAL.consumer_key, "", bearer_token(CREDENTIAL), twitter.url, ends_others=True)
    second = api.open()
    with pytest.raises(StreamEnded, match="ForceDisconnect"):
        take(first, lambda message: not isinstance(message, Translated | Disconnect))
    assert take(second, lambda message: isinstance(message, Translated))
    second.close()


@pytest.mark.parametrize("data", [{"successful_kills": 0}, {}, None, [1]])
def test_where_none_could_be_ended_the_refusal_stands(monkeypatch: pytest.MonkeyPatch, data: Any) -> None:
    asked: list[str] = []

    def request(api: V2Client, method: str, path: str, **_: Any) -> Any:
        asked.append(f"{method} {path}")
        if path == "tweets/search/stream":
            raise TooManyConnections("too many", response=requests.Response())
        return SimpleNamespace(data={"data": data})

    monkeypatch.setattr(V2Client, "request", request)
    with pytest.raises(TooManyConnections):
        V2Client("key", "secret", "bearer", "https://api.example", ends_others=True).open()
    assert asked == ["GET tweets/search/stream", "GET connections", "DELETE connections/filtered_stream"]


@pytest.mark.parametrize(
    "body, told",
    [
        (
            {"errors": [{"parameters": {"expansions": ["x"]}, "message": "The `expansions` value [x] is wrong"},
                        {"message": "and more"}],
             "title": "Invalid Request", "detail": "One or more parameters to your request was invalid."},
            "Invalid Request: One or more parameters to your request was invalid."
            " The `expansions` value [x] is wrong; and more",
        ),
        ({"errors": [{"title": "Forbidden", "detail": "Not for you"}]}, "Not for you"),
        ({"errors": ["plain", 7, {"code": 3}]}, "plain; 7; {'code': 3}"),
        ({"title": "Unauthorized"}, "Unauthorized"),
        ({"errors": 7}, ""),
    ],
)  # fmt: skip
def test_a_problem_is_told_whole(body: dict[str, Any], told: str) -> None:
    assert answers.problem(body) == told


NOON = datetime(2026, 8, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "gap_minutes, backfill_minutes, hours, recovered_minutes",
    [(30, 5, 24, 30), (5, 5, 24, None), (4, 5, 24, None), (4, 0, 24, 4), (30, 5, 0, None), (300, 5, 2, 120)],
)
def test_what_is_recovered_of_a_gap(
    gap_minutes: int, backfill_minutes: int, hours: int, recovered_minutes: int | None
) -> None:
    missed = recoverable(NOON - timedelta(minutes=gap_minutes), NOON, backfill_minutes, hours)
    assert missed == (recovered_minutes and (NOON - timedelta(minutes=recovered_minutes), NOON))


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


@pytest.mark.parametrize("status, body", [(200, b"<html>Welcome</html>"), (503, b'{"access_token":"of a proxy"}')])
def test_a_token_is_what_x_gives_with_a_200(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> None:
    def answered(session: requests.Session, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer.request = status, request
        answer.raw = HTTPResponse(BytesIO(body), preload_content=False)
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", answered)
    api = V2Client("key", "secret", "", "https://api.example")
    with pytest.raises(TwitterApiError) as caught:
        api.held_rules()
    assert (caught.value.status_code, api.access_token) == (status, None)


NAMES = st.sampled_from(["data", "meta", "errors", "id", "value", "tag", "next_token", "summary", "details", "title"])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(NAMES, ODD, min_size=1), min_size=1, max_size=4), st.sampled_from([200, 201, 400]))
def test_whatever_is_answered_about_rules_it_is_an_error_of_x_at_most(bodies: list[Any], status: int) -> None:
    """The same answers come over and over."""
    given_answers = cycle(json.dumps(body).encode() for body in bodies)

    def answered(method: str, url: str, **_: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer.url = status, url
        answer.raw = HTTPResponse(BytesIO(next(given_answers)), preload_content=False)
        return answer

    for call in (
        lambda api: api.synchronise("track", 0, RULES, length=1024, limit=1000),
        lambda api: api.posts_of_a_week("storm"),
        lambda api: api._standing(),
        lambda api: api._end_others(),
    ):
        api = V2Client("key", "secret", "bearer", "https://api.example")
        api.make_api_call = answered
        with suppress(TwitterApiError):
            call(api)
