"""A tweet's text with what stands in it: hashtags, mentions, links, media, each with its place in code points."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import structs

from traptor.sources.v2.payload import Entities, Includes, Medium, Mention, Post, Tag, Url

SHORT_TEXT_CHARACTERS = 140
"""What v1.1's stream put into ``text``; the whole of a longer one was in ``extended_tweet``."""
MEDIA_LINK = re.compile(r"/(photo|video)/[0-9]+\Z")

Json = dict[str, Any]


class Written(NamedTuple):
    """A whole text, the entities that speak of it, and the links to its media, which may stand in a cut text only."""

    text: str
    entities: Entities
    media_links: list[Url]
    shown: list[int] | None
    """The part that is shown, where v2 tells."""


def text_and_entities(post: Post, includes: Includes) -> Json:
    """The fields of a v1.1 tweet, cut as v1.1 cuts them where the text is long. A retweet's text comes cut already."""
    written = _written(post)
    whole = _placed(written, _attached(post, written.media_links, includes), includes)
    if len(written.text) <= SHORT_TEXT_CHARACTERS or post.reference("retweeted"):
        shown = {} if written.shown is None else {"display_text_range": written.shown}
        return {"text": written.text, **shown, "truncated": False, **_with_all_media(whole)}
    return _cut(written, whole)


def _written(post: Post) -> Written:
    """Of a long post its note, and behind it the links to its media, as v1.1 had them.

    v2 has those at the end of the text beside it, which is cut, and has a link to the post as well.
    """
    own = post.entities or Entities()
    media_links = [link for link in own.urls or () if _is_of_media(link)]
    note = post.note_tweet or post.note_post
    if note and note.text and not post.reference("retweeted"):
        behind = [link.url for link in media_links if _is_own(link, post) and (link.url or "") not in note.text]
        text = " ".join([note.text, *filter(None, dict.fromkeys(behind))])
        elsewhere = [structs.replace(link, start=None, end=None) for link in media_links]
        return Written(text, note.entities or Entities(), elsewhere, _shown_of_note(post, note.text))
    return Written(post.text or "", own, media_links, post.display_text_range)


def _shown_of_note(post: Post, text: str) -> list[int]:
    """Whom a reply mentions at its beginning is hidden in the whole text as in the cut one."""
    start = post.display_text_range[0] if post.display_text_range else 0
    begins_alike = 0 < start <= len(text) and text.startswith((post.text or "")[:start])
    return [start if begins_alike else 0, len(text)]


def _is_of_media(link: Url) -> bool:
    """Payloads have had a ``media_key`` here since about August 2022."""
    return bool(
        link.media_key
        or MEDIA_LINK.search(link.expanded_url or "")
        or re.match(r"pic\.(twitter|x)\.com/", link.display_url or "")
    )


def _is_own(link: Url, post: Post) -> bool:
    return bool(link.media_key) or f"/status/{post.id}/" in (link.expanded_url or "")


def _cut(written: Written, whole: Json) -> Json:
    kept = written.text[: SHORT_TEXT_CHARACTERS - 1].rsplit(" ", 1)[0]
    inside = {kind: [one for one in found if one["indices"][1] <= len(kept)] for kind, found in whole.items()}
    text = kept + "…"
    shown = {"display_text_range": [written.shown[0], len(text)]} if written.shown and written.shown[0] else {}
    extended = {"full_text": written.text, "display_text_range": written.shown or [0, len(written.text)]}
    return {
        "text": text,
        **shown,
        "truncated": True,
        "entities": {kind: some for kind, some in inside.items() if kind != "media"},
        "extended_tweet": {**extended, **_with_all_media(whole)},
    }


def _with_all_media(entities: Json) -> Json:
    """v1.1 has the first of the media among the entities, and all of them in ``extended_entities``."""
    if "media" not in entities:
        return {"entities": entities}
    return {
        "entities": {**entities, "media": entities["media"][:1]},
        "extended_entities": {"media": entities["media"]},
    }


# Media and their links


def _attached(post: Post, links: Sequence[Url], includes: Includes) -> list[tuple[Medium, Url]]:
    """The media that are included, each with the link that stands for it: by its key, else by its address."""
    if not links and not post.attachments:
        return []
    keys = [*((post.attachments and post.attachments.media_keys) or ()), *(link.media_key or "" for link in links)]
    media = [includes.media[key] for key in dict.fromkeys(keys) if key in includes.media]
    return [(medium, _link_of(medium, number, post, links)) for number, medium in enumerate(media, start=1)]


def _link_of(medium: Medium, number: int, post: Post, links: Sequence[Url]) -> Url:
    """Several media share the link to the first of them, at the end of the text, unless each has one of its own."""
    by_key = [link for link in links if link.media_key == medium.media_key]
    unkeyed = [link for link in links if not link.media_key]
    return max(reversed(by_key or unkeyed), key=lambda link: _likeness(link, number, post), default=Url())


def _likeness(link: Url, number: int, post: Post) -> tuple[bool, bool]:
    """Is it a link into this tweet, and to the medium of this number?"""
    return _is_own(link, post), (link.expanded_url or "").endswith((f"/photo/{number}", f"/video/{number}"))


# Entities in v1.1's shape


def _placed(written: Written, attached: Sequence[tuple[Medium, Url]], includes: Includes) -> Json:
    """The link of a medium is among the urls only where the medium is not included."""
    text, found = written.text, written.entities
    taken = {(link.url, link.expanded_url) for _, link in attached}
    entities: Json = {
        "hashtags": [_tag(tag, text) for tag in found.hashtags or ()],
        "urls": [_link(link, text) for link in _links(written) if (link.url, link.expanded_url) not in taken],
        "user_mentions": [_mention(mention, text, includes) for mention in found.mentions or ()],
        "symbols": [_tag(tag, text) for tag in found.cashtags or ()],
    }
    media = [_medium(medium, _link(link, text)) for medium, link in attached]
    return {**entities, "media": media} if media else entities


def _links(written: Written) -> list[Url]:
    """Each once at each place, with those to media that stand in a cut text only."""
    if not written.entities.urls and not written.media_links:
        return []
    own = {(link.start, link.url): link for link in written.entities.urls or ()}
    known = {link.url for link in own.values()}
    elsewhere = {link.url: link for link in written.media_links if link.url not in known}
    return [*own.values(), *elsewhere.values()]


def _tag(tag: Tag, text: str) -> Json:
    return {"text": tag.tag, "indices": _indices(tag, tag.tag, text, sign=1)}


def _link(link: Url, text: str) -> Json:
    addresses = {"url": link.url, "expanded_url": link.expanded_url, "display_url": link.display_url}
    return {**addresses, "indices": _indices(link, link.url, text)}


def _mention(mention: Mention, text: str, includes: Includes) -> Json:
    user = includes.user(mention.id, mention.username)
    user_id = mention.id if mention.id is not None or user is None else user.id
    name = mention.username or (user.username if user else None)
    return {
        "screen_name": name,
        "name": user.name if user else None,
        "id": None if user_id is None else int(user_id),
        "id_str": None if user_id is None else str(user_id),
        "indices": _indices(mention, name, text, sign=1),
    }


def _indices(entity: Tag | Mention | Url, said: str | None, text: str, sign: int = 0) -> list[int]:
    """Where it stands: as v2 says, but at the nearest place where the text says it; after the text if v2 says nothing.

    ``sign`` is the length of what stands before a tag or a name. Where the two differ v2 has counted UTF-16, say.
    """
    start, end = entity.start, entity.end
    told = [len(text), len(text)] if start is None or end is None else [start, end]
    if not said or (text[told[0] + sign : told[1]].lower() == said.lower() and told[1] <= len(text)):
        return told
    starts = [found.start() - sign for found in re.finditer(re.escape(said), text, re.IGNORECASE)]
    near = min((at for at in starts if at >= 0), key=lambda at: abs(at - told[0]), default=None)
    return told if near is None else [near, near + sign + len(said)]


def _medium(medium: Medium, link: Json) -> Json:
    """A photo, video or animated_gif. Its id is the second half of v2's media_key."""
    media_id = medium.media_key.rpartition("_")[2]
    is_number = media_id.isascii() and media_id.isdigit() and len(media_id) < 20
    address = medium.url or medium.preview_image_url or ""
    shaped: Json = {
        "id": int(media_id) if is_number else None,
        "id_str": media_id if is_number else None,
        "media_url": address.replace("https://", "http://", 1),
        "media_url_https": address,
        **link,
        "type": medium.type,
    }
    if medium.alt_text is not None:
        shaped["ext_alt_text"] = medium.alt_text
    if medium.width is not None and medium.height is not None:
        shaped["sizes"] = {"large": {"w": medium.width, "h": medium.height, "resize": "fit"}}
    if medium.variants is not None:
        shaped["video_info"] = {"duration_millis": medium.duration_ms, "variants": _variants(medium)}
    return shaped


def _variants(medium: Medium) -> list[Json]:
    named = [
        {"bitrate": one.bit_rate, "content_type": one.content_type, "url": one.url} for one in medium.variants or ()
    ]
    return [{name: value for name, value in variant.items() if value is not None} for variant in named]
