"""Which rules does this tweet satisfy: a rule set is compiled once, then asked about every tweet.

The answer is what the service did, which is not always what its documentation says:

- ``track`` also finds a phrase in the retweeted tweet, in the quoted tweet and in the one that a retweet quotes. The
  documentation names none of them; 22 of 100 captured tweets were delivered for these texts alone.
- ``locations`` takes a point inside a box *or* a place overlapping it. The documentation has the point decide alone;
  nine of ten captured tweets with a point had it outside the box, and were delivered for their place.
- ``follow`` leaves out tweets in which somebody else quotes the user: a controlled test never received one.

Where sources are silent the choice stands in the docstring of the function that makes it.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, groupby
from typing import NamedTuple, Protocol

from traptor.tweets.fields import Link, Tweet, User
from traptor.tweets.rule import Match, Rule


class Matcher(Protocol):
    def match(self, tweet: Tweet) -> list[Match]:
        """The rules that hold, in the order of the rule set, each with the fields that it holds in."""


def compile_rules(rule_type: str, rules: Sequence[Rule]) -> Matcher:
    """A matcher for rules of one type: track, follow or locations. A rule whose value makes no sense never matches."""
    matchers: dict[str, Callable[[Sequence[Rule]], Matcher]] = {
        "track": TrackMatcher,
        "follow": FollowMatcher,
        "locations": LocationsMatcher,
    }
    return matchers[rule_type](rules)


def phrases(value: str) -> list[str]:
    """The items of a comma list, without the blanks around them; empty items are dropped."""
    return [item for item in map(str.strip, value.split(",")) if item]


_JOINERS = "\u200c\u200d"
"""ZWNJ and ZWJ."""
_JOINED_BLOCKS = (
    (0x600, 0xDFF),
    (0xF00, 0x109F),
    (0x1780, 0x18AF),
    (0x1B00, 0x1BFF),
    (0xA840, 0xA9DF),
    (0xAA60, 0xAA7F),
)
"""The scripts whose letters take other forms beside each other: from Arabic to Sinhala, Tibetan, Myanmar, Khmer,
Mongolian and their kin.
"""
_JOINED = "".join(
    sign
    for first, last in _JOINED_BLOCKS
    for sign in map(chr, range(first, last + 1))
    if sign.isalnum() or unicodedata.category(sign) in {"Mn", "Mc"}
)
_LOOSE_JOINERS = re.compile(f"(?<=[{_JOINED}])[{_JOINERS}]+(?![\\w{_JOINED}{_JOINERS}])")
_STRAY_JOINERS = re.compile(f"(?<![{_JOINED}{_JOINERS}])[{_JOINERS}]+|[{_JOINERS}]+(?![{_JOINED}{_JOINERS}])")


class Box(NamedTuple):
    """Degrees, edges included. A point is a box without extent."""

    west: float
    south: float
    east: float
    north: float


def parse_boxes(value: str) -> list[Box]:
    """The boxes of a locations value, four numbers each. ValueError as from ``parse_box``."""
    numbers = value.split(",")
    if len(numbers) % 4:
        raise ValueError(f"{value!r} has {len(numbers)} numbers; a box has four: west,south,east,north")
    return [parse_box(",".join(numbers[start : start + 4])) for start in range(0, len(numbers), 4)]


_NUMBER = r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*"
_BOX = re.compile(rf"{_NUMBER}(,{_NUMBER}){{3}}", re.ASCII)


def parse_box(value: str) -> Box:
    """One box from ``west,south,east,north`` in degrees. ValueError says what is wrong and what is allowed.

    Whether a box may cross 180 degrees is documented nowhere, so it is refused.
    """
    if not _BOX.fullmatch(value):
        raise ValueError(f"{value!r} is not a box; send four plain numbers: west,south,east,north")
    box = Box(*map(float, value.split(",")))
    if max(abs(box.west), abs(box.east)) > 180:
        raise ValueError(f"{value!r} has a longitude outside -180 to 180; the order is west,south,east,north")
    if max(abs(box.south), abs(box.north)) > 90:
        raise ValueError(f"{value!r} has a latitude outside -90 to 90; the order is west,south,east,north")
    if box.south > box.north:
        raise ValueError(f"{value!r} has its south above its north; the south-west corner comes first")
    if box.west > box.east:
        raise ValueError(
            f"{value!r} has its west beyond its east; the south-west corner comes first,"
            " and for a region across 180 degrees send two boxes"
        )
    return box


class TrackMatcher:
    """Phrases, any of which makes its rule hold; a phrase holds when all its terms are in the tweet, in any fields.

    A term of word characters is found among the pieces of texts and links, and as a hashtag, mention or symbol.
    ``#x`` must be a hashtag and ``@x`` a mention. Any other term must equal a word of the text as written (between
    white space), a whole link without protocol and leading ``www.``, or, as ``$x``, a symbol. So, where sources are
    silent: ``coca-cola`` is not found in ``coca-cola!``, an emoji not in the word that it is glued to, neither
    ``http://example.com`` nor ``t.co`` in a link. Case is ignored, accents are not.

    Fields are told in this order: text (also for extended_tweet), hashtags, user_mentions, symbols, urls, media; first
    the tweet's own, then those under ``retweeted_status.``, ``quoted_status.``, ``retweeted_status.quoted_status.``.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        wanted = [
            (index, frozenset(words))
            for index, rule in enumerate(rules)
            for phrase in phrases(rule["value"])
            if (words := _folded(phrase).split())
        ]
        frequency = Counter(chain.from_iterable(terms for _, terms in wanted))
        self._terms = frozenset(frequency)
        self._plain = frozenset(term for term in self._terms if _pieces(term) == [term])
        self._written = frozenset(term for term in self._terms - self._plain if not term.startswith(("#", "@")))
        # A word as written can only stand where its pieces do: one of them tells whether to look for it.
        self._clues = frozenset(max(_pieces(term), key=len, default="") for term in self._written)
        self._sought = self._plain | self._clues
        # A retweet brings its original's text and links again, and a popular one does so for hours.
        self._in_text = lru_cache(maxsize=1000)(self._read_text)
        self._in_urls = lru_cache(maxsize=1000)(self._read_urls)
        self._phrases: dict[str, list[tuple[int, frozenset[str]]]] = defaultdict(list)
        for index, terms in wanted:
            rarest = min(terms, key=lambda term: (frequency[term], -len(term), term))
            self._phrases[rarest].append((index, terms))

    def match(self, tweet: Tweet) -> list[Match]:
        fields = self._search(tweet)
        if not fields:
            return []
        seen = fields[0][1].union(*[found for _, found in fields[1:]])
        held: dict[int, frozenset[str]] = {}
        for term in seen:
            for index, terms in self._phrases.get(term, ()):
                if terms <= seen:
                    held[index] = held[index] | terms if index in held else terms
        return [
            Match(index, tuple([name for name, found in fields if not found.isdisjoint(held[index])]))
            for index in sorted(held)
        ]

    def _search(self, tweet: Tweet) -> list[tuple[str, frozenset[str]]]:
        """The terms in each field that has some. Beside an extended_tweet, text and entities are but a cut copy."""
        fields = [(prefix + name, found) for prefix, part in _parts(tweet) for name, found in self._in_part(part)]
        return [(name, found) for name, found in fields if found]

    def _in_part(self, part: Tweet) -> Iterator[tuple[str, frozenset[str]]]:
        whole = part.extended_tweet or part
        text = whole.full_text or part.text
        entities = whole.entities or part.entities
        extended_entities = whole.extended_entities or part.extended_entities
        if text and self._sought:
            yield "text", self._in_text(text)
        if entities:
            if entities.hashtags:
                yield "hashtags", self._in_names("#", [tag.text for tag in entities.hashtags])
            if entities.user_mentions:
                yield "user_mentions", self._in_names("@", [user.screen_name for user in entities.user_mentions])
            if entities.symbols:
                yield "symbols", self._in_names("$", [symbol.text for symbol in entities.symbols])
        urls = (entities and entities.urls) or []
        if part.quoted_status_permalink:
            urls = [*urls, part.quoted_status_permalink]
        if urls and self._sought:
            yield "urls", self._in_links(urls)
        media = (extended_entities and extended_entities.media) or (entities and entities.media)
        if media and self._sought:
            yield "media", self._in_links(media)

    def _read_text(self, text: str) -> frozenset[str]:
        text = _unescape(_folded(text))
        found = self._sought.intersection(_pieces(text))
        if "" in self._clues or not self._clues.isdisjoint(found):
            found |= self._written.intersection(text.split())
        return found

    def _in_names(self, sign: str, names: Sequence[str | None]) -> frozenset[str]:
        bare = [name.lower() for name in names if name]
        return self._terms.intersection(bare + [sign + name for name in bare])

    def _in_links(self, links: Sequence[Link]) -> frozenset[str]:
        return self._in_urls("\n".join([url for link in links for url in (link.expanded_url, link.display_url) if url]))

    def _read_urls(self, lines: str) -> frozenset[str]:
        urls = list(map(_bare, _folded(lines).split("\n")))
        found = self._sought.intersection(_pieces(" ".join(urls)))
        return found | self._written.intersection(urls) if self._written else found


def _parts(tweet: Tweet) -> Iterator[tuple[str, Tweet]]:
    """The tweets whose content counts, each with what stands before its field names."""
    yield "", tweet
    if tweet.retweeted_status:
        yield "retweeted_status.", tweet.retweeted_status
    if tweet.quoted_status:
        yield "quoted_status.", tweet.quoted_status
    if tweet.retweeted_status and tweet.retweeted_status.quoted_status:
        yield "retweeted_status.quoted_status.", tweet.retweeted_status.quoted_status


def _folded(text: str) -> str:
    """Without what makes no difference: case, the style of emoji (U+FE0F), and joiners that join nothing."""
    text = text.lower()
    if text.isascii():
        return text
    text = text.replace("\ufe0f", "")
    return _LOOSE_JOINERS.sub("", text) if _has_joiners(text) else text


def _has_joiners(text: str) -> bool:
    return "\u200c" in text or "\u200d" in text


def _unescape(text: str) -> str:
    """Twitter escapes these three characters in texts and no others: ``amp`` is not a word that anybody wrote."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") if "&" in text else text


def _bare(url: str) -> str:
    before, _, after = url.partition("://")
    return (after or before).removeprefix("www.")


_ASCII_WORDS = bytes(byte if byte > 127 or chr(byte).isalnum() or byte == ord("_") else ord(" ") for byte in range(256))


def _pieces(text: str) -> list[str]:
    """The runs of word characters in lower-case text, where a run of CJK and a run of others are separate pieces.

    Code points are compared as they are, without normalisation.
    """
    if not text.isascii():
        text = " ".join([word if word.isascii() else _cut(word) for word in text.split()])
    return text.encode().translate(_ASCII_WORDS).decode().split()


_SPACED = {"word": "{}", "cjk": " {} ", "other": " "}


@lru_cache(maxsize=10_000)
def _cut(word: str) -> str:
    """With a blank for what is no word character, and blanks around CJK. A language has few different words."""
    runs = groupby(_STRAY_JOINERS.sub(" ", word) if _has_joiners(word) else word, _kind)
    return "".join(_SPACED[kind].format("".join(characters)) for kind, characters in runs)


_CJK_NAMES = ("CJK", "IDEOGRAPH", "BOPOMOFO", "HIRAGANA", "KATAKANA", "HANGUL")


@lru_cache(maxsize=10_000)
def _kind(character: str) -> str:
    """Word characters are letters, digits, and marks: a combining accent or vowel sign must not cut its word in two.

    Captured tweets show the cut between Latin and Chinese or Japanese; Hangul counts as CJK, for Korean hangs its
    particles on Latin words. Emoji and their variation selectors are no word characters. Joiners are, between letters
    of scripts that need them, as in UAX #29: only such joiners are asked about.
    """
    if character in _JOINERS:
        return "word"
    name = unicodedata.name(character, "")
    is_mark = unicodedata.category(character) in ("Mn", "Mc") and not name.startswith("VARIATION SELECTOR")
    if not (character.isalnum() or character == "_" or is_mark):
        return "other"
    return "cjk" if any(script in name for script in _CJK_NAMES) else "word"


class FollowMatcher:
    """User ids: the author, the user replied to, the retweeted author; not mentions, and not a quoted author.

    The id of the user replied to is enough: a tweet that merely begins with ``@name`` has no status id beside it.
    Fields, in this order: user, in_reply_to_user_id, retweeted_status.user.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules: dict[str, set[int]] = defaultdict(set)
        for index, rule in enumerate(rules):
            for user_id in phrases(rule["value"]):
                self._rules[user_id].add(index)

    def match(self, tweet: Tweet) -> list[Match]:
        return _matches([(field, self._rules.get(user_id, set())) for field, user_id in _user_ids(tweet)])


def _user_ids(tweet: Tweet) -> list[tuple[str, str]]:
    original = tweet.retweeted_status
    return [
        ("user", _user_id(tweet.user)),
        ("in_reply_to_user_id", tweet.in_reply_to_user_id_str or str(tweet.in_reply_to_user_id or "")),
        ("retweeted_status.user", _user_id(original.user if original else None)),
    ]


def _user_id(user: User | None) -> str:
    return user.id_str or str(user.id or "") if user else ""


class LocationsMatcher:
    """Boxes: the tweet's point or the box of its place touches one. A native retweet has no location of its own.

    Edges belong to a box, and a place without extent counts: a venue has four equal corners.
    Fields, in this order: coordinates, place.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._boxes = [(index, box) for index, rule in enumerate(rules) for box in _boxes_if_valid(rule["value"])]

    def match(self, tweet: Tweet) -> list[Match]:
        return _matches([(field, self._touching(region)) for field, region in _regions(tweet)])

    def _touching(self, region: Box) -> set[int]:
        west, south, east, north = region
        return {
            index
            for index, (box_west, box_south, box_east, box_north) in self._boxes
            if box_west <= east and west <= box_east and box_south <= north and south <= box_north
        }


def _boxes_if_valid(value: str) -> list[Box]:
    try:
        return parse_boxes(value)
    except ValueError:
        return []


def _regions(tweet: Tweet) -> list[tuple[str, Box]]:
    if tweet.retweeted_status:
        return []
    point = tweet.coordinates.coordinates if tweet.coordinates else None
    polygon = tweet.place.bounding_box if tweet.place else None
    rings = polygon.coordinates if polygon else None
    regions = [("coordinates", _extent([point or []])), ("place", _extent(chain.from_iterable(rings or [])))]
    return [(field, box) for field, box in regions if box]


def _extent(points: Iterable[list[float]]) -> Box | None:
    """The box around longitude, latitude pairs; None when there is no pair."""
    pairs = [point[:2] for point in points if len(point) >= 2]
    if not pairs:
        return None
    longitudes, latitudes = zip(*pairs, strict=True)
    return Box(min(longitudes), min(latitudes), max(longitudes), max(latitudes))


def _matches(fields: list[tuple[str, set[int]]]) -> list[Match]:
    """From the rules that hold in each field to the fields that each rule holds in."""
    held = sorted(set[int]().union(*(rules for _, rules in fields)))
    return [Match(index, tuple(field for field, rules in fields if index in rules)) for index in held]
