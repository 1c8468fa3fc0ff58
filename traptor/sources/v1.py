"""Twitter's v1.1 stream, opened through birdy."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import requests
from birdy.twitter import StreamClient

from traptor import __version__
from traptor.rules import checked
from traptor.rules.checked import Problem, RuleSet
from traptor.settings import Settings
from traptor.sources import answers, connecting
from traptor.sources.stream import FilterStream
from traptor.tweets.enrichment import Enrichment
from traptor.tweets.rule import Match, Rule

STALL_SECONDS = 90.0
"""Three keep-alives missed: Twitter asks to treat the stream as dead."""


class MyBirdyClient(StreamClient):  # type: ignore[misc]
    """birdy's streaming client with time-outs, gzip, and an address of choice.

    ``client.stream.statuses.filter.post(track=…)`` returns a FilterStream, or raises birdy's TwitterClientError where
    the network fails, and TwitterApiError (with ``status_code`` and ``headers``) where Twitter answers with an error.
    """

    user_agent_string = f"Traptor/{__version__}"

    def __init__(
        self,
        consumer_key: str,
        consumer_secret: str,
        access_token: str,
        access_token_secret: str,
        stream_url: str = "https://stream.twitter.com",
    ) -> None:
        self.stream_url = stream_url
        super().__init__(consumer_key, consumer_secret, access_token, access_token_secret)

    def __repr__(self) -> str:
        return f"MyBirdyClient({self.stream_url!r})"

    @staticmethod
    def get_json_object_hook(data: dict[str, Any]) -> dict[str, Any]:
        """Messages stay plain dicts."""
        return data

    def configure_oauth_session(self, session: requests.Session) -> requests.Session:
        session.headers.update({"User-Agent": self.user_agent_string, "Accept-Encoding": "gzip"})
        return connecting.in_time(session)

    def construct_resource_url(self, path: str) -> str:
        return f"{self.stream_url}/{self.api_version}/{path.split('/', 1)[1]}.json"

    def make_api_call(self, method: str, url: str, **request: Any) -> requests.Response:
        timeouts = (connecting.TCP_SECONDS, STALL_SECONDS)
        return self.session.request(  # type: ignore[no-any-return]
            method, url, stream=True, timeout=timeouts, allow_redirects=False, **request
        )

    def handle_response(self, method: str, response: requests.Response) -> "FilterStream":
        if response.status_code == requests.codes.ok:
            return FilterStream(response, method)
        raise answers.error(response, method, answers.said(response))


class V1Source:
    """Twitter's statuses/filter: what is asked for is said when the stream is opened, and for as long as it is."""

    changes_rules_while_open = False
    most_repeated = 0

    def __init__(self, wanted: Settings) -> None:
        self.client: Any = None
        self._type = wanted.TRAPTOR_TYPE

    def connect(self, wanted: Settings) -> MyBirdyClient:
        return MyBirdyClient(
            wanted.CONSUMER_KEY,
            wanted.CONSUMER_SECRET,
            wanted.ACCESS_TOKEN,
            wanted.ACCESS_TOKEN_SECRET,
            wanted.TWITTER_STREAM_URL,
        )

    def choose(self, rules: Iterable[Rule]) -> RuleSet:
        return checked.check(self._type, rules)

    def ask(self, rules: Sequence[Rule]) -> str:
        return checked.join(self._type, rules)

    def open(self, asked: str, rules: Sequence[Rule], *, missed_since: datetime | None) -> Any:
        return self.client.stream.statuses.filter.post(stall_warnings="true", **{self._type: asked})

    def change(self, rules: Sequence[Rule]) -> bool:
        return True  # it is asked for the same

    def refused(self) -> list[Problem]:
        return []

    def note(self, tweets: int) -> None:
        """They cost nothing."""

    def attribute(
        self, raws: Sequence[bytes], found: list[list[Match]], enrichment: Enrichment
    ) -> Sequence[list[Match] | None]:
        return found

    def finish(self, raws: Sequence[bytes], enriched: list[bytes]) -> list[bytes]:
        return enriched

    def closed(self) -> str:
        return ""

    def report(self, conn: Any) -> None:
        """There is nothing to tell."""

    def status(self) -> dict[str, Any]:
        return {}
