"""Synthetic tweets in the exact shape of the v1.1 stream, made so that they fit what a request asks for.

Shapes and proportions follow a sample of the stream of January 2021: 46 % retweets, a third of them of tweets with an
``extended_tweet``, 8 % quotes, 30 % replies, a fifth with media.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from html import escape
from string import ascii_letters, digits
from typing import Any

from traptor.matching import Box, parse_box
from traptor.simulator import phrasebook
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Stamp, created_at, stamp

KINDS = {"retweet": 46, "quote": 5, "reply": 28, "manual reply": 2, "plain": 19}
SHARE_EXTENDED, SHARE_EXTENDED_RETWEETED, SHARE_QUOTING_RETWEETED, SHARE_MEDIA, SHARE_PLACE = 0.1, 0.33, 0.07, 0.2, 0.01
SHORT_TEXT_CHARACTERS = 140

ABSENT = (
    *("in_reply_to_status_id", "in_reply_to_status_id_str", "in_reply_to_user_id", "in_reply_to_user_id_str"),
    *("in_reply_to_screen_name", "geo", "coordinates", "place", "contributors"),
)
"""The keys of every tweet that are mostly null."""

Json = dict[str, Any]


class Text:
    """A text as it grows, with the entities found in it. Indices count code points of the text as delivered."""

    def __init__(self) -> None:
        self.text = ""
        self.hidden = 0
        self.entities: Json = {"hashtags": [], "urls": [], "user_mentions": [], "symbols": []}

    def add(self, words: str) -> list[int]:
        """Words after a blank, ``& < >`` escaped as Twitter does. Gives their indices."""
        self.text += " " if self.text else ""
        start = len(self.text)
        self.text += escape(words, quote=False)
        return [start, len(self.text)]

    def add_hashtag(self, tag: str) -> None:
        self.entities["hashtags"].append({"text": tag, "indices": self.add("#" + tag)})

    def add_cashtag(self, symbol: str) -> None:
        self.entities["symbols"].append({"text": symbol, "indices": self.add("$" + symbol)})

    def add_mention(self, user: Json) -> None:
        mention = {name: user[name] for name in ("screen_name", "name", "id", "id_str")}
        self.entities["user_mentions"].append({**mention, "indices": self.add("@" + user["screen_name"])})

    def add_link(self, short: str, address: str) -> None:
        display = address.removeprefix("www.")
        display = display if len(display) <= 27 else display[:26] + "…"
        link = {"url": short, "expanded_url": f"https://{address}", "display_url": display}
        self.entities["urls"].append({**link, "indices": self.add(short)})

    def add_photos(self, photos: list[Json]) -> None:
        """They share one link."""
        link = {"url": photos[0]["url"], "indices": self.add(photos[0]["url"])}
        self.entities["media"] = [{**photo, **link} for photo in photos]

    def break_line(self) -> None:
        self.text += "\n"

    def take(self, text: str, entities: Json) -> None:
        """Another text with its entities, as it stands."""
        start = len(self.text)
        self.text += text
        for name, found in entities.items():
            moved = [{**entity, "indices": [start + index for index in entity["indices"]]} for entity in found]
            self.entities[name] = self.entities.get(name, []) + moved

    def cut(self, most_characters: int, ending: str) -> None:
        """At a blank where there is one; what the cut goes through is no entity any more."""
        if len(self.text) <= most_characters:
            return
        self.text = self.text[: most_characters - len(ending)].rsplit(" ", 1)[0]
        self.entities = {
            name: [entity for entity in found if entity["indices"][1] <= len(self.text)]
            for name, found in self.entities.items()
        }
        self.text += ending

    def content(self, name: str) -> Json:
        """The fields of a tweet that hold it, the text under this name."""
        entities = {kind: list(found) for kind, found in self.entities.items() if found or kind != "media"}
        content: Json = {name: self.text, "entities": entities}
        shown = len(self.text)
        if "media" in entities:
            content["extended_entities"] = {"media": entities["media"]}
            entities["media"] = entities["media"][:1]
            shown = entities["media"][0]["indices"][0] - 1
        if self.hidden or shown < len(self.text):
            content["display_text_range"] = [self.hidden, shown]
        return content


Piece = Callable[[Text], object]


class Writer:
    """Makes tweets, each around one of the predicates, in one of the ways in which a tweet can fit it."""

    def __init__(self, source: random.Random, predicates: Predicates) -> None:
        self._random = source
        self._wanted = [
            (name, value) for name in ("track", "follow", "locations") for value in getattr(predicates, name)
        ]
        self._languages = [code for code in phrasebook.SENTENCES if code in predicates.language] or list(
            phrasebook.SENTENCES
        )

    def tweet(self, now: Stamp) -> Json:
        name, value = self._random.choice(self._wanted)
        kind = self._pick(KINDS if name != "locations" else {**KINDS, "retweet": 0})
        author, other = self._cast(kind, value if name == "follow" else "")
        tweet = self._make(kind, now, author, other, value if name == "track" else "")
        if name == "locations":
            self._locate(tweet, parse_box(value))
        elif kind != "retweet" and self._chance(SHARE_PLACE):
            tweet["place"] = self._place(self._random.choice(phrasebook.PLACES))
        return {**tweet, "timestamp_ms": str(now.timestamp_ms)}

    def _cast(self, kind: str, followed_id: str) -> tuple[Json, Json]:
        """The author, and whom the tweet retweets, quotes or replies to."""
        author, other = self._user(), self._user()
        if followed_id:
            is_other = kind in ("retweet", "reply", "manual reply") and self._chance(0.5)
            (other if is_other else author).update(id=int(followed_id), id_str=followed_id)
        return author, other

    def _make(self, kind: str, now: Stamp, author: Json, other: Json, phrase: str) -> Json:
        match kind:
            case "retweet":
                return self._retweet(now, author, self._retweeted(now, other, phrase))
            case "quote":
                return self._quote(now, author, other, phrase)
            case "reply":
                replied_id = self._earlier(now).id
                status = {"in_reply_to_status_id": replied_id, "in_reply_to_status_id_str": str(replied_id)}
                return {**self._reply(now, author, other, phrase), **status}
            case "manual reply":
                return self._reply(now, author, other, phrase)
        return self._status(now, author, *self._write(phrase, SHARE_EXTENDED))

    def _retweeted(self, now: Stamp, author: Json, phrase: str) -> Json:
        """A tweet of some time ago that may be a quote itself."""
        earlier = self._earlier(now)
        if self._chance(SHARE_QUOTING_RETWEETED):
            return self._counted(self._quote(earlier, author, self._user(), phrase))
        return self._counted(self._status(earlier, author, *self._write(phrase, SHARE_EXTENDED_RETWEETED)))

    def _counted(self, tweet: Json) -> Json:
        """Only a tweet of some time ago has been seen by anybody."""
        counts = ("quote_count", "reply_count", "retweet_count", "favorite_count")
        return {**tweet, **{name: self._random.randrange(5000) for name in counts}}

    def _retweet(self, now: Stamp, author: Json, original: Json) -> Json:
        """Its text is the original's, cut; its entities are those that are left."""
        whole = original.get("extended_tweet", original)
        text = Text()
        text.add("RT")
        text.add_mention(original["user"])
        text.text += ": "
        text.take(whole.get("full_text", original["text"]), whole["entities"])
        text.cut(SHORT_TEXT_CHARACTERS, "…")
        retweet = self._status(now, author, text, original["lang"])
        quoted = {name: original[name] for name in original if name.startswith("quoted_status")}
        return {**retweet, **quoted, "is_quote_status": original["is_quote_status"], "retweeted_status": original}

    def _quote(self, now: Stamp, author: Json, other: Json, phrase: str) -> Json:
        """The phrase is in the quoting text, or in the quoted one."""
        own, quoted_phrase = self._random.sample((phrase, ""), 2)
        quoted = self._counted(self._status(self._earlier(now), other, *self._write(quoted_phrase, SHARE_EXTENDED)))
        address = f"twitter.com/{quoted['user']['screen_name']}/status/{quoted['id_str']}"
        permalink = {"url": self._short_link(), "expanded": f"https://{address}", "display": address[:26] + "…"}
        return {
            **self._status(now, author, *self._write(own, SHARE_EXTENDED)),
            "is_quote_status": True,
            "quoted_status_id": quoted["id"],
            "quoted_status_id_str": quoted["id_str"],
            "quoted_status": quoted,
            "quoted_status_permalink": permalink,
        }

    def _reply(self, now: Stamp, author: Json, other: Json, phrase: str) -> Json:
        """Begins with the other's name; without the id of a status it is one typed by hand."""
        text, language = self._write(phrase, SHARE_EXTENDED, to=other)
        return {
            **self._status(now, author, text, language),
            "in_reply_to_user_id": other["id"],
            "in_reply_to_user_id_str": other["id_str"],
            "in_reply_to_screen_name": other["screen_name"],
        }

    def _status(self, now: Stamp, user: Json, text: Text, language: str) -> Json:
        """The 27 keys that every tweet of the stream has, but ``timestamp_ms``, which nested ones have not."""
        status: Json = {
            "created_at": now.created_at,
            "id": now.id,
            "id_str": str(now.id),
            "truncated": False,
            **(text.content("text") if len(text.text) <= SHORT_TEXT_CHARACTERS else self._extended(now, text)),
            "source": self._random.choice(phrasebook.SOURCES),
            **dict.fromkeys(ABSENT),
            "user": user,
            "is_quote_status": False,
            "quote_count": 0,
            "reply_count": 0,
            "retweet_count": 0,
            "favorite_count": 0,
            "favorited": False,
            "retweeted": False,
            "filter_level": "low",
            "lang": language,
        }
        return {**status, "possibly_sensitive": False} if status["entities"]["urls"] else status

    def _extended(self, now: Stamp, text: Text) -> Json:
        """In compatibility mode: cut in ``text``, whole in ``extended_tweet``."""
        whole = {"display_text_range": [0, len(text.text)], **text.content("full_text")}
        text.cut(SHORT_TEXT_CHARACTERS - len(" https://t.co/0123456789"), "…")
        text.add_link(self._short_link(), f"twitter.com/i/web/status/{now.id}")
        return {"truncated": True, **text.content("text"), "extended_tweet": whole}

    def _write(self, phrase: str, share_extended: float, to: Json | None = None) -> tuple[Text, str]:
        """A text that has the phrase somewhere, and its language."""
        language = self._pick({code: phrasebook.LANGUAGE_WEIGHTS[code] for code in self._languages})
        sentences = phrasebook.SENTENCES[language]
        pieces: list[Piece] = [partial(Text.add, words=self._random.choice(sentences))]
        if self._chance(share_extended):
            pieces = [partial(Text.add, words=self._random.choice(sentences)) for _ in range(4)]
        for piece in [*self._decorations(), *map(self._term, phrase.split())]:
            pieces.insert(self._random.randint(0, len(pieces)), piece)
        text = Text()
        if to:
            text.add_mention(to)
            text.hidden = len(text.text) + 1
        for piece in pieces:
            piece(text)
        if self._chance(SHARE_MEDIA):
            text.add_photos([self._photo() for _ in range(self._random.choice((1, 1, 2, 4)))])
        return text, language

    def _decorations(self) -> Iterator[Piece]:
        if self._chance(0.2):
            yield partial(Text.add, words=self._random.choice(phrasebook.EMOJI))
        if self._chance(0.2):
            yield partial(Text.add_hashtag, tag=self._random.choice(phrasebook.HASHTAGS))
        if self._chance(0.05):
            yield partial(Text.add_cashtag, symbol=self._random.choice(phrasebook.CASHTAGS))
        if self._chance(0.1):
            yield partial(Text.add_mention, user=self._user())
        if self._chance(0.15):
            address = f"{self._random.choice(phrasebook.SITES)}/{self._random.choice(phrasebook.PATHS)}"
            yield partial(Text.add_link, short=self._short_link(), address=address)
        if self._chance(0.1):
            yield Text.break_line

    def _term(self, term: str) -> Piece:
        """One way of having this term of a phrase in a tweet."""
        if term[0] == "#" and term[1:]:
            return partial(Text.add_hashtag, tag=term[1:])
        if term[0] == "@" and term[1:]:
            return partial(Text.add_mention, user={**self._user(), "screen_name": term[1:]})
        if term[0] == "$" and term[1:].isalpha():
            return partial(Text.add_cashtag, symbol=term[1:].upper())
        if "." in term and term.isascii():
            return partial(Text.add_link, short=self._short_link(), address=term)
        if not term.isalnum():
            return partial(Text.add, words=term)
        ways: list[Piece] = [
            partial(Text.add, words=term),
            partial(Text.add, words=term.upper() if term.isascii() else term),
            partial(Text.add, words=f"“{term}”"),
            partial(Text.add, words=f"{term}{self._random.choice(phrasebook.EMOJI)}"),
            partial(Text.add_hashtag, tag=term),
        ]
        if term.isascii():
            ways.append(partial(Text.add_link, short=self._short_link(), address=f"example.com/2021/{term}-and-more"))
        return self._random.choice(ways)

    def _locate(self, tweet: Json, box: Box) -> None:
        """Into the box: by a point, or by a place around it, or by both."""
        west, south, east, north = box
        longitude = round(self._random.uniform(west, east), 6)
        latitude = round(self._random.uniform(south, north), 6)
        if self._chance(0.4):
            tweet["coordinates"] = {"type": "Point", "coordinates": [longitude, latitude]}
            tweet["geo"] = {"type": "Point", "coordinates": [latitude, longitude]}
        if not tweet["coordinates"] or self._chance(0.5):
            name, country, code, _ = self._random.choice(phrasebook.PLACES)
            around = (longitude - 0.1, latitude - 0.1, longitude + 0.1, latitude + 0.1)
            tweet["place"] = self._place((name, country, code, around))

    def _place(self, place: tuple[str, str, str, tuple[float, float, float, float]]) -> Json:
        name, country, code, (west, south, east, north) = place
        place_id = f"{self._random.getrandbits(64):016x}"
        corners = [[west, south], [west, north], [east, north], [east, south]]
        return {
            "id": place_id,
            "url": f"https://api.twitter.com/1.1/geo/id/{place_id}.json",
            "place_type": "city",
            "name": name,
            "full_name": f"{name}, {country}",
            "country_code": code,
            "country": country,
            "bounding_box": {"type": "Polygon", "coordinates": [corners]},
            "attributes": {},
        }

    def _photo(self) -> Json:
        media_id, name = self._earlier_id(), self._code(15)
        address = f"pbs.twimg.com/media/{name}.jpg"
        return {
            "id": media_id,
            "id_str": str(media_id),
            "media_url": f"http://{address}",
            "media_url_https": f"https://{address}",
            "url": self._short_link(),
            "display_url": f"pic.twitter.com/{self._code(10)}",
            "expanded_url": f"https://twitter.com/ana_writes/status/{media_id}/photo/1",
            "type": "photo",
            "sizes": {
                "thumb": {"w": 150, "h": 150, "resize": "crop"},
                "small": {"w": 680, "h": 383, "resize": "fit"},
                "medium": {"w": 1200, "h": 675, "resize": "fit"},
                "large": {"w": 2048, "h": 1152, "resize": "fit"},
            },
        }

    def _user(self) -> Json:
        """The 38 keys of a user, and often a banner."""
        pick, number = self._random.choice, self._random.randrange
        user_id, which = number(10**7, 10**10), number(len(phrasebook.NAMES))
        image = f"pbs.twimg.com/profile_images/{self._earlier_id()}/{self._code(8)}_normal.jpg"
        user: Json = {
            "id": user_id,
            "id_str": str(user_id),
            "name": phrasebook.NAMES[which],
            "screen_name": f"{phrasebook.SCREEN_NAMES[which]}{number(100)}",
            "location": pick([place[0] for place in phrasebook.PLACES] + [None]),
            "url": pick(("https://example.com/about", None)),
            "description": pick(phrasebook.PROFILES),
            "translator_type": "none",
            "protected": False,
            "verified": self._chance(0.02),
            "followers_count": number(100_000),
            "friends_count": number(5000),
            "listed_count": number(300),
            "favourites_count": number(50_000),
            "statuses_count": number(100_000),
            "created_at": created_at(number(1_170_000_000, 1_600_000_000)),
            "utc_offset": None,
            "time_zone": None,
            "geo_enabled": self._chance(0.3),
            "lang": None,
            "contributors_enabled": False,
            "is_translator": False,
            "profile_background_color": "F5F8FA",
            "profile_background_image_url": "http://abs.twimg.com/images/themes/theme1/bg.png",
            "profile_background_image_url_https": "https://abs.twimg.com/images/themes/theme1/bg.png",
            "profile_background_tile": False,
            "profile_link_color": "1DA1F2",
            "profile_sidebar_border_color": "C0DEED",
            "profile_sidebar_fill_color": "DDEEF6",
            "profile_text_color": "333333",
            "profile_use_background_image": True,
            "profile_image_url": f"http://{image}",
            "profile_image_url_https": f"https://{image}",
            "default_profile": self._chance(0.6),
            "default_profile_image": False,
            "following": None,
            "follow_request_sent": None,
            "notifications": None,
        }
        if self._chance(0.87):
            user["profile_banner_url"] = f"https://pbs.twimg.com/profile_banners/{user_id}/{number(10**9, 16 * 10**8)}"
        return user

    def _earlier(self, now: Stamp) -> Stamp:
        """Some time in the two days before."""
        return stamp(now.timestamp_ms - self._random.randrange(1000, 2 * 86_400_000), self._random.getrandbits(22))

    def _earlier_id(self) -> int:
        return self._random.randrange(10**18, 135 * 10**16)

    def _short_link(self) -> str:
        return f"https://t.co/{self._code(10)}"

    def _code(self, length: int) -> str:
        return "".join(self._random.choices(ascii_letters + digits, k=length))

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _pick(self, weights: Mapping[str, int]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]
