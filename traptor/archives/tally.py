"""What a replay has seen, in numbers that can be added up: of a batch, of a file, of the whole."""

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from msgspec import DecodeError, Struct, json

from traptor.tweets.snowflakes import posted_ms
from traptor.tweets.times import iso_time_or_none

MOST_NAMES = 50_000
"""Different hashtags or accounts that are kept apart; past twice as many, the rarest are forgotten."""
MOST_STRETCHES = 5_000
STRETCH_SECONDS = (60, 600, 3600, 21_600, 86_400, 604_800)
"""Widths of the stretches of time that tweets are counted in; they grow with the time that there is to show."""


class _Hashtag(Struct, gc=False):
    text: str = ""


class _Entities(Struct, gc=False):
    hashtags: list[_Hashtag] = []


class _Author(Struct, gc=False):
    screen_name: str = ""


class _Extended(Struct, gc=False):
    entities: _Entities | None = None


class _Facts(Struct, gc=False):
    """What the report tells of a tweet."""

    lang: str | None = None
    user: _Author | None = None
    entities: _Entities | None = None
    extended_tweet: _Extended | None = None


_facts = json.Decoder(_Facts).decode


class Tally:
    """Counters that add up.

    ``counts`` has lines, tweets, matched, written, notices, damaged, left_out by time or sample, of which no_time, and
    withdrawn by a notice; ``fields_left_out`` has v2's fields that did not fit, by their paths. The rest is for the
    report: ``read`` and ``written`` tweets by minute (seconds since 1970), the languages, hashtags and accounts of
    those written.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.fields_left_out: Counter[str] = Counter()
        self.read = Timeline()
        self.written = Timeline()
        self.languages: Counter[str] = Counter()
        self.hashtags: Counter[str] = Counter()
        self.accounts: Counter[str] = Counter()

    def describe(self, value: bytes) -> None:
        """Note language, hashtags and author of a tweet that is written."""
        try:
            facts = _facts(value)
        except (DecodeError, RecursionError):
            return
        self.languages[facts.lang or "und"] += 1
        whole = (facts.extended_tweet and facts.extended_tweet.entities) or facts.entities or _Entities()
        self.hashtags.update({tag.text.lower() for tag in whole.hashtags})
        if facts.user and facts.user.screen_name:
            self.accounts[facts.user.screen_name] += 1

    def add(self, other: "Tally") -> None:
        for name in ("counts", "rules", "fields_left_out", "languages", "hashtags", "accounts"):
            getattr(self, name).update(getattr(other, name))
        self.read.add(other.read)
        self.written.add(other.written)
        self.hashtags = _without_rarest(self.hashtags)
        self.accounts = _without_rarest(self.accounts)


def _without_rarest(names: Counter[str]) -> Counter[str]:
    return names if len(names) < 2 * MOST_NAMES else Counter(dict(names.most_common(MOST_NAMES)))


class Stretch(NamedTuple):
    """From ``start`` up to ``end``, in seconds since 1970, there was ``what``."""

    start: int
    end: int
    what: str = "no tweet"


class Timeline:
    """Tweets by stretch of time, a minute at first, wider when there are too many stretches to keep."""

    def __init__(self) -> None:
        self.width_seconds = STRETCH_SECONDS[0]
        self.counts: Counter[int] = Counter()

    def note(self, time_seconds: float) -> None:
        self.counts[int(time_seconds // self.width_seconds) * self.width_seconds] += 1

    def add(self, other: "Timeline") -> None:
        self.widen_to(other.width_seconds)
        for start, count in other.counts.items():
            self.counts[start // self.width_seconds * self.width_seconds] += count
        while len(self.counts) > MOST_STRETCHES and self.width_seconds < STRETCH_SECONDS[-1]:
            self.widen_to(STRETCH_SECONDS[STRETCH_SECONDS.index(self.width_seconds) + 1])

    def widen_to(self, width_seconds: int) -> None:
        """Count in stretches of at least this width from now on."""
        if width_seconds > self.width_seconds:
            self.width_seconds = width_seconds
            narrow, self.counts = self.counts, Counter()
            for start, count in narrow.items():
                self.counts[start // width_seconds * width_seconds] += count

    def gaps(self, least_stretches: int = 5) -> list[Stretch]:
        """Where not one tweet is, for at least so many stretches between two that have some."""
        starts = sorted(self.counts)
        return [
            Stretch(before + self.width_seconds, after)
            for before, after in pairwise(starts)
            if after - before > least_stretches * self.width_seconds
        ]


FIRST_TWEET, LAST_TWEET = 1_142_899_200, 4_102_444_800
"""Twitter began in March 2006; what is posted after 2099 is a mistake."""


def posted_at(created_at: str | None, id_str: str | None = None) -> float | None:
    """When a tweet was posted, in seconds since 1970, by its id where it does not say so itself.

    None for what is no time that a tweet can have.
    """
    if iso := iso_time_or_none(created_at):
        time_seconds = datetime.fromisoformat(iso).timestamp()
    else:
        time_seconds = _of_id(id_str or "")
    return time_seconds if FIRST_TWEET <= time_seconds < LAST_TWEET else None


def _of_id(id_str: str) -> float:
    tweet_id = int(id_str) if id_str.isdecimal() and len(id_str) < 20 else 0
    return (posted_ms(tweet_id) or 0) // 1000


def utc(time_seconds: float) -> str:
    """A time as people read it: ``2021-01-26 14:05``."""
    return f"{datetime.fromtimestamp(time_seconds, UTC):%Y-%m-%d %H:%M}"


def top(names: Counter[str], most: int) -> list[tuple[str, int]]:
    """The most frequent, ties in order of name."""
    return sorted(names.items(), key=lambda item: (-item[1], item[0]))[:most]
