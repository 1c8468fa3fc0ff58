"""A birdy client for X API v2: rules on the server, and its stream as messages in the shape of v1.1."""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import requests
from birdy.twitter import (
    ApiResponse,
    AppClient,
    TwitterApiError,
    TwitterAuthError,
    TwitterClientError,
)

from traptor.rules.checked import Problem
from traptor.sources import answers, connecting
from traptor.sources.stream import FilterStream
from traptor.sources.v1 import MyBirdyClient
from traptor.sources.v2 import rules, shape
from traptor.sources.v2.rules import ServerRule
from traptor.tweets.fields import dump
from traptor.tweets.rule import Rule

STALL_SECONDS = 60.0
"""Three keep-alives of 20 s missed."""
PAGE_RULES = 1000
ANSWER_BYTES = 16 << 20
"""No answer about rules is larger: a thousand rules have 1.2 MB."""
ADDED_AT_ONCE = 100
RULES_ANSWERS = (200, 201, 400)
RULE_LIMITS = (5, 25, 1000, 2500, 5000, 25_000)
"""The rules that accounts of Twitter's access levels could and can have."""

FIELDS = {
    "expansions": "author_id,in_reply_to_user_id,referenced_tweets.id,referenced_tweets.id.author_id,"
    "referenced_tweets.id.attachments.media_keys,entities.mentions.username,entities.note.mentions.username,"
    "attachments.media_keys,geo.place_id",
    "tweet.fields": "attachments,author_id,conversation_id,created_at,edit_controls,entities,geo,in_reply_to_user_id,"
    "lang,note_tweet,possibly_sensitive,public_metrics,referenced_tweets,reply_settings,source,withheld",
    "user.fields": "created_at,description,entities,location,name,profile_image_url,protected,public_metrics,url,"
    "username,verified,withheld",
    "media.fields": "media_key,type,url,preview_image_url,width,height,duration_ms,alt_text,variants",
    "place.fields": "contained_within,country,country_code,full_name,geo,id,name,place_type",
}
"""What it takes to rebuild the shape of v1.1."""

DISCONNECT_CODES = {
    "SlowReader": 4,
    "ForceDisconnect": 7,
    "OperationalDisconnect": 12,
    "UpstreamOperationalDisconnect": 12,
}
"""v1.1's code for what v2 says; whatever else it says is 10, an exception inside the stream."""


class RulesCapExceeded(TwitterApiError):  # type: ignore[misc]
    """The account cannot have so many rules. Twitter refuses all that were to be added with these."""


class Synchronised(NamedTuple):
    """What came of bringing rules to the server.

    ``placed`` counts the server rules of ours, ``problems`` tells the rules that are left out, ``others`` are the
    server rules that are not ours, and ``limit`` is what the account has room for, as far as it is known.
    """

    placed: int
    problems: list[Problem]
    others: list[ServerRule]
    limit: int


class V2Client(AppClient):  # type: ignore[misc]
    """birdy's app-only client, for api.x.com's filtered stream.

    ``bearer_token`` is asked for with consumer key and secret where there is none. All methods raise birdy's
    TwitterClientError where the network fails and TwitterApiError where Twitter answers with an error.
    """

    user_agent_string = MyBirdyClient.user_agent_string
    access_token: str | None
    session: requests.Session

    def __init__(self, consumer_key: str, consumer_secret: str, bearer_token: str, api_url: str) -> None:
        self.api_url = api_url
        super().__init__(consumer_key, consumer_secret, bearer_token or None)
        self.request_token_url = f"{api_url}/oauth2/token"
        self._is_token_fetched = False
        self._known_limit = sys.maxsize

    def __repr__(self) -> str:
        return f"V2Client({self.api_url!r})"

    def get_oauth_session(self) -> requests.Session:
        session = connecting.in_time(requests.Session())
        session.headers.update({"User-Agent": self.user_agent_string, "Accept-Encoding": "gzip"})
        if self.access_token:
            session.headers["Authorization"] = f"Bearer {self.access_token}"
        return session

    def open(self, backfill_minutes: int = 0) -> "FilteredStream":
        """The stream, by the rules that the server holds. What was missed in so many minutes comes first."""
        backfill = {"backfill_minutes": backfill_minutes} if backfill_minutes else {}
        opened: FilteredStream = self.request("GET", "tweets/search/stream", **FIELDS, **backfill)
        return opened

    def held_rules(self) -> list[ServerRule]:
        """All rules on the server, ours and others'."""
        found: list[ServerRule] = []
        token: str | None = ""
        while token is not None:
            page = {"pagination_token": token} if token else {}
            answer = self.request("GET", _RULES, max_results=PAGE_RULES, **page).data
            found += rules.from_answer(answer)
            token = (answer.get("meta") or {}).get("next_token")
        return found

    def synchronise(
        self, traptor_type: str, traptor_id: int, wanted: Sequence[Rule], *, length: int, limit: int
    ) -> "Synchronised":
        """Make the server hold these rules of this Traptor, on an open stream too.

        Where the account has room for fewer than ``limit``, the next of Twitter's limits is tried that is not below
        what it holds already.
        """
        limit = min(limit, self._known_limit)
        while True:
            try:
                return self._place(traptor_type, traptor_id, wanted, length, limit)
            except RulesCapExceeded:
                held = len(self.held_rules())
                if held >= limit:
                    raise
                limit = self._known_limit = max((one for one in RULE_LIMITS if held <= one < limit), default=held)

    def _place(
        self, traptor_type: str, traptor_id: int, wanted: Sequence[Rule], length: int, limit: int
    ) -> "Synchronised":
        """Compare, try in a dry run, and change. What Twitter refuses is left out, and the others packed anew."""
        prefix = rules.tag_prefix(traptor_type, traptor_id)
        held = self.held_rules()
        others = [rule for rule in held if not rule.tag.startswith(prefix)]
        packed, problems = rules.pack(traptor_type, traptor_id, wanted, length, max(limit - len(others), 0))
        change = rules.change(held, packed, prefix, limit)
        self._delete(change.delete)
        inside = {rules.label(rule): rule for rule in wanted}
        if refused := self._add(change.add, dry_run=True):
            suspects = {label: inside[label] for rule, _ in refused for label in rules.labels(rule.tag, prefix)}
            apart, _ = rules.pack(traptor_type, traptor_id, list(suspects.values()), length, math.inf)
            room = limit - len(held) + len(change.delete)
            culprits = _blamed(self._add(apart, dry_run=True, at_once=room) or refused, inside, prefix)
            left = [rule for rule in wanted if rule["rule_id"] not in culprits]
            again = self._place(traptor_type, traptor_id, left, length, limit)
            return again._replace(problems=[*again.problems, *culprits.values()])
        refused = self._add(change.add)
        self._delete(change.delete_after)
        problems += _blamed(refused, inside, prefix).values()
        return Synchronised(len(packed) - len(refused), problems, others, limit)

    def _add(
        self, added: Sequence[ServerRule], *, dry_run: bool = False, at_once: int = ADDED_AT_ONCE
    ) -> list[tuple[ServerRule, str]]:
        """Gives those that the server refuses, each with Twitter's reason."""
        refused: list[tuple[ServerRule, str]] = []
        for some in _in_parts(added, min(at_once, ADDED_AT_ONCE)):
            answer = self._post({"add": [{"value": rule.value, "tag": rule.tag} for rule in some]}, dry_run=dry_run)
            reasons = {error.get("value"): _reason(error) for error in _dicts(answer.get("errors"))}
            refused += [(rule, reasons[rule.value]) for rule in some if rule.value in reasons]
        return refused

    def _delete(self, deleted: Sequence[ServerRule]) -> None:
        for some in _in_parts(deleted, ADDED_AT_ONCE):
            self._post({"delete": {"ids": [rule.id for rule in some]}})

    def _post(self, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        answer: dict[str, Any] = self.request("POST", _RULES + ("?dry_run=true" if dry_run else ""), **body).data
        return answer

    # What birdy asks of a client

    def request(self, method: str, path: str, **params: Any) -> Any:
        if not self.access_token:
            self._fetch_bearer_token()
        try:
            return super().request(method, path, **params)
        except TwitterAuthError:
            if self._is_token_fetched:
                self.access_token = None  # the next try asks for a new one
            raise

    def _fetch_bearer_token(self) -> None:
        """Ask for a token as birdy does, but tell a network that fails from keys that are wrong."""
        form, timeouts = {"grant_type": "client_credentials"}, (connecting.TCP_SECONDS, STALL_SECONDS)
        try:
            response = self.session.post(
                self.request_token_url, auth=self.auth, data=form, stream=True, timeout=timeouts, allow_redirects=False
            )
        except requests.RequestException as error:
            raise TwitterClientError(str(error)) from None
        answer = _json(response)
        if response.status_code != requests.codes.ok or "access_token" not in answer:
            raise _error(response, answer, "POST")
        self.access_token = answer["access_token"]
        self.session = self.get_oauth_session()
        self._is_token_fetched = True

    def construct_resource_url(self, path: str) -> str:
        return f"{self.api_url}/2/{path}"

    @staticmethod
    def sanitize_params(input_params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """As they are: v2 takes JSON."""
        return input_params, {}

    def make_api_call(self, method: str, url: str, **request: Any) -> requests.Response:
        body = {"json": request["data"]} if "data" in request else {"params": request["params"]}
        timeouts = (connecting.TCP_SECONDS, STALL_SECONDS)
        return self.session.request(method, url, stream=True, timeout=timeouts, allow_redirects=False, **body)

    def handle_response(self, method: str, response: requests.Response) -> Any:
        if response.status_code == requests.codes.ok and response.url.partition("?")[0].endswith("/search/stream"):
            return FilteredStream(response, method)
        answer = _json(response)
        # Every answer about rules has meta, also one that refuses some of them.
        if response.status_code in RULES_ANSWERS and "meta" in answer:
            return ApiResponse(response, method, answer)
        raise _error(response, answer, method)


_RULES = "tweets/search/stream/rules"


def _json(response: requests.Response) -> dict[str, Any]:
    """The answer's object, as far as it comes in time; empty where it is none. Closes the response."""
    try:
        answer = json.loads(answers.read(response, ANSWER_BYTES, connecting.DEADLINE_SECONDS))
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _error(response: requests.Response, answer: dict[str, Any], method: str) -> TwitterApiError:
    problem = _problem(answer) or f"not an answer of X API v2 ({response.reason})"
    if "RulesCapExceeded" in problem:
        return RulesCapExceeded(problem, response=response, request_method=method)
    return answers.error(response, method, problem)


def _problem(answer: dict[str, Any]) -> str:
    """What an error's body says, on one line."""
    words = [str(answer[name]) for name in ("title", "connection_issue", "detail") if answer.get(name)]
    errors = answer.get("errors")
    return ": ".join(words) or "; ".join(map(str, errors if isinstance(errors, list) else ()))


def _reason(error: dict[str, Any]) -> str:
    """Why one rule is refused."""
    details = error.get("details")
    told = details if isinstance(details, list) else []
    return "; ".join(map(str, told)) or str(error.get("detail") or error.get("title") or "refused")


def _blamed(refused: Iterable[tuple[ServerRule, str]], inside: Mapping[str, Rule], prefix: str) -> dict[str, Problem]:
    """The rules inside refused server rules, by rule_id."""
    blamed = [(inside[label], reason) for rule, reason in refused for label in rules.labels(rule.tag, prefix)]
    return {
        rule["rule_id"]: Problem(rule["rule_id"], rule["value"], f"is refused by Twitter: {reason}")
        for rule, reason in blamed
    }


def _in_parts(some: Sequence[ServerRule], size: int) -> Iterator[Sequence[ServerRule]]:
    for start in range(0, len(some), size):
        yield some[start : start + size]


class Translated(bytes):
    """A tweet in the shape of v1.1, with the tags of the server rules that it fits and the payload that it was."""

    tags: tuple[str, ...] = ()
    payload: bytes = b""


class FilteredStream(FilterStream):
    """An open v2 stream that yields what v1.1's would: tweets as Translated, and disconnect messages for errors."""

    def reads(self) -> Iterator[list[bytes]]:
        for read in super().reads():
            yield [message for raw in read for message in translated(raw)]


def translated(raw: bytes) -> list[bytes]:
    """The messages in a v2 message; one that is neither tweet nor error passes as it is."""
    try:
        payload = json.loads(raw)
        found = [_with_origin(tweet, payload, raw) for tweet in shape.tweets(payload)] if shape.is_v2(payload) else []
    except (ValueError, RecursionError):
        return [raw]
    if found:
        return found
    errors = payload.get("errors") if isinstance(payload, dict) else None
    return [disconnect(error) for error in _dicts(errors)] or [raw]


def _with_origin(tweet: dict[str, Any], payload: dict[str, Any], raw: bytes) -> bytes:
    message = Translated(dump(tweet))
    message.tags = _tags(payload.get("matching_rules"))
    message.payload = raw
    return message


def _tags(matching_rules: object) -> tuple[str, ...]:
    """The tags of the rules that the server names; rules of others may have none."""
    named = [rule.get("tag") for rule in _dicts(matching_rules)]
    return tuple(tag for tag in named if isinstance(tag, str))


def _dicts(given: object) -> list[dict[str, Any]]:
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def disconnect(error: dict[str, Any]) -> bytes:
    """v1.1's disconnect message for an error inside the stream, after which v2 closes it."""
    kind = str(error.get("disconnect_type") or error.get("title") or "error")
    reason = ": ".join(str(words) for words in (kind, error.get("detail")) if words)
    return dump({"disconnect": {"code": DISCONNECT_CODES.get(kind, 10), "stream_name": "v2", "reason": reason}})


def keep(value: bytes, message: Translated) -> bytes:
    """An enriched tweet with the v2 payload under ``traptor.v2``."""
    return b"".join((value[:-2], b',"v2":', message.payload, b"}}"))
