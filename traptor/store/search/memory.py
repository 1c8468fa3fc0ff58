"""What was taken back or withheld, remembered in an index of its own and asked at every write.

A document for each tweet and user that a notice spoke of. It is asked by id, which finds what was written a moment ago.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from traptor.store.destination import Away, Refused
from traptor.store.notices import Notices
from traptor.store.rows import Withheld
from traptor.store.search.documents import Document, named_tweets, named_users
from traptor.store.search.server import CONFLICT, Action, Server

ASKED_AT_ONCE = 10_000
_FOUND = "docs._id,docs._source,docs._seq_no,docs._primary_term,docs.error.type"


@dataclass
class Known:
    deleted: set[int] = field(default_factory=set)
    scrubbed: dict[int, int] = field(default_factory=dict)
    """Users, and the last tweet of each that has no place."""
    withheld: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    """Countries, by kind (tweet or user) and id."""

    def countries(self, one: Document) -> set[str]:
        if not self.withheld:
            return set()
        named = [("tweet", id_) for id_ in named_tweets(one)] + [("user", id_) for id_ in named_users(one)]
        return {country for key in named for country in self.withheld.get(key, ())}


class Memory:
    def __init__(self, server: Server, index: str) -> None:
        self._server = server
        self._index = index

    def mark(self) -> list[int]:
        """Another one wherever something was remembered in between."""
        found = self._server.call(
            "GET", f"{self._index}/_stats/docs", level="shards", filter_path="indices.*.shards.*.seq_no.max_seq_no"
        )
        return [
            copy["seq_no"]["max_seq_no"]
            for index in found.get("indices", {}).values()
            for shard in index["shards"].values()
            for copy in shard
        ]

    def ask(self, tweets: Iterable[int], users: Iterable[int] = ()) -> Known:
        """What is known of these."""
        known = Known()
        for key, found in self._get([f"tweet:{id_}" for id_ in tweets] + [f"user:{id_}" for id_ in users]).items():
            kind, id_ = key.split(":")
            there = found["_source"]
            if there.get("deleted"):
                known.deleted.add(int(id_))
            if "up_to" in there:
                known.scrubbed[int(id_)] = int(there["up_to"])
            if "countries" in there:
                known.withheld[kind, int(id_)] = set(there["countries"])
        return known

    def taken_back(self, ids: Collection[int]) -> set[int]:
        """Which of these are tweets that were deleted, or users whose places were."""
        known = self.ask(ids, ids)
        return known.deleted | known.scrubbed.keys()

    def _get(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        found = {}
        for start in range(0, len(keys), ASKED_AT_ONCE):
            body = {"ids": keys[start : start + ASKED_AT_ONCE]}
            answer = self._server.call("POST", f"{self._index}/_mget", body, filter_path=_FOUND)
            for one in answer.get("docs", ()):
                if "error" in one:
                    raise Away(f"{self._server.url}: what was taken back cannot be asked: {one['error']['type']}")
                if "_source" in one:
                    found[one["_id"]] = one
        return found

    def remember(self, notices: Notices, withheld: Iterable[Withheld]) -> None:
        """What was known before stays known. Stores that remember at once try again."""
        new: dict[str, dict[str, Any]] = {f"tweet:{id_}": {"deleted": True} for id_ in notices.deleted}
        for id_, up_to in notices.scrubbed.items():
            new[f"user:{id_}"] = {"up_to": up_to}
        for one in withheld:
            new.setdefault(f"{one.kind}:{one.id}", {}).setdefault("countries", []).append(one.country)
        while new:
            there = self._get(list(new))
            actions = [self._action(key, facts, there.get(key)) for key, facts in new.items()]
            outcomes = self._server.bulk(actions)
            new = {key: new[key] for key, outcome in zip(new, outcomes, strict=True) if outcome.reason}
            if refused := [one.reason for one in outcomes if one.reason and one.status != CONFLICT]:
                raise Refused(refused[0])

    def _action(self, key: str, facts: Mapping[str, Any], there: Mapping[str, Any] | None) -> Action:
        where = {"_index": self._index, "_id": key}
        if there is None:
            return Action("create", where, facts)
        where.update(if_seq_no=there["_seq_no"], if_primary_term=there["_primary_term"])
        return Action("index", where, _joined(there["_source"], facts))


def _joined(there: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    joined = {**there, **facts}
    if "up_to" in there and "up_to" in facts:
        joined["up_to"] = max(there["up_to"], facts["up_to"])
    if "countries" in there and "countries" in facts:
        joined["countries"] = sorted({*there["countries"], *facts["countries"]})
    return joined
