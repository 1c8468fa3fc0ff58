"""X API v2's tokens, and what its requests other than the stream are answered."""

import base64
import contextlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from traptor.simulator.connection import Connection
from traptor.simulator.feed import decode
from traptor.simulator.oauth import Credential, Unauthorized
from traptor.simulator.refusals import Refusal
from traptor.simulator.v2_clauses import parse
from traptor.simulator.v2_request import PROBLEMS, invalid, parameters, refusal

TOKEN_PATH = "/oauth2/token"
CONNECTIONS_PATH = "/2/connections"
COUNTS_PATH = "/2/tweets/counts/recent"
WEEK_SECONDS = 7 * 86_400
DEFAULT_CONNECTION_FIELDS = "id,connected_at,endpoint_name"

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


def claimed(headers: Mapping[str, str]) -> Credential:
    """Whose bearer token this would be, or whose key and secret. Raises Unauthorized for nobody's."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        with contextlib.suppress(ValueError):
            key, _, secret = base64.b64decode(given).decode().partition(":")
            return Credential(key, secret, "", "")
    if scheme != "Bearer" or not given:
        raise Unauthorized("No bearer token was sent")
    return Credential(given.removeprefix("bearer-of-"), "", "", "")


def unauthorized() -> Refusal:
    return refusal(401, {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"})


def token(credentials: Iterable[Credential], headers: Mapping[str, str]) -> Json:
    """The answer to a request for a bearer token, by consumer key and secret. Raises Refusal with 403."""
    for credential in credentials:
        basic = base64.b64encode(f"{credential.consumer_key}:{credential.consumer_secret}".encode()).decode()
        if headers.get("Authorization", "") == f"Basic {basic}":
            return {"token_type": "bearer", "access_token": bearer_token(credential)}
    raise refusal(403, {"errors": [{"code": 99, "message": "Unable to verify your credentials"}]})


def counts(method: str, query: str, rate: float) -> Json:
    """How many posts of a week a query would find: as many as the simulator sends. Raises Refusal with 400."""
    asked = parameters(f"{method} {COUNTS_PATH}", query)
    try:
        list(parse(asked.get("query", "")))
    except ValueError as error:
        raise invalid(str(error), query=[asked.get("query", "")]) from None
    return {"data": [], "meta": {"total_tweet_count": round(rate * WEEK_SECONDS)}}


# Connections


def connection_id(connection: Connection) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(connection.number)))


def connections(
    request: str, query: str, body: bytes, standing: Sequence[Connection], end: Callable[[Connection], None]
) -> Json:
    """Which connections stand, or what came of ending them. Raises Refusal with 400 or 404."""
    asked = parameters(request, query)
    if request.startswith("GET"):
        names = asked.get("connection.fields", DEFAULT_CONNECTION_FIELDS).split(",")
        some = standing[: int(asked.get("max_results", 10))] if asked.get("status", "active") != "inactive" else ()
        data = [{name: value for name, value in _told(one).items() if name in names} for one in some]
        return {**({"data": data} if data else {}), "meta": {"result_count": len(data)}}
    wanted = _uuids(body) if request.endswith(CONNECTIONS_PATH) else [connection_id(one) for one in standing]
    return {"data": _ended(wanted, {connection_id(one): one for one in standing}, end)}


def _told(connection: Connection) -> Json:
    connected_at = datetime.fromtimestamp(connection.opened_at, UTC)
    return {
        "id": connection_id(connection),
        "endpoint_name": "filtered_stream",
        "connected_at": connected_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "client_ip": "127.0.0.1",
    }


def _uuids(body: bytes) -> list[str]:
    try:
        wanted = decode(body)
    except ValueError as error:
        raise invalid(f"The body is not JSON: {error}") from None
    uuids = wanted.get("uuids")
    if wanted.keys() != {"uuids"} or not isinstance(uuids, list) or not 1 <= len(uuids) <= 100:
        raise invalid("$.uuids: 1 to 100 texts")
    return [str(one) for one in uuids]


def _ended(wanted: Sequence[str], standing: Mapping[str, Connection], end: Callable[[Connection], None]) -> Json:
    results: list[Json] = []
    for one in wanted:
        if one in standing:
            end(standing[one])
            results.append({"uuid": one, "success": True})
        else:
            results.append({"uuid": one, "success": False, "error_message": "no such connection"})
    killed = sum(result["success"] for result in results)
    return {"successful_kills": killed, "failed_kills": len(results) - killed, "results": results}


# The ways not to get a stream


def too_many_connections() -> Refusal:
    """v2 refuses the newer connection, where v1.1 ended the older."""
    detail = "This stream is currently at the maximum allowed connection limit."
    return _connection_refused(429, "TooManyConnections", detail)


def no_rules() -> Refusal:
    return _connection_refused(409, "RuleConfigurationIssue", "There are no rules to filter by: add some first.")


def _connection_refused(status: int, issue: str, detail: str) -> Refusal:
    kind = {"title": "ConnectionException", "type": f"{PROBLEMS}streaming-connection"}
    return refusal(status, {**kind, "detail": detail, "connection_issue": issue})


def force_disconnect() -> bytes:
    """What the stream of a connection says that somebody has ended."""
    error = {
        "title": "operational-disconnect",
        "disconnect_type": "ForceDisconnect",
        "detail": "This stream has been disconnected by a request of its owner.",
        "type": f"{PROBLEMS}operational-disconnect",
    }
    return json.dumps({"errors": [error]}).encode()
