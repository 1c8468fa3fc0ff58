"""Files that belong together: academictwitteR's data and users files, and a user's own tweets and their account.

Of such a pair the one with the tweets is read, and what the other has is put into its messages.
"""

import re
from collections.abc import Iterable, Iterator

from traptor.archives.forms import Message, Problem
from traptor.tweets import fields

PAGE_BYTES = 4 << 20
"""Tweets that are put on one page with what they refer to."""
_DATA = re.compile(r"((?:.*/)?)data_([^/]+)", re.DOTALL)
_OWN = re.compile(r"((?:.*/)?)tweets?(?:-part\d+)?\.js", re.DOTALL)


def name(file: str) -> str | None:
    """What the companion of a file with tweets is called: ``users_7.json`` of ``data_7.json``."""
    if data := _DATA.fullmatch(file):
        return f"{data[1]}users_{data[2]}"
    own = _OWN.fullmatch(file)
    return f"{own[1]}account.js" if own else None


def without(files: Iterable[str]) -> list[str]:
    """The files but for companions of others among them, which are read with those."""
    given = list(files)
    companions = {name(file) for file in given}
    return [file for file in given if file not in companions]


def joined(found: Iterable[Message | Problem], file: str, beside: bytes) -> Iterator[Message | Problem]:
    """The messages of a file with what its companion has."""
    return _pages(found, beside) if _DATA.fullmatch(file) else _owned(found, beside)


def _pages(found: Iterable[Message | Problem], includes: bytes) -> Iterator[Message | Problem]:
    """v2 tweets as pages of search results."""
    page: list[Message] = []
    size_bytes = 0
    for one in found:
        if isinstance(one, Problem) or not _is_json(one.body):
            yield one
            continue
        page.append(one)
        size_bytes += len(one.body)
        if size_bytes > PAGE_BYTES:
            yield _page(page, includes)
            page, size_bytes = [], 0
    if page:
        yield _page(page, includes)


def _is_json(body: bytes) -> bool:
    """One that is not would take its whole page with it."""
    try:
        fields.decode(body)
    except ValueError:
        return False
    return True


def _page(page: list[Message], includes: bytes) -> Message:
    data = b",".join(message.body for message in page)
    return page[0]._replace(body=b'{"data":[' + data + b'],"includes":' + includes + b"}")


def _owned(found: Iterable[Message | Problem], account: bytes) -> Iterator[Message | Problem]:
    """``{"tweet": …}`` with the ``account`` that has posted it."""
    for one in found:
        if isinstance(one, Message) and one.body.endswith(b"}"):
            yield one._replace(body=one.body[:-1] + b"," + account[1:])
        else:
            yield one
