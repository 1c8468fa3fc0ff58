"""The seam: any source that keeps to it feeds a Traptor."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import fakeredis
import pytest

from traptor import settings, traptor
from traptor.rules import stored
from traptor.rules.checked import RuleSet
from traptor.sources import source
from traptor.sources.v1 import V1Source
from traptor.sources.v2.source import V2Source
from traptor.tweets.rule import Rule

APIKEYS = dict.fromkeys(settings.APIKEY_NAMES, "k3y")


class Heard(V1Source):
    """Tweets that somebody reads out: its rules are all one, and it opens no connection."""

    changes_rules_while_open = True

    def __init__(self, wanted: settings.Settings, counts: Counter[str]) -> None:
        super().__init__(wanted)
        self.asked: list[str] = []
        self.noted = 0

    def connect(self, wanted: settings.Settings) -> Any:
        return None

    def choose(self, rules: Any) -> RuleSet:
        return RuleSet([dict(rule) for rule in rules], [])

    def open(self, asked: str, rules: Sequence[Rule], *, missed_since: datetime | None) -> Any:
        self.asked.append(asked)
        return self

    def stream(self) -> list[dict[str, Any]]:
        return [{"id_str": "1", "text": "a storm"}, {"id_str": "1", "text": "a storm"}]

    def note(self, tweets: int) -> None:
        self.noted += tweets


def test_a_third_source_needs_nothing_but_the_seam(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(traptor, "chosen", Heard)
    conn = fakeredis.FakeRedis(decode_responses=True)
    stored.write(conn, "track", 0, [{"rule_id": "1", "value": "storm"}])
    one = traptor.Traptor(conn, conn, conn, apikeys=APIKEYS, test=True)
    one._setup_birdy()
    one._collect()
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["traptor"]["rule_value"] == "storm"
    heard: Any = one._source
    assert (heard.asked, heard.noted) == (["storm"], 1)


@pytest.mark.parametrize("api,kind", [("1.1", V1Source), ("2", V2Source)])
def test_the_settings_choose_the_source(api: str, kind: type) -> None:
    wanted = settings.load({"TWITTER_API": api, **APIKEYS}, {}, {})
    assert type(source.chosen(wanted, Counter())) is kind
