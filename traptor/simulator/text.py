"""A tweet's text and the entities in it."""

from html import escape
from typing import Any

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
