"""Tweets of v1.1 as X API v2 sends them: the tweet under ``data``, what it refers to under ``includes``."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from traptor.simulator.snowflakes import EPOCH_MS

SHORT_TEXT_CHARACTERS = 280
"""The whole of a longer one is in ``note_tweet``."""

Json = dict[str, Any]


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


def payload(tweet: Mapping[str, Any], rules: Iterable[Json], expansions: Collection[str]) -> Json:
    """One line of the stream. ``rules`` are those that the tweet fits, with id and tag."""
    included = Includes(expansions)
    data = _data(tweet, included)
    for name in ("retweeted_status", "quoted_status"):
        # A retweet brings its original's quoted tweet in v1.1, but v2 includes only what is one step away.
        if tweet.get(name) and not (name == "quoted_status" and "retweeted_status" in tweet):
            referred = _data(tweet[name], included.of_referred())
            included.add("referenced_tweets.id", "tweets", referred["id"], referred)
    includes = {name: list(found.values()) for name, found in included.found.items() if found}
    return {"data": data, "includes": includes, "matching_rules": list(rules)}


def _data(tweet: Mapping[str, Any], included: Includes) -> Json:
    _include_user(tweet["user"], included)
    data: Json = {
        "id": tweet["id_str"],
        **_content(tweet, included),
        "edit_history_tweet_ids": [tweet["id_str"]],
        "created_at": _iso((tweet["id"] >> 22) + EPOCH_MS),
        "author_id": tweet["user"]["id_str"],
        "conversation_id": tweet.get("in_reply_to_status_id_str") or tweet["id_str"],
        "lang": tweet["lang"],
        "public_metrics": {
            "retweet_count": tweet["retweet_count"],
            "reply_count": tweet["reply_count"],
            "like_count": tweet["favorite_count"],
            "quote_count": tweet["quote_count"],
        },
        "reply_settings": "everyone",
    }
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
    if "retweeted_status" in tweet:
        return [{"type": "retweeted", "id": tweet["retweeted_status"]["id_str"]}]
    ids = {"quoted": tweet.get("quoted_status_id_str"), "replied_to": tweet["in_reply_to_status_id_str"]}
    return [{"type": kind, "id": tweet_id} for kind, tweet_id in ids.items() if tweet_id]


def _content(tweet: Mapping[str, Any], included: Includes) -> Json:
    whole = tweet.get("extended_tweet", tweet)
    text = whole.get("full_text", tweet["text"])
    media = whole.get("extended_entities", {}).get("media", [])
    is_note = len(text) > SHORT_TEXT_CHARACTERS
    _include_mentioned(whole["entities"], "entities.note.mentions.username" if is_note else MENTIONS, included)
    entities = _entities(whole["entities"], media)
    content: Json = {"text": text[:SHORT_TEXT_CHARACTERS]}
    if is_note:
        content["note_tweet"] = {"text": text, "entities": entities}
    elif entities:
        content["entities"] = entities
    if media:
        content["attachments"] = {"media_keys": [_include_medium(medium, included) for medium in media]}
    return content


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
    large = medium["sizes"]["large"]
    key = _media_key(medium)
    known = {
        "media_key": key,
        "type": medium["type"],
        "url": medium["media_url_https"],
        "width": large["w"],
        "height": large["h"],
    }
    included.add("attachments.media_keys", "media", key, known)
    return key


def _include_user(user: Json, included: Includes) -> None:
    known = {
        "id": user["id_str"],
        "name": user["name"],
        "username": user["screen_name"],
        "created_at": datetime.strptime(user["created_at"], "%a %b %d %H:%M:%S %z %Y").strftime(
            "%Y-%m-%dT%H:%M:%S.000Z"
        ),
        "description": user["description"] or "",
        "profile_image_url": user["profile_image_url_https"],
        "protected": user["protected"],
        "verified": user["verified"],
        **{name: user[name] for name in ("location", "url") if user[name]},
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
        (west, south), _, (east, north), _ = place["bounding_box"]["coordinates"][0]
        names = ("id", "name", "full_name", "country", "country_code", "place_type")
        box = {"type": "Feature", "bbox": [west, south, east, north], "properties": {}}
        known = {**{name: place[name] for name in names}, "geo": box}
        included.add("geo.place_id", "places", place["id"], known)
        geo["place_id"] = place["id"]
    return geo
