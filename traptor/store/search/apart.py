"""What could not be stored, in an index of its own, with the ids that stand in it."""

from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime

from traptor.store.batch import ids_in
from traptor.store.destination import Apart, Message
from traptor.store.search.memory import Memory
from traptor.store.search.server import Action, Server
from traptor.store.search.tweets import any_of, in_chunks

IN_ORDER = [{"at": "asc"}, {"offset": "asc"}, {"partition": "asc"}, {"topic": "asc"}]
PAGE = 100


class SetApart:
    def __init__(self, server: Server, index: str, memory: Memory) -> None:
        self._server = server
        self._index = index
        self._memory = memory

    def add(self, messages: Sequence[tuple[Message, str]]) -> int:
        """But what may be of a deleted tweet. How many?"""
        gone = self._memory.taken_back({id_ for message, _ in messages for id_ in ids_in(message.value)})
        kept = [(message, reason) for message, reason in messages if gone.isdisjoint(ids_in(message.value))]
        self._server.put([self._action(message, reason) for message, reason in kept])
        return len(kept)

    def _action(self, message: Message, reason: str) -> Action:
        document = {
            "topic": message.topic,
            "partition": message.partition,
            "offset": message.offset,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "reason": reason,
            "ids": [str(id_) for id_ in ids_in(message.value)],
            "value": b64encode(message.value).decode(),
        }
        return Action("index", {"_index": self._index, "_id": _key(message)}, document)

    def take_out(self, ids: Collection[int]) -> None:
        """Nobody can read what was set apart, so what may be of a deleted tweet goes, and so may a place."""
        self._server.refresh(self._index)
        for some in in_chunks(ids):
            for hits in self._server.pages(self._index, any_of(ids=some), IN_ORDER, PAGE, _source=False):
                self._delete([hit["_id"] for hit in hits])

    def all(self) -> Iterator[Apart]:
        self._server.refresh(self._index)
        for hits in self._server.pages(self._index, {"match_all": {}}, IN_ORDER, PAGE):
            for one in (hit["_source"] for hit in hits):
                value = b64decode(one["value"])
                yield Apart(one["topic"], one["partition"], one["offset"], one["at"], one["reason"], value)

    def forget(self, messages: Sequence[Apart]) -> None:
        self._delete([_key(one) for one in messages])

    def _delete(self, keys: Sequence[str]) -> None:
        self._server.put([Action("delete", {"_index": self._index, "_id": key}) for key in keys])


def _key(message: Message | Apart) -> str:
    return f"{message.topic}:{message.partition}:{message.offset}"
