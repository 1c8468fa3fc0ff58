"""What a running fleet has collected: the tweets of a Kafka topic in a window of time, counted for a report."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import redis
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import UnknownTopicOrPartitionError
from msgspec import DecodeError, Struct, json

from traptor import kafka_options, keys
from traptor.archives.held import Held, once
from traptor.archives.tally import Stretch, Tally, posted_at
from traptor.delivery import reasons
from traptor.tweets.rule import Rule

BOOTSTRAP_MS = 10_000
POLL_MS = 1000
QUIET_SECONDS = 30.0
"""Without a record for so long, a reader gives up on a broker that had more to send."""


class _Matched(Struct, gc=False):
    """An entry of ``traptor.rules``."""

    rule_id: str = ""
    tag: str = ""
    value: str = ""


class _Block(Struct, gc=False):
    rule_type: str = ""
    id_str: str = ""
    rules: list[_Matched] = []


class _Enriched(Struct, gc=False):
    created_at: str | None = None
    traptor: _Block | None = None


_enriched = json.Decoder(_Enriched).decode


class _Gap(Struct, rename={"since": "from"}, gc=False):
    """A time without a stream, as a Traptor keeps it in Redis."""

    type: str
    id: int
    since: datetime
    to: datetime
    cause: str


_gap = json.Decoder(_Gap).decode


def window(hosts: str, topic: str, options: dict[str, Any], since: float) -> Iterator[bytes]:
    """The messages that came to a topic from ``since`` (seconds since 1970) until now. Raises KafkaError.

    Of ``options``, those of the producer, whatever a consumer knows too is heeded: TLS, SASL.
    """
    shared = kafka_options.shared(options, KafkaConsumer.DEFAULT_CONFIG)
    waits = {"bootstrap_timeout_ms": BOOTSTRAP_MS}
    with reasons.told():
        consumer = KafkaConsumer(bootstrap_servers=hosts.split(","), **{**waits, **shared}, group_id=None)
    try:
        yield from _from_to(consumer, topic, since)
    finally:
        consumer.close()


def _from_to(consumer: Any, topic: str, since: float) -> Iterator[bytes]:
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    if not partitions:
        raise UnknownTopicOrPartitionError(f"there is no topic {topic}")
    ends = consumer.end_offsets(partitions)
    starts = consumer.offsets_for_times(dict.fromkeys(partitions, int(since * 1000)))
    begun = {partition: starts[partition].offset for partition in partitions if starts.get(partition)}
    consumer.assign(list(begun))
    for partition, offset in begun.items():
        consumer.seek(partition, offset)
    quiet_until = time.monotonic() + QUIET_SECONDS
    while any(consumer.position(partition) < ends[partition] for partition in begun):
        polled = consumer.poll(timeout_ms=POLL_MS)
        for partition, records in polled.items():
            # An offset for a time may be that of the batch around it.
            yield from (
                record.value
                for record in records
                if record.offset < ends[partition] and record.timestamp >= since * 1000
            )
        quiet_until = time.monotonic() + QUIET_SECONDS if polled else quiet_until
        if time.monotonic() > quiet_until:
            raise TimeoutError(f"no record from {topic} for {QUIET_SECONDS:g} s, though it has more")


def counted(values: Iterable[bytes]) -> tuple[Tally, list[Rule]]:
    """The tally of enriched tweets by what their ``traptor`` objects say, and the rules found there.

    Messages that are no enriched tweets are notices.
    """
    tally = Tally()
    held: dict[tuple[str, str], Held] = {}
    for value in values:
        tally.counts["lines"] += 1
        try:
            tweet = _enriched(value)
        except DecodeError:
            tally.counts["damaged"] += 1
            continue
        if tweet.traptor is None:
            tally.counts["notices"] += 1
            continue
        _count(tally, held, tweet.traptor, posted_at(tweet.created_at))
        tally.describe(value)
    return tally, once(held.values(), tally)


def _count(tally: Tally, held: dict[tuple[str, str], Held], block: _Block, time_seconds: float | None) -> None:
    tally.counts["tweets"] += 1
    tally.counts["matched"] += bool(block.rules)
    for matched in block.rules:
        at = (f"{block.rule_type}:{block.id_str}", matched.rule_id)
        tweets = held[at].tweets if at in held else 0
        held[at] = Held(*at, matched.tag, matched.value, tweets + 1)
    if time_seconds is not None:
        tally.read.note(time_seconds)
        if block.rules:
            tally.written.note(time_seconds)


def gaps(conn: "redis.Redis", since: float) -> list[Stretch]:
    """The times without a stream that ended after ``since`` (seconds since 1970), of all Traptors, in order.

    Raises redis.RedisError.
    """
    return sorted(
        Stretch(int(gap.since.timestamp()), int(gap.to.timestamp()), f"{gap.type}:{gap.id} had no stream ({gap.cause})")
        for key in conn.scan_iter(match=keys.gaps("*", "*"))
        for gap in _recorded(conn.lrange(key, 0, -1))
        if gap.to.timestamp() > since
    )


def _recorded(records: Any) -> Iterator[_Gap]:
    for record in records:
        with suppress(DecodeError):
            yield _gap(record)
