"""The way of a portion of messages: decoded, noted, matched, counted, enriched, and out by the door.

Each step is done for all of them before the next begins: what a step needs stays in the processor's caches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from traptor.account.intake import Arrived, Intake
from traptor.delivery.address import Address
from traptor.delivery.door import Door
from traptor.sources.source import Source
from traptor.tweets import fields, kinds
from traptor.tweets.blocks import mark, mark_dict
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.rule import Match


class Passage:
    """From the stream of a source to the door. ``count`` gets the rules that hold for a tweet, each time.

    ``claim`` says which of these ids other Traptors have brought before, and who.
    """

    def __init__(
        self,
        source: Source,
        intake: Intake,
        address: Address,
        count: Callable[[Sequence[Match]], None],
        claim: Callable[[Sequence[str]], Mapping[str, str]],
    ) -> None:
        self._source = source
        self._intake = intake
        self._address = address
        self._count = count
        self.claim = claim

    def portion(
        self, received: Sequence[bytes], enrichment: Enrichment, door: Door, enrich: Callable[[Any], Any]
    ) -> None:
        """Twitter's bytes stay as they are, with the ``traptor`` object appended to tweets.

        ``enrich`` is for what has to be taken apart: a tweet whose bytes cannot stay, and a notice.
        """
        for tweets, odd in self._intake.sort(received, fields.decode):
            self._tweets(tweets, enrichment, door)
            if odd:
                self._odd(*odd, door, enrich)

    def _tweets(self, tweets: Sequence[Arrived], enrichment: Enrichment, door: Door) -> None:
        raws = [raw for raw, _ in tweets]
        self._source.note(len(raws))
        found = self._source.attribute(raws, [enrichment.match(tweet) for _, tweet in tweets], enrichment)
        ours = [(raw, tweet, held) for (raw, tweet), held in zip(tweets, found, strict=True) if held is not None]
        self._intake.not_ours(len(tweets) - len(ours))
        for _, _, held in ours:
            self._count(held)
        ids = [tweet.id_str or "" for _, tweet, _ in ours]
        values = [enrichment.append(raw, tweet.created_at, held) for raw, tweet, held in ours]
        if others := self.claim(ids):
            values = [mark(value, others.get(id_str)) for id_str, value in zip(ids, values, strict=True)]
        values = self._source.finish([raw for raw, _, _ in ours], values)
        door.send([self._address.tweet(id_str, value) for id_str, value in zip(ids, values, strict=True)])

    def _odd(self, raw: bytes, message: Any, door: Door, enrich: Callable[[Any], Any]) -> None:
        if kinds.kind(message) != "tweet":
            self.heed(message, door)
            enrich(message)
            # A source may have sent a kind of bytes of its own, which Kafka's clients do not take.
            door.send([self._address.notice(message, bytes(raw))])
        elif self.is_new(message):
            id_str = kinds.tweet_id(message)
            enriched = mark_dict(enrich(message), self.claim([id_str]).get(id_str))
            door.send([self._address.tweet(id_str, fields.dump(enriched))])

    def is_new(self, tweet: Any) -> bool:
        """Note a tweet that is given as a dict; False for one that has come before."""
        is_new = self._intake.is_new(kinds.tweet_id(tweet))
        self._source.note(is_new)
        return is_new

    def heed(self, notice: Any, door: Door) -> None:
        """Note a notice, and do what it asks for. Limit notices are counted where messages are enriched."""
        self._intake.heed(notice)
        if id_str := kinds.deleted_id(notice):
            door.forget(id_str.encode("utf-8", "replace"))
        elif scrubbed := kinds.scrubbed(notice):
            door.scrub(*scrubbed)


def portions(reads: Iterator[Sequence[Any]], most: int) -> Iterator[Sequence[Any]]:
    """What has arrived, in so many messages at a time that what is due in between is not late."""
    for received in reads:
        for start in range(0, len(received) or 1, most):
            yield received[start : start + most]
