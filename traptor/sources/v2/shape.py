"""From v2 payloads to tweets in the shape of v1.1. docs/v2.md has the table of fields, and what v2 does not give.

What v2 does not have is left out, but for the keys that every v1.1 tweet has: those are null, or what they always were.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

SHORT_TEXT_CHARACTERS = 140
"""What v1.1's stream put into ``text``; the whole of a longer one was in ``extended_tweet``."""
SNOWFLAKE_EPOCH_MS = 1288834974657
FIRST_SNOWFLAKE = 1 << 35
"""Ids below were counted, and do not tell the time."""

Json = dict[str, Any]


class Includes(NamedTuple):
    """What a payload's tweets refer to, by id or key."""

    users: Mapping[str, Json]
    tweets: Mapping[str, Json]
    media: Mapping[str, Json]
    places: Mapping[str, Json]


def is_v2(message: object) -> bool:
    """Does it hold tweets as v2 sends them? ``data`` is a tweet, or the list of tweets of a search page."""
    first = _data(message)[:1]
    return bool(first) and isinstance(first[0], dict) and "id" in first[0] and "text" in first[0]


def _data(message: object) -> list[Any]:
    data = message.get("data") if isinstance(message, Mapping) else None
    return data if isinstance(data, list) else [data]


def tweets(payload: Mapping[str, Any]) -> list[Json]:
    """The tweets of a payload in v1.1's shape. Raises ValueError where a field is not of the shape that v2 states."""
    try:
        includes = _includes(payload.get("includes") or {})
        return [_posted(tweet, includes) for tweet in _data(payload)]
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a v2 tweet: {type(error).__name__}: {error}") from None


def _includes(given: Mapping[str, list[Json]]) -> Includes:
    return Includes(
        users={user["id"]: user for user in given.get("users", ())},
        tweets={tweet["id"]: tweet for tweet in given.get("tweets", ())},
        media={media["media_key"]: media for media in given.get("media", ())},
        places={place["id"]: place for place in given.get("places", ())},
    )


def _posted(tweet: Json, includes: Includes) -> Json:
    """A tweet of the stream."""
    posted = _quoting(tweet, includes)
    if original := _referred(tweet, "retweeted", includes):
        retweeted = _quoting(original, includes)
        posted |= {name: value for name, value in retweeted.items() if name in QUOTE_FIELDS}
        posted["retweeted_status"] = retweeted
    if (tweet_id := int(tweet["id"])) >= FIRST_SNOWFLAKE:
        posted["timestamp_ms"] = str((tweet_id >> 22) + SNOWFLAKE_EPOCH_MS)
    return posted


QUOTE_FIELDS = ("is_quote_status", "quoted_status_id", "quoted_status_id_str", "quoted_status")
"""v1.1 tells them of a retweet as of its original."""


def _quoting(tweet: Json, includes: Includes) -> Json:
    status = _status(tweet, includes)
    if quoted := _referred(tweet, "quoted", includes):
        status["quoted_status"] = _status(quoted, includes)
    return status


def _status(tweet: Json, includes: Includes) -> Json:
    """One tweet, without those that it refers to."""
    user = _user(tweet.get("author_id", ""), includes)
    metrics = tweet.get("public_metrics") or {}
    status: Json = {
        "created_at": _created_at(tweet["created_at"]) if "created_at" in tweet else None,
        "id": int(tweet["id"]),
        "id_str": tweet["id"],
        **_content(tweet, includes),
        "source": tweet.get("source", ""),
        **_reply(tweet, includes),
        "user": user,
        **_location(tweet.get("geo") or {}, includes),
        "contributors": None,
        **_quoted_id(tweet),
        "quote_count": metrics.get("quote_count", 0),
        "reply_count": metrics.get("reply_count", 0),
        "retweet_count": metrics.get("retweet_count", 0),
        "favorite_count": metrics.get("like_count", 0),
        "favorited": False,
        "retweeted": False,
        "filter_level": "low",
        "lang": tweet.get("lang", "und"),
    }
    if "possibly_sensitive" in tweet:
        status["possibly_sensitive"] = tweet["possibly_sensitive"]
    return status | _withheld(tweet)


def _reference(tweet: Json, kind: str) -> str | None:
    """The id of the tweet that this one retweeted, quoted or replied_to."""
    references = tweet.get("referenced_tweets") or ()
    return next((reference["id"] for reference in references if reference["type"] == kind), None)


def _referred(tweet: Json, kind: str, includes: Includes) -> Json | None:
    return includes.tweets.get(_reference(tweet, kind) or "")


def _created_at(iso: str) -> str:
    """``2021-01-26T14:05:12.000Z`` as ``Tue Jan 26 14:05:12 +0000 2021``."""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%a %b %d %H:%M:%S +0000 %Y}"


def _content(tweet: Json, includes: Includes) -> Json:
    """Text and entities, cut as v1.1 cuts them where they are long. A retweet's text comes cut already."""
    note = tweet.get("note_tweet") or {}
    text: str = note.get("text") or tweet["text"]
    found = note.get("entities") or tweet.get("entities") or {}
    keys = (tweet.get("attachments") or {}).get("media_keys", ())
    media = [includes.media[key] for key in keys if key in includes.media]
    whole = _entities(found, media, includes)
    if len(text) <= SHORT_TEXT_CHARACTERS or _reference(tweet, "retweeted"):
        return {"text": text, "truncated": False, **_with_all_media(whole)}
    kept = text[: SHORT_TEXT_CHARACTERS - 1].rsplit(" ", 1)[0]
    inside = {kind: [one for one in entities if one["indices"][1] <= len(kept)] for kind, entities in whole.items()}
    extended = {"full_text": text, "display_text_range": [0, len(text)], **_with_all_media(whole)}
    entities = {kind: some for kind, some in inside.items() if kind != "media"}
    return {"text": kept + "…", "truncated": True, "entities": entities, "extended_tweet": extended}


def _with_all_media(entities: Json) -> Json:
    """v1.1 has the first of the media among the entities, and all of them in ``extended_entities``."""
    if "media" not in entities:
        return {"entities": entities}
    return {
        "entities": {**entities, "media": entities["media"][:1]},
        "extended_entities": {"media": entities["media"]},
    }


def _entities(found: Json, media: Sequence[Json], includes: Includes) -> Json:
    """The link of a medium is among the urls only where the medium is not included; several media share one."""
    links = found.get("urls") or ()
    shown = {link["media_key"]: link for link in links if "media_key" in link}
    attached = [_medium(medium, shown[medium["media_key"]]) for medium in media if medium["media_key"] in shown]
    taken = {tuple(medium["indices"]) for medium in attached}
    urls = {tuple(link["indices"]): link for link in map(_link, links)}
    entities: Json = {
        "hashtags": [{"text": tag["tag"], "indices": _indices(tag)} for tag in found.get("hashtags") or ()],
        "urls": [link for place, link in urls.items() if place not in taken],
        "user_mentions": [_mention(mention, includes) for mention in found.get("mentions") or ()],
        "symbols": [{"text": tag["tag"], "indices": _indices(tag)} for tag in found.get("cashtags") or ()],
    }
    return {**entities, "media": attached} if attached else entities


def _indices(entity: Json) -> list[int]:
    return [entity["start"], entity["end"]]


def _link(link: Json) -> Json:
    return {name: link.get(name) for name in ("url", "expanded_url", "display_url")} | {"indices": _indices(link)}


def _mention(mention: Json, includes: Includes) -> Json:
    user_id = mention.get("id")
    return {
        "screen_name": mention["username"],
        "name": includes.users.get(user_id or "", {}).get("name"),
        "id": int(user_id) if user_id else None,
        "id_str": user_id,
        "indices": _indices(mention),
    }


def _medium(medium: Json, link: Json) -> Json:
    """A photo, video or animated_gif. Its id is the second half of v2's media_key."""
    media_id = medium["media_key"].rpartition("_")[2]
    address = medium.get("url") or medium.get("preview_image_url") or ""
    shaped = {
        "id": int(media_id),
        "id_str": media_id,
        "media_url": address.replace("https://", "http://", 1),
        "media_url_https": address,
        **_link(link),
        "type": medium["type"],
    }
    if "width" in medium:
        shaped["sizes"] = {"large": {"w": medium["width"], "h": medium["height"], "resize": "fit"}}
    if "variants" in medium:
        shaped["video_info"] = {
            "duration_millis": medium.get("duration_ms"),
            "variants": [
                {"bitrate" if name == "bit_rate" else name: value for name, value in variant.items()}
                for variant in medium["variants"]
            ],
        }
    return shaped


def _reply(tweet: Json, includes: Includes) -> Json:
    status_id, user_id = _reference(tweet, "replied_to"), tweet.get("in_reply_to_user_id")
    return {
        "in_reply_to_status_id": int(status_id) if status_id else None,
        "in_reply_to_status_id_str": status_id,
        "in_reply_to_user_id": int(user_id) if user_id else None,
        "in_reply_to_user_id_str": user_id,
        "in_reply_to_screen_name": includes.users.get(user_id or "", {}).get("username"),
    }


def _quoted_id(tweet: Json) -> Json:
    quoted_id = _reference(tweet, "quoted")
    if not quoted_id:
        return {"is_quote_status": False}
    return {"is_quote_status": True, "quoted_status_id": int(quoted_id), "quoted_status_id_str": quoted_id}


def _location(geo: Json, includes: Includes) -> Json:
    """Points are longitude, latitude; in ``geo``, which v1.1 had long deprecated, the other way round."""
    point = (geo.get("coordinates") or {}).get("coordinates")
    place = includes.places.get(geo.get("place_id", ""))
    return {
        "geo": {"type": "Point", "coordinates": point[::-1]} if point else None,
        "coordinates": {"type": "Point", "coordinates": point} if point else None,
        "place": _place(place) if place else None,
    }


def _place(place: Json) -> Json:
    box = (place.get("geo") or {}).get("bbox")
    names = ("id", "place_type", "name", "full_name", "country_code", "country")
    return {
        **{name: place.get(name) for name in names},
        "url": f"https://api.twitter.com/1.1/geo/id/{place['id']}.json",
        "bounding_box": {"type": "Polygon", "coordinates": [_corners(*box)]} if box else None,
        "attributes": {},
    }


def _corners(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [west, north], [east, north], [east, south]]


def _user(user_id: str, includes: Includes) -> Json:
    """The author; a suspended one is not included and has but an id."""
    user = includes.users.get(user_id)
    if not user:
        return {"id": int(user_id) if user_id else None, "id_str": user_id or None}
    metrics = user.get("public_metrics") or {}
    image = user.get("profile_image_url", "")
    return {
        "id": int(user_id),
        "id_str": user_id,
        "name": user["name"],
        "screen_name": user["username"],
        "location": user.get("location"),
        "url": user.get("url"),
        "description": user.get("description") or None,
        "protected": user.get("protected", False),
        "verified": user.get("verified", False),
        "followers_count": metrics.get("followers_count", 0),
        "friends_count": metrics.get("following_count", 0),
        "listed_count": metrics.get("listed_count", 0),
        "favourites_count": metrics.get("like_count", 0),
        "statuses_count": metrics.get("tweet_count", 0),
        "created_at": _created_at(user["created_at"]) if "created_at" in user else None,
        **dict.fromkeys(ALWAYS_NULL),
        "profile_image_url": image.replace("https://", "http://", 1),
        "profile_image_url_https": image,
    } | _withheld(user)


ALWAYS_NULL = ("utc_offset", "time_zone", "lang", "following", "follow_request_sent", "notifications")
"""Keys of a v1.1 user that had lost their values by 2018."""


def _withheld(subject: Json) -> Json:
    if not (withheld := subject.get("withheld")):
        return {}
    shaped: Json = {"withheld_in_countries": withheld.get("country_codes", [])}
    if withheld.get("copyright"):
        shaped["withheld_copyright"] = True
    return shaped if "scope" not in withheld else {**shaped, "withheld_scope": withheld["scope"]}
