"""What a JSON value of an archive holds, as tweets in the shape of v1.1 and as notices."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from traptor.archives import activities, compliance
from traptor.archives.forms import LISTS
from traptor.sources.v2 import payload, shape
from traptor.tweets import kinds

Json = dict[str, Any]

_REMARKS = ("info", "meta", "errors")
"""What services say beside tweets: that a job of GNIP's is complete, that a page of v2 has no tweets, or why."""
_NUMBERS = {
    "id", "favorite_count", "retweet_count", "in_reply_to_status_id", "in_reply_to_user_id", "indices",
    "display_text_range", "source_status_id", "source_user_id", "w", "h", "bitrate", "duration_millis",
}  # fmt: skip
"""Fields that a user's own archive has as texts, and v1.1 as numbers."""


class Shaped(NamedTuple):
    """Tweets in the shape of v1.1, or a notice; the paths of v2's fields that did not fit, each once.

    ``without_id`` are the tweets of a page that cannot be told apart, and are left out.
    """

    messages: list[Json]
    left_out: tuple[str, ...] = ()
    without_id: int = 0


def opened(value: Any) -> Iterator[Any]:
    """What is in it, where it holds several: a list, or the answer of a search."""
    if isinstance(value, list):
        for one in value:
            yield from opened(one)
    elif isinstance(value, dict) and (name := next((name for name in LISTS if name in value), None)):
        yield from opened(value[name])
    else:
        yield value


def stream_line(line: bytes) -> Json | None:
    """The tweet of a line as v2's stream sends it, in one go; None for anything else."""
    found = payload.decode(line) if line.startswith(b'{"data":') else None
    return shape.posted(found.data, payload.included(found.includes or payload.Expansions())) if found else None


def shaped(value: Any) -> Shaped:
    """What there is in it. Raises ValueError for what is neither a tweet nor a notice."""
    if shape.is_v2(value):
        return _of_v2(value)
    if not isinstance(value, dict):
        raise ValueError("neither a tweet nor a notice")
    if notice := compliance.of_v2(value):
        return Shaped([notice])
    if activities.is_activity(value):
        return Shaped([activities.message(value)])
    if isinstance(value.get("tweet"), dict):
        return Shaped([_own(value["tweet"], value.get("account"))])
    if "id" in value and "id_str" not in value and ("text" in value or "full_text" in value):
        return _of_v2(_page(value)) if _is_of_v2(value) else Shaped([_with_id_str(value)])
    if kinds.kind(value) == "unknown" and not any(name in value for name in _REMARKS):
        raise ValueError(_unknown(value))
    return Shaped([value])


def _of_v2(page: Json) -> Shaped:
    tweets, left_out = shape.shaped(page)
    fields = tuple(path for path in left_out if path != "data")
    return Shaped(tweets, fields, len(payload.data(page)) - len(tweets))


def _unknown(value: Mapping[str, Any]) -> str:
    if "users" in value:
        return "has users without their tweets: those are in a file beside it, data_… of users_…, which it is read with"
    return "neither a tweet nor a notice"


def _is_of_v2(tweet: Json) -> bool:
    return "author_id" in tweet or (isinstance(tweet["id"], str) and "user" not in tweet)


def _with_id_str(tweet: Json) -> Json:
    """A tweet of the time before 2010, or one that a program has written anew."""
    if not (tweet_id := kinds.tweet_id(tweet)):
        raise ValueError("a tweet without an id")
    return {**tweet, "id_str": tweet_id}


def _page(tweet: Json) -> Json:
    """A v2 tweet with nothing around it as the page it came in: twarc2's ``flatten`` puts what it refers to inside."""
    found: dict[str, dict[str, Json]] = {"users": {}, "tweets": {}, "media": {}, "places": {}}
    _collect(tweet, found)
    includes = {kind: list(some.values()) for kind, some in found.items() if some}
    return {"data": {**tweet, "id": str(tweet["id"])}, "includes": includes}


def _collect(tweet: Json, found: dict[str, dict[str, Json]]) -> None:
    attachments, geo, entities = (_part(tweet, name) for name in ("attachments", "geo", "entities"))
    users = [tweet.get("author"), tweet.get("in_reply_to_user"), *_parts(entities, "mentions")]
    found["users"] |= {user["id"]: user for user in users if _has(user, "id", "username")}
    found["media"] |= {one["media_key"]: one for one in _parts(attachments, "media") if _has(one, "media_key", "type")}
    if _has(geo, "id", "full_name"):
        # What is inlined beside a point of its own has the box of the place, in the same field.
        found["places"][geo["id"]] = geo if "bbox" in _part(geo, "geo") else {**geo, "geo": {}}
    for referred in _parts(tweet, "referenced_tweets") + _parts(tweet, "referenced_posts"):
        if _has(referred, "id", "text"):
            found["tweets"][referred["id"]] = referred
            _collect(referred, found)


def _part(whole: Json, name: str) -> Json:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _parts(whole: Json, name: str) -> list[Any]:
    parts = whole.get(name)
    return parts if isinstance(parts, list) else []


def _has(part: Any, *names: str) -> bool:
    return isinstance(part, dict) and all(isinstance(part.get(name), str) for name in names)


def _own(tweet: Json, account: Any) -> Json:
    """A tweet of a user's own archive, which has no author: that is whose archive it is."""
    numbered: Json = _with_numbers(tweet)
    if "id_str" not in numbered and "id" in numbered:
        numbered["id_str"] = str(numbered["id"])
    if "user" not in tweet and _has(account, "accountId", "username"):
        user_id = account["accountId"]
        numbered["user"] = {
            "id": int(user_id) if user_id.isdecimal() else None,
            "id_str": user_id,
            "name": account.get("accountDisplayName"),
            "screen_name": account["username"],
        }
    if "id_str" not in numbered:
        raise ValueError("a tweet without an id")
    return numbered


def _with_numbers(value: Any, *, is_number: bool = False) -> Any:
    if isinstance(value, dict):
        return {name: _with_numbers(inside, is_number=name in _NUMBERS) for name, inside in value.items()}
    if isinstance(value, list):
        return [_with_numbers(inside, is_number=is_number) for inside in value]
    return int(value) if is_number and isinstance(value, str) and value.isdecimal() and len(value) < 20 else value
