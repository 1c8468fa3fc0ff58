"""The fleet's page: what a browser gets, from a fake Redis, and what it does not."""

import json
from typing import Any

import fakeredis
import pytest

from traptor import keys
from traptor.account.web_server import Answer, Asked
from traptor.commands.page import place
from traptor.fleet import overview, roster
from traptor.fleet.page import FILES, REFRESH_SECONDS, Page
from traptor.rules import stored

TWEETS = {"tweets": [{"text": [["<b>storm</b>", True]]}], "trouble": ""}


class Seen:
    """A page on a fake Redis, with a clock to move."""

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()
        self.conn = fakeredis.FakeRedis(server=self.server, decode_responses=True)
        stored.write(self.conn, "track", 0, [{"rule_id": "1", "value": "storm", "tag": "weather"}, {"rule_id": "2"}])
        stored.write(self.conn, "follow", 3, [{"rule_id": "1", "value": "12"}])
        self.conn.set("track:0:20260101000000", "alive")
        self.conn.set(keys.status("track", 0), json.dumps({"state": "streaming", "rates": [1, 2], "left_out": 1}))
        self.conn.set(keys.stats("track", 0, "1"), 30)
        self.conn.rpush(keys.gaps("track", 0), '{"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:07Z"}')
        self.now = 0.0
        self.page = Page(self.conn, 900, lambda: TWEETS, {"collector"}, clock=lambda: self.now)

    def get(self, path: str, host: str = "127.0.0.1:8000") -> Answer:
        return self.page.answer(Asked(path, host))

    def told(self, path: str) -> Any:
        return json.loads(self.get(path).body)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_the_fleet_is_told_as_status_tells_it(seen: Seen) -> None:
    told = seen.told("/status.json")
    members = roster.look(seen.conn)
    for one in told["traptors"]:
        assert (one.pop("words")["Traptor"], one.pop("shown")) == (one["traptor"], True)
    assert told["traptors"] == overview.fleet_as_dict(members, {})["traptors"]
    assert told["orphans"] == {"follow": 1}
    assert [text.split()[0] for text in told["needs"]] == ["follow:3", "track:0"]


def test_one_is_told_with_its_rules_rates_and_gaps(seen: Seen) -> None:
    told = seen.told("/status/track:0.json")
    assert [(rule["rule_id"], rule["matches"], rule["per_minute"]) for rule in told["rules"]] == [
        ("1", 30, 2.0),
        ("2", 0, 0.0),
    ]
    assert told["gaps"][0]["words"] == ["2026-01-01T00:00:00", "7.0 s"]
    assert told["status"]["rates"] == [1, 2]
    assert ["state", "streaming"] in told["facts"]


def test_however_many_look_redis_is_looked_at_once(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    for owner, name in ((seen.conn, "scan_iter"), (stored, "hashes")):
        asked = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, asked=asked, **more: looks.append("") or asked(*args, **more))
    fleet = [seen.told("/status.json") for _ in range(5)]
    cost = len(looks)
    assert all(one["traptors"] == fleet[0]["traptors"] for one in fleet)
    assert len([seen.told("/status/track:0.json") for _ in range(5)]) == 5
    assert len(looks) == cost + 1  # its rules
    seen.now += REFRESH_SECONDS
    seen.told("/status.json")
    assert len(looks) == 2 * cost + 1


def test_a_redis_that_is_away_is_told_with_since_when_and_comes_back(seen: Seen) -> None:
    seen.server.connected = False
    answer = seen.get("/status.json")
    told = json.loads(answer.body)
    assert (answer.code, told["trouble"][:22]) == (503, "Redis cannot be used: ")
    seen.now += REFRESH_SECONDS
    assert seen.told("/status/track:0.json")["since"] == told["since"]
    seen.server.connected = True
    assert seen.get("/status.json").code == 503  # of the last look
    seen.now += REFRESH_SECONDS
    assert seen.get("/status.json").code == 200


@pytest.mark.parametrize(
    "path,code",
    [
        *((path, 200) for path in FILES),
        ("/tweets.json", 200),
        ("/status/track:0.json", 200),
        ("/status/track:9.json", 404),
        ("/status/track:1000000000000.json", 404),
        ("/status/tweets:0.json", 404),
        ("/../../../etc/passwd", 404),
        ("/page.py", 404),
        ("", 404),
    ],
)
def test_there_is_this_and_nothing_else(seen: Seen, path: str, code: int) -> None:
    assert seen.get(path).code == code


@pytest.mark.parametrize(
    "host,code",
    [
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("192.168.1.7", 200),
        ("LocalHost:8000", 200),
        ("localhost.:8000", 200),
        ("localhost.", 200),
        ("collector:8000", 200),
        ("rebound.example.org:8000", 421),
        ("127.0.0.1.example.org", 421),
        ("", 421),
    ],
)
def test_a_strangers_name_for_this_machine_is_not_answered(seen: Seen, host: str, code: int) -> None:
    assert {seen.get(path, host).code for path in ("/", "/status.json", "/tweets.json")} == {code}


def test_what_the_page_is_made_of_refers_to_nothing_else(seen: Seen) -> None:
    for path in FILES:
        text = seen.get(path).body.decode().replace("http://www.w3.org/2000/svg", "")
        assert [
            word for word in ("http:", "https:", "@import", "innerHTML", "outerHTML", "eval(") if word in text
        ] == []


@pytest.mark.parametrize(
    "text,expected",
    [
        ("8000", ("127.0.0.1", 8000)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:80", ("::1", 80)),
        (":80", ("127.0.0.1", 80)),
    ],
)
def test_where_to_serve(text: str, expected: tuple[str, int]) -> None:
    assert place(text) == expected


@pytest.mark.parametrize("text", ["", "host", "65536", "-1", "1.5", "127.0.0.1:", "٣", "é" * 70 + ":0"])
def test_what_is_no_port_is_told(text: str) -> None:
    with pytest.raises(Exception, match="allowed is a port"):
        place(text)
