"""The steps of a tweet's way through Traptor one by one, and behind each what it stands in for: CPU µs per tweet.

``python -m bench.enrich`` needs no servers and takes half a minute.
"""

import gc
import io
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import requests
from dateutil import parser
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench import tweets
from bench.baselines import prepared, rules_in
from traptor.account.counters import RollingCounter
from traptor.simulator.feed import encode
from traptor.sources.stream import READ_BYTES, Framer
from traptor.tweets import fields, times
from traptor.tweets.blocks import Blocks
from traptor.tweets.fields import Tweet
from traptor.tweets.matching import compile_rules
from traptor.tweets.rule import Match

TWEETS = 2000
REPEATS = 7


class Step(NamedTuple):
    """``work`` is called with each of ``given``, which together are all the tweets."""

    name: str
    rules: str
    work: Callable[[Any], object]
    given: Sequence[Any]


def steps() -> Iterator[Step]:
    lines = _lines("track", 400)
    yield Step("json.loads, the yardstick", "", json.loads, lines)
    yield from _reading(lines)
    yield Step("decode the needed fields", "", fields.decode, lines)
    yield from _matching()
    yield from _writing(lines)


def _lines(rule_type: str, count: int) -> list[bytes]:
    return [encode(tweet) for tweet in tweets.tweets(tweets.rules(rule_type, count), rule_type, TWEETS)]


def _reading(lines: list[bytes]) -> Iterator[Step]:
    body = b"\r\n".join(lines) + b"\r\n"
    yield Step("undo gzip", "", zlib.decompress, [zlib.compress(body)])
    yield Step("frame", "", _framed, [body])
    yield Step("… by iter_lines", "", _iter_lines, [body])


def _framed(body: bytes) -> int:
    framer = Framer()
    return sum(len(framer.feed(body[start : start + READ_BYTES])) for start in range(0, len(body), READ_BYTES))


def _iter_lines(body: bytes) -> int:
    answer = requests.Response()
    answer.raw = io.BytesIO(body)
    return sum(1 for line in answer.iter_lines() if line)


def _matching() -> Iterator[Step]:
    for rule_type, counts in (("track", (1, 50, 400, 2000)), ("follow", (1, 500, 5000)), ("locations", (1, 25))):
        for count in counts:
            views = list(map(_decoded, _lines(rule_type, count)))
            yield Step("match", f"{count:,} {rule_type}", _match(rule_type, count), views)
    some = list(map(_decoded, _lines("track", 400)))[: TWEETS // 10]
    yield Step("… texts that have come before", "400 track", _match("track", 400), some * 10)
    dicts = [json.loads(line) for line in _lines("track", 400)]
    loop = partial(rules_in, rules=prepared(tweets.rules("track", 400)))
    yield Step("… in the text alone, by a loop over the rules", "400 track", loop, dicts)


def _match(rule_type: str, count: int) -> Callable[[Tweet], list[Match]]:
    return compile_rules(rule_type, tweets.rules(rule_type, count)).match


def _decoded(line: bytes) -> Tweet:
    tweet = fields.decode(line)
    assert isinstance(tweet, Tweet)
    return tweet


def _writing(lines: list[bytes]) -> Iterator[Step]:
    rule_set = tweets.rules("track", 400)
    match, blocks = _match("track", 400), Blocks("track", 0, rule_set, "version")
    found = [(line, view.created_at, match(view)) for line, view in zip(lines, map(_decoded, lines), strict=True)]
    enriched = [json.loads(blocks.append(*one)) for one in found]
    stamps = [created_at for _, created_at, _ in found]
    yield Step("make the object and append it", "400 track", lambda one: blocks.append(*one), found)
    yield Step("… by json.dumps of the tweet", "400 track", json.dumps, enriched)
    yield Step("created_at to ISO", "", times.iso_time, stamps)
    yield Step("… by dateutil", "", lambda created_at: parser.parse(created_at).isoformat(), stamps)
    counter = RollingCounter("stats:track:0:1", 900)
    yield Step("count a match", "", counter.increment, [1] * TWEETS)


def cpu_us(step: Step) -> float:
    """The least CPU time per tweet of several tries: what disturbs only adds."""
    gc.collect()
    return min(_try_seconds(step) for _ in range(REPEATS)) / TWEETS * 1e6


def _try_seconds(step: Step) -> float:
    began = time.process_time()
    for one in step.given:
        step.work(one)
    return time.process_time() - began


def main() -> None:
    table = Table("step", "rules", "CPU µs/tweet", "× json.loads", box=MARKDOWN)
    yardstick_us = 0.0
    for step in steps():
        used_us = cpu_us(step)
        yardstick_us = yardstick_us or used_us
        table.add_row(step.name, step.rules, f"{used_us:.1f}", f"{used_us / yardstick_us:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
