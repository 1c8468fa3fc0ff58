"""Where the tweets of a stream come from: recorded ones, or ones made up to fit the request."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, Protocol

from traptor.simulator.predicates import Filter, Predicates
from traptor.simulator.snowflakes import Snowflakes, Stamp
from traptor.simulator.tweets import Writer
from traptor.simulator.wire import Message

DIFFERENT_TWEETS = 1000
MOST_MISSES = 200


def encode(message: Mapping[str, Any]) -> bytes:
    r"""As on Twitter's wire: all ASCII, no blanks, ``/`` as ``\/``."""
    return json.dumps(message, separators=(",", ":")).replace("/", "\\/").encode()


def decode(line: bytes) -> dict[str, Any]:
    """ValueError when the line is not a JSON object."""
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError(f"not a JSON object: {line[:60]!r}")
    return message


def as_message(message: Mapping[str, Any] | bytes) -> Message:
    """Bytes stay as they are, and need not be JSON."""
    if isinstance(message, Mapping):
        return Message(encode(message), _tweet_id(message))
    body = message.rstrip(b"\r\n")
    try:
        return Message(body, _tweet_id(decode(body)))
    except ValueError:
        return Message(body)


def _tweet_id(message: Mapping[str, Any]) -> int | None:
    """None also for what cannot be a tweet's: ids have 64 bits."""
    id_str = str(message.get("id_str"))
    return int(id_str) if id_str.isdecimal() and len(id_str) < 20 else None


def _filtered(lines: Iterable[bytes], predicates: Predicates) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Those that the predicates let through, with what they say; bytes that say nothing always go through."""
    wanted = Filter(predicates)
    for line in lines:
        try:
            message = decode(line)
        except ValueError:
            message = {}
        if wanted(message):
            yield line, message


class Template:
    """A tweet encoded once, to be sent many times as a new one."""

    def __init__(self, tweet: Mapping[str, Any]) -> None:
        places = {"id": "\0id", "id_str": "\0id_str", "created_at": "\0created_at", "timestamp_ms": "\0timestamp_ms"}
        body = encode({**tweet, **places}).replace(b"%", b"%%")
        body = body.replace(b'"\\u0000id"', b"%(id)d").replace(b"\\u0000id_str", b"%(id)d")
        body = body.replace(b"\\u0000created_at", b"%(created_at)b")
        body = body.replace(b"\\u0000timestamp_ms", b"%(timestamp_ms)d")
        self._body = body.replace(b"status\\/%b" % tweet["id_str"].encode(), b"status\\/%(id)d")

    def message(self, stamp: Stamp) -> Message:
        fields = {b"id": stamp.id, b"created_at": stamp.created_at.encode(), b"timestamp_ms": stamp.timestamp_ms}
        return Message(self._body % fields, stamp.id)


class Feed(Protocol):
    """One credential's tweets, from connection to connection."""

    def messages(self, predicates: Predicates) -> Iterator[Message]:
        """Those that the predicates let through."""


class Recorded:
    """Messages as given, in their order, once: a new connection goes on where the last one stopped."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = iter(lines)

    def messages(self, predicates: Predicates) -> Iterator[Message]:
        for line, _ in _filtered(self._lines, predicates):
            yield as_message(line)


class Looped:
    """Messages as given, over and over, each tweet with an id and a time of its own."""

    def __init__(self, lines: Sequence[bytes], snowflakes: Snowflakes) -> None:
        self._lines = lines
        self._snowflakes = snowflakes

    def messages(self, predicates: Predicates) -> Iterator[Message]:
        kept: list[Template | Message] = []
        for line, message in _filtered(self._lines, predicates):
            kept.append(Template(message) if isinstance(message.get("id_str"), str) else as_message(line))
            yield self._renewed(kept[-1])
        for entry in cycle(kept):
            yield self._renewed(entry)

    def _renewed(self, entry: Template | Message) -> Message:
        return entry.message(self._snowflakes.next()) if isinstance(entry, Template) else entry


class Synthetic:
    """Tweets made up to fit the predicates: a thousand different ones, then again in any order as new ones."""

    def __init__(self, seed: int | str, snowflakes: Snowflakes) -> None:
        self._random = random.Random(seed)
        self._snowflakes = snowflakes

    def messages(self, predicates: Predicates) -> Iterator[Message]:
        """Ends when no tweet can be made that fits, as with a phrase that matches nothing."""
        templates = []
        for template in self._templates(predicates):
            templates.append(template)
            yield template.message(self._snowflakes.next())
        while len(templates) == DIFFERENT_TWEETS:
            yield self._random.choice(templates).message(self._snowflakes.next())

    def _templates(self, predicates: Predicates) -> Iterator[Template]:
        wanted = Filter(predicates)
        writer = Writer(self._random, predicates)
        made = misses = 0
        while made < DIFFERENT_TWEETS and misses < MOST_MISSES:
            tweet = writer.tweet(self._snowflakes.next())
            if wanted(tweet):
                made, misses = made + 1, 0
                yield Template(tweet)
            else:
                misses += 1
