"""How a text is written for an index of words.

Chinese, Japanese, Thai, Lao, Khmer and Burmese have no blanks between words. Each of their letters is indexed as a word
of its own, so that any part of such a text is found as a phrase.
"""

import re

_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff])"
)
_IS_UNSPACED = _UNSPACED.search


def spaced(text: str) -> str:
    """The text with blanks around each letter of a script that has none."""
    if text.isascii() or not _IS_UNSPACED(text):
        return text
    return _UNSPACED.sub(r" \1 ", text)


def phrase(words: str) -> str:
    """What to ask the index for: these words, in this order."""
    return '"' + spaced(words).replace('"', " ").strip() + '"'
