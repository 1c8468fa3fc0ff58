"""Tweets of v1.1 as X API v2 sends them: the tweet under ``data``, what it refers to under ``includes``."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from traptor.simulator.v2_request import Asked
from traptor.tweets.snowflakes import EPOCH_MS, posted_ms
from traptor.tweets.times import iso_time_or_none

SHORT_TEXT_CHARACTERS = 280
"""A longer one is cut in ``text``, and whole in ``note_tweet``."""
EDITABLE_MS = 30 * 60 * 1000
POST_NAMES = {
    "note_tweet": "note_post",
    "referenced_tweets": "referenced_posts",
    "edit_history_tweet_ids": "edit_history_post_ids",
    "retweet_count": "repost_count",
    "tweet_count": "post_count",
    "tweets": "posts",
}
"""What the newest specification calls the fields that the guides name after tweets."""
FIELDS_OF = {"users": "user.fields", "tweets": "tweet.fields", "media": "media.fields", "places": "place.fields"}

Json = dict[str, Any]

LACKING: Json = {
    "text": "", "lang": "und", "retweet_count": 0, "reply_count": 0, "favorite_count": 0, "quote_count": 0,
    "in_reply_to_user_id_str": None, "in_reply_to_status_id_str": None, "coordinates": None, "place": None,
}  # fmt: skip
"""What a recorded tweet may lack, for Twitter had it later, or somebody has cut it down; as with those below."""
LACKING_OF_ENTITIES: Json = {"hashtags": [], "symbols": [], "user_mentions": [], "urls": []}
LACKING_OF_USER: Json = {
    "name": "", "screen_name": "", "created_at": None, "description": None, "profile_image_url_https": None,
    "protected": False, "verified": False, "url": None, "followers_count": 0, "friends_count": 0, "listed_count": 0,
    "statuses_count": 0, "favourites_count": 0,
}  # fmt: skip


class Includes:
    """What a payload's tweets refer to, by kind and id: as far as ``expansions`` ask for it.

    ``path`` is where the tweet stands that refers to it; of tweets that are referred to v2 includes less.
    """

    def __init__(self, expansions: Collection[str], path: str = "", found: dict[str, Json] | None = None) -> None:
        self.found = found or {"users": {}, "tweets": {}, "media": {}, "places": {}}
        self._expansions = expansions
        self._path = path

    def add(self, expansion: str, kind: str, key: str, known: Json) -> None:
        """A mention knows less of a user than an author does."""
        if self._path + expansion in self._expansions:
            self.found[kind][key] = {**self.found[kind].get(key, {}), **known}

    def of_referred(self) -> "Includes":
        return Includes(self._expansions, "referenced_tweets.id.", self.found)


def payload(tweet: Mapping[str, Any], rules: Iterable[Json], asked: Asked, names: str = "tweet") -> Json:
    """One line of the stream, with what was asked for. ``rules`` are those that the tweet fits, with id and tag."""
    included = Includes(asked.expansions)
    data = _data(tweet, included)
    for name in ("retweeted_status", "quoted_status"):
        # A retweet brings its original's quoted tweet in v1.1, but v2 includes only what is one step away.
        if _id_in(tweet, name) and not (name == "quoted_status" and "retweeted_status" in tweet):
            referred = _data(tweet[name], included.of_referred())
            included.add("referenced_tweets.id", "tweets", referred["id"], referred)
    includes = {
        kind: [_asked_for(one, asked.fields[FIELDS_OF[kind]]) for one in found.values()]
        for kind, found in included.found.items()
        if found
    }
    sent = {"data": _asked_for(data, asked.fields["tweet.fields"]), "includes": includes, "matching_rules": list(rules)}
    return sent if names == "tweet" else _renamed(sent)


def _asked_for(thing: Json, fields: Collection[str]) -> Json:
    return {name: value for name, value in thing.items() if name in fields and value is not None}


def _renamed(thing: Any) -> Any:
    """In the names of the newest specification."""
    if isinstance(thing, dict):
        return {POST_NAMES.get(name, name): _renamed(value) for name, value in thing.items()}
    return [_renamed(one) for one in thing] if isinstance(thing, list) else thing


def _id_in(tweet: Mapping[str, Any], name: str) -> str:
    """Of the author, or of a tweet inside; empty where there is none."""
    inside = tweet.get(name)
    return str(inside.get("id_str") or "") if isinstance(inside, dict) else ""


def _data(recorded: Mapping[str, Any], included: Includes) -> Json:
    tweet = {**LACKING, **recorded}
    created_ms = posted_ms(int(tweet["id_str"])) or EPOCH_MS
    data: Json = {
        "id": tweet["id_str"],
        **_content(tweet, included),
        "edit_history_tweet_ids": [tweet["id_str"]],
        "edit_controls": {"editable_until": _iso(created_ms + EDITABLE_MS), "edits_remaining": 5,
                          "is_edit_eligible": True},
        "created_at": _iso(created_ms),
        "conversation_id": tweet.get("in_reply_to_status_id_str") or tweet["id_str"],
        "lang": tweet["lang"],
        "public_metrics": {
            "retweet_count": tweet["retweet_count"],
            "reply_count": tweet["reply_count"],
            "like_count": tweet["favorite_count"],
            "quote_count": tweet["quote_count"],
            "bookmark_count": 0,
            "impression_count": 0,
        },
        "reply_settings": "everyone",
    }  # fmt: skip
    if author_id := _id_in(tweet, "user"):
        data["author_id"] = author_id
        _include_user({**LACKING_OF_USER, **tweet["user"]}, included)
    if "possibly_sensitive" in tweet:
        data["possibly_sensitive"] = tweet["possibly_sensitive"]
    if tweet["in_reply_to_user_id_str"]:
        data["in_reply_to_user_id"] = tweet["in_reply_to_user_id_str"]
    if references := _references(tweet):
        data["referenced_tweets"] = references
    if geo := _geo(tweet, included):
        data["geo"] = geo
    return data


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _references(tweet: Mapping[str, Any]) -> list[Json]:
    if retweeted := _id_in(tweet, "retweeted_status"):
        return [{"type": "retweeted", "id": retweeted}]
    ids = {"quoted": tweet.get("quoted_status_id_str"), "replied_to": tweet["in_reply_to_status_id_str"]}
    return [{"type": kind, "id": tweet_id} for kind, tweet_id in ids.items() if tweet_id]


def _content(tweet: Mapping[str, Any], included: Includes) -> Json:
    whole = tweet.get("extended_tweet", tweet)
    text = whole.get("full_text", tweet["text"])
    entities = {**LACKING_OF_ENTITIES, **(whole.get("entities") or {})}
    entities["user_mentions"] = [one for one in entities["user_mentions"] if one.get("id_str")]
    media = whole.get("extended_entities", {}).get("media", [])
    is_note = len(text) > SHORT_TEXT_CHARACTERS
    _include_mentioned(entities, "entities.note.mentions.username" if is_note else MENTIONS, included)
    shown = whole.get("display_text_range")
    content = _long(tweet, text, entities, media, shown) if is_note else _short(text, entities, media, shown)
    if media:
        content["attachments"] = {"media_keys": [_include_medium(medium, included) for medium in media]}
    return content


def _short(text: str, entities: Json, media: list[Json], shown: list[int] | None) -> Json:
    told = {"text": text, "display_text_range": shown, "entities": _entities(entities, media)}
    return {name: value for name, value in told.items() if value or name == "text"}


def _long(tweet: Mapping[str, Any], text: str, entities: Json, media: list[Json], shown: list[int] | None) -> Json:
    """The text is cut, and ends in links to itself and to its media, which the note has not."""
    written = text[: media[0]["indices"][0]].rstrip() if media else text
    cut = written[: SHORT_TEXT_CHARACTERS - 60].rsplit(" ", 1)[0] + "…"
    inside = {kind: [one for one in found if one["indices"][1] < len(cut)] for kind, found in entities.items()}
    address = f"https://twitter.com/i/web/status/{tweet['id_str']}"
    own = {"url": f"https://t.co/{tweet['id_str'][-10:]}", "expanded_url": address, "display_url": "twitter.com/…"}
    inside["urls"].append({**own, "indices": [len(cut) + 1, len(cut) + 1 + len(own["url"])]})
    cut = f"{cut} {own['url']}"
    at_end = [{**one, "indices": [len(cut) + 1, len(cut) + 1 + len(one["url"])]} for one in media]
    cut = f"{cut} {media[0]['url']}" if media else cut
    note: Json = {"text": written}
    if own_entities := _entities(entities, []):
        note["entities"] = own_entities
    return {
        "text": cut,
        "display_text_range": [shown[0] if shown else 0, len(cut) - len(f" {media[0]['url']}") if media else len(cut)],
        "entities": _entities(inside, at_end),
        "note_tweet": note,
    }


MENTIONS = "entities.mentions.username"


def _include_mentioned(entities: Json, expansion: str, included: Includes) -> None:
    for mention in entities["user_mentions"]:
        known = {"id": mention["id_str"], "name": mention["name"], "username": mention["screen_name"]}
        included.add(expansion, "users", mention["id_str"], known)


def _entities(entities: Json, media: list[Json]) -> Json:
    """Photos are among the urls, each with its media_key."""
    found = {
        "hashtags": [{**_place_of(tag), "tag": tag["text"]} for tag in entities["hashtags"]],
        "cashtags": [{**_place_of(tag), "tag": tag["text"]} for tag in entities["symbols"]],
        "mentions": [
            {**_place_of(mention), "username": mention["screen_name"], "id": mention["id_str"]}
            for mention in entities["user_mentions"]
        ],
        "urls": [
            *({**_place_of(link), **_link(link)} for link in entities["urls"]),
            *({**_place_of(one), **_link(one), "media_key": _media_key(one)} for one in media),
        ],
    }
    return {name: some for name, some in found.items() if some}


def _place_of(entity: Json) -> Json:
    start, end = entity["indices"]
    return {"start": start, "end": end}


def _link(link: Json) -> Json:
    return {name: link[name] for name in ("url", "expanded_url", "display_url")}


def _media_key(medium: Json) -> str:
    return f"3_{medium['id_str']}"


def _include_medium(medium: Json, included: Includes) -> str:
    large = medium.get("sizes", {}).get("large", {})
    key = _media_key(medium)
    known = {
        "media_key": key,
        "type": medium["type"],
        "url": medium["media_url_https"],
        "width": large.get("w"),
        "height": large.get("h"),
    }
    included.add("attachments.media_keys", "media", key, known)
    return key


def _include_user(user: Json, included: Includes) -> None:
    known = {
        "id": user["id_str"],
        "name": user["name"],
        "username": user["screen_name"],
        "created_at": (iso_time_or_none(user["created_at"]) or "1970-01-01T00:00:00+00:00")[:19] + ".000Z",
        "description": user["description"] or "",
        "profile_image_url": user["profile_image_url_https"],
        "protected": user["protected"],
        "verified": user["verified"],
        "verified_type": "blue" if user["verified"] else "none",
        "url": user["url"] or "",
        **{name: user[name] for name in ("location", "profile_banner_url") if user.get(name)},
        "public_metrics": {
            "followers_count": user["followers_count"],
            "following_count": user["friends_count"],
            "listed_count": user["listed_count"],
            "tweet_count": user["statuses_count"],
            "like_count": user["favourites_count"],
        },
    }
    included.add("author_id", "users", user["id_str"], known)


def _geo(tweet: Mapping[str, Any], included: Includes) -> Json:
    geo: Json = {"coordinates": tweet["coordinates"]} if tweet["coordinates"] else {}
    if place := tweet["place"]:
        names = ("id", "name", "full_name", "country", "country_code", "place_type")
        known = {name: place.get(name) for name in names}
        if box := place.get("bounding_box"):
            (west, south), _, (east, north), _ = box["coordinates"][0]
            known["geo"] = {"type": "Feature", "bbox": [west, south, east, north], "properties": {}}
        included.add("geo.place_id", "places", place["id"], known)
        geo["place_id"] = place["id"]
    return geo
