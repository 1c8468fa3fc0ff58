"""Secrets, which show themselves as ``***``, and ``redact``, which blots them out of what others have written."""

import base64
import html
import json
import re
from collections.abc import Iterator
from typing import Self
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

HIDDEN = "***"
SHORTEST = 6
"""Characters of a secret that is looked for: a shorter one stands in many a word."""

_GENERIC = re.compile(
    r"(?<=://)[^\s/?#\"'<>]*@"  # user and password of a URL
    r"|(?<=oauth_signature)(?:[=:\s\"'\\]|%(?:25)?(?:3D|22|20|3A))+[^\s\"',&\\]+",
    re.IGNORECASE,
)
"""What is secret wherever it stands, whoever's it is."""


class Secret(str):
    """A text that is shown as ``***`` however it is formatted; ``reveal`` gives the text itself.

    Every one that is made is known to ``redact`` from then on.
    """

    __slots__ = ()

    def __new__(cls, text: str = "") -> Self:
        made = super().__new__(cls, reveal(text))
        _redactor.learn(made._hidden_texts())
        return made

    def __str__(self) -> str:
        return HIDDEN if self else ""

    def __repr__(self) -> str:
        return repr(str(self))

    def __format__(self, form: str) -> str:
        return format(str(self), form)

    def _hidden_texts(self) -> list[str]:
        return [reveal(self)]


class SecretUrl(Secret):
    """A URL of which user, password and query are secret, and the rest may be seen."""

    __slots__ = ()

    def __str__(self) -> str:
        visible, asks, _ = reveal(self).partition("?")
        return _GENERIC.sub(f"{HIDDEN}@", visible) + (f"?{HIDDEN}" if asks else "")

    def _hidden_texts(self) -> list[str]:
        parts = urlsplit(reveal(self))
        inside = parts.password or parts.username or ""
        return [inside, unquote(inside), *(text for name, text in parse_qsl(parts.query) if "password" in name)]


def reveal(text: str) -> str:
    """The text itself, of a Secret or of any other: for those who use it, never for those who show it."""
    return str.__str__(text)


class Redactor:
    """Knows secrets in each of the spellings in which others may repeat them."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._patterns: _Patterns | None = None

    def learn(self, texts: list[str]) -> None:
        if fresh := {text for text in texts if len(text) >= SHORTEST} - self._known:
            self._known |= fresh
            self._patterns = None

    def forget(self) -> None:
        self._known.clear()
        self._patterns = None

    def redact(self, text: str) -> str:
        """The text with ``***`` in the place of each secret."""
        if self._known:
            self._patterns = patterns = self._patterns or _Patterns(frozenset(self._known))
            text = patterns.blot(text)
        return _GENERIC.sub(lambda found: HIDDEN + "@" * found[0].endswith("@"), text)


class _Patterns:
    """Of all secrets that are known at a time, the longest first: one inside another leaves nothing behind."""

    def __init__(self, secrets: frozenset[str]) -> None:
        plain = {spelling for secret in secrets for spelling in _spellings(secret)}
        cores = _any_of({core for secret in secrets for core in _inside_base64(secret)})
        self._plain = re.compile(_any_of(plain))
        self._cores = re.compile(cores)
        # Beside the core stand signs that hold a part of the secret and a part of its neighbours.
        self._base64 = re.compile(rf"[\w+/=-]{{0,4}}(?:{cores})[\w+/=-]{{0,4}}")

    def blot(self, text: str) -> str:
        text = self._plain.sub(HIDDEN, text)
        return self._base64.sub(HIDDEN, text) if self._cores.search(text) else text


def _any_of(texts: set[str]) -> str:
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))


def _spellings(secret: str) -> Iterator[str]:
    """How a text is written by itself, in Python, JSON, HTML and URLs, and in JSON that quotes Python."""
    for plain in (secret, repr(secret)[1:-1], repr(secret.encode("utf-8", "surrogateescape"))[2:-1]):
        yield plain
        yield json.dumps(plain)[1:-1]
        yield json.dumps(plain, ensure_ascii=False)[1:-1]
        yield json.dumps(plain)[1:-1].replace("/", "\\/")
    yield html.escape(secret)
    for once in (_percent(secret), quote_plus(secret, errors="surrogateescape")):
        yield from (once, once.replace("+", "%20"), re.sub(r"%..", lambda code: code[0].lower(), once))
        yield _percent(once)


def _percent(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _inside_base64(secret: str) -> Iterator[str]:
    """What of a base64 text is the same wherever in it the secret begins, such as after ``user:``."""
    for before in range(3):
        code = base64.b64encode(b"\0" * before + secret.encode("utf-8", "surrogateescape")).decode().rstrip("=")
        core = code[(before * 8 + 5) // 6 : (before + len(secret.encode("utf-8", "surrogateescape"))) * 8 // 6]
        yield core
        yield core.replace("+", "-").replace("/", "_")


_redactor = Redactor()
redact = _redactor.redact
forget = _redactor.forget
