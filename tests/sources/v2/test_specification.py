"""What the client asks for, held against X's specification."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from birdy.twitter import TwitterApiError

from tests.sources.v2.clients import RULES, client, synchronise
from traptor.simulator import CREDENTIAL, Simulator
from traptor.simulator.v2 import bearer_token
from traptor.sources.v2.client import FIELDS, V2Client
from traptor.sources.v2.payload import Expansions, Medium, Place, Post, PostMetrics, User, UserMetrics

FACTS = json.loads((Path(__file__).parent / "openapi-2.167.json").read_text(encoding="utf-8"))


def is_listed(facts: dict[str, Any], value: str) -> bool:
    """Is a value of a parameter within what the specification says of it?"""
    values = value.split(",")
    return len(set(values)) == len(values) and all(
        one in facts.get("enum", [one]) and facts.get("minimum", 0) <= (int(one) if "minimum" in facts else 0)
        and (int(one) if "maximum" in facts else 0) <= facts.get("maximum", 0)
        for one in values
    )  # fmt: skip


def unlisted(method: str, url: str, body: Any) -> list[str]:
    """What of a request the specification does not have."""
    parts = urlsplit(url)
    name = f"{method} {parts.path}"
    for endpoint in FACTS["requests"]["DELETE /2/connections/{endpoint_id}"]["endpoints"]:
        name = name.replace(f"connections/{endpoint}", "connections/{endpoint_id}")
    if name not in FACTS["requests"]:
        return [name]
    facts = FACTS["requests"][name]
    asked = {parameter: values[-1] for parameter, values in parse_qs(parts.query).items()}
    wrong = [f"{name}: {one}={asked[one]}" for one in asked if one not in facts["parameters"]]
    wrong += [
        f"{name}: {one}={asked[one]}" for one in asked if not is_listed(facts["parameters"].get(one, {}), asked[one])
    ]
    return wrong + [f"{name}: {one}" for one in _names(body) if one not in set(_names(facts.get("body", {})))]


def _names(body: Any) -> list[str]:
    """The names in a body, at any depth."""
    inside = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return [*(body if isinstance(body, dict) else ()), *(name for one in inside for name in _names(one))]


def test_every_request_is_one_of_the_specification(twitter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str, Any]] = []
    send = requests.Session.send

    def noted(self: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        made.append((str(request.method), str(request.url), json.loads(request.body) if request.body else None))
        return send(self, request, **how)

    monkeypatch.setattr(requests.Session, "send", noted)
    monkeypatch.setattr("traptor.sources.v2.client.PAGE_RULES", 1)
    now = datetime.now(UTC)
    api = client(twitter)
    synchronise(api, *RULES)
    synchronise(api, RULES[0])
    stream = api.open(2, missed=(now - timedelta(minutes=9), now))
    with pytest.raises(TwitterApiError):
        api.open()
    V2Client(CREDENTIAL.consumer_key, "", bearer_token(CREDENTIAL), twitter.url, ends_others=True).open().close()
    stream.close()
    assert {(method, urlsplit(url).path) for method, url, _ in made} == {
        ("GET", "/2/tweets/search/stream/rules/counts"), ("GET", "/2/tweets/search/stream/rules"),
        ("POST", "/2/tweets/search/stream/rules"), ("GET", "/2/tweets/search/stream"), ("GET", "/2/connections"),
        ("DELETE", "/2/connections/filtered_stream"),
    }  # fmt: skip
    assert [wrong for request in made for wrong in unlisted(*request)] == []


@pytest.mark.parametrize(
    "method, url, body",
    [
        ("GET", "/2/tweets/search/stream?tweet.fields=note_post", None),
        ("GET", "/2/tweets/search/stream?expansions=author_id,author_id", None),
        ("GET", "/2/tweets/search/stream?backfill_minutes=6", None),
        ("GET", "/2/tweets/search/stream?partition=1", None),
        ("POST", "/2/tweets/search/stream/rules", {"add": [{"value": "a", "label": "b"}]}),
        ("GET", "/2/users/me", None),
    ],
)
def test_what_the_specification_does_not_list_is_found(method: str, url: str, body: Any) -> None:
    assert len(unlisted(method, url, body)) == 1


def test_all_that_is_read_is_asked_for_or_comes_by_itself() -> None:
    """And bears a name of the specification, or the older one of the same thing."""
    older = {
        "note_tweet": "note_post", "referenced_tweets": "referenced_posts", "tweets": "posts",
        "edit_history_tweet_ids": "edit_history_post_ids", "retweet_count": "repost_count", "tweet_count": "post_count",
    }  # fmt: skip
    for kind, schema in (
        (Post, "Post"), (User, "User"), (Medium, "Media"), (Place, "Place"), (Expansions, "Expansions"),
        (PostMetrics, "PostPublicMetrics"), (UserMetrics, "UserPublicMetrics"),
    ):  # fmt: skip
        assert {older.get(name, name) for name in kind.__struct_fields__} <= set(FACTS["schemas"][schema])
    for kind, parameter in ((Post, "tweet"), (User, "user"), (Medium, "media"), (Place, "place")):
        asked = FIELDS[f"{parameter}.fields"].split(",")
        newer = set(older.values())
        assert set(kind.__struct_fields__) - newer - {"id", "text"} <= set(asked)
