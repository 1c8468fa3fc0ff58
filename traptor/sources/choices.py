"""The ways to tweets that there are today, and what each needs, in the words of docs/which-api.md."""

from typing import NamedTuple

from traptor.settings import Settings


class Choice(NamedTuple):
    """A source of tweets: what it is, and what to do to have it."""

    name: str
    text: str
    advice: str


CHOICES = (
    Choice(
        "a server that is compatible with v1.1",
        "speaks statuses/filter as Twitter did until March 2023; Twitter's own answers nobody any more",
        "set TWITTER_STREAM_URL and the four keys that it gives you",
    ),
    Choice(
        "X API v2",
        f"is open to anyone with an app at X, and paid by the post: ${Settings.V2_POST_PRICE:g} each, "
        f"{Settings.V2_MONTHLY_POST_CAP:,} a month at most (August 2026)",
        "set TWITTER_API=2 and BEARER_TOKEN; `traptor rules plan --api 2` says what your rules would cost",
    ),
    Choice(
        "archives",
        "hold tweets of the past, and need no account",
        "`traptor replay --help`",
    ),
    Choice(
        "the simulator",
        "makes up tweets that fit your rules, and needs no account either",
        "`traptor simulate --help`, or `traptor --demo` for a first look",
    ),
)
