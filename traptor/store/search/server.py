"""A search server over plain HTTP, as OpenSearch and Elasticsearch speak it: their clients refuse one another's."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
import requests

from traptor.store.destination import Away, Refused, WrongDestination

PORT = 9200
TIMEOUT_SECONDS = (5.0, 30.0)
"""To connect, and for each answer; after that the server counts as away."""
MOST_BYTES = 8 << 20
"""Of one bulk request; servers take 100 MB."""
PAGE = 1000
CONFLICT = 409
_WAIT = frozenset({429, 502, 503, 504})
_BLOCKED = frozenset({"cluster_block_exception", "index_not_found_exception", "index_closed_exception"})
"""A disk that is full, somebody who keeps us from writing, or an index that is gone and is made again: wait."""
_REFUSALS = frozenset({401, 403})

encode = msgspec.json.encode
Json = Any
Query = Mapping[str, Any]


class Action(NamedTuple):
    """One line of a bulk request: ``create``, ``index`` or ``delete``, where to, and the document."""

    name: str
    where: Mapping[str, Any]
    document: Any = None


class Outcome(NamedTuple):
    status: int
    reason: str
    """Empty where it went well."""


class Server:
    """``url``: http(s), with a user where it wants one. Nothing that can be shown has the password."""

    def __init__(self, url: str, password: str = "") -> None:
        """Raises WrongDestination for a URL with no host, or a port that is none."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port or PORT
        except ValueError:
            host, port = None, PORT
        if not host:
            raise WrongDestination("the URL of a search server has a host and a port: opensearch+https://host:9200")
        self.url = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self._auth = (unquote(parts.username), password or unquote(parts.password or "")) if parts.username else None
        self._session = requests.Session()

    def call(
        self, method: str, path: str, body: Json = None, *, allowed: Collection[int] = (), **parameters: str
    ) -> Json:
        """The answer's JSON; of ``allowed`` states too. Raises Away, WrongDestination."""
        data = body if body is None or isinstance(body, bytes) else encode(body)
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        try:
            response = self._session.request(
                method, f"{self.url}/{path}", parameters, data, {"Content-Type": kind}, auth=self._auth,
                timeout=TIMEOUT_SECONDS, allow_redirects=False,
            )  # fmt: skip
            answer = msgspec.json.decode(response.content)
        except requests.RequestException as error:
            self.close()
            wrong = isinstance(error, requests.exceptions.SSLError) and "certificate" in str(error).lower()
            raise (WrongDestination if wrong else Away)(f"{self.url}: {type(error).__name__}: {error}") from None
        except msgspec.DecodeError:
            self._complain(response.status_code, "", "no JSON came: is this a search server?")
        except BaseException:
            self.close()  # told to end while it waited: the answer would be taken for that of the next request
            raise
        if not response.ok and response.status_code not in allowed:
            told = answer.get("error", {}) if isinstance(answer, dict) else {}
            self._complain(response.status_code, *_told(told))
        return answer

    def _complain(self, status: int, kind: str, reason: str) -> None:
        wait = status in _WAIT or kind in _BLOCKED
        raise (Away if wait else WrongDestination)(f"{self.url}: {status} {kind} {reason}")

    def bulk(self, actions: Iterable[Action]) -> list[Outcome]:
        """What became of each. Raises Away where one of them has to wait: then all may be written again."""
        outcomes: list[Outcome] = []
        for body in _bodies(actions):
            answer = self.call(
                "POST", "_bulk", body, filter_path="took,items.*.status,items.*.error.type,items.*.error.reason,"
                "items.*.error.caused_by.reason"
            )  # fmt: skip
            for item in answer["items"]:
                (result,) = item.values()
                kind, reason = _told(result.get("error", {}))
                if result["status"] in _WAIT | _REFUSALS or kind in _BLOCKED:
                    self._complain(result["status"], kind, reason)
                outcomes.append(Outcome(result["status"], reason and f"{kind}: {reason}"))
        return outcomes

    def put(self, actions: Iterable[Action]) -> None:
        """All of them, but for those that somebody was before us with. Raises Away, Refused."""
        if refused := [one.reason for one in self.bulk(actions) if one.reason and one.status != CONFLICT]:
            raise Refused(refused[0])

    def refresh(self, index: str) -> None:
        """What was written is found by a search from now on."""
        self.call("POST", f"{index}/_refresh", ignore_unavailable="true", allow_no_indices="true")

    def search(self, index: str, body: Query) -> Json:
        """Shards that fail fail the search."""
        return self.call(
            "POST", f"{index}/_search", body, ignore_unavailable="true", allow_no_indices="true",
            allow_partial_search_results="false",
        )  # fmt: skip

    def pages(
        self, index: str, query: Query, sort: Sequence[Query], size: int = PAGE, **more: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """The hits, in this order, which no two share. What is written meanwhile may come or not."""
        body = {"query": query, "sort": list(sort), "size": size, "track_total_hits": False, **more}
        while hits := self.search(index, body)["hits"]["hits"]:
            yield hits
            if len(hits) < size:
                return
            body["search_after"] = hits[-1]["sort"]

    def close(self) -> None:
        self._session.close()


def _bodies(actions: Iterable[Action]) -> Iterator[bytes]:
    lines: list[bytes] = []
    size_bytes = 0
    for action in actions:
        own = [encode({action.name: action.where})]
        if action.document is not None:
            own.append(encode(action.document))
        lines += own
        size_bytes += sum(map(len, own))
        if size_bytes > MOST_BYTES:
            yield b"\n".join([*lines, b""])
            lines, size_bytes = [], 0
    if lines:
        yield b"\n".join([*lines, b""])


def _told(error: Any) -> tuple[str, str]:
    """Type and reason."""
    if not isinstance(error, dict):
        return "", str(error)
    reason = error.get("reason") or ""
    cause = (error.get("caused_by") or {}).get("reason")
    return error.get("type") or "", f"{reason}: {cause}" if cause else reason
