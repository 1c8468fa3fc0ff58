"""What a server says that gives no stream: the beginning of its answer, on one line, and whether it means 420."""

import contextlib
import threading

import requests
from birdy.twitter import TwitterApiError, TwitterAuthError, TwitterRateLimitError
from urllib3.exceptions import HTTPError

BEGINNING_BYTES = 500
BEGINNING_SECONDS = 5.0
"""What an answer says is worth a moment; what it means stands in its status."""

TOO_MANY_CONNECTIONS = 420
LIMIT_TEXTS = (
    "exceeded connection limit", "exceeded concurrent connection limit", "easy there, turbo", "enhance your calm",
    "too many requests", "toomanyconnections", "maximum allowed connection limit", "rate limit exceeded",
)  # fmt: skip
"""How Twitter says 420, with whatever status: the first in 200 answers, others in 403 and 503, the last in JSON."""

_ERRORS = {401: TwitterAuthError, 420: TwitterRateLimitError, 429: TwitterRateLimitError}


def read(response: requests.Response, most_bytes: int, seconds: float) -> bytes:
    """So much of the body as comes within this time; less where the connection fails. Closes the response."""
    timer = threading.Timer(seconds, shut_down, (response,))
    timer.daemon = True
    timer.start()
    body = b""
    with contextlib.suppress(HTTPError, OSError, ValueError):  # what came before is kept
        while len(body) < most_bytes and (data := response.raw.read1(most_bytes - len(body), decode_content=True)):
            body += data
    timer.cancel()
    response.close()
    return body


def shut_down(response: requests.Response) -> None:
    """End whatever reads it, from any thread."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # it is down already
        response.raw.shutdown()


def said(response: requests.Response, begun: bytes = b"") -> str:
    """The beginning of an answer's body, of which some may have been read."""
    return shown(begun + read(response, max(0, BEGINNING_BYTES - len(begun)), BEGINNING_SECONDS))


def shown(body: bytes) -> str:
    """The beginning of a text as one bounded line, without what acts on a terminal."""
    text = body[:BEGINNING_BYTES].decode("utf-8", "replace")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def means_limit(text: str) -> bool:
    """Is this how Twitter says that there were too many connections?"""
    return any(limit in text.lower() for limit in LIMIT_TEXTS)


def error(response: requests.Response, method: str, text: str) -> TwitterApiError:
    """birdy's error for an answer that says this; with the status 420 where that is what it says."""
    status = response.status_code
    if means_limit(text) and status not in {420, 429}:
        limited = TwitterRateLimitError(f"{text} (with status {status})", response=response, request_method=method)
        limited.status_code = TOO_MANY_CONNECTIONS
        return limited
    kind = _ERRORS.get(status, TwitterApiError)
    return kind(text or shown((response.reason or "").encode()) or "no body", response=response, request_method=method)
