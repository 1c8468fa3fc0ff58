"""What becomes of a batch in a database that speaks SQL: rows and offsets in one transaction.

What must go is remembered and erased first, in a transaction of its own and with no other store writing; then what came
is written, with that memory asked. So neither order brings back what was deleted, and a killed process repeats both.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from traptor.store import raw
from traptor.store.batch import Batch, ends, ids_in, sort
from traptor.store.destination import STANDARD_INPUT, Apart, Message, Partition, Selection, WrongDestination
from traptor.store.notices import Gap, Limit, Notices
from traptor.store.overview import Overview, overview
from traptor.store.rows import Hashtag, Match, Media, Mention, PlaceRow, Rows, TweetRow, Url, UserRow, Withheld

VERSION = "1"
"""Of the tables."""
TABLES: dict[str, type[Any]] = {
    "tweets": TweetRow, "users": UserRow, "places": PlaceRow, "hashtags": Hashtag, "urls": Url, "mentions": Mention,
    "media": Media, "matches": Match, "withheld": Withheld, "gaps": Gap, "limits": Limit,
}  # fmt: skip
PARTS = ("hashtags", "urls", "mentions", "media", "matches")
"""The tables whose rows belong to a tweet."""
_NEWER = ", ".join(f"{name} = excluded.{name}" for name in UserRow._fields[1:])
_ELSE_NOTHING = "ON CONFLICT DO NOTHING"
ON_CONFLICT = {
    "users": f"ON CONFLICT (id) DO UPDATE SET {_NEWER} WHERE excluded.seen_in > users.seen_in",
    "places": "ON CONFLICT (id) DO NOTHING",
}
KEEP_CHUNK = 2000
"""Old tweets that go in one step."""
KEEP_SECONDS = 60.0
"""How often it is looked for some."""


class Database(ABC):
    """A Destination. ``keep`` is how long a tweet stays; None for ever."""

    name: str
    group: str

    def __init__(self, *, keep_raw: bool = False, keep: timedelta | None = None) -> None:
        self._keep_raw = keep_raw
        self._keep = keep
        self._none_old_until = 0.0

    # What differs from one to the other

    @abstractmethod
    def transaction(self, *, alone: bool = False) -> AbstractContextManager[None]:
        """All or nothing. ``alone``: while no other store writes. Raises Away, Refused."""

    @abstractmethod
    def execute(self, statement: str, *values: Any) -> Any:
        """A cursor. ``?`` stands for a value, ``IN ?`` for one of a list."""

    @abstractmethod
    def insert(self, table: str, rows: Sequence[Sequence[Any]], on_conflict: str) -> None: ...

    @abstractmethod
    def insert_tweets(self, rows: Sequence[TweetRow]) -> set[int]:
        """Those of the ids that were not there."""

    @abstractmethod
    def unindex(self, ids: Sequence[int]) -> None:
        """Take the texts of these tweets, which are still there, out of the text index."""

    @abstractmethod
    def packed(self, raw_message: bytes) -> Any:
        """A message as it stands in ``tweets.raw``."""

    @abstractmethod
    def unpacked(self, value: Any) -> bytes: ...

    @abstractmethod
    def tidy(self) -> bool: ...

    # A batch

    def write(self, messages: Sequence[Message]) -> Counter[str]:
        batch = sort(messages, keep_raw=self._keep_raw)
        notices = batch.notices
        counts: Counter[str] = Counter()
        if notices.deleted or notices.scrubbed:
            with self.transaction(alone=True):
                counts["erased"] = self._erase(notices)
        with self.transaction():
            fresh = self._fresh(messages)
            if len(fresh) < len(messages):
                batch = sort(fresh, keep_raw=self._keep_raw)
            counts += self._add(batch)
            self._advance(fresh)
        counts.update(read=len(messages), again=len(messages) - len(fresh))
        return counts

    def set_apart(self, message: Message, reason: str) -> Counter[str]:
        with self.transaction():
            counts = self._add(Batch(apart=[(message, reason)]))
            self._advance([message])
        counts["read"] = 1
        return counts

    def _fresh(self, messages: Sequence[Message]) -> list[Message]:
        """Without those that another store has written meanwhile, whose partition this was or is."""
        done = self._progress("FOR UPDATE")
        return [one for one in messages if one.offset >= done.get((one.topic, one.partition), 0)]

    def _advance(self, messages: Sequence[Message]) -> None:
        rows = [(*partition, offset) for partition, offset in ends(messages).items() if partition[0] != STANDARD_INPUT]
        for row in rows:
            self.execute(
                'INSERT INTO progress (topic, "partition", "offset") VALUES (?, ?, ?)'
                ' ON CONFLICT (topic, "partition") DO UPDATE SET "offset" = excluded."offset"',
                *row,
            )

    def progress(self) -> dict[Partition, int]:
        with self.transaction():
            return self._progress()

    def _progress(self, lock: str = "") -> dict[Partition, int]:
        found = self.execute(f'SELECT topic, "partition", "offset" FROM progress ORDER BY 1, 2 {self.lock(lock)}')
        return {(topic, partition): offset for topic, partition, offset in found}

    def lock(self, clause: str) -> str:
        """A row lock, where the transaction is not a lock already."""
        return clause

    # What came

    def _add(self, batch: Batch) -> Counter[str]:
        notices = batch.notices
        counts = Counter(notices=notices.counts.total())
        self._insert("withheld", notices.withheld)
        self._insert("limits", notices.limits)
        self._insert("gaps", notices.gaps)
        allowed = self._allowed(batch.tweets)
        new = self._add_tweets(allowed)
        counts.update(stored=new, merged=len(allowed) - new, deleted=len(batch.tweets) - len(allowed))
        kept = self._add_apart(batch.apart)
        counts.update(apart=kept, deleted=len(batch.apart) - kept)
        return counts

    def _allowed(self, tweets: Sequence[Rows]) -> list[Rows]:
        """Without what was deleted, and without the places and quoted tweets that were taken back."""
        named = {id_ for one in tweets for id_ in (one.tweet.id, one.tweet.retweeted_id, one.tweet.quoted_id) if id_}
        deleted = {id_ for (id_,) in self.execute("SELECT tweet_id FROM deleted WHERE tweet_id IN ?", list(named))}
        users = {user.id for one in tweets for user in one.users}
        scrubbed = dict(self.execute("SELECT user_id, up_to_id FROM scrubbed WHERE user_id IN ?", list(users)))
        present = [one for one in tweets if one.tweet.id not in deleted and one.tweet.retweeted_id not in deleted]
        if not deleted and not scrubbed:
            return present
        return [_honoured(one, deleted, scrubbed) for one in present]

    def _add_tweets(self, tweets: Sequence[Rows]) -> int:
        """All of those that are new; of the others what this Traptor's rules and this moment add. How many are new?"""
        first = {one.tweet.id: one for one in reversed(tweets)}
        stored = [one.tweet if one.tweet.raw is None else self._packed(one.tweet) for one in first.values()]
        new_ids = self.insert_tweets(sorted(stored))
        new = [one for id_, one in first.items() if id_ in new_ids]
        for table in PARTS[:-1]:
            self._insert(table, chain.from_iterable(getattr(one, table) for one in new))
        self._insert("matches", chain.from_iterable(one.matches for one in tweets))
        self._insert("withheld", chain.from_iterable(one.withheld for one in tweets))
        self._insert("users", _newest(user for one in tweets for user in one.users))
        self._insert("places", {one.place.id: one.place for one in tweets if one.place}.values())
        return len(new)

    def _packed(self, row: TweetRow) -> TweetRow:
        return row._replace(raw=self.packed(row.raw or b""))

    def _add_apart(self, apart: Sequence[tuple[Message, str]]) -> int:
        """But what may be of a deleted tweet. How many?"""
        gone = self._taken_back({id_ for message, _ in apart for id_ in ids_in(message.value)})
        now = datetime.now(UTC).isoformat(timespec="seconds")
        kept = [
            (message.topic, message.partition, message.offset, now, reason, message.value)
            for message, reason in apart
            if gone.isdisjoint(ids_in(message.value))
        ]
        self.insert("apart", kept, _ELSE_NOTHING)
        named = {(id_, *one[:3]) for one in kept for id_ in ids_in(one[-1])}
        self.insert("apart_ids", sorted(named), _ELSE_NOTHING)
        return len(kept)

    def _taken_back(self, ids: Collection[int]) -> set[int]:
        listed = list(ids)
        found = self.execute(
            "SELECT tweet_id FROM deleted WHERE tweet_id IN ? UNION SELECT user_id FROM scrubbed WHERE user_id IN ?",
            listed,
            listed,
        )
        return {id_ for (id_,) in found}

    def _insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        if listed := list(rows):
            self.insert(table, listed, ON_CONFLICT.get(table, _ELSE_NOTHING))

    # What must go

    def _erase(self, notices: Notices) -> int:
        """Remember it, and take it out of everything. How many tweets were there?"""
        deleted = sorted(notices.deleted)
        self.insert("deleted", [(id_,) for id_ in deleted], _ELSE_NOTHING)
        self.insert(
            "scrubbed",
            sorted(notices.scrubbed.items()),
            "ON CONFLICT (user_id) DO UPDATE SET up_to_id = excluded.up_to_id"
            " WHERE excluded.up_to_id > scrubbed.up_to_id",
        )
        gone = self._ids("id IN ? OR retweeted_id IN ?", deleted, deleted)
        self._remove(gone)
        self._take_out_quoted(deleted)
        for user_id, up_to_id in notices.scrubbed.items():
            self._take_out_places(user_id, up_to_id)
        self._take_out_of_apart(notices)
        return len(gone)

    def _ids(self, condition: str, *values: Any) -> list[int]:
        return [id_ for (id_,) in self.execute(f"SELECT id FROM tweets WHERE {condition}", *values)]

    def _remove(self, ids: Sequence[int]) -> None:
        """Tweets with all that belongs to them, and the users and places that no other tweet shows."""
        if not ids:
            return
        shown = list(self.execute(
            "SELECT user_id, retweeted_user_id, quoted_user_id, place_id FROM tweets WHERE id IN ?", ids
        ))  # fmt: skip
        self.unindex(ids)
        for table in PARTS:
            self.execute(f"DELETE FROM {table} WHERE tweet_id IN ?", ids)
        self.execute("DELETE FROM tweets WHERE id IN ?", ids)
        self._remove_users({user for row in shown for user in row[:3]})
        self._remove_places({row[3] for row in shown})

    def _remove_users(self, ids: Iterable[int | None]) -> None:
        shown = " OR ".join(f"{column} = users.id" for column in ("user_id", "retweeted_user_id", "quoted_user_id"))
        self.execute(
            f"DELETE FROM users WHERE id IN ? AND NOT EXISTS (SELECT 1 FROM tweets WHERE {shown})",
            [id_ for id_ in ids if id_ is not None],
        )

    def _remove_places(self, ids: Iterable[str | None]) -> None:
        self.execute(
            "DELETE FROM places WHERE id IN ? AND NOT EXISTS (SELECT 1 FROM tweets WHERE place_id = places.id)",
            [id_ for id_ in ids if id_ is not None],
        )

    def _take_out_quoted(self, deleted: Sequence[int]) -> None:
        quoting = list(self.execute("SELECT id, quoted_user_id, raw FROM tweets WHERE quoted_id IN ?", deleted))
        self.execute("UPDATE tweets SET quoted_user_id = NULL, quoted_text = NULL WHERE quoted_id IN ?", deleted)
        self._remove_users({user for _, user, _ in quoting})
        self._rewrite([(id_, value) for id_, _, value in quoting], set(deleted), {})

    def _take_out_places(self, user_id: int, up_to_id: int) -> None:
        own = "user_id = ? AND id <= ? AND (place_id IS NOT NULL OR longitude IS NOT NULL)"
        places = {place for (place,) in self.execute(f"SELECT place_id FROM tweets WHERE {own}", user_id, up_to_id)}
        self.execute(
            f"UPDATE tweets SET longitude = NULL, latitude = NULL, place_id = NULL WHERE {own}", user_id, up_to_id
        )
        self._remove_places(places)
        shown = self.execute(
            "SELECT id, raw FROM tweets"
            " WHERE raw IS NOT NULL AND (user_id = ? OR retweeted_user_id = ? OR quoted_user_id = ?)",
            *[user_id] * 3,
        )
        self._rewrite(list(shown), set(), {user_id: up_to_id})

    def _rewrite(self, stored: Iterable[tuple[int, Any]], deleted: set[int], scrubbed: Mapping[int, int]) -> None:
        for id_, value in stored:
            if value is not None:
                honoured = raw.honoured(self.unpacked(value), deleted, scrubbed)
                self.execute("UPDATE tweets SET raw = ? WHERE id = ?", self.packed(honoured), id_)

    def _take_out_of_apart(self, notices: Notices) -> None:
        """Nobody can read what was set apart, so what may be of a deleted tweet goes, and so may a place."""
        concerned = list(notices.deleted | notices.scrubbed.keys())
        for place in list(
            self.execute('SELECT DISTINCT topic, "partition", "offset" FROM apart_ids WHERE id IN ?', concerned)
        ):
            self._forget(*place)

    # What is set apart

    def apart(self) -> Iterator[Apart]:
        with self.transaction():
            found = list(
                self.execute('SELECT topic, "partition", "offset", at, reason, value FROM apart ORDER BY 4, 3')
            )
        return (
            Apart(topic, number, offset, str(at), why, bytes(value)) for topic, number, offset, at, why, value in found
        )

    def forget_apart(self, messages: Sequence[Apart]) -> None:
        with self.transaction():
            for one in messages:
                self._forget(one.topic, one.partition, one.offset)

    def _forget(self, topic: str, partition: int, offset: int) -> None:
        for table in ("apart", "apart_ids"):
            self.execute(
                f'DELETE FROM {table} WHERE topic = ? AND "partition" = ? AND "offset" = ?', topic, partition, offset
            )

    # What is too old

    def remove_old(self) -> bool:
        """A chunk of the tweets that are older than is kept. Are there more?"""
        if self._keep is None or time.monotonic() < self._none_old_until:
            return False
        oldest = (datetime.now(UTC) - self._keep).isoformat(timespec="seconds")
        with self.transaction(alone=True):
            ids = self._ids(f"created_at < ? ORDER BY created_at LIMIT {KEEP_CHUNK}", oldest)
            self._remove(ids)
            if not ids:
                self.execute("DELETE FROM gaps WHERE until < ?", oldest)
                self.execute("DELETE FROM limits WHERE at < ?", oldest)
                self._none_old_until = time.monotonic() + KEEP_SECONDS
        return bool(ids)

    # What people ask for

    def check_version(self) -> None:
        """Raises WrongDestination where another Traptor made the tables otherwise."""
        found = [value for (value,) in self.execute("SELECT value FROM about WHERE name = 'version'")]
        if not found:
            self.insert("about", [("version", VERSION)], _ELSE_NOTHING)
        elif found != [VERSION]:
            raise WrongDestination(f"{self.name}: its tables are of version {found[0]}; this Traptor knows {VERSION}")

    def lacking(self, tweets: Collection[tuple[int, int | None]]) -> list[int]:
        ids = [id_ for id_, _ in tweets]
        named = ids + [id_ for _, id_ in tweets if id_ is not None]
        with self.transaction():
            there = set(self._ids("id IN ?", ids))
            gone = {id_ for (id_,) in self.execute("SELECT tweet_id FROM deleted WHERE tweet_id IN ?", named)}
        return [id_ for id_, retweeted_id in tweets if id_ not in there and gone.isdisjoint({id_, retweeted_id})]

    def taken_back(self, ids: Collection[int]) -> set[int]:
        with self.transaction():
            return self._taken_back(ids)

    @abstractmethod
    def seconds(self, column: str) -> str:
        """A column of time as whole seconds since 1970."""

    def overview(self) -> Overview:
        with self.transaction():
            return overview(self.execute, self.seconds)

    def tweets(self, selection: Selection) -> Iterator[Mapping[str, Any]]:
        conditions = ["created_at >= ?" if selection.since else "", "created_at < ?" if selection.until else ""]
        values = [value for value in (selection.since, selection.until) if value]
        if selection.rule:
            conditions.append("id IN (SELECT tweet_id FROM matches WHERE rule_id = ? OR tag = ? OR value = ?)")
            values += [selection.rule] * 3
        where = " AND ".join(filter(None, conditions)) or "1 = 1"
        yield from self.stream(f"SELECT * FROM tweets_wide WHERE {where} ORDER BY id", *values)

    @abstractmethod
    def stream(self, statement: str, *values: Any) -> Iterator[Mapping[str, Any]]:
        """Rows by name, as they come."""


def _honoured(one: Rows, deleted: set[int], scrubbed: Mapping[int, int]) -> Rows:
    row = one.tweet
    if row.quoted_id in deleted:
        one = one.without_quoted()
    if row.user_id is not None and row.id <= scrubbed.get(row.user_id, -1):
        one = one.without_place()
    if row.raw is not None:
        one.tweet = one.tweet._replace(raw=raw.honoured(row.raw, deleted, scrubbed))
    return one


def _newest(users: Iterable[UserRow]) -> list[UserRow]:
    """One row for each, in the order of ids, so that two stores do not wait for each other."""
    found: dict[int, UserRow] = {}
    for user in users:
        if user.id not in found or found[user.id].seen_in < user.seen_in:
            found[user.id] = user
    return [found[id_] for id_ in sorted(found)]
