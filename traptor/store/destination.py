"""What a database is for the store: the seam between reading and writing."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from traptor.store.overview import Overview

STANDARD_INPUT = "-"
"""The topic of what comes from there; nobody asks how far it was read."""
MOST_MESSAGES = 4000
"""Of a batch. One tweet touches pages all over the indexes of a large database, many share them."""

Partition = tuple[str, int]
"""Topic and number."""


class Message(NamedTuple):
    topic: str
    partition: int
    offset: int
    value: bytes


class Apart(NamedTuple):
    """A message that could not be stored. ``at`` in ISO 8601."""

    topic: str
    partition: int
    offset: int
    at: str
    reason: str
    value: bytes


class Selection(NamedTuple):
    """Which tweets: of a rule's id, tag or value; posted from ``since`` on and before ``until``, in ISO 8601."""

    rule: str | None = None
    since: str | None = None
    until: str | None = None


class Away(Exception):
    """The database cannot be reached, is locked or full: wait, and write the same again."""


class Refused(Exception):
    """The database will never take something among what it was given; nothing of that is written."""


class WrongDestination(Exception):
    """There is no such database, or it is none of ours: waiting is of no use."""


def group(name: str) -> str:
    """Of what no other database is called."""
    return f"traptor-store:{name}"


class Destination(Protocol):
    """Every method raises Away; after that any of them may be called again."""

    name: str
    """As people may see it: without a password."""
    group: str
    """The consumer group of those who write into it: two databases in one group would get a part each."""

    def open(self) -> None:
        """Connect, and make what is not there yet. Raises WrongDestination."""

    def progress(self) -> dict[Partition, int]:
        """The next offset to read of each partition; empty where the reader's own commits must do."""

    def write(self, messages: Sequence[Message]) -> Counter[str]:
        """Store messages, with how far they go; says what became of them. Raises Refused.

        The counts are ``read`` = ``stored`` + ``merged`` + ``deleted`` + ``apart`` + ``notices`` + ``again`` (that it
        had already), and beside them ``erased`` (tweets taken out that had been stored).
        """

    def set_apart(self, message: Message, reason: str) -> Counter[str]:
        """Keep a message that was refused alone."""

    def tidy(self) -> bool:
        """A small step of what can wait: old tweets go, what was deleted is overwritten. Is there more to do?"""

    def close(self) -> None:
        """Never raises."""

    def tweets(self, selection: Selection) -> Iterator[Mapping[str, Any]]:
        """The tweets as wide rows: one a tweet, lists joined by blanks, matches with their rules; in order of id."""

    def lacking(self, tweets: Collection[tuple[int, int | None]]) -> list[int]:
        """Of these tweets, given by id and by that of what it retweets: the ids neither stored nor deleted."""

    def taken_back(self, ids: Collection[int]) -> set[int]:
        """Which of these are tweets that were deleted, or users whose places were."""

    def overview(self) -> Overview:
        """What it has, counted."""

    def apart(self) -> Iterator[Apart]: ...

    def forget_apart(self, messages: Sequence[Apart]) -> None:
        """They are stored now."""
