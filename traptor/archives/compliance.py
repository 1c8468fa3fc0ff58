"""What notices in an archive ask for: tweets deleted, locations scrubbed, tweets and users withheld in countries."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from traptor.tweets import fields, kinds
from traptor.tweets.fields import Tweet

MOST_NOTICES = 200_000
"""The latest that are remembered. The Internet Archive has a thousand a minute."""

Json = dict[str, Any]


class Notice(NamedTuple):
    """``subject_id`` is a tweet's or a user's. ``asks`` is the last tweet to be scrubbed, or a list of countries."""

    kind: str
    subject_id: str
    asks: Any = None


Subject = tuple[str, str]
"""The id of a tweet that a message has, its own or one that it retweets or quotes, and the id of its user."""


def notice(message: Mapping[str, Any]) -> Notice | None:
    """What a notice asks for; None where that is nothing."""
    kind = kinds.kind(message)
    if kind == "delete":
        deleted_id = kinds.deleted_id(message)
        return Notice(kind, deleted_id) if deleted_id else None
    if kind == "scrub_geo":
        scrubbed = kinds.scrubbed(message)
        return Notice(kind, *scrubbed) if scrubbed else None
    if kind in {"status_withheld", "user_withheld"} and (subject_id := kinds.subject_id(message)):
        countries = message[kind].get("withheld_in_countries")
        return Notice(kind, subject_id, countries) if isinstance(countries, list) else None
    return None


def of_v2(value: Mapping[str, Any]) -> Json | None:
    """v1.1's notice for an event of v2's compliance streams, or for a tweet that batch compliance says is deleted.

    None for anything else.
    """
    if value.get("action") == "delete" and "redacted_at" in value:
        return {"delete": {"status": {"id_str": value.get("id")}}}
    data = value.get("data")
    name, event = next(iter(data.items())) if isinstance(data, dict) and data else ("", None)
    if not isinstance(event, dict) or "event_at" not in event:
        return None
    tweet, user = (event[part] if isinstance(event.get(part), dict) else {} for part in ("tweet", "user"))
    countries = {"withheld_in_countries": event.get("withheld_in_countries")}
    notices = {
        "delete": {"delete": {"status": {"id_str": tweet.get("id"), "user_id_str": tweet.get("author_id")}}},
        "scrub_geo": {"scrub_geo": {"user_id_str": user.get("id"), "up_to_status_id_str": event.get("up_to_tweet_id")}},
        "withheld": {"status_withheld": {"id_str": tweet.get("id"), **countries}},
        "user_withheld": {"user_withheld": {"id_str": user.get("id"), **countries}},
    }
    return notices.get(name, {name: event})


def subjects(tweet: Tweet) -> tuple[Subject, ...]:
    """Of whom a message speaks, itself first. However deep they are nested: a line may be anybody's."""
    tweets = [tweet]
    for one in tweets:
        tweets += [inside for inside in (one.retweeted_status, one.quoted_status) if inside]
    return tuple(map(_subject, tweets))


def _subject(tweet: Tweet) -> Subject:
    user = tweet.user
    user_id = str(user.id_str or user.id or "") if user else ""
    return tweet.id_str or str(tweet.id or ""), user_id


class Compliance:
    """The latest notices, and what they do to tweets that come after them."""

    def __init__(self) -> None:
        self._asked: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def note(self, given: Notice) -> None:
        self._asked[given.kind, given.subject_id] = given.asks
        self._asked.move_to_end((given.kind, given.subject_id))
        if len(self._asked) > MOST_NOTICES:
            self._asked.popitem(last=False)

    def honoured(self, value: bytes, of: tuple[Subject, ...]) -> bytes | None:
        """The message as it may be written; None where it may not: its tweet, or the one it retweets, is deleted, or it
        is nested too deeply to take anything out of it.
        """
        if not self._asked or not any(map(self._is_concerned, of)):
            return value
        try:
            tweet = fields.load(value)
        except ValueError:
            return None
        if self._is_deleted(tweet) or self._is_deleted(tweet.get("retweeted_status")):
            return None
        for status in _statuses(tweet):
            self._honour(status)
        return fields.dump(tweet)

    def _is_concerned(self, subject: Subject) -> bool:
        asked, (tweet_id, user_id) = self._asked, subject
        return (
            ("delete", tweet_id) in asked
            or ("scrub_geo", user_id) in asked
            or ("status_withheld", tweet_id) in asked
            or ("user_withheld", user_id) in asked
        )

    def _is_deleted(self, status: Any) -> bool:
        return isinstance(status, dict) and ("delete", kinds.tweet_id(status)) in self._asked

    def _honour(self, status: Json) -> None:
        tweet_id = kinds.tweet_id(status)
        user: Json = status["user"] if isinstance(status.get("user"), dict) else {}
        user_id = str(user.get("id_str") or user.get("id"))
        if self._is_deleted(status.get("quoted_status")):
            del status["quoted_status"]
        if tweet_id.isdecimal() and int(tweet_id) <= self._asked.get(("scrub_geo", user_id), -1):
            status |= {"geo": None, "coordinates": None, "place": None}
        if countries := self._asked.get(("status_withheld", tweet_id)):
            status["withheld_in_countries"] = countries
        if countries := self._asked.get(("user_withheld", user_id)):
            user["withheld_in_countries"] = countries


def _statuses(tweet: Json) -> Iterator[Json]:
    """The tweet, and those inside it."""
    yield tweet
    for name in ("retweeted_status", "quoted_status"):
        if isinstance(inside := tweet.get(name), dict):
            yield from _statuses(inside)
