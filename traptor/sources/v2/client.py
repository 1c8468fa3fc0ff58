"""A birdy client for X API v2: rules on the server, and its stream as messages in the shape of v1.1."""

import logging
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import requests
from birdy.twitter import ApiResponse, AppClient, TwitterApiError, TwitterAuthError, TwitterClientError

from traptor.redaction import Secret, reveal
from traptor.rules.checked import Problem
from traptor.sources import connecting
from traptor.sources.v1 import MyBirdyClient
from traptor.sources.v2 import answers, rules
from traptor.sources.v2.answers import RulesCapExceeded, TooManyConnections
from traptor.sources.v2.rules import ServerRule
from traptor.sources.v2.stream import FilteredStream
from traptor.tweets.rule import Rule

log = logging.getLogger(__name__)

STALL_SECONDS = 60.0
"""Three keep-alives of 20 s missed."""
PAGE_RULES = 1000
ADDED_AT_ONCE = 100
RULES_ANSWERS = (200, 201, 400)
RULE_LIMITS = (5, 25, 1000, 2500, 5000, 25_000)
"""The rules that accounts of Twitter's access levels could and can have."""

FIELDS = {
    "expansions": "author_id,in_reply_to_user_id,referenced_tweets.id,referenced_tweets.id.author_id,"
    "referenced_tweets.id.attachments.media_keys,entities.mentions.username,entities.note.mentions.username,"
    "attachments.media_keys,geo.place_id",
    "tweet.fields": "attachments,author_id,conversation_id,created_at,display_text_range,edit_controls,"
    "edit_history_tweet_ids,entities,geo,in_reply_to_user_id,lang,note_tweet,possibly_sensitive,public_metrics,"
    "referenced_tweets,reply_settings,source,withheld",
    "user.fields": "created_at,description,entities,location,name,profile_banner_url,profile_image_url,protected,"
    "public_metrics,url,username,verified,verified_type,withheld",
    "media.fields": "media_key,type,url,preview_image_url,width,height,duration_ms,alt_text,variants",
    "place.fields": "contained_within,country,country_code,full_name,geo,id,name,place_type",
}
"""What it takes to rebuild the shape of v1.1: values that X's specification lists, for it refuses all others."""
CONNECTION_FIELDS = "id,client_ip,connected_at,endpoint_name"
COUNT_FIELDS = "cap_per_client_app,cap_per_project,client_app_rules_count,project_rules_count"


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
    TwitterClientError where the network fails and TwitterApiError where Twitter answers with an error. Where X says
    that the app has too many streams, those that stand are told, and with ``ends_others`` ended.
    """

    user_agent_string = MyBirdyClient.user_agent_string
    access_token: str | None
    session: requests.Session

    def __init__(
        self, consumer_key: str, consumer_secret: str, bearer_token: str, api_url: str, *, ends_others: bool = False
    ) -> None:
        self.api_url = api_url
        self.left_out: Counter[str] = Counter()
        """What did not fit into v1.1's shape, by its path in the payload."""
        self._ends_others = ends_others
        super().__init__(reveal(consumer_key), reveal(consumer_secret), Secret(bearer_token) or None)
        self.request_token_url = f"{reveal(api_url)}/oauth2/token"
        self._is_token_fetched = False
        self._known_limit: int | None = None

    def __repr__(self) -> str:
        return f"V2Client({self.api_url!r})"

    def get_oauth_session(self) -> requests.Session:
        session = connecting.in_time(requests.Session())
        session.headers.update({"User-Agent": self.user_agent_string, "Accept-Encoding": "gzip"})
        if self.access_token:
            session.headers["Authorization"] = f"Bearer {reveal(self.access_token)}"
        return session

    def open(self, backfill_minutes: int = 0, missed: tuple[datetime, datetime] | None = None) -> FilteredStream:
        """The stream, by the rules that the server holds. What was missed in so many minutes comes first.

        What was ``missed`` between two times of the last 24 hours, where the account allows it, comes beside.
        """
        backfill = {"backfill_minutes": backfill_minutes} if backfill_minutes else {}
        opened = self._open_in_turn(**backfill)
        if missed and (recovery := self._recover(*missed)):
            opened.recover_by(recovery)
        return opened

    def _open_in_turn(self, **parameters: Any) -> FilteredStream:
        try:
            return self._stream(**parameters)
        except TooManyConnections as refused:
            refused.standing = self._standing()
            if not (self._ends_others and self._end_others()):
                raise
            log.warning("other connections of this app ended", extra={"connections": refused.standing})
        return self._stream(**parameters)

    def _stream(self, **parameters: Any) -> FilteredStream:
        opened: FilteredStream = self.request("GET", "tweets/search/stream", **FIELDS, **parameters)
        return opened

    def _recover(self, since: datetime, until: datetime) -> FilteredStream | None:
        """A stream beside the other, which ends when it has brought what was missed; None where X refuses."""
        times = {"start_time": since, "end_time": until}
        facts = {name: f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for name, time in times.items()}
        try:
            recovery = self._stream(**facts)
        except TwitterApiError as error:
            log.warning("gap not recovered", extra={**facts, "error": str(error)})
            return None
        log.info("recovering a gap", extra=facts)
        return recovery

    def _standing(self) -> tuple[str, ...]:
        """The app's streams that are open, as far as X tells."""
        asked = {"status": "active", "endpoints": "filtered_stream", "connection.fields": CONNECTION_FIELDS}
        try:
            found = answers.dicts(self.request("GET", "connections", **asked).data.get("data"))
        except TwitterApiError as error:
            return (f"not known ({error})",)
        return tuple(f"{one.get('id')} from {one.get('client_ip')} since {one.get('connected_at')}" for one in found)

    def _end_others(self) -> bool:
        """Has X ended any of the app's filtered streams?"""
        try:
            done = self.request("DELETE", "connections/filtered_stream").data.get("data")
        except TwitterApiError as error:
            log.warning("other connections of this app not ended", extra={"error": str(error)})
            return False
        return isinstance(done, dict) and bool(done.get("successful_kills"))

    def rule_cap(self) -> int:
        """How many rules X says this app may have, those of its project's other apps left out; a lot if it does not."""
        try:
            told = self.request("GET", f"{_RULES}/counts", **{"rules_count.fields": COUNT_FIELDS}).data.get("data")
        except TwitterAuthError:
            raise
        except TwitterApiError as error:
            log.info("the account's cap of rules is not told", extra={"error": str(error)})
            return sys.maxsize
        return _cap(told if isinstance(told, dict) else {})

    def posts_of_a_week(self, query: str) -> int:
        """How many posts of the last seven days a rule's value finds, retweets perhaps left out."""
        answer = self.request("GET", "tweets/counts/recent", query=query, granularity="day").data
        meta = answer.get("meta")
        return _number(meta.get("total_tweet_count") if isinstance(meta, dict) else None, 0)

    def held_rules(self) -> list[ServerRule]:
        """All rules on the server, ours and others'."""
        found: list[ServerRule] = []
        asked: list[str] = []
        token: object = ""
        while isinstance(token, str) and token not in asked:
            asked.append(token)
            page = {"pagination_token": token} if token else {}
            answer = self.request("GET", _RULES, max_results=PAGE_RULES, **page).data
            found += rules.from_answer(answer)
            meta = answer.get("meta")
            token = meta.get("next_token") if isinstance(meta, dict) else None
        return found

    def synchronise(
        self, traptor_type: str, traptor_id: int, wanted: Sequence[Rule], *, length: int, limit: int
    ) -> Synchronised:
        """Make the server hold these rules of this Traptor, on an open stream too.

        Where the account has room for fewer than ``limit``, its own word holds; without it the next of Twitter's
        limits is tried that is not below what it holds already.
        """
        if self._known_limit is None:
            self._known_limit = self.rule_cap()
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
    ) -> Synchronised:
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
            reasons = {str(error.get("value")): answers.reason(error) for error in answers.dicts(answer.get("errors"))}
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
            raise TwitterClientError(str(error)) from error
        answer = answers.json_of(response)
        token = answer.get("access_token")
        if response.status_code != requests.codes.ok or not (token and isinstance(token, str)):
            raise answers.error(response, answer, "POST", _refused_keys(response.status_code))
        self.access_token = Secret(token)
        self.session = self.get_oauth_session()
        self._is_token_fetched = True

    def construct_resource_url(self, path: str) -> str:
        return f"{reveal(self.api_url)}/2/{path}"

    @staticmethod
    def sanitize_params(input_params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """As they are: v2 takes JSON."""
        return input_params, {}

    def make_api_call(self, method: str, url: str, **request: Any) -> requests.Response:
        body = {"json": request["data"]} if "data" in request else {"params": request.get("params")}
        timeouts = (connecting.TCP_SECONDS, STALL_SECONDS)
        return self.session.request(method, url, stream=True, timeout=timeouts, allow_redirects=False, **body)

    def handle_response(self, method: str, response: requests.Response) -> Any:
        if response.status_code == requests.codes.ok and response.url.partition("?")[0].endswith("/search/stream"):
            return FilteredStream(response, method, self.left_out)
        answer = answers.json_of(response)
        # Every answer about rules has meta, also one that refuses some of them; others have data.
        if response.status_code in RULES_ANSWERS and answer.keys() & {"meta", "data"}:
            return ApiResponse(response, method, answer)
        is_token_refused = response.status_code == requests.codes.unauthorized
        raise answers.error(response, answer, method, self._token_named() if is_token_refused else "")

    def _token_named(self) -> str:
        return "the token got with CONSUMER_KEY and CONSUMER_SECRET is" if self._is_token_fetched else "BEARER_TOKEN is"


_RULES = "tweets/search/stream/rules"


def recoverable(
    began_at: datetime, now: datetime, backfill_minutes: int, hours: int
) -> tuple[datetime, datetime] | None:
    """The part of a gap that ``open`` may ask for as ``missed``; None where a backfill brings it, or nothing does."""
    if not hours or now - began_at <= timedelta(minutes=backfill_minutes):
        return None
    return max(began_at, now - timedelta(hours=hours)), now


def _refused_keys(status: int) -> str:
    return "CONSUMER_KEY and CONSUMER_SECRET are" if status in (400, 401, 403) else ""


def _cap(told: Mapping[str, Any]) -> int:
    """Numbers are texts by the specification. What X does not say limits nothing."""
    own = told.get("client_app_rules_count")
    others = _number(told.get("project_rules_count"), 0) - _number(
        own.get("rule_count") if isinstance(own, dict) else 0, 0
    )
    of_project = _number(told.get("cap_per_project"), sys.maxsize) - max(others, 0)
    return max(min(_number(told.get("cap_per_client_app"), sys.maxsize), of_project), 0)


def _number(given: object, otherwise: int) -> int:
    return int(str(given)) if re.fullmatch("[0-9]{1,18}", str(given)) else otherwise


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
