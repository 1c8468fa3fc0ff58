"""Whose request is this: OAuth 1.0a signatures, checked as a provider does."""

import time
from collections.abc import Iterable
from hmac import compare_digest
from typing import NamedTuple

from oauthlib.oauth1 import Client
from oauthlib.oauth1.rfc5849 import signature

CLOCK_TOLERANCE_SECONDS = 300


class Credential(NamedTuple):
    """The four values that an application and its user get from Twitter."""

    consumer_key: str
    consumer_secret: str
    access_token: str
    access_token_secret: str


CREDENTIAL = Credential("simulator-key", "simulator-secret", "simulator-token", "simulator-token-secret")
"""What a simulator accepts that was told no other."""


class Unauthorized(Exception):
    """The message is the reason, for the body of a 401."""


def check(credentials: Iterable[Credential], method: str, url: str, headers: dict[str, str], form: str) -> Credential:
    """The credential that signed this request; ``form`` is its body. Raises Unauthorized."""
    parameters = _parameters(url, headers, form)
    given = dict(parameters)
    credential = _find(credentials, given.get("oauth_consumer_key"), given.get("oauth_token"))
    if given.get("oauth_signature_method") != "HMAC-SHA1":
        raise Unauthorized("The signature method must be HMAC-SHA1")
    if not compare_digest(_sign(credential, method, url, parameters), given.get("oauth_signature", "")):
        raise Unauthorized("The signature does not fit the request: check the secrets")
    _check_timestamp(given.get("oauth_timestamp", ""))
    return credential


def claimed(url: str, headers: dict[str, str], form: str) -> Credential:
    """Whose request this says that it is, for a server that believes everybody. Raises Unauthorized for nobody's."""
    given = dict(_parameters(url, headers, form))
    if not given.get("oauth_consumer_key"):
        raise Unauthorized("No consumer key was sent")
    return Credential(given["oauth_consumer_key"], "", given.get("oauth_token", ""), "")


def _parameters(url: str, headers: dict[str, str], form: str) -> list[tuple[str, str]]:
    try:
        return list(
            signature.collect_parameters(
                uri_query=url.partition("?")[2], body=form, headers=headers, exclude_oauth_signature=False
            )
        )
    except ValueError:
        raise Unauthorized("The Authorization header or the form is malformed") from None


def _find(credentials: Iterable[Credential], consumer_key: str | None, access_token: str | None) -> Credential:
    for credential in credentials:
        if (credential.consumer_key, credential.access_token) == (consumer_key, access_token):
            return credential
    raise Unauthorized("Consumer key or access token unknown, or none was sent")


def _sign(credential: Credential, method: str, url: str, parameters: list[tuple[str, str]]) -> str:
    signed = [(name, value) for name, value in parameters if name != "oauth_signature"]
    # oauthlib's stubs want a Literal and a dict, its functions take any method and pairs.
    normalized = signature.normalize_parameters(signed)  # type: ignore[arg-type]
    base_string = signature.signature_base_string(method, signature.base_string_uri(url), normalized)  # type: ignore[arg-type]
    signed_by: str = signature.sign_hmac_sha1_with_client(base_string, Client(*credential))
    return signed_by


def _check_timestamp(timestamp: str) -> None:
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > CLOCK_TOLERANCE_SECONDS:
        raise Unauthorized("Timestamp out of bounds: compare your clock with the Date header")
