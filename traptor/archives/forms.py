"""The forms that JSON comes in, as one message after the other: a line each, or values of whatever shape and number.

Values are found by Python's own JSON reader, a piece of the file at a time. Between them may stand whatever holds
several together: brackets and commas, record separators (RFC 7464), ``{"statuses":`` or ``window.YTD.tweets.part0 =``.
"""

import codecs
import io
import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from traptor.archives import foreign
from traptor.archives.packing import DAMAGE, HEAD_BYTES, reason
from traptor.tweets import fields

MAX_MESSAGE_BYTES = 16 << 20
"""A page of v2 search results may have a few MiB; nothing sound has more than this."""
PIECE_BYTES = 1 << 18
MOST_DAMAGED = 1000
"""Values one after the other, where it has to be guessed where the next one begins."""
LISTS = ("statuses", "results")
"""Names of the lists in the answers of v1.1's search, and of the premium and enterprise ones."""

_OF_MANY = re.compile(rb"\s*(?:[\[\x1e]|[\w.$]+\s*=\s*\[)|\s+\{")
_LIST = rf'\{{\s*"(?:{"|".join(LISTS)})"\s*:(?=\s*\[)'
_BETWEEN = re.compile(rf"[\s,;\[\]}}\x1e\ufeff]+|[\w.$]+\s*=(?=\s*\[)|{_LIST}")
"""What may stand before a value that is a message, piece by piece: Python's possessive quantifiers match wrongly before
3.11.4, and others would try each way through many pieces."""
_BETWEEN_CHARACTERS = 200
_NAME = re.compile(r'"[^"\\]*"\s*:\s*')
_LEAD = re.compile(r'\{\s*"[^"\\]{0,99}"\s*:')
"""How an object begins. Those that come one after the other begin alike, which tells where the next one is."""
_KEPT_LEADS = 4
_scan = json.JSONDecoder().raw_decode


class Message(NamedTuple):
    """A JSON text on one line, which began in line ``number`` of ``place``."""

    place: str
    number: int
    body: bytes


class Problem(NamedTuple):
    """What could not be read: a file or member from ``place`` on, or one line."""

    place: str
    reason: str


def messages(stream: "io.BufferedReader[Any]", place: str) -> Iterator[Message | Problem]:
    """All messages of a text, whatever its form. What is damaged is a problem, and the next one goes on."""
    head = stream.peek(HEAD_BYTES)
    if told := foreign.recognised(head):
        yield Problem(place, told)
    elif _OF_MANY.match(head):
        yield from values(stream, place)
    else:
        first = stream.readline(MAX_MESSAGE_BYTES)
        if first.startswith(b"{") and not _is_whole(first):
            yield from values(stream, place, first)
        else:
            yield from _lines(stream, place, first)


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(stream: "io.BufferedReader[Any]", place: str, line: bytes) -> Iterator[Message | Problem]:
    """A message per line, the first of which has been read."""
    number = 0
    while line:
        number += 1
        is_cut = len(line) == MAX_MESSAGE_BYTES and not line.endswith(b"\n")
        if is_cut:
            yield Problem(f"{place}, line {number}", f"is longer than {MAX_MESSAGE_BYTES} bytes")
        elif body := line.strip():
            yield Message(place, number, body)
        try:
            if is_cut:
                _skip_line(stream)
            line = stream.readline(MAX_MESSAGE_BYTES)
        except DAMAGE as error:
            yield Problem(f"{place}, after line {number}", reason(error))
            return


def _skip_line(stream: "io.BufferedReader[Any]") -> None:
    while (rest := stream.readline(MAX_MESSAGE_BYTES)) and not rest.endswith(b"\n"):
        pass


def values(stream: Any, place: str, begun: bytes = b"") -> Iterator[Message | Problem]:
    """Values that may be of several lines each, or several on one, of a stream of which ``begun`` has been read."""
    text = _Text(stream, begun)
    damaged = 0
    while text.is_at_value():
        is_beside = text.skip_name()  # what an answer has beside its list
        number = text.number()
        try:
            body = _on_one_line(text.value())
        except ValueError as error:
            if text.damage:
                break
            yield Problem(f"{place}, line {number}", str(error))
            damaged += 1
            if damaged == MOST_DAMAGED:
                yield Problem(f"{place}, after line {number}", f"{damaged} damaged values in a row: it is left there")
                return
            text.recover()
        else:
            damaged = 0
            if not is_beside:
                yield Message(place, number, body)
    if text.damage:
        yield Problem(f"{place}, after line {text.number()}", reason(text.damage))


def _on_one_line(body: bytes) -> bytes:
    """The same with nothing else changed. Only half a surrogate pair needs to be read and written anew."""
    if b"\n" not in body and b"\r" not in body:
        return body
    try:
        return msgspec.json.format(body, indent=-1)
    except msgspec.DecodeError:
        return fields.dump(fields.load(body))


class _Text:
    """As much of a text as is needed to find the end of its next value. ``damage`` is why there is no more of it."""

    def __init__(self, stream: Any, begun: bytes) -> None:
        self.damage: Exception | None = None
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text = self._decode(begun)
        self._at = 0
        self._number = 1
        self._numbered_at = 0
        self._leads: deque[str] = deque(maxlen=_KEPT_LEADS)

    def number(self) -> int:
        """The line in which it stands."""
        self._number += self._text.count("\n", self._numbered_at, self._at)
        self._numbered_at = self._at
        return self._number

    def is_at_value(self) -> bool:
        """Go to where the next value begins. False at the end."""
        while True:
            while between := _BETWEEN.match(self._text, self._at):
                self._at = between.end()
            if len(self._text) - self._at >= _BETWEEN_CHARACTERS or not self._more():
                return self._at < len(self._text)

    def skip_name(self) -> bool:
        """Go past the name that a value has; false where it has none."""
        if name := _NAME.match(self._text, self._at):
            self._at = name.end()
        return bool(name)

    def value(self) -> bytes:
        """The next value, and go past it. Raises ValueError where there is none that is whole."""
        self._note_lead()
        while True:
            try:
                end = _scan(self._text, self._at)[1]
            except RecursionError:
                raise ValueError("nested too deeply") from None
            except ValueError as error:
                if len(self._text) - self._at > MAX_MESSAGE_BYTES:
                    raise ValueError(f"is longer than {MAX_MESSAGE_BYTES} bytes") from None
                if not self._may_go_on(error) or not self._more():
                    raise ValueError(f"is not JSON: {getattr(error, 'msg', error)}") from None
                continue
            if end < len(self._text) or not self._more():
                begin, self._at = self._at, end
                return self._text[begin:end].encode("utf-8", "surrogateescape")

    def recover(self) -> None:
        """Go to what begins as one of the last values has begun, or to a line that begins with a brace."""
        begun = "|".join(map(re.escape, self._leads))
        beginning = re.compile(rf"[\n\x1e](?=\{{)|[\n,\[\]}}]\s*(?={begun})" if begun else r"[\n\x1e]\s*(?=\{)")
        self._at += 1
        while not (found := beginning.search(self._text, self._at)):
            self._at = max(self._at, len(self._text) - _BETWEEN_CHARACTERS)
            if not self._more():
                self._at = len(self._text)
                return
        self._at = found.end()

    def _note_lead(self) -> None:
        if (lead := _LEAD.match(self._text, self._at)) and lead[0] not in self._leads:
            self._leads.append(lead[0])

    def _may_go_on(self, error: ValueError) -> bool:
        """Is it an error that the end of what we have makes? The longest token but a text is of few characters."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.msg.startswith("Unterminated string") or error.pos > len(self._text) - 16

    def _more(self) -> bool:
        """Forget what is done with and read on, twice as much where there is much. False at the end."""
        self.number()
        kept = self._text[self._at :]
        try:
            data = self._stream.read1(PIECE_BYTES) if len(kept) < PIECE_BYTES else self._stream.read(len(kept))
        except DAMAGE as error:
            self.damage = error
            return False
        self._text, self._at, self._numbered_at = kept + self._decode(data, not data), 0, 0
        return bool(data)
