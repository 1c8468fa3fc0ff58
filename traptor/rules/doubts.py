"""What in a track rule means less than people think: signs of other query languages, and signs that nobody sees."""

import re
from collections.abc import Iterator

COMMAS = "،，、﹐;；"
"""What people write for a comma, and Twitter takes for a part of the word."""
QUOTES = '"“”„«»'
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_OPERATOR = re.compile(
    r"(?<!\S)-?(from|to|lang|url|url_contains|has|is|filter|since|until|place|near|geocode|point_radius|bounding_box|list"
    r"|retweets_of|context|entity|conversation_id|in_reply_to_status_id|min_retweets|min_faves):\S"
)


def doubts(value: str) -> Iterator[str]:
    """Each thing in this value that the service would take as it stands, though other services do not."""
    if any(sign in value for sign in QUOTES):
        yield "has quotes, and v1.1 has no exact phrases: they would have to stand in the tweet; take them off"
    if found := _OPERATOR.search(value):
        yield f"has {found[1]}:, which is no operator here but a part of a word"
    if re.search(r"(?<!\S)OR(?!\S)", value):
        yield "has OR, which is a word like others here: separate alternatives by commas"
    if re.search(r"(?<!\S)-\w", value):
        yield "has a minus before a word, and nothing can be excluded"
    if found := re.search(f"[{COMMAS}]", value):
        yield f"has {found[0]!r}, which separates nothing: only a plain comma does"
    if found := INVISIBLE.search(value):
        yield f"has the invisible sign U+{ord(found[0]):04X}, which no tweet will have there"


def without(value: str) -> str:
    """The value with plain commas, and without quotes and invisible signs."""
    value = INVISIBLE.sub("", re.sub(f"[{COMMAS}]", ",", value))
    return re.sub(f"[{QUOTES}]", " ", value)
