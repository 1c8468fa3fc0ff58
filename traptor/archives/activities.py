"""Activities, as GNIP and PowerTrack sent tweets, in the shape of v1.1's tweets.

Fields are mapped as Twitter's guide to the enterprise formats has them: Activity Streams beside the native format.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

_ID = re.compile(r"(?:.*[:/])?([0-9]{1,19})")
_REPLY = re.compile(r".*/([^/]+)/status(?:es)?/([0-9]{1,19})")
_PLACE = re.compile(r".*/([^/.]+)(?:\.json)?")
_SAME = {
    "twitter_entities": "entities",
    "twitter_extended_entities": "extended_entities",
    "twitter_lang": "lang",
    "twitter_filter_level": "filter_level",
    "display_text_range": "display_text_range",
    "retweetCount": "retweet_count",
    "favoritesCount": "favorite_count",
}
"""Fields that only the name sets apart, by GNIP's name."""
_COUNTS = {
    "followersCount": "followers_count",
    "friendsCount": "friends_count",
    "listedCount": "listed_count",
    "statusesCount": "statuses_count",
    "favoritesCount": "favourites_count",
}


def is_activity(message: Mapping[str, Any]) -> bool:
    return message.get("objectType") == "activity" and isinstance(message.get("verb"), str)


def message(activity: Mapping[str, Any]) -> Json:
    """The tweet, or the notice that a tweet was deleted. Raises ValueError for an activity without an id."""
    if activity["verb"] == "delete":
        deleted = {**_ids(_part(activity, "object"), "id"), **_ids(_part(activity, "actor"), "user_id")}
        return {"delete": {"status": deleted}}
    status = _status(activity)
    if status["id"] is None:
        raise ValueError("an activity without an id")
    return status


def _status(activity: Mapping[str, Any]) -> Json:
    body = activity.get("body")
    status: Json = {
        "created_at": _created_at(activity.get("postedTime")),
        **_ids(activity, "id"),
        "text": body if isinstance(body, str) else "",
        **_renamed(activity, _SAME),
        **_extended(_part(activity, "long_object")),
        "source": _source(_part(activity, "generator")),
        **_reply(activity),
        "user": _user(_part(activity, "actor")),
        **_location(activity),
    }
    if activity["verb"] == "share" and (original := _part(activity, "object")):
        status["retweeted_status"] = _status({"verb": "post", **original})
    if quoted := _part(activity, "twitter_quoted_status"):
        status["quoted_status"] = _status({"verb": "post", **quoted})
        status |= {f"quoted_status_{name}": value for name, value in _ids(quoted, "id").items()}
    if rules := _part(activity, "gnip").get("matching_rules"):
        status["matching_rules"] = rules
    return {**status, "is_quote_status": bool(quoted)}


def _part(whole: Mapping[str, Any], name: str) -> Json:
    """An object inside; empty where there is none."""
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _list(whole: Mapping[str, Any], name: str) -> list[Any]:
    inside = whole.get(name)
    return inside if isinstance(inside, list) else []


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> Json:
    return {name: fields[given] for given, name in names.items() if given in fields}


def _ids(subject: Mapping[str, Any], name: str) -> Json:
    """``tag:search.twitter.com,2005:7``, ``id:twitter.com:7`` and their like, as number and text; None without one."""
    found = _ID.fullmatch(str(subject.get("id", "")))
    return {name: int(found[1]) if found else None, f"{name}_str": found[1] if found else None}


def _created_at(iso: Any) -> str | None:
    """``2021-01-26T14:05:12.000Z`` as ``Tue Jan 26 14:05:12 +0000 2021``."""
    try:
        return f"{datetime.fromisoformat(iso).astimezone(UTC):%a %b %d %H:%M:%S +0000 %Y}"
    except (TypeError, ValueError, OverflowError):
        return None


def _source(generator: Json) -> str:
    name, link = generator.get("displayName"), generator.get("link")
    return f'<a href="{link}" rel="nofollow">{name}</a>' if name and link else str(name or "")


def _extended(long: Json) -> Json:
    """What a tweet of more than 140 characters has beside its cut text."""
    if "body" not in long:
        return {"truncated": False}
    return {"truncated": True, "extended_tweet": {"full_text": long["body"], **_renamed(long, _SAME)}}


def _reply(activity: Mapping[str, Any]) -> Json:
    """Whom it answers. The id of that user stands only where they are mentioned."""
    link = _part(activity, "inReplyTo").get("link")
    found = _REPLY.fullmatch(link) if isinstance(link, str) else None
    if not found:
        return {}
    mentions = _list(_part(activity, "twitter_entities"), "user_mentions")
    ids = {str(one.get("screen_name")).lower(): one.get("id_str") for one in mentions if isinstance(one, dict)}
    user_id = ids.get(found[1].lower())
    return {
        "in_reply_to_status_id": int(found[2]),
        "in_reply_to_status_id_str": found[2],
        "in_reply_to_user_id": int(user_id) if isinstance(user_id, str) and user_id.isdecimal() else None,
        "in_reply_to_user_id_str": user_id,
        "in_reply_to_screen_name": found[1],
    }


def _user(actor: Json) -> Json:
    links, languages = _list(actor, "links"), _list(actor, "languages")
    image = str(actor.get("image") or "")
    return {
        **_ids(actor, "id"),
        "name": actor.get("displayName"),
        "screen_name": actor.get("preferredUsername"),
        "location": _part(actor, "location").get("displayName"),
        "url": next((link["href"] for link in links if isinstance(link, dict) and link.get("href")), None),
        "description": actor.get("summary"),
        "verified": actor.get("verified", False),
        **_renamed(actor, _COUNTS),
        "created_at": _created_at(actor.get("postedTime")),
        "utc_offset": _number(actor.get("utcOffset")),
        "time_zone": actor.get("twitterTimeZone"),
        "lang": languages[0] if languages else None,
        "profile_image_url": image.replace("https://", "http://", 1),
        "profile_image_url_https": image.replace("http://", "https://", 1),
    }


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | str) and re.fullmatch(r"-?[0-9]{1,6}", str(value)) else None


def _location(activity: Mapping[str, Any]) -> Json:
    """``geo`` is latitude, longitude in both formats; ``coordinates`` is v1.1's other way round."""
    geo, place = _part(activity, "geo"), _part(activity, "location")
    point = geo.get("coordinates")
    is_point = geo.get("type") == "Point" and isinstance(point, list)
    return {
        "geo": geo if is_point else None,
        "coordinates": {"type": "Point", "coordinates": point[::-1]} if is_point and point else None,
        "place": _place(place) if place else None,
    }


def _place(place: Json) -> Json:
    found = _PLACE.fullmatch(str(place.get("link") or ""))
    return {
        "id": found[1] if found else None,
        "url": place.get("link"),
        "place_type": place.get("twitter_place_type"),
        "name": place.get("name"),
        "full_name": place.get("displayName"),
        "country_code": place.get("twitter_country_code"),
        "country": place.get("country_code"),
        "bounding_box": place.get("geo"),
        "attributes": {},
    }
