"""X API v2's stream as messages in the shape of v1.1's."""

import json
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import requests

from traptor.sources.stream import FilterStream, StreamEnded
from traptor.sources.v2 import answers, payload, shape
from traptor.tweets.fields import dump

LAST_SECONDS = 0.5
"""What may still come behind a disconnect message."""

log = logging.getLogger(__name__)

DISCONNECT_CODES = {
    "TooManyConnections": 2,
    "ClientApplicationStateDegraded": 2,
    "UsageCapExceeded": 2,
    "SlowReader": 4,
    "ForceDisconnect": 7,
    "OperationalDisconnect": 12,
    "UpstreamOperationalDisconnect": 12,
}
"""v1.1's code for what v2 says, by the wait that it asks for; whatever else it says is 10, an exception inside the
stream. X writes them like this, or as ``operational-disconnect``."""


class Translated(bytes):
    """A tweet in the shape of v1.1, with the tags of the server rules that it fits and the payload that it was.

    ``left_out`` are the paths of what did not fit, of all tweets of the payload.
    """

    tags: tuple[str, ...] = ()
    payload: bytes = b""
    left_out: tuple[str, ...] = ()


class Disconnect(bytes):
    """v1.1's disconnect message, for an error inside the stream. ``reason`` is what X says."""

    reason = ""


class FilteredStream(FilterStream):
    """An open v2 stream that yields what v1.1's would: tweets as Translated, and disconnect messages for errors.

    ``left_out`` counts what did not fit into v1.1's shape; the first of each is logged.
    """

    def __init__(self, response: requests.Response, method: str, left_out: Counter[str] | None = None) -> None:
        super().__init__(response, method)
        self.recovery: FilteredStream | None = None
        self._recovering: Iterator[list[bytes]] = iter(())
        self._left_out = Counter() if left_out is None else left_out

    def reads(self) -> Iterator[list[bytes]]:
        """As ever. After a disconnect message the stream is over once it is quiet, and soon: X may keep it open."""
        reason, over_at = None, math.inf
        try:
            for read in super().reads():
                messages = [message for raw in read for message in translated(raw)]
                self._note_left_out(messages)
                yield messages + self._recovered()
                if said := [one.reason for one in messages if isinstance(one, Disconnect)]:
                    reason, over_at = said[-1], min(over_at, time.monotonic() + LAST_SECONDS)
                if reason is not None and (not read or time.monotonic() >= over_at):
                    self.close()
        except StreamEnded:
            if reason is None:
                raise
        if reason is not None:
            raise StreamEnded("closed", reason)

    def recover_by(self, recovery: "FilteredStream") -> None:
        """Bring what this other stream brings as well, until it ends."""
        self.recovery, self._recovering = recovery, recovery.reads()

    def close(self) -> None:
        if self.recovery:
            self.recovery.close()
        super().close()

    def _recovered(self) -> list[bytes]:
        """What the recovery has brought meanwhile. Its end is not that of this stream."""
        try:
            return [message for message in next(self._recovering, []) if not isinstance(message, Disconnect)]
        except StreamEnded as ended:
            log.info("recovery of a gap over", extra={"cause": str(ended)})
            self.recovery, self._recovering = None, iter(())
            return []

    def _note_left_out(self, messages: Iterable[bytes]) -> None:
        for path in [path for message in messages for path in getattr(message, "left_out", ())]:
            self._left_out[path] += 1
            if self._left_out[path] == 1:
                log.warning("v2 sends what does not fit: left out, and counted", extra={"field": path})


def translated(raw: bytes) -> list[bytes]:
    """The messages in a v2 message; one that is neither tweet nor error passes as it is."""
    if line := payload.decode(raw):
        tags = tuple(rule.tag for rule in line.matching_rules or () if rule.tag is not None)
        includes = payload.included(line.includes or payload.Expansions())
        return [_translated(shape.posted(line.data, includes), raw, tags)]
    try:
        return _odd(json.loads(raw), raw) or [raw]
    except (ValueError, RecursionError):
        return [raw]


def _odd(message: Any, raw: bytes) -> list[bytes]:
    """What there is in a message that does not fit as a whole."""
    if shape.is_v2(message):
        tweets, left_out = shape.shaped(message)
        if tweets:
            return [_translated(tweet, raw, _tags(message.get("matching_rules")), left_out) for tweet in tweets]
    errors = message.get("errors") if isinstance(message, dict) else None
    return [disconnect(error) for error in answers.dicts(errors)]


def _translated(tweet: dict[str, Any], raw: bytes, tags: tuple[str, ...], left_out: tuple[str, ...] = ()) -> Translated:
    message = Translated(dump(tweet))
    message.tags, message.payload, message.left_out = tags, raw, left_out
    return message


def _tags(matching_rules: object) -> tuple[str, ...]:
    """The tags of the rules that the server names; rules of others may have none."""
    named = [rule.get("tag") for rule in answers.dicts(matching_rules)]
    return tuple(tag for tag in named if isinstance(tag, str))


def disconnect(error: Mapping[str, Any]) -> Disconnect:
    """v1.1's disconnect message for an error inside the stream."""
    kind = str(error.get("disconnect_type") or error.get("connection_issue") or error.get("title") or "error")
    reason = ": ".join(str(words) for words in (kind, error.get("detail") or error.get("message")) if words)
    code = _CODES.get(_plain(kind), 10)
    message = Disconnect(dump({"disconnect": {"code": code, "stream_name": "v2", "reason": reason}}))
    message.reason = reason
    return message


def _plain(kind: str) -> str:
    return re.sub("[^a-z]", "", kind.lower())


_CODES = {_plain(kind): code for kind, code in DISCONNECT_CODES.items()}


def keep(value: bytes, message: Translated) -> bytes:
    """An enriched tweet with the v2 payload under ``traptor.v2``."""
    return b"".join((value[:-2], b',"v2":', message.payload, b"}}"))
