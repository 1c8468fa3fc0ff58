"""What ``--look`` shows of a message."""

import io
import json
from typing import Any

import pytest

from traptor import look
from traptor.tweets import fields
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.explained import explainer

RULES = {
    "track": [{"rule_id": "1", "tag": "weather", "value": "storm,flood warning"}, {"rule_id": "2", "value": "#rocket"}],
    "follow": [{"rule_id": "1", "tag": "newsroom", "value": "1001"}],
    "locations": [{"rule_id": "1", "tag": "bay", "value": "-123,36,-121,38"}],
}


def tweet(text: str = "", **more: Any) -> dict[str, Any]:
    return {
        "created_at": "Mon Feb 22 01:34:53 +0000 2016", "id_str": "1", "text": text,
        "user": {"id_str": "1001", "screen_name": "ann"}, **more,
    }  # fmt: skip


def enriched(message: dict[str, Any], traptor_type: str = "track") -> Any:
    made = Enrichment(traptor_type, 0, RULES[traptor_type])
    return {**message, "traptor": {"created_at_iso": "2016-02-22T01:34:53+00:00", **made.identity,
                                   **made.told(made.match_dict(message))}}  # fmt: skip


def shown(message: Any, width: int | None = None) -> str:
    """Without the time, which is where we are, and runs of blanks."""
    return " ".join(look.plain_marks(look.line(message, width)).split()[1:])


def hashtag(text: str) -> dict[str, Any]:
    return {"entities": {"hashtags": [{"text": text}]}}


@pytest.mark.parametrize(
    "message,traptor_type,expected",
    [
        (tweet("A STORM at sea"), "track", "weather @ann A *STORM* at sea (text)"),
        (tweet("Storms, a storm."), "track", "weather @ann Storms, a *storm*. (text)"),
        (tweet("flood, and a warning"), "track", "weather @ann *flood*, and a *warning* (text)"),
        (tweet("flood and storm"), "track", "weather @ann flood and *storm* (text)"),
        (tweet("up #Rocket", **hashtag("Rocket")), "track", "#rocket @ann up *#Rocket* (hashtag)"),
        (tweet("storm #rocket", **hashtag("rocket")), "track",
         "weather, #rocket @ann *storm* *#rocket* (text, hashtag)"),
        (tweet("one\nstorm\tat &lt;sea&gt;"), "track", "weather @ann one *storm* at <sea> (text)"),
        (tweet("\x1b]0;storm\x07 it"), "track", "weather @ann \\x1b]0;*storm*\\x07 it (text)"),
        (
            tweet("RT @bo: a st…", retweeted_status=tweet("a storm", user={"screen_name": "bo"})),
            "track", "weather @ann RT @bo: a *storm* (retweeted text)",
        ),
        (
            tweet("RT @bo: a storm", retweeted_status=tweet("a storm", user={"screen_name": "bo"})),
            "track", "weather @ann RT @bo: a *storm* (text)",
        ),
        (
            tweet("see", quoted_status=tweet("a storm", user={"screen_name": "bo"})),
            "track", "weather @ann see » @bo: a *storm* (quoted text)",
        ),
        (tweet("no"), "track", "no rule @ann no"),
        (tweet("hello"), "follow", "newsroom @ann hello (author)"),
        (tweet("hi", coordinates={"coordinates": [-122, 37]}), "locations", "bay @ann hi (point)"),
    ],
)  # fmt: skip
def test_a_tweet_is_a_line(message: dict[str, Any], traptor_type: str, expected: str) -> None:
    assert shown(enriched(message, traptor_type)) == expected


def test_it_fits_the_terminal() -> None:
    made = look.line(enriched(tweet("storm " * 50)), 80)
    assert made.cell_len == 80
    assert made.plain.endswith("…  (text)")


def test_what_matched_is_in_sight() -> None:
    made = look.line(enriched(tweet("calm " * 50 + "storm" + " calm" * 50)), 80)
    assert made.cell_len == 80
    assert "calm *storm* calm" in look.plain_marks(made)


@pytest.mark.parametrize(
    "message,expected",
    [
        ({"delete": {"status": {"id_str": "7"}}}, "notice 7"),
        ({"limit": {"track": 3}}, "notice"),
        ({"id_str": "1", "user": None, "traptor": {"rules": [None, {"matched_in": ["text"]}]}}, "@ (text)"),
        ({"id_str": "1", "traptor": {"rules": 5}}, "rule @"),
        ({"id_str": "1", "traptor": {"rules": None}}, "rule @"),
        ({"id_str": "1", "traptor": {"rules": [{"tag": "a", "matched_in": None}]}}, "@"),
        ([1], "notice"),
    ],
)
def test_what_is_no_whole_tweet_is_a_line_as_well(message: Any, expected: str) -> None:
    assert shown(message) == expected


def test_a_pipe_of_any_encoding_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    out = look.Look(None)
    out.writelines([json.dumps(enriched(tweet("störm storm"))).encode()])
    out.flush()
    assert written.getvalue().endswith(b"st\\u00f6rm *storm*  (text)\n")


@pytest.mark.parametrize("odd, why", [(b"1e999", "1e999 is too large"), (b"[" * 600 + b"]" * 600, "nested too deeply")])
def test_what_cannot_be_taken_apart_is_told(capsys: pytest.CaptureFixture[str], odd: bytes, why: str) -> None:
    out = look.Look(None)
    out.writelines([b'{"id_str":"1","text":"a storm","odd":%b}' % odd])
    out.flush()
    assert capsys.readouterr().out == f"{'':8}  not shown: {why}\n"


@pytest.mark.parametrize(
    "value,words",
    [
        ("storm", [[("storm", ("text",))]]),
        ("flood warning,storm", [[("flood", ()), ("warning", ("hashtags",))], [("storm", ("text",))]]),
    ],
)
def test_each_word_is_explained(value: str, words: list[Any]) -> None:
    found = explainer("track", value).explain(fields.view(tweet("a storm", **hashtag("warning"))))
    assert [part.words for part in found] == words


@pytest.mark.parametrize(
    "text,most", [("storm 👍🏽", 10), ("👩‍👩‍👧 storm", 12), ("❤️ 1️⃣", 5), ("日本 e\u0301", 6), ("🇩🇪", 2)]
)
def test_columns_are_those_of_the_terminal_that_takes_most(text: str, most: int) -> None:
    """By the signs of an emoji that many show one beside the other."""
    assert look.columns(text) == most


@pytest.mark.parametrize("emoji", ["👍🏽", "👩‍👩‍👧", "❤️", "🇩🇪", "日"])
@pytest.mark.parametrize("width", [60, 79, 80])
def test_a_line_of_emoji_wraps_in_no_terminal(emoji: str, width: int) -> None:
    made = look.line(enriched(tweet(f"storm {emoji * 100}")), width).plain
    assert width - 4 <= look.columns(made) <= width


def test_what_is_seen_of_a_tweet_is_bounded() -> None:
    rules = [{"tag": "t" * 9999, "matched_in": ["w" * 9999, "\x1b"]}]
    told = {"created_at_iso": "9" * 9999, "rules": rules, "rule_type": "track"}
    seen = look.sight({**tweet("x" * 9999), "user": {"screen_name": "n" * 9999}, "traptor": told})
    assert (len(seen.at) < 80, max(map(len, seen)) < 2100) == (True, True)
