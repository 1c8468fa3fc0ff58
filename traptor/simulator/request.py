"""A request for a stream, and the ways not to get one."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit


class StreamRequest(NamedTuple):
    """Header names are in Title-Case; ``form`` is the body."""

    method: str
    url: str
    headers: dict[str, str]
    form: str

    @property
    def query(self) -> str:
        """The parameters: in the body, or for GET in the address."""
        return urlsplit(self.url).query if self.method == "GET" else self.form

    @property
    def takes_gzip(self) -> bool:
        return "gzip" in self.headers.get("Accept-Encoding", "")


class Refusal(Exception):
    """An answer other than a stream: status, plain text for the body, headers beside or instead of the usual ones."""

    def __init__(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


class Dropped(ConnectionAbortedError):
    """Close the connection without an answer."""
