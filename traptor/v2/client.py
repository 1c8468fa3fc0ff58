"""A birdy client for X API v2: rules on the server, and its stream as messages in the shape of v1.1."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import requests
from birdy.twitter import (
    ApiResponse,
    AppClient,
    TwitterApiError,
    TwitterAuthError,
    TwitterClientError,
    TwitterRateLimitError,
)

from traptor.messages import Rule, dump
from traptor.rules import Problem
from traptor.stream import CONNECT_TIMEOUT_SECONDS, FilterStream, MyBirdyClient
from traptor.v2 import rules, shape
from traptor.v2.rules import ServerRule

STALL_SECONDS = 60.0
"""Three keep-alives of 20 s missed."""
PAGE_RULES = 1000
ADDED_AT_ONCE = 100

FIELDS = {
    "expansions": "author_id,in_reply_to_user_id,referenced_tweets.id,referenced_tweets.id.author_id,"
    "entities.mentions.username,attachments.media_keys,geo.place_id",
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

    def __repr__(self) -> str:
        return f"V2Client({self.api_url!r})"

    def get_oauth_session(self) -> requests.Session:
        session = requests.Session()
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
    ) -> list[Problem]:
        """Make the server hold these rules of this Traptor, on an open stream too; gives those that are left out.

        New rules are added before old ones are deleted, so that nothing is missed meanwhile, as far as the limit of the
        account has room for both.
        """
        prefix = rules.tag_prefix(traptor_type, traptor_id)
        held = self.held_rules()
        room = limit - sum(not rule.tag.startswith(prefix) for rule in held)
        packed, problems = rules.pack(traptor_type, traptor_id, wanted, length, room)
        change = rules.change(held, packed, prefix)
        accepted, refused = self._checked(change.add, traptor_type, traptor_id, wanted, length)
        if len(held) + len(accepted) > limit:
            self._delete(change.delete)
            self._add(accepted)
        else:
            self._add(accepted)
            self._delete(change.delete)
        return problems + refused

    def _checked(
        self, added: Sequence[ServerRule], traptor_type: str, traptor_id: int, wanted: Sequence[Rule], length: int
    ) -> tuple[list[ServerRule], list[Problem]]:
        """Those that the server would take. Of a refused one the rules in it are tried one by one."""
        prefix = rules.tag_prefix(traptor_type, traptor_id)
        accepted, refused = self._tried(added)
        problems: list[Problem] = []
        for rule, reason in refused:
            ids = rules.rule_ids(rule.tag, prefix)
            alone = [one for one in wanted if one["rule_id"] in ids]
            if len(alone) == 1:
                problems.append(Problem(ids[0], alone[0]["value"], f"is refused by Twitter: {reason}"))
                continue
            for one in alone:
                packed, _ = rules.pack(traptor_type, traptor_id, [one], length, len(alone) * PAGE_RULES)
                some, others = self._tried(packed)
                accepted += some
                problems += [
                    Problem(one["rule_id"], one["value"], f"is refused by Twitter: {why}") for _, why in others
                ]
        return accepted, problems

    def _tried(self, added: Sequence[ServerRule]) -> tuple[list[ServerRule], list[tuple[ServerRule, str]]]:
        """A dry run: the rules that would be taken, and the others with Twitter's reasons."""
        reasons: dict[str, str] = {}
        for some in _in_parts(added):
            answer = self._post({"add": _values(some)}, dry_run=True)
            for error in answer.get("errors") or ():
                details = (
                    "; ".join(error.get("details") or ()) or error.get("detail") or error.get("title") or "refused"
                )
                reasons[error.get("value", "")] = details
        return (
            [rule for rule in added if rule.value not in reasons],
            [(rule, reasons[rule.value]) for rule in added if rule.value in reasons],
        )

    def _add(self, added: Sequence[ServerRule]) -> None:
        for some in _in_parts(added):
            self._post({"add": _values(some)})

    def _delete(self, deleted: Sequence[ServerRule]) -> None:
        for some in _in_parts(deleted):
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
        form, timeouts = {"grant_type": "client_credentials"}, (CONNECT_TIMEOUT_SECONDS, STALL_SECONDS)
        try:
            response = self.session.post(self.request_token_url, auth=self.auth, data=form, timeout=timeouts)
        except requests.RequestException as error:
            raise TwitterClientError(str(error)) from None
        answer = _json(response)
        if not response.ok or "access_token" not in answer:
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
        timeouts = (CONNECT_TIMEOUT_SECONDS, STALL_SECONDS)
        return self.session.request(method, url, stream=True, timeout=timeouts, allow_redirects=False, **body)

    def handle_response(self, method: str, response: requests.Response) -> Any:
        if response.ok and response.url.partition("?")[0].endswith("/search/stream"):
            return FilteredStream(response, method)
        answer = _json(response)
        response.close()
        # Rules that were refused are an answer like any other, told under errors.
        if response.ok or (response.status_code == requests.codes.bad_request and "meta" in answer):
            return ApiResponse(response, method, answer)
        raise _error(response, answer, method)


_RULES = "tweets/search/stream/rules"


def _json(response: requests.Response) -> dict[str, Any]:
    """The answer's object; empty where it is none."""
    try:
        answer = response.json()
    except (ValueError, requests.RequestException):
        return {}
    return answer if isinstance(answer, dict) else {}


def _error(response: requests.Response, answer: dict[str, Any], method: str) -> TwitterApiError:
    kind = {401: TwitterAuthError, 429: TwitterRateLimitError}.get(response.status_code, TwitterApiError)
    return kind(_problem(answer) or response.reason, response=response, request_method=method)


def _problem(answer: dict[str, Any]) -> str:
    """What an error's body says, on one line."""
    words = [str(answer[name]) for name in ("title", "connection_issue", "detail") if answer.get(name)]
    errors = answer.get("errors")
    return ": ".join(words) or "; ".join(map(str, errors if isinstance(errors, list) else ()))


def _values(some: Sequence[ServerRule]) -> list[dict[str, str]]:
    return [{"value": rule.value, "tag": rule.tag} for rule in some]


def _in_parts(some: Sequence[ServerRule]) -> Iterator[Sequence[ServerRule]]:
    for start in range(0, len(some), ADDED_AT_ONCE):
        yield some[start : start + ADDED_AT_ONCE]


class Translated(bytes):
    """A tweet in the shape of v1.1, with the tags of the server rules that it fits and the payload that it was."""

    tags: tuple[str, ...] = ()
    payload: bytes = b""


class FilteredStream(FilterStream):
    """An open v2 stream that yields what v1.1's would: tweets as Translated, and disconnect messages for errors."""

    def messages(self) -> Iterator[bytes | None]:
        for raw in super().messages():
            if raw is None:
                yield None
            else:
                yield from translated(raw)


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
