"""In what a tweet differs from the same one through v2, and whether docs/v2.md tells so."""

from collections.abc import Iterator
from typing import Any

NOT_IN_V1 = ("edit_history", "edit_controls", "editable", "user.verified_type")
"""What the stream of v1.1 did not have."""
REFERRED = ("retweeted_status", "quoted_status")
NOT_IN_V2 = {
    # No counterpart at all.
    "source", "quoted_status_permalink", "sizes.thumb", "sizes.small", "sizes.medium",
    "user.contributors_enabled", "user.default_profile", "user.default_profile_image", "user.geo_enabled",
    "user.is_translator", "user.translator_type", "user.profile_background_color",
    "user.profile_background_image_url", "user.profile_background_image_url_https", "user.profile_background_tile",
    "user.profile_link_color", "user.profile_sidebar_border_color",
    "user.profile_sidebar_fill_color", "user.profile_text_color", "user.profile_use_background_image",
}  # fmt: skip


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """The paths of what is not equal, list positions left out."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            place = f"{path}.{name}" if path else name
            if name in one and name in other:
                yield from differences(one[name], other[name], place)
            else:
                yield place
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for pair in zip(one, other, strict=True):
            yield from differences(*pair, path)
    elif one != other:
        yield path


def unexcused(tweet: dict[str, Any], translated: dict[str, Any]) -> list[str]:
    """The paths of fields in which a tweet differs from the same one through v2, and should not."""
    found = [path for path in differences(tweet, translated) if not is_excused(path, tweet)]
    parts = {"": translated, **{name: translated[name] for name in REFERRED if name in translated}}
    return found + [f"{name} cut" for name, part in parts.items() if part["truncated"] and not is_well_cut(part)]


def is_well_cut(tweet: dict[str, Any]) -> bool:
    """Is the text the beginning of the whole, with the entities that stand in it?"""
    whole, kept = tweet["extended_tweet"], tweet["text"].removesuffix("…")
    beginning = {
        kind: [one for one in entities if one["indices"][1] <= len(kept)]
        for kind, entities in whole["entities"].items()
        if kind != "media"
    }
    return len(tweet["text"]) <= 140 and whole["full_text"].startswith(kept) and tweet["entities"] == beginning


def is_excused(path: str, tweet: dict[str, Any]) -> bool:
    """Is this a difference that docs/v2.md tells of?"""
    if any(path == name or path.endswith("." + name) for name in (*NOT_IN_V2, *NOT_IN_V1)):
        return True
    if "retweeted_status" in tweet and path in ("quoted_status", "retweeted_status.quoted_status"):
        return True  # v2 includes only what is one step away
    if path.startswith(REFERRED) and path.endswith("user_mentions.name"):
        return True  # and of that, not whom it mentions
    # Where a text is cut, v1.1 puts a link of its own making.
    holder = tweet
    *parents, _ = [name for name in path.split(".") if name in REFERRED] + [""]
    for parent in parents:
        holder = holder[parent]
    own = path.removeprefix(".".join(parents)).lstrip(".")
    return holder["truncated"] and (own in ("text", "display_text_range") or own.startswith("entities."))
