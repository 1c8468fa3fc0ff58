"""What becomes of a batch in a search server: documents by their tweet's id, so that twice changes nothing.

There are no transactions. What must go is remembered first, then erased; what came is written after the memory was
asked, and where the memory has changed meanwhile it is asked again. So of a notice and its tweet, written by two stores
at once, one sees the other. How far we are is written last: a killed store writes a batch again.
"""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from traptor.store.batch import Batch, ends, sort
from traptor.store.destination import (
    STANDARD_INPUT,
    Apart,
    Message,
    Partition,
    Refused,
    Selection,
    WrongDestination,
    group,
)
from traptor.store.notices import Notices
from traptor.store.overview import Overview
from traptor.store.rows import Withheld
from traptor.store.search import documents
from traptor.store.search.apart import SetApart
from traptor.store.search.counted import overview
from traptor.store.search.documents import UNDATED, Document, document
from traptor.store.search.indices import Indices
from traptor.store.search.memory import Known, Memory
from traptor.store.search.server import Action, Query, Server
from traptor.store.search.tweets import BY_ID, Tweets, any_of, in_chunks
from traptor.store.search.wide import wide

KEEP_SECONDS = 60.0
"""How often it is looked for what is too old."""
_PREFIX = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


class Search:
    """A Destination: ``opensearch+https://user@host:9200/prefix``, which is ``traptor`` where none is said."""

    def __init__(self, url: str, password: str = "", *, keep_raw: bool = False, keep: timedelta | None = None) -> None:
        """Raises WrongDestination for a URL that cannot be one."""
        parts = urlsplit(url)
        prefix = parts.path.strip("/") or "traptor"
        if not _PREFIX.fullmatch(prefix):
            raise WrongDestination(f"{prefix!r} cannot begin the names of indices: small letters, digits, - and _")
        self._server = Server(url.partition("+")[2], password)
        self.name = f"{self._server.url}/{prefix}"
        self.group = group(self.name)
        self._indices = Indices(self._server, prefix)
        self._memory = Memory(self._server, self._indices.remembered)
        self._tweets = Tweets(self._server, self._indices)
        self._apart = SetApart(self._server, self._indices.apart, self._memory)
        self._keep_raw = keep_raw
        self._keep = keep
        self._none_old_until = 0.0

    def open(self) -> None:
        if "number" not in self._server.call("GET", "").get("version", {}):
            raise WrongDestination(f"{self.name} is no search server")
        self._indices.make()

    def close(self) -> None:
        self._server.close()

    def progress(self) -> dict[Partition, int]:
        self._server.refresh(self._indices.progress)
        order = [{"topic": "asc"}, {"partition": "asc"}]
        return {
            (one["topic"], one["partition"]): one["offset"]
            for hits in self._server.pages(self._indices.progress, {"match_all": {}}, order)
            for one in (hit["_source"] for hit in hits)
        }

    def _advance(self, messages: Sequence[Message]) -> None:
        """Never back: another store may have got further with a partition that was ours."""
        self._server.put([
            Action(
                "index",
                {"_index": self._indices.progress, "_id": f"{topic}:{partition}", "version": offset,
                 "version_type": "external_gte"},
                {"topic": topic, "partition": partition, "offset": offset},
            )
            for (topic, partition), offset in ends(messages).items()
            if topic != STANDARD_INPUT
        ])  # fmt: skip

    # A batch

    def write(self, messages: Sequence[Message]) -> Counter[str]:
        """A message that the server refuses is set apart; it raises Refused where that is the only one."""
        batch = sort(messages, keep_raw=self._keep_raw)
        erased = self._honour(batch.notices, {one for rows in batch.tweets for one in rows.withheld})
        self._note(batch.notices)
        counts = self._add(batch)
        self._advance(messages)
        counts.update(read=len(messages), notices=batch.notices.counts.total(), erased=erased)
        return counts

    def set_apart(self, message: Message, reason: str) -> Counter[str]:
        counts = self._add(Batch(apart=[(message, reason)]))
        self._advance([message])
        counts["read"] = 1
        return counts

    def _note(self, notices: Notices) -> None:
        gaps = [
            ({"_index": self._indices.gaps, "_id": f"{gap.traptor} {gap.since}"}, documents.of_gap(gap))
            for gap in notices.gaps
        ]
        limits = [
            ({"_index": self._indices.limits, "_id": f"{limit.at} {limit.tweets}"}, limit._asdict())
            for limit in notices.limits
        ]
        self._server.put(Action("index", where, one) for where, one in gaps + limits)

    def _add(self, batch: Batch) -> Counter[str]:
        new = [document(one) for one in batch.tweets]
        tweets = {id_ for one in new for id_ in documents.named_tweets(one)}
        users = {id_ for one in new for id_ in documents.named_users(one)}
        mark = self._memory.mark()
        known = self._memory.ask(tweets, users)
        counts = self._put(list(zip(batch.messages, new, strict=True)), batch.apart, known)
        if self._memory.mark() != mark:
            self._erase(self._memory.ask(tweets, users))
        return counts

    def _put(
        self, came: Iterable[tuple[Message, Document]], apart: Sequence[tuple[Message, str]], known: Known
    ) -> Counter[str]:
        counts: Counter[str] = Counter()
        first: dict[int, Document] = {}
        brought: dict[int, list[Message]] = defaultdict(list)
        more: dict[int, Counter[str]] = defaultdict(Counter)
        for message, one in came:
            if documents.take_out(one, known.deleted, known.scrubbed) is None:
                counts["deleted"] += 1
                continue
            documents.withhold(one, known.countries(one))
            id_ = int(one["id"])
            if id_ in first:
                more[id_]["merged" if documents.merge(first[id_], one) else "again"] += 1
            else:
                first[id_] = one
            brought[id_].append(message)
        refused = list(apart)
        for id_, fate in self._tweets.put(first).items():
            if fate.name == "apart":
                refused += [(message, fate.reason) for message in brought[id_]]
            else:
                counts += more[id_] + Counter([fate.name])
        if len(refused) == 1 > len(apart) and counts.total() == 0:
            raise Refused(refused[0][1])
        kept = self._apart.add(refused)
        counts.update(apart=kept, deleted=len(refused) - kept)
        return counts

    # What must go

    def _honour(self, notices: Notices, own: Collection[Withheld]) -> int:
        """Remember it, and take it out of everything. How many tweets were there?"""
        withheld = self._new_of(notices.withheld | set(own))
        if not (notices.deleted or notices.scrubbed or withheld):
            return 0
        self._memory.remember(notices, withheld)
        countries: dict[tuple[str, int], set[str]] = defaultdict(set)
        for one in withheld:
            countries[one.kind, one.id].add(one.country)
        return self._erase(Known(notices.deleted, notices.scrubbed, countries))

    def _new_of(self, withheld: Collection[Withheld]) -> list[Withheld]:
        if not withheld:
            return []
        ids = {kind: [one.id for one in withheld if one.kind == kind] for kind in ("tweet", "user")}
        known = self._memory.ask(ids["tweet"], ids["user"]).withheld
        return [one for one in withheld if one.country not in known.get((one.kind, one.id), ())]

    def _erase(self, known: Known) -> int:
        def change(one: Document) -> bool | None:
            is_changed = documents.take_out(one, known.deleted, known.scrubbed)
            return is_changed if is_changed is None else documents.withhold(one, known.countries(one)) or is_changed

        tweets = known.deleted | {id_ for kind, id_ in known.withheld if kind == "tweet"}
        users = known.scrubbed.keys() | {id_ for kind, id_ in known.withheld if kind == "user"}
        count = 0
        for some in in_chunks(tweets):
            count += self._tweets.alter(any_of(id=some, retweeted_id=some, quoted_id=some), change)
        for some in in_chunks(users):
            query = any_of(user__id=some, retweeted_user__id=some, quoted_user__id=some)
            count += self._tweets.alter(query, change)
        self._apart.take_out(known.deleted | known.scrubbed.keys())
        return count

    def tidy(self) -> bool:
        """Drops whole months; never has more to do."""
        if self._keep is None or time.monotonic() < self._none_old_until:
            return False
        oldest = datetime.now(UTC) - self._keep
        self._indices.drop_before(f"{oldest.year}.{oldest.month:02}")
        before = {"lt": oldest.isoformat()}
        self._tweets.alter(
            {"bool": {"filter": [{"term": {"_index": self._indices.of_month(UNDATED)}},
                                 {"range": {"created_at": before}}]}},
            lambda _: None,
        )  # fmt: skip
        for index, name in ((self._indices.gaps, "until"), (self._indices.limits, "at")):
            self._remove(index, {"range": {name: before}}, name)
        self._none_old_until = time.monotonic() + KEEP_SECONDS
        return False

    def _remove(self, index: str, query: Query, order: str) -> None:
        self._server.refresh(index)
        for hits in self._server.pages(index, query, [{order: "asc"}], _source=False):
            self._server.put([Action("delete", {"_index": index, "_id": hit["_id"]}) for hit in hits])

    # What people ask for

    def apart(self) -> Iterator[Apart]:
        return self._apart.all()

    def forget_apart(self, messages: Sequence[Apart]) -> None:
        self._apart.forget(messages)

    def lacking(self, tweets: Collection[tuple[int, int | None]]) -> list[int]:
        there = self._tweets.get([id_ for id_, _ in tweets], is_whole=False)
        gone = self._memory.ask({id_ for pair in tweets for id_ in pair if id_ is not None}).deleted
        return [id_ for id_, retweeted_id in tweets if id_ not in there and gone.isdisjoint({id_, retweeted_id})]

    def taken_back(self, ids: Collection[int]) -> set[int]:
        return self._memory.taken_back(ids)

    def tweets(self, selection: Selection) -> Iterator[Mapping[str, Any]]:
        self._server.refresh(self._indices.tweets)
        limits = {"gte": selection.since, "lt": selection.until}
        conditions: list[Query] = []
        if selection.since or selection.until:
            conditions.append({"range": {"created_at": {name: at for name, at in limits.items() if at}}})
        if selection.rule:
            rule = [selection.rule]
            conditions.append(any_of(matches__rule_id=rule, matches__tag=rule, matches__value=rule))
        for hits in self._server.pages(self._indices.tweets, {"bool": {"filter": conditions}}, BY_ID):
            yield from (wide(hit["_source"]) for hit in hits)

    def overview(self) -> Overview:
        return overview(self._server, self._indices)
