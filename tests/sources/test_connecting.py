"""What failed on the way to Twitter, in words."""

import pytest
import requests
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor.sources.connecting import why
from traptor.sources.v2.client import V2Client


def test_a_port_where_nobody_listens() -> None:
    with pytest.raises(TwitterClientError) as failed:
        next(iter(V2Client("key", "secret", "token", "http://127.0.0.1:1").held_rules()))
    assert why(failed.value) == "127.0.0.1: Connection refused"


@pytest.mark.parametrize("kind", [TwitterClientError, TwitterApiError, requests.ConnectTimeout])
def test_what_says_it_itself(kind: type[Exception]) -> None:
    assert why(kind("no route")) == "no route"


def test_a_cause_that_is_not_to_be_told_is_not() -> None:
    def late() -> None:
        try:
            raise OSError("inside")
        except OSError:
            raise requests.ConnectTimeout("no answer within 45 s") from None

    with pytest.raises(requests.ConnectTimeout) as failed:
        late()
    assert why(failed.value) == "no answer within 45 s"
