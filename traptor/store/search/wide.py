"""A document as the wide row of an export, which every database gives."""

from collections.abc import Sequence
from typing import Any

from traptor.store.search.documents import Document

_IDS = ("in_reply_to_status_id", "in_reply_to_user_id", "retweeted_id", "quoted_id")


def wide(one: Document) -> dict[str, Any]:
    """Lists joined by blanks; ids as numbers, as in the tables of SQL."""
    user, place, point = one.get("user", {}), one.get("place", {}), one.get("point", {})
    id_ = {name: _number(one.get(name)) for name in _IDS}
    return {
        "id": int(one["id"]),
        "created_at": one.get("created_at"),
        "user_id": _number(user.get("id")),
        **{name: user.get(name) for name in ("screen_name", "name", "followers_count")},
        **{name: one.get(name) for name in ("text", "lang", "source")},
        "in_reply_to_status_id": id_["in_reply_to_status_id"],
        "in_reply_to_user_id": id_["in_reply_to_user_id"],
        "retweeted_id": id_["retweeted_id"],
        "retweeted_user_id": _number(one.get("retweeted_user", {}).get("id")),
        "quoted_id": id_["quoted_id"],
        "quoted_user_id": _number(one.get("quoted_user", {}).get("id")),
        "quoted_text": one.get("quoted_text"),
        "longitude": point.get("lon"),
        "latitude": point.get("lat"),
        "place_id": place.get("id"),
        "place": place.get("full_name"),
        "country_code": place.get("country_code"),
        **{name: one.get(name) for name in ("retweet_count", "favorite_count", "possibly_sensitive")},
        "hashtags": _joined(
            [f"#{tag}" for tag in one.get("hashtags", ())] + [f"${tag}" for tag in one.get("cashtags", ())]
        ),
        "urls": _joined([url.get("expanded_url") or url.get("url") for url in one.get("urls", ())]),
        "mentions": _joined([f"@{name}" for each in one.get("mentions", ()) if (name := each.get("screen_name"))]),
        "media": _joined([medium.get("video_url") or medium.get("url") for medium in one.get("media", ())]),
        "rules": _joined(one.get("rules", [])),
        "tags": _joined(sorted({match["tag"] for match in one.get("matches", ()) if "tag" in match}), ","),
        "withheld_in": _joined(one.get("withheld_in", []), ","),
    }


def _number(id_: str | None) -> int | None:
    return None if id_ is None else int(id_)


def _joined(texts: Sequence[str | None], by: str = " ") -> str | None:
    return by.join(text for text in texts if text) or None
