"""Secrets show themselves as ``***``, and are found in what others have written."""

import base64
import copy
import html
import json
import pickle
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traptor import redaction
from traptor.redaction import Secret, SecretUrl, redact, reveal

SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=redaction.SHORTEST, max_size=40)


def test_a_secret_is_shown_nowhere_and_used_everywhere() -> None:
    one = Secret("hunter2-hunter2")
    for shown in (f"{one}", str(one), repr(one), f"{one!r}", f"{one:>30}", "%s" % (one,), f"{one}", f"{[one]}"):  # noqa: UP031
        assert "***" in shown
        assert "hunter2" not in shown
    assert reveal(one) == "hunter2-hunter2"
    assert type(reveal(one)) is str
    assert one == "hunter2-hunter2"
    assert one.encode() == b"hunter2-hunter2"
    assert f"{pickle.loads(pickle.dumps(one))} {copy.deepcopy(one)}" == "*** ***"
    assert reveal(Secret(one)) == "hunter2-hunter2"
    assert (str(Secret()), bool(Secret())) == ("", False)


@pytest.mark.parametrize(
    "url,shown",
    [
        ("redis://user:p%40ssword@host:6379/1", "redis://***@host:6379/1"),
        ("redis://host/1?password=abcdefg", "redis://host/1?***"),
        ("redis://host/1", "redis://host/1"),
        ("https://tokentoken@host", "https://***@host"),
    ],
)
def test_of_a_url_only_the_secret_is_hidden(url: str, shown: str) -> None:
    assert f"{SecretUrl(url)}" == shown
    assert reveal(SecretUrl(url)) == url
    for inside in ("p@ssword", "p%40ssword", "abcdefg", "tokentoken"):
        if inside.replace("@", "%40") in url:
            assert redact(f"a {inside} b") == "a *** b"


@given(SECRETS)
def test_it_is_found_in_every_spelling(secret: str) -> None:
    redaction.forget()
    Secret(secret)
    plain = [secret, repr(secret)[1:-1], repr(secret.encode())[2:-1]]
    written = [
        *plain,
        *(json.dumps(one)[1:-1] for one in plain),
        *(json.dumps(one, ensure_ascii=False)[1:-1] for one in plain),
        quote(secret, safe=""),
        quote(quote(secret, safe=""), safe=""),
        quote_plus(secret),
        html.escape(secret),
    ]
    for one in written:
        assert redact(f"<{one}>") == "<***>", one


@given(SECRETS, st.sampled_from(["", "a", "ab", "abc", "traptor", "ü"]))
def test_it_is_found_inside_base64(secret: str, user: str) -> None:
    redaction.forget()
    Secret(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        packed = encode(f"{user}:{secret}".encode()).decode()
        shown = redact(f"Basic {packed}")
        assert "***" in shown
        left = shown.removeprefix("Basic ").partition("***")
        # A prefix of the user may be left, nothing of the secret.
        assert len(left[0]) <= (len(user.encode()) + 1) * 4 // 3
        assert left[2] in {"", "="}


@pytest.mark.parametrize(
    "text,shown",
    [
        ("http://me:pass@host/a and ftp://x@y", "http://***@host/a and ftp://***@y"),
        ('oauth_signature="abc%3D", oauth_version="1.0"', 'oauth_signature***", oauth_version="1.0"'),
        ("oauth_signature=abc&b=1", "oauth_signature***&b=1"),
        ("oauth_signature%3Dabc%26b", "oauth_signature***"),
        ("ana@host.example", "ana@host.example"),
    ],
)
def test_what_is_secret_wherever_it_stands(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_short_secrets_are_not_looked_for() -> None:
    Secret("a")
    assert redact("a tweet") == "a tweet"


def test_one_secret_inside_another_leaves_nothing_behind() -> None:
    for one in ("s3cr3t", "s3cr3t-longer", "longer"):
        Secret(one)
    assert redact("s3cr3t-longer longer s3cr3t") == "*** *** ***"
