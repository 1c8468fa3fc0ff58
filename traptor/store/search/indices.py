"""The indices of a prefix: their names, and how they are made."""

from importlib.resources import files

import msgspec

from traptor.store.destination import WrongDestination
from traptor.store.search.documents import UNDATED
from traptor.store.search.server import Json, Server

VERSION = "1"
"""Of the documents."""
_EXISTS = "resource_already_exists_exception"


class Indices:
    """``tweets`` is every month of them, as a pattern; the others are one index each."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._made: set[str] = set()
        self.tweets = f"{prefix}-tweets-*"
        self.gaps, self.limits = f"{prefix}-gaps", f"{prefix}-limits"
        self.apart, self.progress, self.remembered = f"{prefix}-apart", f"{prefix}-progress", f"{prefix}-remembered"

    def of_month(self, month: str) -> str:
        return f"{self._prefix}-tweets-{month}"

    def make(self) -> None:
        """The template of the months, where there is none, and the others. Raises WrongDestination."""
        self._made.clear()
        name = f"{self._prefix}-tweets"
        found = self._server.call("GET", f"_index_template/{name}", allowed={404}).get("index_templates")
        version = found[0]["index_template"].get("_meta", {}).get("traptor") if found else VERSION
        if version != VERSION:
            raise WrongDestination(
                f"{self._server.url}: the index template {name} is of version {version}; this Traptor knows {VERSION}"
            )
        if not found:
            self._server.call("PUT", f"_index_template/{name}", template(self._prefix))
        own = load("indices.json")
        for index in (self.gaps, self.limits, self.apart, self.progress, self.remembered):
            self._make(index, {"mappings": own[index.removeprefix(f"{self._prefix}-")]})

    def make_month(self, month: str) -> str:
        """The name of the index, which is there now."""
        name = self.of_month(month)
        if name not in self._made:
            self._make(name, {})
            self._made.add(name)
        return name

    def _make(self, name: str, body: Json) -> None:
        answer = self._server.call("PUT", name, body, allowed={400})
        error = answer.get("error", {})
        if error and error.get("type") != _EXISTS:
            raise WrongDestination(f"{self._server.url}: the index {name} cannot be made: {error.get('reason')}")

    def drop_before(self, month: str) -> None:
        """The months before this one."""
        for name in self._server.call("GET", self.tweets, filter_path="*.aliases"):
            own = name.removeprefix(self.of_month(""))
            if own != UNDATED and own < month:
                self._server.call("DELETE", name, allowed={404})
        self._made.clear()


def template(prefix: str) -> Json:
    """The index template for these."""
    found = load("template.json")
    text = msgspec.json.encode(found).decode().replace('"traptor-tweets', f'"{prefix}-tweets')
    return msgspec.json.decode(text)


def load(name: str) -> Json:
    return msgspec.json.decode(files("traptor.store.search").joinpath(name).read_bytes())
