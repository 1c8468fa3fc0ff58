"""The topic beside the database: is all of it there?"""

import contextlib
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from traptor import kafka_options
from traptor.delivery import reasons
from traptor.store.batch import ids_in, sort
from traptor.store.destination import Destination, Message
from traptor.store.topics import CONSUMER

SILENCE_MS = 10_000
"""Without a message for so long, the topic is taken to be at its end."""


def missing(destination: Destination, hosts: str, topic: str, options: dict[str, Any]) -> tuple[int, list[str]]:
    """How many messages were compared, and what the database lacks of them: ids of tweets, and places of others.

    Compared is what the database says that it has read. Raises KafkaError, LookupError.
    """
    progress = {number: offset for (name, number), offset in destination.progress().items() if name == topic}
    known = {(one.topic, one.partition, one.offset) for one in destination.apart()}
    compared, lacking = 0, []
    for messages in _messages(hosts, topic, options, progress):
        compared += len(messages)
        batch = sort(messages, keep_raw=False)
        tweets = [(one.tweet.id, one.tweet.retweeted_id) for one in batch.tweets]
        lacking += [str(id_) for id_ in destination.lacking(tweets)]
        lacking += [
            f"{one.topic}, partition {one.partition}, offset {one.offset}"
            for one, _ in batch.apart
            if (one.topic, one.partition, one.offset) not in known and not destination.taken_back(ids_in(one.value))
        ]
    return compared, lacking


def _messages(hosts: str, topic: str, options: dict[str, Any], progress: dict[int, int]) -> Iterator[list[Message]]:
    shared = kafka_options.shared(options, KafkaConsumer.DEFAULT_CONFIG)
    with reasons.told():
        consumer = KafkaConsumer(bootstrap_servers=hosts.split(","), group_id=None, **{**CONSUMER, **shared})
    with contextlib.closing(consumer):
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        if not partitions:
            raise LookupError(f"there is no topic {topic}")
        upto = {one: min(progress.get(one.partition, 0), end) for one, end in consumer.end_offsets(partitions).items()}
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        while any(consumer.position(one) < upto[one] for one in partitions):
            polled = consumer.poll(timeout_ms=SILENCE_MS)
            if not polled:
                raise LookupError(f"{topic} says that it has more, and sends nothing")
            yield [
                Message(topic, one.partition, record.offset, record.value or b"")
                for one, records in polled.items()
                for record in records
                if record.offset < upto[one]
            ]
