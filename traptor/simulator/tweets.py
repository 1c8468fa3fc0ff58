"""Synthetic tweets in the exact shape of the v1.1 stream, made so that they fit what a request asks for.

Shapes and proportions follow a sample of the stream of January 2021: 46 % retweets, a third of them of tweets with an
``extended_tweet``, 8 % quotes, 30 % replies, a fifth with media.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from traptor.simulator import phrasebook
from traptor.simulator.objects import photo, place, short_link, user
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Stamp, stamp
from traptor.simulator.text import Json, Text
from traptor.tweets.matching import Box, parse_box

KINDS = {"retweet": 46, "quote": 5, "reply": 28, "manual reply": 2, "plain": 19}
SHARE_EXTENDED, SHARE_EXTENDED_RETWEETED, SHARE_QUOTING_RETWEETED, SHARE_MEDIA, SHARE_PLACE = 0.1, 0.33, 0.07, 0.2, 0.01
SHORT_TEXT_CHARACTERS = 140

ABSENT = (
    *("in_reply_to_status_id", "in_reply_to_status_id_str", "in_reply_to_user_id", "in_reply_to_user_id_str"),
    *("in_reply_to_screen_name", "geo", "coordinates", "place", "contributors"),
)
"""The keys of every tweet that are mostly null."""

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
            tweet["place"] = place(self._random, *self._random.choice(phrasebook.PLACES))
        return {**tweet, "timestamp_ms": str(now.timestamp_ms)}

    def _cast(self, kind: str, followed_id: str) -> tuple[Json, Json]:
        """The author, and whom the tweet retweets, quotes or replies to."""
        author, other = user(self._random), user(self._random)
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
            return self._counted(self._quote(earlier, author, user(self._random), phrase))
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
        permalink = {"url": short_link(self._random), "expanded": f"https://{address}", "display": address[:26] + "…"}
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

    def _status(self, now: Stamp, author: Json, text: Text, language: str) -> Json:
        """The 27 keys that every tweet of the stream has, but ``timestamp_ms``, which nested ones have not."""
        status: Json = {
            "created_at": now.created_at,
            "id": now.id,
            "id_str": str(now.id),
            "truncated": False,
            **(text.content("text") if len(text.text) <= SHORT_TEXT_CHARACTERS else self._extended(now, text)),
            "source": self._random.choice(phrasebook.SOURCES),
            **dict.fromkeys(ABSENT),
            "user": author,
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
        text.add_link(short_link(self._random), f"twitter.com/i/web/status/{now.id}")
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
            text.add_photos([photo(self._random) for _ in range(self._random.choice((1, 1, 2, 4)))])
        return text, language

    def _decorations(self) -> Iterator[Piece]:
        if self._chance(0.2):
            yield partial(Text.add, words=self._random.choice(phrasebook.EMOJI))
        if self._chance(0.2):
            yield partial(Text.add_hashtag, tag=self._random.choice(phrasebook.HASHTAGS))
        if self._chance(0.05):
            yield partial(Text.add_cashtag, symbol=self._random.choice(phrasebook.CASHTAGS))
        if self._chance(0.1):
            yield partial(Text.add_mention, user=user(self._random))
        if self._chance(0.15):
            address = f"{self._random.choice(phrasebook.SITES)}/{self._random.choice(phrasebook.PATHS)}"
            yield partial(Text.add_link, short=short_link(self._random), address=address)
        if self._chance(0.1):
            yield Text.break_line

    def _term(self, term: str) -> Piece:
        """One way of having this term of a phrase in a tweet."""
        if term[0] == "#" and term[1:]:
            return partial(Text.add_hashtag, tag=term[1:])
        if term[0] == "@" and term[1:]:
            return partial(Text.add_mention, user={**user(self._random), "screen_name": term[1:]})
        if term[0] == "$" and term[1:].isalpha():
            return partial(Text.add_cashtag, symbol=term[1:].upper())
        if "." in term and term.isascii():
            return partial(Text.add_link, short=short_link(self._random), address=term)
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
            ways.append(
                partial(Text.add_link, short=short_link(self._random), address=f"example.com/2021/{term}-and-more")
            )
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
            around = Box(longitude - 0.1, latitude - 0.1, longitude + 0.1, latitude + 0.1)
            tweet["place"] = place(self._random, name, country, code, around)

    def _earlier(self, now: Stamp) -> Stamp:
        """Some time in the two days before."""
        return stamp(now.timestamp_ms - self._random.randrange(1000, 2 * 86_400_000), self._random.getrandbits(22))

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _pick(self, weights: Mapping[str, int]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]
