"""A batch of messages, sorted: tweets as rows, what the notices ask for, and what cannot be stored."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from traptor.store.destination import Message
from traptor.store.notices import Notices
from traptor.store.rows import Rows, rows
from traptor.store.tweet import Tweet, read

_IDS = re.compile(rb'"id(?:_str)?"\s*:\s*"?([0-9]{1,19})\b')


@dataclass
class Batch:
    tweets: list[Rows] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    """Those of the tweets, in the same order."""
    notices: Notices = field(default_factory=Notices)
    apart: list[tuple[Message, str]] = field(default_factory=list)
    """Messages, each with the reason why it cannot be stored."""


def sort(messages: Iterable[Message], *, keep_raw: bool) -> Batch:
    batch = Batch()
    for message in messages:
        try:
            found = read(message.value)
            if isinstance(found, Tweet):
                batch.tweets.append(rows(found, message.value if keep_raw else None))
                batch.messages.append(message)
            else:
                batch.notices.add(found)
        except ValueError as error:
            batch.apart.append((message, str(error)))
    return batch


def ids_in(value: bytes) -> list[int]:
    """Every id that stands in a message that nobody can read."""
    return [number for found in _IDS.findall(value) if (number := int(found)) < 1 << 63]


def ends(messages: Sequence[Message]) -> dict[tuple[str, int], int]:
    """The next offset behind these messages, by topic and partition."""
    found: dict[tuple[str, int], int] = {}
    for message in messages:
        found[message.topic, message.partition] = message.offset + 1
    return found
