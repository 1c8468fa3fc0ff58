"""``--look``: one line for each tweet, for people; with colours on a terminal."""

import contextlib
import html
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import accumulate, groupby
from typing import Any, NamedTuple
from unicodedata import east_asian_width

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from traptor.printable import READABLE, harmless
from traptor.tweets import fields, kinds
from traptor.tweets.explained import explainer

WHERE = {
    "text": "text", "hashtags": "hashtag", "user_mentions": "mention", "symbols": "cashtag", "urls": "link",
    "media": "photo's link", "user": "author", "in_reply_to_user_id": "a reply to them", "coordinates": "point",
    "retweeted_status.user": "a retweet of them", "place": "place",
}  # fmt: skip
"""The fields in which rules hold, in words."""
MATCHED, TAG, NAME, DIM = "bold yellow", "cyan", "green", "dim"
TAG_COLUMNS, NAME_COLUMNS = 12, 16
MOST_OF_A_TIME = 40


def where(field: str) -> str:
    """A field in words: ``retweeted_status.text`` is ``retweeted text``."""
    if field in WHERE:
        return WHERE[field]
    *before, last = field.split(".")
    return " ".join([*(part.removesuffix("_status") for part in before), WHERE.get(last, last)])


class Sight(NamedTuple):
    """A tweet as people read it."""

    at: str
    """ISO 8601; empty where it has none."""
    tags: str
    """Of the rules that hold, or ``no rule``."""
    screen_name: str
    text: Text
    """On one line, whole, with the words marked that matched."""
    where: str
    """The fields in which rules hold, in words."""


def sight(tweet: Mapping[str, Any]) -> Sight:
    """Nothing in it acts on a terminal."""
    told = _mapping(tweet.get("traptor"))
    rules = [rule for rule in _list(told.get("rules")) if isinstance(rule, dict)]
    tags = ", ".join(dict.fromkeys(str(rule.get("tag") or rule.get("value") or "?") for rule in rules)) or "no rule"
    held_in = dict.fromkeys(str(name) for rule in rules for name in _list(rule.get("matched_in")))
    # A retweet has most of what it retweets.
    again = {f"retweeted_status.{name}" for name in held_in}
    found = ", ".join(where(name) for name in held_in if name not in again)
    words = _matched_words(str(told.get("rule_type")), rules, tweet)
    text = marked(_text(tweet, with_quoted="quoted" in found), words)
    at = harmless(told.get("created_at_iso") or "", MOST_OF_A_TIME)
    return Sight(at, harmless(tags), _screen_name(tweet), text, harmless(found))


def line(message: Any, width: int | None = None) -> Text:
    """Time, the rules' tags, the author, the text with the matched words marked, and where they matched.

    Cut to so many columns, if given. A message that is no tweet is named.
    """
    if kinds.kind(message) != "tweet":
        return Text(f"{'':8}  {kinds.kind(message)} notice {kinds.subject_id(message) or ''}".rstrip(), DIM)
    seen = sight(message)
    head = Text.assemble(
        (f"{_time(seen.at):8}", DIM), "  ", (_column(seen.tags, TAG_COLUMNS), TAG), "  ",
        (_column(f"@{seen.screen_name}", NAME_COLUMNS), NAME), "  ",
    )  # fmt: skip
    tail = Text(f"  ({seen.where})" if seen.where else "", DIM)
    text = _cut(seen.text, max(10, width - columns(head.plain) - columns(tail.plain))) if width else seen.text
    return head + text + tail


def _shown(value: bytes, width: int | None = None) -> Text:
    """The line of a message as it goes out, which we may not be able to take apart."""
    try:
        return line(fields.load(value), width)
    except ValueError as error:
        return Text(f"{'':8}  not shown: {error}", DIM)


def _cut(text: Text, most: int) -> Text:
    """To so many columns, with the first marked word in sight."""
    first = min((span.end for span in text.spans), default=0)
    if columns(text.plain) > most and first >= most - 1:
        text = Text("…") + text[first - most // 2 :]
    return _truncated(text, most)


def _truncated(text: Text, most: int) -> Text:
    ends = list(accumulate(map(columns, text.plain)))
    return text[: bisect_right(ends, most - 1)] + "…" if ends and ends[-1] > most else text


def columns(text: str) -> int:
    """The most that a terminal takes for it: many show the parts of an emoji (skin tone, family) one beside the other,
    where rich counts one sign, and others widen a sign for the VS16 behind it."""
    wide = sum(east_asian_width(sign) in {"W", "F"} and not cell_len(sign) for sign in text)
    return sum(map(cell_len, text)) + 2 * wide + text.count("\ufe0f")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _time(iso: str) -> str:
    """Of the day, where we are; empty where the tweet has none."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(iso).astimezone().strftime("%H:%M:%S")
    return ""


def _column(text: str, least: int) -> str:
    """At least so wide, that what follows stands one below the other; a little more has room."""
    made = _truncated(Text(text), 2 * least).plain
    return made + " " * (least - cell_len(made))


def _text(tweet: Mapping[str, Any], *, with_quoted: bool) -> str:
    """On one line, whole: a retweet's is cut where the retweeted one's is not."""
    original = _mapping(tweet.get("retweeted_status"))
    quoted = _mapping((original or tweet).get("quoted_status")) if with_quoted else {}
    by = f"RT @{_screen_name(original)}: " if original else ""
    after = f" » @{_screen_name(quoted)}: {_own_text(quoted)}" if quoted else ""
    return by + _own_text(original or tweet) + after


def _screen_name(tweet: Mapping[str, Any]) -> str:
    return harmless(_mapping(tweet.get("user")).get("screen_name") or "")


def _own_text(tweet: Mapping[str, Any]) -> str:
    whole = _mapping(tweet.get("extended_tweet")) or tweet
    return harmless(" ".join(html.unescape(str(whole.get("full_text") or tweet.get("text") or "")).split()))


def _matched_words(rule_type: str, rules: Iterable[Mapping[str, Any]], tweet: Mapping[str, Any]) -> list[str]:
    """The words of the phrases that hold."""
    if rule_type != "track":
        return []
    seen = fields.view(tweet)
    parts = [part for rule in rules for part in explainer("track", str(rule.get("value"))).explain(seen)]
    return [word.text for part in parts if part.holds for word in part.words]


def marked(text: str, words: Iterable[str]) -> Text:
    """The text with these words in it marked: by their style, and by ``plain_marks`` where there are no colours."""
    made = Text(text)
    for word in sorted(set(words), key=len, reverse=True):
        sign = "" if word.startswith(("#", "@", "$")) else "[#@$]?"
        made.highlight_regex(re.compile(rf"(?<!\w){sign}{re.escape(word)}(?!\w)", re.IGNORECASE), MATCHED)
    return made


def runs(text: Text) -> list[tuple[str, bool]]:
    """The text in pieces, each of which is marked or not."""
    found = {at for span in text.spans if span.style == MATCHED for at in range(span.start, span.end)}
    pieces = groupby(enumerate(text.plain), key=lambda sign: sign[0] in found)
    return [("".join(sign for _, sign in piece), is_marked) for is_marked, piece in pieces]


def plain_marks(line_: Text) -> str:
    """Stars around what is marked."""
    text = line_.plain
    for span in sorted((span for span in line_.spans if span.style == MATCHED), reverse=True):
        text = f"{text[: span.start]}*{text[span.start : span.end]}*{text[span.end :]}"
    return text


class Look:
    """In the place of standard output's lines: what is written to it is shown as people read it.

    ``console`` is the terminal, above whose live line it stands; without one it is plain text for a pipe.
    """

    def __init__(self, console: Console | None) -> None:
        self._console = console

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Messages, one each. Raises OSError."""
        for value in lines:
            if self._console:
                shown = _shown(value, self._console.width)
                shown.no_wrap = True
                self._console.print(shown)
            else:
                self._write(plain_marks(_shown(value)) + "\n")

    def _write(self, text: str) -> None:
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "ascii", READABLE))

    def flush(self) -> None:
        if not self._console:
            sys.stdout.buffer.flush()
