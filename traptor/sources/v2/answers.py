"""What X API v2 answers, when it is not what was asked for: problems as errors that say all that X says."""

import json
from typing import Any

import requests
from birdy.twitter import TwitterApiError, TwitterRateLimitError

from traptor.sources import answers, connecting
from traptor.sources.backoff import Kind

ANSWER_BYTES = 16 << 20
"""No answer about rules is larger: a thousand rules have 1.2 MB."""


class RulesCapExceeded(TwitterApiError):  # type: ignore[misc]
    """The account cannot have so many rules. Twitter refuses all that were to be added with these."""


class TooManyConnections(TwitterRateLimitError):  # type: ignore[misc]
    """The app has as many streams as it may have. ``standing`` describes them, where X tells."""

    standing: tuple[str, ...] = ()
    kind = Kind.RATE_LIMITED

    def __str__(self) -> str:
        return f"{super().__str__()}{'; standing: ' if self.standing else ''}{', '.join(self.standing)}"


def json_of(response: requests.Response) -> dict[str, Any]:
    """The answer's object, as far as it comes in time; empty where it is none. Closes the response."""
    try:
        answer = json.loads(answers.read(response, ANSWER_BYTES, connecting.DEADLINE_SECONDS))
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def error(response: requests.Response, answer: dict[str, Any], method: str, refused: str = "") -> TwitterApiError:
    """``refused`` names the secret that X has not taken, if it has not."""
    told = problem(answer) or f"not an answer of X API v2 ({response.reason})"
    told = f"{refused} refused: {told}" if refused else told
    for named in (RulesCapExceeded, TooManyConnections):
        if named.__name__ in told:
            return named(told, response=response, request_method=method)
    return answers.error(response, method, told)


def problem(answer: dict[str, Any]) -> str:
    """What an error's body says, whole and on one line."""
    words = [str(answer[name]) for name in ("title", "connection_issue", "detail") if answer.get(name)]
    given = answer.get("errors")
    errors = [_said(one) for one in (given if isinstance(given, list) else ())]
    return " ".join([": ".join(words), "; ".join(errors)]).strip()


def _said(one: object) -> str:
    """One of the errors: its message, or whatever stands in place of it."""
    said = one if isinstance(one, dict) else {}
    return str(said.get("message") or said.get("detail") or said.get("title") or one)


def reason(refused: dict[str, Any]) -> str:
    """Why one rule is refused."""
    details = refused.get("details")
    told = details if isinstance(details, list) else []
    return "; ".join(map(str, told)) or str(refused.get("detail") or refused.get("title") or "refused")


def dicts(given: object) -> list[dict[str, Any]]:
    """The objects in what should be a list of them."""
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
