"""The documents of tweets, over all months: put, merged, altered, found by id. Whoever loses a race tries again."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from traptor.store.search.documents import Document, merge, month
from traptor.store.search.indices import Indices
from traptor.store.search.server import CONFLICT, Action, Outcome, Query, Server

BY_ID = [{"id.number": "asc"}]
MOST_TERMS = 10_000
"""Of one query; servers take 65,536."""
Hit = Mapping[str, Any]


class Fate(NamedTuple):
    """What became of a document: ``stored``, ``merged``, ``again`` or ``apart``, that with the server's reason."""

    name: str
    reason: str = ""


class Tweets:
    def __init__(self, server: Server, indices: Indices) -> None:
        self._server = server
        self._indices = indices

    def put(self, documents: Mapping[int, Document]) -> dict[int, Fate]:
        """Store what is new, and add its matches to what is there."""
        for one in {month(id_) for id_ in documents}:
            self._indices.make_month(one)
        fates: dict[int, Fate] = {}
        while waiting := {id_: one for id_, one in documents.items() if id_ not in fates}:
            fates |= self._create(waiting)
            fates |= self._merge({id_: one for id_, one in waiting.items() if id_ not in fates})
        return fates

    def _create(self, documents: Mapping[int, Document]) -> dict[int, Fate]:
        """Without a fate is what is there already."""
        actions = [Action("create", self._where(id_), one) for id_, one in documents.items()]
        return _fates(dict.fromkeys(documents, "stored"), self._server.bulk(actions))

    def _merge(self, documents: Mapping[int, Document]) -> dict[int, Fate]:
        """Without a fate is what is there no more, or was altered meanwhile."""
        fates: dict[int, Fate] = {}
        actions = []
        for id_, hit in self.get(documents).items():
            if merge(hit["_source"], documents[id_]):
                actions.append(replacing(hit, hit["_source"]))
            else:
                fates[id_] = Fate("again")
        altered = dict.fromkeys((int(action.where["_id"]) for action in actions), "merged")
        return fates | _fates(altered, self._server.bulk(actions))

    def get(self, ids: Collection[int], *, is_whole: bool = True) -> dict[int, Hit]:
        """Those that are there, also the newest; without their source, where it is not asked for."""
        if not ids:
            return {}
        body = {"docs": [{**self._where(id_), "_source": is_whole} for id_ in ids]}
        found = self._server.call("POST", "_mget", body)["docs"]
        return {int(hit["_id"]): hit for hit in found if hit.get("found")}

    def alter(self, query: Query, change: Callable[[Document], bool | None]) -> int:
        """Change every document that the query finds; None from ``change`` deletes it. How many were deleted?"""
        deleted = 0
        is_done = False
        while not is_done:
            self._server.refresh(self._indices.tweets)
            is_done = True
            for hits in self._server.pages(self._indices.tweets, query, BY_ID, seq_no_primary_term=True):
                actions = [action for hit in hits if (action := _altering(hit, change))]
                outcomes = self._server.bulk(actions)
                is_done &= all(outcome.status != CONFLICT for outcome in outcomes)
                deleted += sum(
                    action.name == "delete" and not outcome.reason
                    for action, outcome in zip(actions, outcomes, strict=True)
                )
        return deleted

    def _where(self, id_: int) -> dict[str, Any]:
        return {"_index": self._indices.of_month(month(id_)), "_id": str(id_)}


def _fates(names: Mapping[int, str], outcomes: list[Outcome]) -> dict[int, Fate]:
    return {
        id_: Fate("apart", outcome.reason) if outcome.reason else Fate(name)
        for (id_, name), outcome in zip(names.items(), outcomes, strict=True)
        if outcome.status != CONFLICT
    }


def _altering(hit: Hit, change: Callable[[Document], bool | None]) -> Action | None:
    changed = change(hit["_source"])
    if changed is None:
        return replacing(hit)
    return replacing(hit, hit["_source"]) if changed else None


def replacing(hit: Hit, document: Document | None = None) -> Action:
    """Where nobody has altered it meanwhile: another document in its place, or none."""
    where = {"_index": hit["_index"], "_id": hit["_id"], "if_seq_no": hit["_seq_no"]}
    where["if_primary_term"] = hit["_primary_term"]
    return Action("delete" if document is None else "index", where, document)


def in_chunks(values: Collection[Any]) -> Iterator[list[str]]:
    """As texts, so many as one query takes."""
    texts = [str(value) for value in values]
    return (texts[start : start + MOST_TERMS] for start in range(0, len(texts), MOST_TERMS))


def any_of(**terms: Collection[str]) -> Query:
    """Documents with one of these texts in one of these fields; __ stands for a dot."""
    either = [{"terms": {name.replace("__", "."): list(texts)}} for name, texts in terms.items()]
    return {"bool": {"filter": [{"bool": {"should": either, "minimum_should_match": 1}}]}}
