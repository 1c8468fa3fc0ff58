"""A request for a stream, as HTTP brought it."""

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
    def is_v2(self) -> bool:
        return urlsplit(self.url).path.startswith("/2/")

    @property
    def takes_gzip(self) -> bool:
        return "gzip" in self.headers.get("Accept-Encoding", "")
