"""The simulator: its life, its accounts, its answers to requests for a stream, and what a test asks of it."""

import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult

from traptor.simulator import notices, oauth, predicates, refusals, v2, v2_request, v2_rules, v2_stream
from traptor.simulator.connection import Connection
from traptor.simulator.faults import Fault, Plan
from traptor.simulator.feed import Feed, Looped, Recorded, Synthetic, as_message
from traptor.simulator.handler import Server
from traptor.simulator.oauth import CREDENTIAL, Credential
from traptor.simulator.refusals import Dropped, Refusal
from traptor.simulator.request import StreamRequest
from traptor.simulator.snowflakes import Snowflakes
from traptor.simulator.stream import Stream
from traptor.simulator.wire import Message, Wire

STOP_SECONDS = 0.5


class Account:
    """What belongs to one credential, from connection to connection."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.rules = v2_rules.RuleBook()
        self.recent = v2_stream.Recent()
        self.connections: list[Connection] = []
        self.requested_at = -math.inf

    def missed_seconds(self) -> float:
        """How long nobody was connected before the last connection, as far as it asked for a backfill."""
        *earlier, last = self.connections
        ended_at = earlier[-1].closed_at if earlier else None
        return min(last.opened_at - ended_at, last.backfill_minutes * 60) if ended_at else 0


class Simulator:
    """A stand-in for ``https://stream.twitter.com``, in the background from start() to stop() or as a context manager.

    ``tweets``, dicts or bytes, are sent once and as they are, or with ``loop`` over and over as new ones; with none,
    tweets are made up to fit each request. ``rate`` in tweets per second, 0 for as fast as possible; after ``limit``
    tweets per credential there are only keep-alives. ``faults`` are as in docs/simulator.md. ``v2_names``, tweet or
    post, is the generation of names that v2 speaks. Port 0 is any free one. ``credentials`` None: whoever asks is
    believed, each key with a stream of its own.
    """

    def __init__(
        self,
        *,
        credentials: Iterable[Credential] | None = (CREDENTIAL,),
        tweets: Iterable[Mapping[str, Any] | bytes] | None = None,
        loop: bool = False,
        rate: float = 10.0,
        limit: int | None = None,
        seed: int = 0,
        faults: Iterable[Mapping[str, Any] | Fault] = (),
        keep_alive_seconds: float = 30.0,
        v2_names: str = "tweet",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if not (0 <= rate < math.inf and 0 < keep_alive_seconds < math.inf):
            raise ValueError(f"rate {rate}, keep-alive {keep_alive_seconds}: allowed are finite numbers, not below 0")
        self.connections: list[Connection] = []
        self.stopping = threading.Event()
        self.faults = Plan(faults, self._wake)
        self._credentials = None if credentials is None else list(credentials)
        self._lines = None if tweets is None else [as_message(tweet).body for tweet in tweets]
        self._loop = loop
        self._rate = rate
        self._limit = math.inf if limit is None else limit
        self._seed = seed
        self._keep_alive_seconds = keep_alive_seconds
        self._v2_names = v2_names
        self._snowflakes = Snowflakes()
        self._accounts: dict[Credential, Account] = {}
        self._streams: list[Stream] = []
        self._changed = threading.Condition(threading.RLock())
        self._server = Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="simulator", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the open streams in good order, and close the port; after half a second without good order."""
        self.stopping.set()
        self._server.shutdown()
        for stream in self._open_streams():
            stream.end("simulator stopped")
        if not self._wait_for(lambda: not self._open_streams(), STOP_SECONDS):
            for stream in self._open_streams():
                stream.abort()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def sent(self) -> list[str]:
        """The ids of all tweets whose last byte went to a socket, connection by connection."""
        return [tweet_id for connection in list(self.connections) for tweet_id in connection.sent]

    @property
    def tweets(self) -> int:
        """How many those are."""
        return sum(connection.tweets for connection in list(self.connections))

    def push(self, message: Mapping[str, Any] | bytes) -> int:
        """Send a message to all open streams at once, whatever their predicates. Gives the number of streams."""
        return sum(stream.push(as_message(message)) for stream in self._open_streams())

    def finish(self) -> None:
        """No more tweets but those that are pushed. Streams stay open."""
        self._limit = 0
        self._wake()

    def wait_for_connection(self, number: int = 1, timeout_seconds: float = 120.0) -> Connection:
        """The request of this number, counted from 1, as soon as it is answered. Raises TimeoutError."""
        if not self._wait_for(lambda: self._is_answered(number), timeout_seconds):
            raise TimeoutError(f"{len(self.connections)} requests, not {number}, after {timeout_seconds} s")
        return self.connections[number - 1]

    def wait_for_close(self, number: int = 1, timeout_seconds: float = 120.0) -> Connection:
        """The connection of this number, as soon as it is closed. Raises TimeoutError."""
        if not self._wait_for(lambda: self._is_closed(number), timeout_seconds):
            raise TimeoutError(f"connection {number} is not closed after {timeout_seconds} s")
        return self.connections[number - 1]

    def wait_for_sent(self, tweets: int, timeout_seconds: float = 120.0) -> list[str]:
        """The ids of all tweets sent, as soon as there are so many. Raises TimeoutError."""
        if not self._wait_for(lambda: self.tweets >= tweets, timeout_seconds):
            raise TimeoutError(f"{self.tweets} tweets sent, not {tweets}, after {timeout_seconds} s")
        return self.sent

    def open(self, request: StreamRequest, connected: socket.socket) -> Stream:
        """A stream for this request. Raises Refusal or Dropped."""
        connection = self._record(request)
        try:
            account = self._admit(connection, request)
        except (Refusal, Dropped) as refusal:
            with self._changed:
                connection.status = refusal.status if isinstance(refusal, Refusal) else 0
                connection.close("refused")
                self._changed.notify_all()
            raise
        with self._changed:
            if self.stopping.is_set():
                raise Dropped
            stream = self._stream(account, connection, request, connected)
            self._replace(account, stream)
            connection.status = 200
            self._changed.notify_all()
        return stream

    def _record(self, request: StreamRequest) -> Connection:
        with self._changed:
            connection = Connection(len(self.connections) + 1, request.headers)
            self.connections.append(connection)
        return connection

    def _admit(self, connection: Connection, request: StreamRequest) -> Account:
        credential = self._authenticate(request)
        connection.consumer_key = credential.consumer_key
        account = self._account(credential)
        now = time.monotonic()
        idle_seconds, account.requested_at = now - account.requested_at, now
        if fault := self.faults.answer(connection.number, idle_seconds):
            raise refusals.of_fault(fault)
        if request.is_v2:
            self._admit_v2(account, connection, v2_request.asked(request.query))
        else:
            connection.predicates = predicates.parse(request.query)
            account.connections.append(connection)
        return account

    def _admit_v2(self, account: Account, connection: Connection, asked: v2_request.Asked) -> None:
        """A recovery may stand beside the one stream of an account."""
        if not account.rules.rules:
            raise v2.no_rules()
        if asked.window:
            return
        if self._streams_of(account):
            raise v2.too_many_connections()
        connection.backfill_minutes = asked.backfill_minutes
        account.connections.append(connection)

    def _authenticate(self, request: StreamRequest) -> Credential:
        try:
            if self._credentials is None:
                return v2.claimed(request.headers) if request.is_v2 else oauth.claimed(*request[1:])
            if request.is_v2:
                return v2.check(self._credentials, request.headers)
            return oauth.check(self._credentials, *request)
        except oauth.Unauthorized as error:
            if request.is_v2:
                raise v2.unauthorized() from None
            raise Refusal(401, f"{refusals.BODIES[401]}: {error}") from None

    def answer_v2(self, method: str, url: SplitResult, headers: dict[str, str], body: bytes) -> Any:
        """What v2's endpoints but for the stream answer. Raises Refusal."""
        if url.path == v2.TOKEN_PATH:
            known = [v2.claimed(headers)] if self._credentials is None else self._credentials
            return v2.token(known, headers)
        account = self._account(self._authenticate(StreamRequest(method, url.geturl(), headers, "")))
        if url.path.startswith(v2.CONNECTIONS_PATH):
            standing = {stream.connection.number: stream for stream in self._streams_of(account)}
            return v2.connections(
                f"{method} {url.path}", url.query, body, [stream.connection for stream in standing.values()],
                lambda ended: standing[ended.number].end("ended by request", as_message(v2.force_disconnect())),
            )  # fmt: skip
        if url.path == v2.COUNTS_PATH:
            return v2.counts(method, url.query, self._rate)
        answer = account.rules.answer(method, url.path, url.query, body)
        for stream in self._open_streams():
            stream.renew()
        return answer

    def _streams_of(self, account: Account) -> list[Stream]:
        """Those that stand: one that is told to end makes room at once, however long its last words take."""
        open_ones = [stream for stream in self._open_streams() if not stream.is_ending]
        return [stream for stream in open_ones if stream.connection in account.connections]

    def _account(self, credential: Credential) -> Account:
        with self._changed:
            return self._accounts.setdefault(credential, Account(self._feed()))

    def _feed(self) -> Feed:
        if self._lines is None:
            return Synthetic(self._seed, self._snowflakes)
        return Looped(self._lines, self._snowflakes) if self._loop else Recorded(self._lines)

    def _stream(
        self, account: Account, connection: Connection, request: StreamRequest, connected: socket.socket
    ) -> Stream:
        if request.is_v2:
            asked = v2_request.asked(request.query)
            translator = v2_stream.Translator(account.rules, account.recent, asked, self._v2_names)
            made: Callable[..., Stream] = partial(v2_stream.V2Stream, translator, _missed_seconds(account, asked))
            feed: Iterator[Message] = v2_stream.Payloads(account.feed, translator)
        else:
            made, feed = Stream, account.feed.messages(connection.predicates)
        return made(
            connection,
            connected,
            Wire(connected, gzip=request.takes_gzip, on_sent=connection.count),
            feed,
            self.faults,
            rate=self._rate,
            room=lambda: self._limit - sum(connection.tweets for connection in account.connections),
            keep_alive_seconds=min(
                self._keep_alive_seconds, v2_stream.KEEP_ALIVE_SECONDS if request.is_v2 else math.inf
            ),
            on_change=self._notify,
        )

    def _replace(self, account: Account, stream: Stream) -> None:
        """One standing connection per account: the older one is told, and ended."""
        if stream.connection in account.connections:
            for older in self._streams_of(account):
                if not older.is_left():
                    last = as_message(notices.disconnect(7))
                    older.end(f"replaced by connection {stream.connection.number}", last)
        self._streams.append(stream)

    def _open_streams(self) -> list[Stream]:
        with self._changed:
            self._streams = [stream for stream in self._streams if stream.connection.closed_at is None]
            return list(self._streams)

    def _is_answered(self, number: int) -> bool:
        if len(self.connections) < number:
            return False
        connection = self.connections[number - 1]
        return bool(connection.status) or connection.closed_at is not None

    def _is_closed(self, number: int) -> bool:
        return self._is_answered(number) and self.connections[number - 1].closed_at is not None

    def _wake(self) -> None:
        for stream in self._open_streams():
            stream.wake()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait_for(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout_seconds)


def _missed_seconds(account: Account, asked: v2_request.Asked) -> float:
    """How many seconds of tweets a stream of v2 begins with."""
    if asked.window:
        start, end = asked.window
        return (end - start).total_seconds()
    return account.missed_seconds()
