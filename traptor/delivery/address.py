"""Where in Kafka a message goes: its topic, and the key that keeps what belongs together in order."""

from typing import Any, NamedTuple

from traptor.delivery.spool import Message
from traptor.tweets import fields, kinds


class Address(NamedTuple):
    """The topics of one Traptor. Without one for ``notices`` they go where the ``tweets`` go."""

    tweets: str
    notices: str = ""

    def tweet(self, id_str: str, value: bytes) -> Message:
        """Keyed by its id."""
        return Message(_key(id_str), value, self.tweets)

    def notice(self, notice: Any, value: bytes) -> Message:
        """Where it has a topic of its own, keyed by the id that it speaks of, or by its kind: a topic that is compacted
        takes nothing without a key."""
        if not self.notices:
            return Message(None, value, self.tweets)
        return Message(_key(kinds.subject_id(notice) or kinds.kind(notice)), value, self.notices)

    def gap(self, key: str, record: dict[str, Any]) -> Message | None:
        """Told only where notices have a topic: whoever reads tweets may not expect it."""
        return Message(_key(key), fields.dump({"gap": record}), self.notices) if self.notices else None


def _key(text: str | None) -> bytes | None:
    return text.encode("utf-8", "replace") if text else None
