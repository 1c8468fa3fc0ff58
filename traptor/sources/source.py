"""What a source of tweets is to a Traptor, and which one the settings ask for."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

from traptor.rules.checked import Problem, RuleSet
from traptor.settings import Settings
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.rule import Match, Rule


class Source(Protocol):
    """Where tweets come from, in v1.1's shape whatever they had before.

    Whatever speaks to a server raises birdy's TwitterClientError where the network fails, and TwitterApiError where the
    server answers with an error.
    """

    client: Any
    """What speaks to the server; people's tests put a stand-in here."""
    changes_rules_while_open: bool
    """Can other rules be asked for without opening the stream anew?"""
    most_repeated: int
    """How many tweets it may send a second time when it is opened anew."""

    def connect(self, wanted: Settings) -> Any:
        """A client for these settings. It connects to nothing yet."""

    def choose(self, rules: Iterable[Rule]) -> RuleSet:
        """Which of these it can collect by, and which not."""

    def ask(self, rules: Sequence[Rule]) -> str:
        """What is asked for, by rules that it can collect by; another text for whatever makes a difference."""

    def open(self, asked: str, rules: Sequence[Rule], *, missed_since: datetime | None) -> Any:
        """An open stream; ``missed_since`` is when the last one ended, if there was one. None where the server can have
        none of the rules.
        """

    def change(self, rules: Sequence[Rule]) -> bool:
        """Ask for other rules on the open stream. False where the server can have none of them."""

    def refused(self) -> list[Problem]:
        """The rules that the server did not take when it was last asked."""

    def note(self, tweets: int) -> None:
        """So many new tweets have come."""

    def attribute(
        self, raws: Sequence[bytes], found: list[list[Match]], enrichment: Enrichment
    ) -> Sequence[list[Match] | None]:
        """Which rules hold for each tweet, where our own matcher has found these; None for one that is not ours."""

    def finish(self, raws: Sequence[bytes], enriched: list[bytes]) -> list[bytes]:
        """The enriched tweets as they are to be delivered."""

    def closed(self) -> str:
        """Why no stream is to be open for now; empty where one may."""

    def report(self, conn: Any) -> None:
        """Write to Redis what it costs. Raises redis.RedisError; what is not written is written the next time."""

    def status(self) -> dict[str, Any]:
        """What it adds to the status key."""


def chosen(wanted: Settings, counts: Counter[str]) -> Source:
    """The one that TWITTER_API names. ``counts`` is the account's, for what a source alone can count."""
    if wanted.TWITTER_API == "2":
        from traptor.sources.v2.source import V2Source  # what v2 needs is imported for v2 alone

        return V2Source(wanted, counts)
    from traptor.sources.v1 import V1Source

    return V1Source(wanted)
