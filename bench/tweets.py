"""Rules, and synthetic tweets that fit them, in the sizes and proportions of the stream of January 2021.

There: median 4.5 KB, mean 5.4, 99 of 100 under 15.4, the largest 22.2; 46 % retweets, a third of them of a tweet with
``extended_tweet``; 8 % quotes, 30 % replies, a fifth with media, one in seven in a non-Latin script; ASCII on the wire.
"""

import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from traptor.simulator.feed import encode
from traptor.simulator.phrasebook import EMOJI
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.tweets import Writer
from traptor.tweets.matching import phrases

SEED = 2021
LATIN = ("en",)
NON_LATIN = ("ru", "ar", "ja", "zh", "ko", "hi")
SHARE_NON_LATIN = 1 / 7
TEXT_CHARACTERS, FULL_TEXT_CHARACTERS, PROFILE_CHARACTERS = 140, 280, 160
LETTERS = {LATIN: ("bcdfghklmnprstvw", "aeiou"), NON_LATIN: ("бвгджзклмнпрстшخحسصعقلمن", "аеиоуыяاوي")}
WORDS = 5000
PLAIN = str.maketrans({"“": '"', "”": '"', **dict.fromkeys("".join(EMOJI), "*")})
COMMON_WORDS = 300
"""The most frequent words are no rule: whoever tracks ``the`` gets nothing but limit notices."""

Json = dict[str, Any]


def rules(rule_type: str, count: int) -> list[dict[str, str]]:
    """So many rules as they stand in Redis: half of the track phrases have two terms, one in ten is a hashtag."""
    source = random.Random(f"{SEED} {rule_type}")
    values = {"track": _phrases, "follow": _user_ids, "locations": _boxes}[rule_type](source, count)
    return [
        {"rule_id": str(index), "tag": f"{rule_type}.{index}", "value": value, "project": "bench"}
        for index, value in enumerate(values)
    ]


def _phrases(source: random.Random, count: int) -> list[str]:
    words = iter(source.sample(_VOCABULARIES[LATIN][COMMON_WORDS:], 2 * count))
    forms = ("{}", "{}", "{}", "{}", "#{}", "{} {}", "{} {}", "{} {}", "{} {}", "{} {}")
    return [form.format(*(next(words) for _ in range(form.count("{")))) for form in source.choices(forms, k=count)]


def _user_ids(source: random.Random, count: int) -> list[str]:
    return [str(source.randrange(10**9, 10**10)) for _ in range(count)]


def _boxes(source: random.Random, count: int) -> list[str]:
    corners = [(source.randrange(-170, 160), source.randrange(-80, 70)) for _ in range(count)]
    return [f"{west},{south},{west + 5},{south + 4}" for west, south in corners]


def tweets(rule_set: list[dict[str, str]], rule_type: str, count: int) -> Iterator[Json]:
    """So many tweets, all different, each of which fits one of the rules."""
    source = random.Random(SEED)
    values = [value for rule in rule_set for value in _values(rule_type, rule["value"])]
    wanted: dict[str, Any] = {rule_type: tuple(values)}
    writers = {letters: Writer(source, Predicates(**wanted, language=letters)) for letters in LETTERS}
    snowflakes = Snowflakes()
    for _ in range(count):
        letters = NON_LATIN if source.random() < SHARE_NON_LATIN else LATIN
        tweet = writers[letters].tweet(snowflakes.next())
        _lengthen(tweet, letters, source)
        _add_videos(tweet, source)
        yield tweet


def _values(rule_type: str, value: str) -> list[str]:
    return [value] if rule_type == "locations" else phrases(value)


def write(path: Path, rule_set: list[dict[str, str]], rule_type: str, count: int) -> list[bytes]:
    """The tweets as lines of a file; returns them as bytes on the wire."""
    lines = [encode(tweet) for tweet in tweets(rule_set, rule_type, count)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return lines


def _vocabulary(letters: tuple[str, ...]) -> list[str]:
    """Words that nobody uses, the frequent ones first."""
    source = random.Random(f"{SEED} words")
    consonants, vowels = LETTERS[letters]
    return [
        "".join(source.choice(consonants) + source.choice(vowels) for _ in range(source.choice((2, 2, 3, 3, 4))))
        for _ in range(WORDS)
    ]


_VOCABULARIES = {letters: _vocabulary(letters) for letters in LETTERS}
_ZIPF = list(accumulate(1 / rank for rank in range(1, WORDS + 1)))


def _lengthen(tweet: Json, letters: tuple[str, ...], source: random.Random) -> None:
    """Words after each text, as many as people write there; what stands before them stays in its place."""
    tweet["user"]["description"] = _words("", PROFILE_CHARACTERS, letters, source)
    plain = PLAIN if letters is LATIN else {}
    if not tweet["truncated"]:
        tweet["text"] = _words(tweet["text"].translate(plain), TEXT_CHARACTERS, letters, source)
    if extended := tweet.get("extended_tweet"):
        whole = extended["full_text"].translate(plain)
        extended["full_text"] = _words(whole, FULL_TEXT_CHARACTERS, letters, source)
    for name in ("retweeted_status", "quoted_status"):
        if nested := tweet.get(name):
            _lengthen(nested, letters, source)


def _add_videos(tweet: Json, source: random.Random) -> None:
    """Where there is a photo, one to three videos instead, in the retweet as well as in what it retweets."""
    statuses = [tweet, tweet.get("retweeted_status", {})]
    wholes = [whole for status in statuses for whole in (status, status.get("extended_tweet")) if whole]
    photos = [whole["extended_entities"]["media"][0] for whole in wholes if "extended_entities" in whole]
    if photos:
        media = [_video(photos[0])] * source.choice((1, 1, 2))
        for whole in wholes:
            whole["extended_entities"] = {"media": media}
            whole["entities"]["media"] = media[:1]


def _video(photo: Json) -> Json:
    address = f"https://video.twimg.com/ext_tw_video/{photo['id_str']}/pu"
    variants = [
        {"bitrate": rate, "content_type": "video/mp4", "url": f"{address}/vid/{size}/{photo['id_str']}.mp4?tag=12"}
        for rate, size in ((256_000, "480x270"), (832_000, "640x360"), (2_176_000, "1280x720"))
    ]
    return {**photo, "type": "video", "video_info": {"aspect_ratio": [16, 9], "variants": variants}}


def _words(text: str, most_characters: int, letters: tuple[str, ...], source: random.Random) -> str:
    """The text with words behind it, the frequent ones more often, up to a length of any size below the most."""
    length = source.randint(len(text), max(len(text), most_characters))
    words = source.choices(_VOCABULARIES[letters], cum_weights=_ZIPF, k=most_characters // 6)
    return f"{text} {' '.join(words)}"[:length]
