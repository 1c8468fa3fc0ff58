"""The rules that an account has on the server of X API v2, and what the rules endpoint answers."""

import itertools
import threading
from datetime import UTC, datetime
from typing import Any, NamedTuple

from traptor.simulator import v2_clauses
from traptor.simulator.feed import decode
from traptor.simulator.predicates import Predicates
from traptor.simulator.refusals import Refusal
from traptor.simulator.v2_clauses import Clause, parse
from traptor.simulator.v2_request import FIELDS, PROBLEMS, invalid, parameters, refusal
from traptor.tweets.fields import Tweet

PATH = "/2/tweets/search/stream/rules"
COUNTS_PATH = f"{PATH}/counts"
MOST_RULES = 1000
LONGEST_RULE_CHARACTERS = 1024

Json = dict[str, Any]


class HeldRule(NamedTuple):
    id: str
    value: str
    tag: str | None
    clauses: tuple[Clause, ...]

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

    def answer(self, method: str, path: str, query: str, body: bytes) -> Json:
        """What the rules endpoints answer. Raises Refusal with 400, 404 or 422."""
        asked = parameters(f"{method} {path}", query)
        if path == COUNTS_PATH:
            return self._counts(asked.get("rules_count.fields", FIELDS["rules_count.fields"]).split(","))
        if method == "GET":
            return self._page(asked)
        wanted = _change(body, asked)
        is_dry_run = asked.get("dry_run") == "true"
        with self._lock:
            if "add" in wanted:
                return self._add(wanted["add"], is_dry_run)
            if asked.get("delete_all") == "true":
                return self._delete({"ids": [rule.id for rule in self.rules]}, is_dry_run)
            return self._delete(wanted["delete"], is_dry_run)

    def predicates(self) -> Predicates:
        """What made-up tweets may fit."""
        clauses = [clause for rule in self.rules for clause in rule.clauses]
        return Predicates(
            track=tuple(clause.value for clause in clauses if clause.kind == "track"),
            follow=tuple(dict.fromkeys(clause.value for clause in clauses if clause.kind in v2_clauses.USERS)),
            locations=tuple(
                v2_clauses.box(clause) for clause in clauses if clause.kind in ("bounding_box", "point_radius")
            ),
        )

    def matching(self, tweet: Tweet) -> list[HeldRule]:
        return [rule for rule in self.rules if any(clause.holds(tweet) for clause in rule.clauses)]

    def _counts(self, names: list[str]) -> Json:
        count = {"client_app_id": "1", "rule_count": len(self.rules)}
        told = {
            "cap_per_client_app": str(MOST_RULES),
            "cap_per_project": str(MOST_RULES),
            "client_app_rules_count": count,
            "project_rules_count": str(len(self.rules)),
            "all_project_client_apps": [count],
        }
        return {"data": {name: value for name, value in told.items() if name in names}}

    def _page(self, asked: dict[str, str]) -> Json:
        """Some of the rules, and the token of the next page."""
        wanted = asked["ids"].split(",") if "ids" in asked else None
        rules = [rule for rule in self.rules if wanted is None or rule.id in wanted]
        size, start = int(asked.get("max_results", 1000)), _start(asked.get("pagination_token"))
        some = rules[start : start + size]
        meta: Json = {"sent": _now(), "result_count": len(some)}
        if start + size < len(rules):
            meta["next_token"] = f"{start + size:016d}"
        return {**({"data": [rule.named() for rule in some]} if some else {}), "meta": meta}

    def _add(self, added: list[Json], is_dry_run: bool) -> Json:
        created: list[HeldRule] = []
        errors: list[Json] = []
        for one in added:
            try:
                created.append(self._made(one, created))
            except DuplicateRule as error:
                errors.append({"value": one["value"], "id": str(error), "title": "DuplicateRule",
                               "type": f"{PROBLEMS}duplicate-rules"})  # fmt: skip
            except ValueError as error:
                errors.append({"value": one["value"], "details": [str(error)], "title": "UnprocessableEntity",
                               "type": f"{PROBLEMS}invalid-rules"})  # fmt: skip
        if len(self.rules) + len(created) > MOST_RULES:
            raise rules_cap_exceeded()
        if not is_dry_run and created:
            self.rules += created
            self.version += 1
        summary = {"created": len(created), "not_created": len(errors), "valid": len(created), "invalid": len(errors)}
        answer: Json = {"meta": {"sent": _now(), "summary": summary}}
        if created:
            answer["data"] = [rule.named() for rule in created]
        return {**answer, "errors": errors} if errors else answer

    def _made(self, one: Json, created: list[HeldRule]) -> HeldRule:
        value = one["value"]
        if len(value) > LONGEST_RULE_CHARACTERS:
            raise ValueError(f"Rules must be at most {LONGEST_RULE_CHARACTERS} characters; this one has {len(value)}")
        for rule in [*self.rules, *created]:
            if rule.value == value:
                raise DuplicateRule(rule.id)
        return HeldRule(str(next(self._ids)), value, one.get("tag"), tuple(parse(value)))

    def _delete(self, deleted: Json, is_dry_run: bool) -> Json:
        """By id or by value. What is not there is told, and nothing else."""
        ids, values = deleted.get("ids", []), deleted.get("values", [])
        gone = [rule for rule in self.rules if rule.id in ids or rule.value in values]
        there = {one for rule in gone for one in (rule.id, rule.value)}
        missing = [one for one in (*ids, *values) if one not in there]
        if not is_dry_run and gone:
            self.rules = [rule for rule in self.rules if rule not in gone]
            self.version += 1
        answer: Json = {"meta": {"sent": _now(), "summary": {"deleted": len(gone), "not_deleted": len(missing)}}}
        errors = [{"errors": [{"message": "Rule does not exist", "parameters": {}}], "title": "Invalid Request",
                   "detail": "One or more parameters to your request was invalid.",
                   "type": f"{PROBLEMS}invalid-request", "value": one} for one in missing]  # fmt: skip
        return {**answer, "errors": errors} if errors else answer


def _start(token: str | None) -> int:
    """Raises Refusal for a token that no page has had."""
    if token and not token.isdecimal():
        raise invalid(f"The `pagination_token` query parameter value [{token}] is not valid", pagination_token=[token])
    return int(token or 0)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


ADDED = {"value", "tag"}
DELETED = {"ids", "values"}


def _change(body: bytes, asked: dict[str, str]) -> Json:
    """What is to be changed: exactly one thing. Raises Refusal with 400."""
    try:
        wanted = decode(body) if body else {}
    except ValueError as error:
        raise invalid(f"The body is not JSON: {error}") from None
    ways = [*wanted, *(["delete_all"] if asked.get("delete_all") == "true" else [])]
    if unknown := wanted.keys() - {"add", "delete"}:
        raise invalid(
            f"$.{min(unknown)}: is not defined in the schema and the schema does not allow additional properties"
        )
    if len(ways) != 1:
        raise invalid("Exactly one of `add`, `delete` or `delete_all` has to be given")
    if message := _wrong_in(wanted):
        raise invalid(message)
    return wanted


def _wrong_in(wanted: Json) -> str:
    added, deleted = wanted.get("add"), wanted.get("delete")
    if "add" in wanted and not (isinstance(added, list) and added and all(map(_is_addable, added))):
        return "$.add: each needs a `value`, and may have a `tag`, both texts"
    if "delete" in wanted and not (isinstance(deleted, dict) and deleted and deleted.keys() <= DELETED):
        return "$.delete: needs `ids` or `values`"
    if any(
        not isinstance(some, list) or not all(isinstance(one, str) for one in some) for some in (deleted or {}).values()
    ):
        return "$.delete: `ids` and `values` are lists of texts"
    return ""


def _is_addable(one: object) -> bool:
    if not isinstance(one, dict) or "value" not in one or not one.keys() <= ADDED:
        return False
    return all(isinstance(text, str) for text in one.values())


def rules_cap_exceeded() -> Refusal:
    """v2 refuses all rules of a request that does not fit."""
    detail = "Rule creation exceeds the cap of rules that this account may have."
    return refusal(422, {"title": "RulesCapExceeded", "detail": detail, "type": f"{PROBLEMS}rule-cap"})
