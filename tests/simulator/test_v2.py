"""The simulator's v2: answers as documented, and as strict as the specification."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from msgspec import UNSET

from traptor.simulator import CREDENTIAL, Simulator, v2_request
from traptor.simulator.faults import Odd
from traptor.simulator.feed import Synthetic, decode
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.stream import odd
from traptor.simulator.v2 import bearer_token
from traptor.simulator.v2_clauses import parse
from traptor.simulator.v2_payload import payload
from traptor.simulator.wire import Message
from traptor.sources.v2 import shape
from traptor.sources.v2.client import FIELDS
from traptor.tweets import fields


@pytest.fixture
def twitter() -> Iterator[Simulator]:
    with Simulator(rate=200) as simulator:
        yield simulator


def request(twitter: Simulator, method: str, path: str, **body: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {bearer_token(CREDENTIAL)}"}
    return requests.request(method, twitter.url + path, json=body or None, headers=headers, timeout=60)


def answer(twitter: Simulator, method: str, query: str = "", **body: Any) -> dict[str, Any]:
    answered: dict[str, Any] = request(twitter, method, f"/2/tweets/search/stream/rules{query}", **body).json()
    return answered


def test_rules_are_answered_as_documented(twitter: Simulator) -> None:
    dry = answer(twitter, "POST", "?dry_run=true", add=[{"value": "storm"}])
    assert dry["meta"]["summary"] == {"created": 1, "not_created": 0, "valid": 1, "invalid": 0}
    assert re.fullmatch(r"20.+Z", dry["meta"]["sent"])
    assert answer(twitter, "GET")["meta"]["result_count"] == 0
    added = answer(twitter, "POST", add=[{"value": "storm", "tag": "a"}, {"value": 'broken "'}, {"value": "x" * 1025}])
    assert added["meta"]["summary"] == {"created": 1, "not_created": 2, "valid": 1, "invalid": 2}
    assert [error["value"][:6] for error in added["errors"]] == ["broken", "xxxxxx"]
    assert answer(twitter, "GET")["data"] == added["data"]
    deleted = answer(twitter, "POST", delete={"ids": [added["data"][0]["id"], "1"]})
    assert deleted["meta"]["summary"] == {"deleted": 1, "not_deleted": 1}


def test_rules_are_found_and_deleted_by_id_by_value_and_all(twitter: Simulator) -> None:
    rules = answer(twitter, "POST", add=[{"value": value} for value in ("a", "b", "c", "d")])["data"]
    assert answer(twitter, "GET", f"?ids={rules[1]['id']},{rules[3]['id']}")["data"] == [rules[1], rules[3]]
    page = answer(twitter, "GET", "?max_results=3")
    assert len(page["meta"]["next_token"]) == 16
    assert answer(twitter, "GET", f"?max_results=3&pagination_token={page['meta']['next_token']}")["data"] == rules[3:]
    assert answer(twitter, "POST", delete={"values": ["b"]})["meta"]["summary"]["deleted"] == 1
    assert answer(twitter, "GET", "/counts")["data"]["client_app_rules_count"] == {
        "client_app_id": "1",
        "rule_count": 3,
    }
    few = answer(twitter, "GET", "/counts?rules_count.fields=cap_per_project,project_rules_count")
    assert few["data"] == {"cap_per_project": "1000", "project_rules_count": "3"}
    assert answer(twitter, "POST", "?delete_all=true")["meta"]["summary"]["deleted"] == 3
    assert answer(twitter, "GET")["meta"]["result_count"] == 0


@pytest.mark.parametrize(
    "method, query, body, told",
    [
        ("GET", "?max_results=1001", {}, "The `max_results` query parameter value [1001] is not between 1 and 1000"),
        (
            "GET",
            "/counts?rules_count.fields=rules",
            {},
            "The `rules_count.fields` query parameter value [rules] is not",
        ),
        ("GET", "?ids=a", {}, "The `ids` query parameter value [a] does not match ^[0-9]{1,19}$"),
        ("GET", "?pagination_token=7", {}, "The `pagination_token` query parameter value [7] does not match"),
        ("GET", "?page=2", {}, "The query parameter [page] is not one of [ids,max_results,pagination_token]"),
        ("POST", "?dry_run=perhaps", {"add": [{"value": "a"}]}, "The `dry_run` query parameter value [perhaps]"),
        ("POST", "", {"add": [{"value": "a"}], "delete": {"ids": ["1"]}}, "Exactly one of"),
        ("POST", "?delete_all=true", {"delete": {"ids": ["1"]}}, "Exactly one of"),
        ("POST", "", {}, "Exactly one of"),
        ("POST", "", {"put": []}, "$.put: is not defined in the schema"),
        ("POST", "", {"add": [{"tag": "a"}]}, "$.add: each needs a `value`"),
        ("POST", "", {"add": [{"value": "a", "id": "1"}]}, "$.add: each needs a `value`"),
        ("POST", "", {"delete": {"tags": ["a"]}}, "$.delete: needs `ids` or `values`"),
        ("POST", "", {"delete": {"ids": "1"}}, "$.delete: `ids` and `values` are lists"),
    ],
)
def test_what_rules_do_not_take_is_refused(
    twitter: Simulator, method: str, query: str, body: dict[str, Any], told: str
) -> None:
    refused = request(twitter, method, f"/2/tweets/search/stream/rules{query}", **body)
    assert refused.status_code == 400
    assert refused.json()["title"] == "Invalid Request"
    assert refused.json()["errors"][0]["message"].startswith(told)


@pytest.mark.parametrize(
    "query, told",
    [
        (
            "expansions=author_id,retweets",
            "The `expansions` query parameter value [author_id,retweets] is not one of [",
        ),
        ("tweet.fields=note_post", "The `tweet.fields` query parameter value [note_post] is not one of [article,"),
        ("user.fields=", "The `user.fields` query parameter value [] is not one of [affiliation,"),
        ("backfill_minutes=6", "The `backfill_minutes` query parameter value [6] is not between 0 and 5"),
        ("start_time=yesterday", "The `start_time` query parameter value [yesterday] does not match"),
        ("partition=1", "The query parameter [partition] is not one of [backfill_minutes,end_time,expansions,"),
    ],
)
def test_what_the_stream_does_not_take_is_refused(twitter: Simulator, query: str, told: str) -> None:
    refused = request(twitter, "GET", f"/2/tweets/search/stream?{query}")
    assert refused.status_code == 400
    [error] = refused.json()["errors"]
    assert error["message"].startswith(told)
    assert list(error["parameters"]) == [query.partition("=")[0]]


def test_what_is_not_there_is_not_found(twitter: Simulator) -> None:
    assert request(twitter, "GET", "/2/users/me").status_code == 404
    assert request(twitter, "PUT", "/2/tweets/search/stream/rules").status_code == 404


def test_connections_are_told_and_ended(twitter: Simulator) -> None:
    assert request(twitter, "GET", "/2/connections").json() == {"meta": {"result_count": 0}}
    answer(twitter, "POST", add=[{"value": "storm"}])
    with requests.get(
        f"{twitter.url}/2/tweets/search/stream",
        headers={"Authorization": f"Bearer {bearer_token(CREDENTIAL)}"}, stream=True, timeout=60,
    ) as stream:  # fmt: skip
        [standing] = request(twitter, "GET", "/2/connections?connection.fields=id,client_ip").json()["data"]
        assert standing.keys() == {"id", "client_ip"}
        done = request(twitter, "DELETE", "/2/connections", uuids=[standing["id"], "nobody"]).json()["data"]
        assert (done["successful_kills"], done["failed_kills"]) == (1, 1)
        last = [line for line in stream.iter_lines() if line][-1]
        assert json.loads(last)["errors"][0]["disconnect_type"] == "ForceDisconnect"
    assert request(twitter, "DELETE", "/2/connections").status_code == 400


FACTS = json.loads((Path(__file__).parents[1] / "sources/v2/openapi-2.167.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FACTS["requests"])
def test_the_simulator_takes_what_the_specification_lists_and_nothing_else(name: str) -> None:
    listed = FACTS["requests"][name]["parameters"]
    checks = v2_request.PARAMETERS[name.replace("{endpoint_id}", "filtered_stream")]
    assert checks.keys() == listed.keys()
    for parameter, facts in listed.items():
        for value in facts.get("enum", ()):
            checks[parameter](value)
        if "enum" in facts:
            with pytest.raises(v2_request.Wrong):
                checks[parameter]("something_else")
        for bound, beyond in ((facts.get("minimum"), -1), (facts.get("maximum"), 1)):
            if bound is not None:
                checks[parameter](str(bound))
                with pytest.raises(v2_request.Wrong):
                    checks[parameter](str(bound + beyond))


def test_what_is_sent_has_the_names_of_the_specification() -> None:
    """Of its own generation of names; the other has those that the guides and its request parameters have."""
    known = v2_request.PARAMETERS["GET /2/tweets/search/stream"]
    asked = v2_request.asked(urlencode({name: allowed for name, allowed in v2_request.FIELDS.items() if name in known}))
    for predicates in (Predicates(track=("storm",)), Predicates(locations=("-122.75,36.8,-121.75,37.8",))):
        for message in islice(Synthetic(1, Snowflakes()).messages(predicates), 300):
            sent = payload(decode(message.body), [], asked, "post")
            assert not unknown(sent, "StreamPostsResponse")


SCHEMAS = {
    "data": "Post", "includes": "Expansions", "posts": "Post", "users": "User", "media": "Media", "places": "Place",
    "note_post": "PostNotePost", "edit_controls": "PostEditControls", "attachments": "PostAttachments",
}  # fmt: skip


def unknown(thing: dict[str, Any], schema: str) -> set[str]:
    """The names in it that the specification does not have."""
    found = thing.keys() - set(FACTS["schemas"][schema])
    for name, value in thing.items():
        metrics = {"Post": "PostPublicMetrics", "User": "UserPublicMetrics"} if name == "public_metrics" else {}
        inner = metrics.get(schema) or SCHEMAS.get(name)
        for one in value if isinstance(value, list) else [value]:
            found |= unknown(one, inner) if inner and isinstance(one, dict) else set()
    return found


def test_an_odd_field_stands_in_the_next_message_alone(twitter: Simulator) -> None:
    sent = Message(b'{"data":{"id":"1","list":[{"a":1}]}}', 1)
    for field, value, expected in (
        ("data.id", 5, {"data": {"id": 5, "list": [{"a": 1}]}}),
        ("data.list.0.a", UNSET, {"data": {"id": "1", "list": [{}]}}),
        ("data.list.7.a", 5, {"data": {"id": "1", "list": [{"a": 1}]}}),
        ("data.list.x", 5, {"data": {"id": "1", "list": [{"a": 1}]}}),
        ("new", None, {"data": {"id": "1", "list": [{"a": 1}]}, "new": None}),
    ):
        assert json.loads(odd(sent, Odd(field=field, value=value)).body) == expected


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
        ("storm -sea", tweet("a storm"), tweet("a storm at sea")),
        ("storm has:links", tweet("storm", "a.b"), tweet("storm")),
        ("from:1 to:2", tweet(user={"id_str": "1"}, in_reply_to_user_id_str="2"), tweet(user={"id_str": "1"})),
        ("point_radius:[2.5 48.5 1mi]", at(2.5, 48.51), at(2.5, 48.52)),
        ("point_radius:[2.5 48.5 1mi]", at(2.52, 48.5), at(2.523, 48.5)),
        ("bounding_box:[2.5 48.5 2.6 48.6]", at(2.6, 48.5), at(2.61, 48.5)),
    ],
)
def test_what_a_value_means(value: str, fitting: dict[str, Any], not_fitting: dict[str, Any]) -> None:
    [clause] = parse(value)
    assert clause.holds(fields.view(fitting))
    assert not clause.holds(fields.view(not_fitting))


@pytest.mark.parametrize("value", ["", '"', 'a "b', "(a", ") b", "a -"])
def test_what_is_no_value(value: str) -> None:
    with pytest.raises(ValueError, match="no viable"):
        list(parse(value))


@pytest.mark.parametrize("value", ["-a", "is:retweet", "has:links -is:reply", "a OR is:quote"])
def test_some_operators_only_narrow_what_others_find(value: str) -> None:
    with pytest.raises(ValueError, match="cannot stand alone"):
        list(parse(value))


def test_what_an_operator_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="is: takes retweet, quote, reply"):
        list(parse("a is:mine"))


@pytest.mark.parametrize("names", ["tweet", "post"])
@pytest.mark.parametrize(
    "recorded",
    [
        {"text": "storm"},
        {"full_text": "storm " * 60, "user": {"id_str": "7"}, "entities": {"urls": []}},
        {"text": "storm", "entities": None, "user": None, "place": {"id": "p", "bounding_box": None}},
        {"text": "RT", "retweeted_status": {"id_str": "19", "text": "storm"}, "quoted_status": {}},
        {"text": "@a", "entities": {"user_mentions": [{"screen_name": "a", "id_str": None, "indices": [0, 2]}]}},
    ],
)
def test_a_recorded_tweet_that_lacks_something_is_sent(recorded: dict[str, Any], names: str) -> None:
    asked = v2_request.asked(urlencode(FIELDS))
    sent = payload({"id_str": "20", **recorded}, [], asked, names)
    found, left_out = shape.shaped(sent)
    assert ([one["id_str"] for one in found], left_out) == (["20"], ())
    assert "null" not in json.dumps(sent)
