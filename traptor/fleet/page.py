"""The fleet as a page for a browser, which keeps itself fresh: of Redis and of Kafka it only reads.

However many browsers look, the fleet, and each Traptor that is looked at, is read once in REFRESH_SECONDS. What a
browser gets is HTML, CSS and a script of ours, and JSON, which that script shows as text and nothing else.
"""

import ipaddress
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Generic, TypeVar

import redis

from traptor.account.gaps import iso
from traptor.account.web_server import Answer, Asked, Server
from traptor.fleet import overview, roster
from traptor.fleet.roster import Member, Name
from traptor.printable import harmless, in_json

REFRESH_SECONDS = 2.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
ONE = re.compile(r"/status/(track|follow|locations):([0-9]{1,9})\.json")
_T = TypeVar("_T")


class Fresh(Generic[_T]):
    """What a look brings, once in REFRESH_SECONDS: whoever asks meanwhile gets the same, or the same error of Redis."""

    def __init__(self, look: Callable[[], _T], clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        self._until = -math.inf
        self._found: _T | redis.RedisError

    def __call__(self) -> _T:
        """Raises redis.RedisError."""
        with self._lock:
            if self._clock() >= self._until:
                try:
                    self._found = self._look()
                except redis.RedisError as error:
                    self._found = error
                # From its end on: Redis is not asked without a pause where a look takes long.
                self._until = self._clock() + REFRESH_SECONDS
            if isinstance(self._found, redis.RedisError):
                raise self._found.with_traceback(None)
            return self._found


class Page:
    """Answers what a browser asks for. ``tweets`` gives the last ones, as ``latest`` has them; ``hosts`` are the names
    by which it may be reached, besides addresses and this machine's own.
    """

    def __init__(
        self,
        conn: "redis.Redis",
        window_seconds: int,
        tweets: Callable[[], dict[str, Any]],
        hosts: set[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conn = conn
        self._window_seconds = window_seconds
        self._tweets = tweets
        self._hosts = {"localhost", socket.gethostname().lower(), *hosts}
        self._clock = clock
        self._fleet = Fresh(self._look, clock)
        self._of_one: dict[Name, Fresh[dict[str, Any]]] = {}
        self._away_since = ""

    def serve(self, address: str, port: int) -> Server:
        """In the background, until ``shutdown``. Raises OSError."""
        return _PageServer(address, port, self.answer, HEADERS).in_background("traptor-page")

    def answer(self, asked: Asked) -> Answer:
        if not self._is_ours(asked.host):
            return Answer(
                421,
                "text/plain",
                b"not by this name: ask for an address or localhost, or give it to --serve as its ADDRESS\n",
            )
        if asked.path in FILES:
            return _file(*FILES[asked.path])
        if asked.path == "/tweets.json":
            return _json(200, self._tweets())
        if asked.path == "/status.json":
            return self._told(self._fleet_in_words)
        if one := ONE.fullmatch(asked.path):
            return self._told(lambda: self._one_in_words(Name(one[1], int(one[2]))))
        return _json(404, {"trouble": "There is nothing here."})

    def _is_ours(self, host: str) -> bool:
        """A name that a stranger has made to point here (DNS rebinding) is none of ours."""
        name = re.sub(r"\.?(:[0-9]*)?$", "", host.lower(), count=1)
        try:
            return bool(ipaddress.ip_address(name.strip("[]")))
        except ValueError:
            return name in self._hosts

    def _told(self, look: Callable[[], dict[str, Any]]) -> Answer:
        """As JSON; where Redis fails, why, and since when."""
        try:
            found = look()
        except redis.RedisError as error:
            self._away_since = self._away_since or iso(datetime.now(UTC))
            return _json(503, {"trouble": f"Redis cannot be used: {harmless(error)}", "since": self._away_since})
        except LookupError as error:
            return _json(404, {"trouble": str(error.args[0])})
        self._away_since = ""
        return _json(200, {"at": iso(datetime.now(UTC)), "refresh_seconds": REFRESH_SECONDS, **found})

    def _look(self) -> tuple[dict[Name, Member], dict[str, int]]:
        """Raises redis.RedisError."""
        members = roster.look(self._conn)
        return members, overview.orphans(self._conn, members)

    def _fleet_in_words(self) -> dict[str, Any]:
        """As ``status --json`` has it, and what ``status`` says to a person."""
        members, orphans = self._fleet()
        told = overview.fleet_as_dict(members, orphans)
        for one, member in zip(told["traptors"], members.values(), strict=True):
            one["shown"] = overview.is_shown(member)
            one["words"] = _words(member)
        remarks = [f"{member.name} {text}" for member in members.values() for text in overview.remarks(member)]
        return {**told, "needs": overview.complaints(members, orphans), "remarks": remarks}

    def _one_in_words(self, name: Name) -> dict[str, Any]:
        """The same of one. Raises LookupError, redis.RedisError."""
        members, _ = self._fleet()
        if name not in members:
            raise LookupError(f"Redis knows nothing of {name}")
        fresh = self._of_one.setdefault(
            name, Fresh(lambda: overview.one_as_dict(self._conn, self._fleet()[0][name]), self._clock)
        )
        member, seen = members[name], fresh()
        minutes = overview.counted_seconds(member, self._window_seconds) / 60
        rules = [{**rule, "per_minute": round(rule["matches"] / minutes, 1)} for rule in seen["rules"]]
        gaps = [{**gap, "words": overview.when(gap)} for gap in seen["gaps"]]
        return {**seen, "words": _words(member), "facts": overview.facts(member), "rules": rules, "gaps": gaps}


class _PageServer(Server):
    most_clients = 64
    client_seconds = 60.0
    """A look at a large fleet takes its time."""


def _words(member: Member) -> dict[str, str]:
    """By column of ``status``."""
    names = (column.strip(">") for column in overview.COLUMNS)
    return {name: cell.plain for name, cell in zip(names, overview.line(member), strict=True)}


def _file(name: str, content_type: str) -> Answer:
    body = files("traptor.fleet").joinpath(name).read_bytes()
    if name.endswith(".css"):
        body = files("traptor").joinpath("pages.css").read_bytes() + body
    return Answer(200, f"{content_type}; charset=utf-8", body)


def _json(code: int, value: Mapping[str, Any]) -> Answer:
    return Answer(code, "application/json", in_json(json.dumps(value)).encode())
