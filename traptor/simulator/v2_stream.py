"""The filtered stream of X API v2: a feed's tweets by the rules that the server holds."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from traptor.simulator import v2_payload
from traptor.simulator.feed import Feed, decode, encode
from traptor.simulator.stream import Stream
from traptor.simulator.v2_request import PROBLEMS, Asked
from traptor.simulator.v2_rules import RuleBook
from traptor.simulator.wire import Message
from traptor.tweets import fields

PATH = "/2/tweets/search/stream"
KEEP_ALIVE_SECONDS = 20.0
MOST_MISSES = 200
MOST_RECENT = 5000
BACKFILL_OVERLAP_SECONDS = 5.0


class Recent:
    """The last tweets of an account, as v2 sends them, for a stream that asks for a backfill."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Message]] = deque(maxlen=MOST_RECENT)

    def keep(self, payload: Message) -> Message:
        self._kept.append((time.time(), payload))
        return payload

    def since(self, moment: float) -> list[Message]:
        return [payload for kept_at, payload in list(self._kept) if kept_at >= moment]


class Translator(NamedTuple):
    """How v2 sends tweets to one stream. ``names`` is the generation of names: tweet or post."""

    book: RuleBook
    recent: Recent
    asked: Asked
    names: str

    def payload(self, message: Message) -> Message | None:
        """A tweet with the rules that it fits; None where it fits none, and for what is no tweet."""
        tweet = decode(message.body) if message.tweet_id is not None else {}
        held = self.book.matching(fields.view(tweet))
        if not held:
            return None
        rules = [{"id": rule.id, **({"tag": rule.tag} if rule.tag else {})} for rule in held]
        made = v2_payload.payload(tweet, rules, self.asked, self.names)
        return self.recent.keep(Message(encode(made), message.tweet_id))


class Payloads:
    """A feed's tweets that fit the rules, as v2 sends them. A change of the rules is heeded at the next tweet."""

    def __init__(self, feed: Feed, translator: Translator) -> None:
        self._feed = feed
        self._translator = translator
        self._book = translator.book
        self._version = -1
        self._tweets: Iterator[Message] = iter(())

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        """Raises StopIteration when the feed has no more, or nothing that fits the rules as they are."""
        for _ in range(MOST_MISSES):
            if payload := self._translator.payload(self._next_tweet()):
                return payload
        raise StopIteration

    def _next_tweet(self) -> Message:
        if self._version != self._book.version:
            self._version = self._book.version
            wanted = self._book.predicates()
            self._tweets = self._feed.messages(wanted) if self._book.rules else iter(())
        return next(self._tweets)


class V2Stream(Stream):
    """An open stream that speaks v2's words, also of what is pushed.

    It begins with what was sent shortly before the gap, if there were ``missed_seconds``, and the tweets of the gap.
    A recovery ends with them.
    """

    def __init__(self, translator: Translator, missed_seconds: float, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._translator = translator
        self._missed_seconds = missed_seconds

    def _open(self) -> None:
        super()._open()
        if self._missed_seconds and not self._translator.asked.window:
            missed_since = time.time() - self._missed_seconds - BACKFILL_OVERLAP_SECONDS
            self._pushed.extend(self._translator.recent.since(missed_since))
        self._started -= self._missed_seconds

    def _step(self) -> None:
        if self._translator.asked.window and self._taken >= self._missed_seconds * self._rate:
            self.end("recovered")
        else:
            super()._step()

    def push(self, message: Message) -> bool:
        return super().push(self._translator.payload(message) or message)

    def last_words(self, code: int) -> Message:
        error = {
            "title": "operational-disconnect",
            "disconnect_type": "OperationalDisconnect" if code == 12 else "UpstreamUncleanDisconnect",
            "detail": f"This stream has been disconnected for operational reasons ({code}).",
            "type": f"{PROBLEMS}operational-disconnect",
        }
        return Message(encode({"errors": [error]}))
