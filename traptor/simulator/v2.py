"""X API v2's filtered stream: rules that live on the server, bearer tokens, and the stream by those rules."""

import base64
import itertools
import json
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from traptor.simulator import v2_payload
from traptor.simulator.feed import Feed, decode, encode
from traptor.simulator.oauth import Credential, Unauthorized
from traptor.simulator.predicates import Predicates
from traptor.simulator.refusals import Refusal
from traptor.simulator.stream import Stream
from traptor.simulator.wire import Message
from traptor.tweets import fields
from traptor.tweets.fields import Tweet
from traptor.tweets.matching import compile_rules, parse_box

STREAM_PATH = "/2/tweets/search/stream"
RULES_PATH = "/2/tweets/search/stream/rules"
TOKEN_PATH = "/oauth2/token"
MOST_RULES = 1000
LONGEST_RULE_CHARACTERS = 1024
KEEP_ALIVE_SECONDS = 20.0
MOST_MISSES = 200
MOST_BACKFILL_MINUTES = 5
MOST_RECENT = 5000
BACKFILL_OVERLAP_SECONDS = 5.0
MILES_PER_DEGREE = 69.1
PROBLEMS = "https://api.twitter.com/2/problems/"

Json = dict[str, Any]


def bearer_token(credential: Credential) -> str:
    """The app-only token of an application."""
    return f"bearer-of-{credential.consumer_key}"


def check(credentials: Iterable[Credential], headers: Mapping[str, str]) -> Credential:
    """Whose bearer token this is. Raises Unauthorized."""
    given = headers.get("Authorization", "")
    for credential in credentials:
        if given == f"Bearer {bearer_token(credential)}":
            return credential
    raise Unauthorized("Bearer token unknown, or none was sent")


def token(credentials: Iterable[Credential], headers: Mapping[str, str]) -> Json:
    """The answer to a request for a bearer token, by consumer key and secret. Raises Refusal with 403."""
    for credential in credentials:
        basic = base64.b64encode(f"{credential.consumer_key}:{credential.consumer_secret}".encode()).decode()
        if headers.get("Authorization", "") == f"Basic {basic}":
            return {"token_type": "bearer", "access_token": bearer_token(credential)}
    raise refusal(403, {"errors": [{"code": 99, "message": "Unable to verify your credentials"}]})


def refusal(status: int, body: Json) -> Refusal:
    return Refusal(status, json.dumps(body), {"Content-Type": "application/json"})


# Rules


class HeldRule(NamedTuple):
    id: str
    value: str
    tag: str | None
    clauses: tuple["Clause", ...]

    def named(self) -> Json:
        return {"id": self.id, "value": self.value, **({"tag": self.tag} if self.tag else {})}


class DuplicateRule(Exception):
    """The account has a rule of this value, whatever its tag; the text is its id."""


class RuleBook:
    """The rules of one account. ``version`` counts its changes."""

    def __init__(self) -> None:
        self.rules: list[HeldRule] = []
        self.version = 0
        self._ids = itertools.count(1_400_000_000_000_000_001)
        self._lock = threading.Lock()

    def answer(self, method: str, query: str, body: bytes) -> Json:
        """What the rules endpoint answers. Raises Refusal with 400 or 422."""
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        if method == "GET":
            return self._page(int(asked.get("max_results", MOST_RULES)), int(asked.get("pagination_token", 0)))
        try:
            wanted = decode(body)
        except ValueError as error:
            raise refusal(400, {"title": "Invalid Request", "detail": str(error)}) from None
        is_dry_run = asked.get("dry_run") == "true"
        with self._lock:
            if "add" in wanted:
                return self._add(wanted["add"], is_dry_run)
            return self._delete([str(rule_id) for rule_id in wanted.get("delete", {}).get("ids", [])], is_dry_run)

    def predicates(self) -> Predicates:
        """What made-up tweets may fit."""
        clauses = [clause for rule in self.rules for clause in rule.clauses]
        return Predicates(
            track=tuple(clause.value for clause in clauses if clause.kind == "track"),
            follow=tuple(dict.fromkeys(clause.value for clause in clauses if clause.kind in _USERS)),
            locations=tuple(_box(clause) for clause in clauses if clause.kind in ("bounding_box", "point_radius")),
        )

    def matching(self, tweet: Tweet) -> list[HeldRule]:
        return [rule for rule in self.rules if any(clause.holds(tweet) for clause in rule.clauses)]

    def _page(self, size: int, start: int) -> Json:
        some = self.rules[start : start + size]
        meta: Json = {"result_count": len(some)}
        if start + size < len(self.rules):
            meta["next_token"] = str(start + size)
        return {**({"data": [rule.named() for rule in some]} if some else {}), "meta": meta}

    def _add(self, added: list[Json], is_dry_run: bool) -> Json:
        created: list[HeldRule] = []
        errors: list[Json] = []
        for one in added:
            try:
                created.append(self._made(one, created))
            except DuplicateRule as error:
                errors.append({"value": one.get("value", ""), "id": str(error), "title": "DuplicateRule",
                               "type": f"{PROBLEMS}duplicate-rules"})  # fmt: skip
            except ValueError as error:
                errors.append({"value": one.get("value", ""), "details": [str(error)], "title": "Invalid Rule",
                               "type": f"{PROBLEMS}invalid-rules"})  # fmt: skip
        if len(self.rules) + len(created) > MOST_RULES:
            raise rules_cap_exceeded()
        if not is_dry_run and created:
            self.rules += created
            self.version += 1
        summary = {"created": len(created), "not_created": len(errors), "valid": len(created), "invalid": len(errors)}
        answer: Json = {"meta": {"summary": summary}}
        if created:
            answer["data"] = [rule.named() for rule in created]
        return {**answer, "errors": errors} if errors else answer

    def _made(self, one: Json, created: list[HeldRule]) -> HeldRule:
        value = one.get("value", "")
        if len(value) > LONGEST_RULE_CHARACTERS:
            raise ValueError(f"Rules must be at most {LONGEST_RULE_CHARACTERS} characters; this one has {len(value)}")
        for rule in [*self.rules, *created]:
            if rule.value == value:
                raise DuplicateRule(rule.id)
        return HeldRule(str(next(self._ids)), value, one.get("tag"), tuple(parse(value)))

    def _delete(self, rule_ids: list[str], is_dry_run: bool) -> Json:
        kept = [rule for rule in self.rules if rule.id not in rule_ids]
        deleted = len(self.rules) - len(kept)
        if not is_dry_run and deleted:
            self.rules = kept
            self.version += 1
        return {"meta": {"summary": {"deleted": deleted, "not_deleted": len(rule_ids) - deleted}}}


def rules_cap_exceeded() -> Refusal:
    """v2 refuses all rules of a request that does not fit."""
    detail = "Rule creation exceeds the cap of rules that this account may have."
    return refusal(422, {"title": "RulesCapExceeded", "detail": detail, "type": f"{PROBLEMS}rule-cap"})


# What a rule's value means


Holds = Callable[[Tweet], bool]


class Clause(NamedTuple):
    """One alternative of a rule. ``kind`` is an operator, or track for words; ``value`` as v1.1 has it."""

    kind: str
    value: str
    holds: Holds


QUOTED = r'"(?:\\.|[^"\\])*"'
TOKEN = re.compile(rf'\((?:{QUOTED}|[^()"])*\)|(?:\w+:)?{QUOTED}|\w+:\[[^\]]*\]|[^\s"]+|"')


def parse(value: str) -> Iterator[Clause]:
    """The alternatives of a rule: words, quoted ones, tags, from:, to:, retweets_of:, url:, boxes and circles.

    Parentheses hold alternatives of one word; negation is not understood. Raises ValueError.
    """
    tokens = TOKEN.findall(value)
    if not tokens or '"' in tokens or any(re.match(r"\)|-|\((?!.*\)$)", token) for token in tokens):
        raise ValueError(f"no viable alternative at input {value[:40]!r}")
    for is_or, some in itertools.groupby(tokens, lambda token: token == "OR"):
        if not is_or:
            yield _clause(list(some))


def _clause(tokens: list[str]) -> Clause:
    operator, _, argument = tokens[0].partition(":")
    if operator not in _HOLDS or not argument:
        terms = [_term(token) for token in tokens]
        return Clause(
            "track", " ".join(value for value, _ in terms), lambda tweet: all(holds(tweet) for _, holds in terms)
        )
    if len(tokens) > 1:
        raise ValueError(f"{operator}: stands alone in what this simulator understands")
    if operator not in _USERS:
        argument = ",".join(argument.strip("[]").split())
    if operator == "bounding_box":
        box = parse_box(argument)
        if max(box.north - box.south, (box.east - box.west) / 2) > 0.37:
            raise ValueError("The sides of a bounding_box must be less than 25 miles")
    return Clause(operator, argument, _HOLDS[operator](argument))


def _term(token: str) -> tuple[str, Holds]:
    """A word as v1.1 has it, and whether it is there: url: looks in links only, others look everywhere, as v1.1 did."""
    if token.startswith("("):
        alternatives = list(parse(token[1:-1]))
        return alternatives[0].value, lambda tweet: any(one.holds(tweet) for one in alternatives)
    quoted = re.fullmatch(r'(?:url:)?"(.*)"', token)
    word = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else token
    matcher = compile_rules("track", [{"value": word.replace(",", " ")}])
    if not token.startswith("url:"):
        return word, lambda tweet: bool(matcher.match(tweet))
    return word, lambda tweet: any(
        field.rpartition(".")[2] in ("urls", "media") for match in matcher.match(tweet) for field in match.fields
    )


def _box(clause: Clause) -> str:
    """A box, or the point at the centre of a circle."""
    west, south, *_ = clause.value.split(",")
    return clause.value if clause.kind == "bounding_box" else ",".join((west, south, west, south))


def _author(user_id: str) -> Holds:
    return lambda tweet: bool(tweet.user and tweet.user.id_str == user_id)


def _retweeted_author(user_id: str) -> Holds:
    is_author = _author(user_id)
    return lambda tweet: bool(tweet.retweeted_status and is_author(tweet.retweeted_status))


def _replied_to(user_id: str) -> Holds:
    return lambda tweet: tweet.in_reply_to_user_id_str == user_id


def _inside(numbers: str) -> Holds:
    """The point, or all of the place, is inside: v1.1 took any overlap."""
    west, south, east, north = map(float, numbers.split(","))
    return _located(lambda longitude, latitude: west <= longitude <= east and south <= latitude <= north)


def _near(circle: str) -> Holds:
    """The point, or all of the place, is within so many miles."""
    west, south, radius = map(float, circle.removesuffix("mi").split(","))
    narrowing = math.cos(math.radians(south))

    def is_near(longitude: float, latitude: float) -> bool:
        return math.hypot((longitude - west) * narrowing, latitude - south) * MILES_PER_DEGREE <= radius

    return _located(is_near)


def _located(is_within: Callable[[float, float], bool]) -> Holds:
    def holds(tweet: Tweet) -> bool:
        point = tweet.coordinates.coordinates if tweet.coordinates else None
        box = tweet.place.bounding_box if tweet.place else None
        corners = [point] if point else [corner for ring in (box.coordinates if box else None) or [] for corner in ring]
        return bool(corners) and all(is_within(*corner) for corner in corners) and tweet.retweeted_status is None

    return holds


_USERS = {"from": _author, "retweets_of": _retweeted_author, "to": _replied_to}
_HOLDS = {**_USERS, "bounding_box": _inside, "point_radius": _near}


# The stream


class Recent:
    """The last tweets of an account, as v2 sends them, for a stream that asks for a backfill."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Message]] = deque(maxlen=MOST_RECENT)

    def keep(self, payload: Message) -> Message:
        self._kept.append((time.time(), payload))
        return payload

    def since(self, moment: float) -> list[Message]:
        return [payload for kept_at, payload in list(self._kept) if kept_at >= moment]


def backfill_minutes(query: str) -> int:
    """What a request for the stream asks for, 0 for nothing. Raises Refusal with 400."""
    asked = parse_qs(query).get("backfill_minutes", ["0"])[-1]
    if asked not in map(str, range(MOST_BACKFILL_MINUTES + 1)):
        detail = f"backfill_minutes: {asked!r} is not between 0 and {MOST_BACKFILL_MINUTES}"
        raise refusal(400, {"title": "Invalid Request", "detail": detail, "type": f"{PROBLEMS}invalid-request"})
    return int(asked)


def expansions(query: str) -> frozenset[str]:
    """What a request for the stream wants included."""
    return frozenset(parse_qs(query).get("expansions", [""])[-1].split(","))


class Translator(NamedTuple):
    """How v2 sends tweets to one stream."""

    book: RuleBook
    recent: Recent
    expansions: frozenset[str]

    def payload(self, message: Message) -> Message | None:
        """A tweet with the rules that it fits; None where it fits none, and for what is no tweet."""
        tweet = decode(message.body) if message.tweet_id is not None else {}
        held = self.book.matching(fields.view(tweet))
        if not held:
            return None
        rules = [{"id": rule.id, **({"tag": rule.tag} if rule.tag else {})} for rule in held]
        made = v2_payload.payload(tweet, rules, self.expansions)
        return self.recent.keep(Message(encode(made), message.tweet_id))


class Payloads:
    """A feed's tweets that fit the rules, as v2 sends them. A change of the rules is heeded at the next tweet."""

    def __init__(self, feed: Feed, translator: Translator) -> None:
        self._feed = feed
        self._translator = translator
        self._book = translator.book
        self._version = -1
        self._tweets: Iterator[Message] = iter(())

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        """Raises StopIteration when the feed has no more, or nothing that fits the rules as they are."""
        for _ in range(MOST_MISSES):
            if payload := self._translator.payload(self._next_tweet()):
                return payload
        raise StopIteration

    def _next_tweet(self) -> Message:
        if self._version != self._book.version:
            self._version = self._book.version
            wanted = self._book.predicates()
            self._tweets = self._feed.messages(wanted) if self._book.rules else iter(())
        return next(self._tweets)


class V2Stream(Stream):
    """An open stream that speaks v2's words, also of what is pushed.

    It begins with what was sent shortly before the gap, if there were ``missed_seconds``, and the tweets of the gap.
    """

    def __init__(self, translator: Translator, missed_seconds: float, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._translator = translator
        self._missed_seconds = missed_seconds

    def _open(self) -> None:
        super()._open()
        if self._missed_seconds:
            missed_since = time.time() - self._missed_seconds - BACKFILL_OVERLAP_SECONDS
            self._pushed.extend(self._translator.recent.since(missed_since))
            self._started -= self._missed_seconds

    def push(self, message: Message) -> bool:
        return super().push(self._translator.payload(message) or message)

    def last_words(self, code: int) -> Message:
        error = {
            "title": "operational-disconnect",
            "disconnect_type": "OperationalDisconnect" if code == 12 else "UpstreamUncleanDisconnect",
            "detail": f"This stream has been disconnected for operational reasons ({code}).",
            "type": f"{PROBLEMS}operational-disconnect",
        }
        return Message(encode({"errors": [error]}))


def too_many_connections() -> Refusal:
    """v2 refuses the newer connection, where v1.1 ended the older."""
    detail = "This stream is currently at the maximum allowed connection limit."
    return _connection_refused(429, "TooManyConnections", detail)


def no_rules() -> Refusal:
    return _connection_refused(409, "RuleConfigurationIssue", "There are no rules to filter by: add some first.")


def _connection_refused(status: int, issue: str, detail: str) -> Refusal:
    kind = {"title": "ConnectionException", "type": f"{PROBLEMS}streaming-connection"}
    return refusal(status, {**kind, "detail": detail, "connection_issue": issue})
