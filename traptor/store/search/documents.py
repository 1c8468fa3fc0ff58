"""A tweet's rows as one document, and what is taken out of it again. Pure. Ids are texts: JavaScript rounds them."""

from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from traptor.store import raw
from traptor.store.notices import Gap
from traptor.store.rows import Match, Rows, UserRow
from traptor.tweets.snowflakes import posted_ms

Document = dict[str, Any]
UNDATED = "undated"
"""The month of ids that tell no time, or one that is still to come."""
NAMED_TWEETS = ("id", "retweeted_id", "quoted_id")
NAMED_USERS = ("user", "retweeted_user", "quoted_user")
_PLAIN = (
    "created_at", "text", "lang", "source", "quoted_text", "quote_count", "reply_count", "retweet_count",
    "favorite_count", "possibly_sensitive",
)  # fmt: skip
_IDS = ("id", "in_reply_to_status_id", "in_reply_to_user_id", "retweeted_id", "quoted_id")
_AHEAD = timedelta(days=1)


def month(id_: int) -> str:
    """``2021.01``, by the tweet's own id."""
    if milliseconds := posted_ms(id_):
        at = datetime.fromtimestamp(milliseconds // 1000, UTC)
        if at < datetime.now(UTC) + _AHEAD:
            return f"{at.year}.{at.month:02}"
    return UNDATED


def document(one: Rows) -> Document:
    """Without what the tweet has not."""
    row = one.tweet
    users = {user.id: user for user in reversed(one.users)}
    place = one.place._asdict() if one.place else {}
    box = [place.pop(side, None) for side in ("west", "north", "east", "south")]
    if None not in box:
        place["box"] = {"type": "envelope", "coordinates": [box[:2], box[2:]]}
    return _present({
        **{name: _text(getattr(row, name)) for name in _IDS},
        **{name: getattr(row, name) for name in _PLAIN},
        "user": _user(users, row.user_id),
        "retweeted_user": _user(users, row.retweeted_user_id),
        "quoted_user": _user(users, row.quoted_user_id),
        "point": None if row.longitude is None else {"lon": row.longitude, "lat": row.latitude},
        "place": _present(place),
        "hashtags": [tag.tag for tag in one.hashtags if tag.sign == "#" and tag.tag],
        "cashtags": [tag.tag for tag in one.hashtags if tag.sign == "$" and tag.tag],
        "urls": [_part(url) for url in one.urls],
        "mentions": [_part(mention) for mention in one.mentions],
        "media": [_part(medium) for medium in one.media],
        "matches": [_match(match) for match in one.matches],
        "rules": [f"{match.traptor}:{match.rule_id}" for match in one.matches],
        "raw": row.raw.decode("utf-8", "replace") if row.raw is not None else None,
    })  # fmt: skip


def of_gap(gap: Gap) -> Document:
    ids = {name: _text(getattr(gap, name)) for name in ("last_tweet_id", "first_tweet_id")}
    return _present({**gap._asdict(), **ids})


def _user(users: Mapping[int, UserRow], id_: int | None) -> Document | None:
    user = users.get(id_) if id_ is not None else None
    return _part(user) if user else None


def _part(row: Any) -> Document:
    """A row without the columns that tie it to a table, ids as texts."""
    fields = row._asdict()
    for name in ("tweet_id", "position", "seen_in"):
        fields.pop(name, None)
    for name in ("id", "user_id"):
        if name in fields:
            fields[name] = _text(fields[name])
    return _present(fields)


def _match(match: Match) -> Document:
    fields = match._asdict()
    del fields["tweet_id"]
    fields["matched_in"] = msgspec.Raw(match.matched_in.encode())
    fields["fields"] = msgspec.Raw(match.fields.encode()) if match.fields != "{}" else None
    return _present(fields)


def _present(fields: Document) -> Document:
    return {name: value for name, value in fields.items() if value is not None and value not in ([], {})}


def _text(id_: int | None) -> str | None:
    return None if id_ is None else str(id_)


def merge(there: Document, came: Document) -> bool:
    """Add the matches that are not there, and the countries. Is it another document now?"""
    has = set(there.get("rules", ()))
    new = [
        (rule, match)
        for rule, match in zip(came.get("rules", ()), came.get("matches", ()), strict=True)
        if rule not in has
    ]
    for rule, match in new:
        there.setdefault("rules", []).append(rule)
        there.setdefault("matches", []).append(match)
    is_withheld = withhold(there, came.get("withheld_in", ()))
    return is_withheld or bool(new)


def withhold(there: Document, countries: Iterable[str]) -> bool:
    """Say where it must not be shown. Was that new?"""
    before: list[str] = there.get("withheld_in", [])
    after = sorted({*before, *countries})
    if after != before:
        there["withheld_in"] = after
    return after != before


def named_tweets(one: Document) -> set[int]:
    """The tweet's id, and those of what it retweets and quotes."""
    return {int(one[name]) for name in NAMED_TWEETS if name in one}


def named_users(one: Document) -> set[int]:
    return {int(one[name]["id"]) for name in NAMED_USERS if name in one}


def take_out(one: Document, deleted: Set[int], scrubbed: Mapping[int, int]) -> bool | None:
    """Take out what was taken back. Is it another document now? None: nothing of it may stay."""
    id_, quoted = int(one["id"]), one.get("quoted_id")
    if id_ in deleted or int(one.get("retweeted_id", -1)) in deleted:
        return None
    gone: tuple[str, ...] = ()
    if quoted is not None and int(quoted) in deleted:
        gone += ("quoted_user", "quoted_text")
    if "user" in one and id_ <= scrubbed.get(int(one["user"]["id"]), -1):
        gone += ("point", "place")
    present = [name for name in gone if one.pop(name, None) is not None]
    is_changed = bool(present)
    if "raw" in one:
        before = one["raw"].encode()
        after = raw.honoured(before, deleted, scrubbed)
        one["raw"] = after.decode()
        is_changed |= after != before
    return is_changed
