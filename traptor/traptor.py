"""The Traptor: one credential, one type of rule, one stream. The story of the program, in the order of its life."""

import contextlib
import logging
import math
import queue
import runpy
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import redis
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor import keys, logs, settings
from traptor.account import counters, heartbeat, journal, metrics
from traptor.account.gaps import Gap, Gaps
from traptor.account.journal import Journal
from traptor.account.ledger import Account
from traptor.account.state import State
from traptor.account.vitals import Vitals
from traptor.connections import connect_to_redis
from traptor.delivery import door, kafka_door, producers, standard_output
from traptor.delivery.spool import Message, Spool, file_name
from traptor.exits import Exit
from traptor.reports import Reporter
from traptor.rules import checked, notices, stored
from traptor.sources import backoff, stream, v1
from traptor.sources.credential import Credential
from traptor.sources.lease import RENEW_SECONDS
from traptor.sources.stream import FilterStream, StreamEnded
from traptor.sources.v1 import MyBirdyClient
from traptor.tweets import blocks, fields, kinds, times
from traptor.tweets.duplicates import RecentIds
from traptor.tweets.matching import Matcher, compile_rules
from traptor.tweets.rule import Match

__all__ = ["MyBirdyClient", "Traptor", "main"]

GOOD_STRETCH_SECONDS = 60.0
"""A stream that lasts so long makes earlier failures forgotten."""
BEAT_SECONDS = 1.0
"""The main loop shows that it makes progress at least this often, also while it waits."""
PORTION_MESSAGES = 100
TICK_SECONDS = 0.1
"""How often the door is asked to settle what is on its way."""
REPORT_SECONDS = 1.0
FAREWELL_SECONDS = 0.7
"""What Redis may take, twice, of the time to stop."""
SKIPPED_HEAD_BYTES = 200

_T = TypeVar("_T")


class Traptor:
    """Reads rules from Redis, opens a birdy stream, enriches, and delivers to Kafka.

    ``redis_conn``, ``pubsub_conn`` and ``heartbeat_conn`` are redis-py clients, or anything that behaves like them.
    ``apikeys`` has CONSUMER_KEY, CONSUMER_SECRET, ACCESS_TOKEN and ACCESS_TOKEN_SECRET. Booleans may be texts.
    With ``test`` nothing goes to Kafka; messages go to standard output. What is not among the parameters comes from
    ``self.settings``, read from the environment and localsettings.py. Raises ValueError for a wrong value.
    """

    def __init__(  # noqa: PLR0917 - the signature is what people call
        self,
        redis_conn: Any,
        pubsub_conn: Any,
        heartbeat_conn: Any,
        traptor_notify_channel: str = "traptor-notify",
        rule_check_interval: float = 60,
        traptor_type: str = "track",
        traptor_id: int = 0,
        apikeys: Mapping[str, str] | None = None,
        kafka_enabled: bool | str = "true",
        kafka_hosts: str = "localhost:9092",
        kafka_topic: str = "traptor",
        use_sentry: bool | str = "false",
        sentry_url: str | None = None,
        log_level: str = "INFO",
        log_dir: str = "/var/log/traptor",
        log_file_name: str = "traptor.log",
        test: bool | str = False,
        enable_stats_collection: bool | str = "true",
    ) -> None:
        self.redis_conn = redis_conn
        self.pubsub_conn = pubsub_conn
        self.heartbeat_conn = heartbeat_conn
        self.test = settings.boolean("test", test)
        self._adopt(
            settings.load(
                {
                    "REDIS_PUBSUB_CHANNEL": traptor_notify_channel,
                    "RULE_CHECK_INTERVAL": rule_check_interval,
                    "TRAPTOR_TYPE": traptor_type,
                    "TRAPTOR_ID": traptor_id,
                    "KAFKA_ENABLED": kafka_enabled,
                    "KAFKA_HOSTS": kafka_hosts,
                    "KAFKA_TOPIC": kafka_topic,
                    "USE_SENTRY": use_sentry,
                    "SENTRY_URL": sentry_url,
                    "LOG_LEVEL": log_level,
                    "LOG_DIR": log_dir,
                    "LOG_FILE": log_file_name,
                    "ENABLE_STATS_COLLECTION": enable_stats_collection,
                    **(apikeys or {}),
                }
            )
        )

    @classmethod
    def from_settings(cls, wanted: settings.Settings, *, test: bool = False) -> "Traptor":
        """A Traptor with connections of its own."""
        made = cls(connect_to_redis(wanted), connect_to_redis(wanted), connect_to_redis(wanted), test=test)
        made._adopt(wanted)
        return made

    def _adopt(self, wanted: settings.Settings) -> None:
        """Become the Traptor of these settings, at the beginning of its life."""
        self.settings = wanted
        self.traptor_notify_channel = self.settings.REDIS_PUBSUB_CHANNEL
        self.rule_check_interval = self.settings.RULE_CHECK_INTERVAL
        self.traptor_type = self.settings.TRAPTOR_TYPE
        self.traptor_id = self.settings.TRAPTOR_ID
        self.apikeys = self.settings.apikeys
        self.kafka_enabled = self.settings.KAFKA_ENABLED
        self.kafka_hosts = self.settings.KAFKA_HOSTS
        self.kafka_topic = self.settings.KAFKA_TOPIC
        self.use_sentry = self.settings.USE_SENTRY
        self.sentry_url = self.settings.SENTRY_URL
        self.log_level = self.settings.LOG_LEVEL
        self.log_dir = self.settings.LOG_DIR
        self.log_file_name = self.settings.LOG_FILE
        self.enable_stats_collection = self.settings.ENABLE_STATS_COLLECTION

        self.name = f"traptor-{self.traptor_type}-{self.traptor_id}"
        self.logger: Any = logging.getLogger(f"traptor.{self.traptor_type}-{self.traptor_id}")
        self.restart_flag = False
        self.birdy_conn: Any = None
        self.birdy_stream: Any = None
        self.redis_rules: list[dict[str, str]] = []
        self.twitter_rules: str | None = None
        self.locations_rule: dict[str, Any] = {}
        self.rule_counters: dict[str, counters.RollingCounter] = {}
        self.limit_counter: Any = None
        self.account = Account()

        self._door: kafka_door.Kafka | standard_output.StandardOutput = standard_output.StandardOutput(
            self.account.counts
        )
        self._producer_options: dict[str, Any] = {}
        """What the producer is to have whatever KAFKA_OPTIONS say."""
        self._reporter = Reporter(None)
        self._problems: list[checked.Problem] = []
        self._gaps = Gaps(self.traptor_type, self.traptor_id, self._tell_gap)
        self._journal = Journal(
            self.heartbeat_conn,
            self.traptor_type,
            self.traptor_id,
            status_ttl_seconds=max(15, round(3 * self.settings.HEARTBEAT_INTERVAL)),
        )
        self._recent = RecentIds(self.settings.DEDUPE_WINDOW)
        self._latency = metrics.Latency()
        self._metrics_server: ThreadingHTTPServer | None = None
        self._credential = self._own_credential()
        self._vitals = Vitals(
            self.traptor_type, self.traptor_id, account=self.account, gaps=self._gaps, credential=self._credential
        )
        self._unauthorized = 0
        self._disconnect_code: int | None = None
        self._stream_opened_at = 0.0
        self._has_received = False
        """Has the open stream brought a message?"""
        self._is_good_stretch = False
        self._compiled([])
        self._limit_watch = counters.LimitWatch()
        self._tweet_limit: int | None = None
        self._stopping = False
        self._stop_by = math.inf
        """When what was received is to be delivered, by time.monotonic()."""
        self._stopped = threading.Event()
        # A SimpleQueue may be put to by a signal handler, which an Event may not be set by.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._notices: Iterator[object] | None = None
        self._may_have_missed_notices = False
        self._read_rules_at = math.inf
        """When to look at the rules again though no notice has come."""
        self._look: Future[list[dict[str, str]]] | None = None
        """A look at the rules that goes on while the stream is open."""
        self._restart_not_before = 0.0
        self._tick_at = 0.0

    def __repr__(self) -> str:
        return f"Traptor(type={self.traptor_type!r}, id={self.traptor_id!r}, topic={self.kafka_topic!r})"

    @property
    def kafka_conn(self) -> Any:
        """The producer; None while there is none."""
        return self._door.producer if isinstance(self._door, kafka_door.Kafka) else None

    @kafka_conn.setter
    def kafka_conn(self, producer: Any) -> None:
        if not isinstance(self._door, kafka_door.Kafka):
            self._door = self._make_kafka_door()
        self._door.producer = producer

    # The whole life

    def run(self, tweet_limit: int | None = None, delay: float = 0.0) -> None:
        """Run until told to stop, or for so many tweets; connect after ``delay`` seconds.

        Ends the process with exit code 3 if Twitter refuses it.
        """
        self._tweet_limit = tweet_limit
        self._credential.not_before = time.monotonic() + delay
        try:
            with self._handling_signals():
                self._setup()
                self._live()
        except (BrokenPipeError, door.OutputError):
            raise
        except Exception as error:
            self._reporter.report(error)
            if not isinstance(error, settings.SettingError):
                self.logger.critical("ended by an error of our own", exc_info=True)
            raise

    def _live(self) -> None:
        self._start_side_roads()
        try:
            while not self._stopping:
                self._collect()
        finally:
            self._shut_down()

    def _start_side_roads(self) -> None:
        for side_road in (
            self._listen_for_notices,
            self._send_heartbeat_message,
            self._hold_credential,
            self._report_every_second,
        ):
            threading.Thread(target=self._guarded, args=(side_road,), name=side_road.__name__, daemon=True).start()

    def stop(self) -> None:
        """Stop reading, deliver what was received, and let ``run`` return. Safe in a signal handler."""
        self._stop_by = min(self._stop_by, time.monotonic() + self.settings.STOP_TIMEOUT)
        self._stopping = True
        self._wake_up()

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """In the main thread SIGTERM and SIGINT tell us to stop; afterwards they do what they did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_stop)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _told_to_stop(self, *_: object) -> None:
        self.stop()
        if isinstance(self._door, standard_output.StandardOutput):
            # Whoever reads our output may have stopped reading without closing it: then a write never returns.
            signal.signal(signal.SIGALRM, standard_output.give_up_writing)
            signal.setitimer(signal.ITIMER_REAL, self.settings.STOP_TIMEOUT)

    def _shut_down(self) -> None:
        """Leave within ten seconds: STOP_TIMEOUT, since we were told to, for what was received; a moment for Redis."""
        if self._vitals.phase is not State.REFUSED:
            self._vitals.enter(State.STOPPING)
        self._close_stream()
        self._gaps.finish()
        # The side roads go on meanwhile: the lease, which is renewed, is the spool's as well.
        self._door.close(min(self.settings.STOP_TIMEOUT, self._stop_by - time.monotonic()))
        self._stopped.set()
        self._within(FAREWELL_SECONDS, self._report)
        self._within(FAREWELL_SECONDS, self._credential.release)
        if self._metrics_server:
            self._metrics_server.shutdown()
        self.logger.info("stopped", extra=self.summary())

    def _within(self, seconds: float, farewell: Callable[[], None]) -> None:
        """Say farewell to Redis, but do not wait for one that does not answer."""

        def say() -> None:
            try:
                farewell()
            except redis.RedisError as error:
                self.logger.warning("the end is not noted in Redis", extra={"error": str(error)})

        thread = threading.Thread(target=say, name="traptor-farewell", daemon=True)
        thread.start()
        thread.join(seconds)

    def summary(self) -> dict[str, int]:
        """This run in figures: tweets received and matched, messages delivered; what waits or was dropped, if any."""
        counts = self.account.counts
        seen = {
            "received": counts["received:tweet"],
            "matched": counts["matched"],
            "delivered": counts["delivered"],
        }
        left = {
            "taken_up": counts["taken_up"],
            "waiting": self._door.waiting(),
            "apart": counts["apart"],
            "dropped": self.account.sum("dropped"),
        }
        return seen | {name: count for name, count in left.items() if count}

    # Setting up

    def _setup(self) -> None:
        """Set up logging, error reports, metrics, Kafka and birdy. Waits for nobody. Raises SettingError."""
        logs.set_up(self.settings)
        if self.use_sentry and not self.sentry_url:
            raise settings.SettingError("SENTRY_URL: not set, but USE_SENTRY is; allowed is your Sentry project's DSN")
        self._reporter = Reporter(self.sentry_url if self.use_sentry else None, self.settings.secrets)
        self._setup_metrics()
        self._setup_kafka()
        self._vitals.door = self._door
        self._setup_birdy()

    def _setup_metrics(self) -> None:
        address, port = self.settings.METRICS_ADDRESS, self.settings.METRICS_PORT
        if not port:
            return
        labels = {"type": self.traptor_type, "id": str(self.traptor_id)}
        collector = metrics.TraptorCollector(
            labels, self._vitals.counts, self._vitals.gauges, self._vitals.state, self._latency
        )
        try:
            self._metrics_server = metrics.serve(address, port, collector, self._vitals.state)
        except OSError as error:
            raise settings.SettingError(f"METRICS_PORT: {address}:{port} cannot be used: {error.strerror}") from None

    def _setup_kafka(self) -> None:
        """Set up the door: Kafka, looked for in the background until it is there, or standard output."""
        if not self.kafka_enabled or self.test:
            self._door = standard_output.StandardOutput(self.account.counts)
            return
        client = self.settings.KAFKA_CLIENT
        if unknown := producers.unknown_options(self.settings.KAFKA_OPTIONS or {}, client):
            raise settings.SettingError(
                f"KAFKA_OPTIONS: {', '.join(unknown)} is not allowed; allowed are options of kafka-python's producer"
                f" other than the servers and the client, as far as {client} has them"
            )
        self._door = self._make_kafka_door()
        self._door.open()

    def _make_kafka_door(self) -> kafka_door.Kafka:
        path = Path(self.settings.SPOOL_DIR) / file_name(self.traptor_type, self.traptor_id)
        spool = Spool(path, self.settings.SPOOL_MAX_BYTES)
        return kafka_door.Kafka(
            self._make_producer,
            spool,
            self.account.counts,
            self._acknowledged,
            connect_cautiously=lambda: self._make_producer(**producers.CAUTIOUS),
        )

    def _make_producer(self, **options: Any) -> Any:
        """What ``_create_kafka_producer`` returns or, as the original's did, sets as ``kafka_conn``."""
        self._producer_options = options
        producer = self._create_kafka_producer() or self.kafka_conn
        if producer is None:
            raise TypeError("_create_kafka_producer neither returned a producer nor set kafka_conn")
        return producer

    def _create_kafka_producer(self) -> Any:
        """Create the Kafka producer. Raises kafka.errors.KafkaError where no broker answers."""
        wanted = {**(self.settings.KAFKA_OPTIONS or {}), **self._producer_options}
        notices_topics = filter(None, [self.settings.KAFKA_NOTICES_TOPIC])
        client = self.settings.KAFKA_CLIENT
        return producers.connect(self.kafka_hosts, self.kafka_topic, wanted, *notices_topics, client=client)

    def _setup_birdy(self) -> None:
        """Create ``self.birdy_conn``. Connects to nothing yet."""
        self.birdy_conn = MyBirdyClient(*v1.credentials(self.apikeys), self.settings.TWITTER_STREAM_URL)

    def _own_credential(self) -> Credential:
        return Credential(self.redis_conn, self.settings.credential, self.traptor_type, self.traptor_id)

    # One connection, from its rules to its end

    def _collect(self) -> None:
        """Wait until it is our turn, read the rules, connect, and collect until something ends it."""
        self._wait_for_turn()
        self._wait_for_rules()
        if self._stopping:
            return
        if not self._journal.knows_last_life:
            self._recall_life()
        self.twitter_rules = self._make_twitter_rules(self.redis_rules)
        self._make_rule_counters()
        self._make_limit_message_counter()
        self._create_birdy_stream()
        if self.birdy_stream is None:
            return
        try:
            self._main_loop()
        except StreamEnded as ended:
            self._stream_ended(ended)
        finally:
            self._close_stream()
            self.account.counts["received_bytes"] += getattr(self.birdy_stream, "received_bytes", 0)
            self.birdy_stream = self._vitals.stream = None

    def _wait_for_turn(self) -> None:
        """Wait for the credential, then wait out the back-off.

        A notice cuts a short wait short, once in RESTART_MIN_INTERVAL, but never the one that Twitter has asked for.
        """
        self._renew_secrets()
        self._wait_for_credential()
        self._door.take_up()
        while not self._stopping and (left := self._credential.wait_seconds()) > 0:
            now = self._vitals.progress_at
            if self.restart_flag and self._credential.may_connect_early and now >= self._restart_not_before:
                self._restart_not_before = now + self.settings.RESTART_MIN_INTERVAL
                return
            self._wait(min(left, BEAT_SECONDS))

    def _wait_for_credential(self) -> None:
        told = None
        while not self._stopping and (holder := self._credential.take()) is not None:
            reason = "credential in use by {host} pid {pid}, {type}:{id}".format_map(defaultdict(str, holder))
            self._vitals.enter(State.BACKING_OFF, reason)
            if holder != told:
                self.logger.warning("waiting for the credential", extra={"reason": reason})
                told = holder
            self._journal.is_silent = (holder.get("type"), holder.get("id")) == (self.traptor_type, self.traptor_id)
            self._wait(BEAT_SECONDS)
        self._journal.is_silent = False

    def _renew_secrets(self) -> None:
        """Secrets that stand in files are read again before each connection."""
        try:
            fresh = settings.with_secrets_read_again(self.settings)
        except settings.SettingError as error:
            self.logger.warning("secrets not read again: the old ones stay", extra={"error": str(error)})
            return
        if fresh != self.settings:
            self.logger.info("new credentials")
            self.settings, self.apikeys = fresh, fresh.apikeys
            logs.set_up(fresh)
            self._credential.release()
            self._credential = self._vitals.credential = self._own_credential()
            self._setup_birdy()

    def _stream_ended(self, ended: StreamEnded) -> None:
        """Twitter or the network ended the stream: note the gap, and when to connect again."""
        quiet_seconds = time.monotonic() - self.birdy_stream.last_byte
        code, self._disconnect_code = self._disconnect_code, None
        cause = ended.cause if code is None else f"disconnect-{code}"
        self._gaps.begin(datetime.now(UTC) - timedelta(seconds=quiet_seconds), cause)
        if code in backoff.FINAL_DISCONNECTS:
            self._refuse(f"disconnect {code}: {backoff.FINAL_DISCONNECTS[code]}")
        if code is not None:
            kind = backoff.DISCONNECTS.get(code, backoff.Kind.NETWORK)
        else:
            kind = ended.kind or (backoff.Kind.DROPPED if self._has_received else backoff.Kind.NETWORK)
        self._back_off(kind, cause, {"detail": ended.detail, "lasted_s": round(self._lasted_seconds(), 1)})

    def _lasted_seconds(self) -> float:
        return time.monotonic() - self._stream_opened_at

    def _back_off(
        self, kind: backoff.Kind, reason: str, facts: dict[str, Any], asked_seconds: float | None = None
    ) -> None:
        self._gaps.begin(datetime.now(UTC), reason)
        wait_seconds = self._credential.failed(kind, asked_seconds)
        self._vitals.enter(State.BACKING_OFF, reason)
        self.logger.warning("no stream", extra={"cause": reason, **facts, "wait_s": round(wait_seconds, 2)})

    def _refuse(self, reason: str) -> NoReturn:
        """End the process so that it is not restarted."""
        self._vitals.enter(State.REFUSED, reason)
        self.logger.critical(f"Twitter refuses us, do not restart: {reason}")
        raise SystemExit(Exit.REFUSED)

    # Rules

    def _wait_for_rules(self) -> None:
        """Wait for rules to appear in Redis, looking every ``rule_check_interval`` seconds and at every notice.

        While Redis cannot be read, the last whole set stays.
        """
        told = False
        while not self._stopping:
            # Cleared before the rules are read: a notice that comes meanwhile means another look.
            noticed = self.restart_flag
            self.restart_flag = self._may_have_missed_notices = False
            found = self._interruptibly(partial(self._read_rules, noticed=noticed))
            if found is None:
                return
            self.redis_rules = found
            if found:
                return
            self._vitals.rules = checked.facts(self.traptor_type, found, len(self._problems))
            self._vitals.enter(State.WAITING_FOR_RULES)
            if not told:
                self.logger.info("waiting for rules", extra={"keys": keys.rules(self.traptor_type, self.traptor_id)})
                told = True
            self.logger.debug("no rules yet", extra={"look_again_s": self.rule_check_interval})
            self._pause(self.rule_check_interval)

    def _read_rules(self, *, noticed: bool) -> list[dict[str, str]]:
        """The rules as Redis has them now, or the last whole set: where Redis cannot be read, and where it is empty
        though no notice said so, as it is after a restart without its data.
        """
        try:
            found = list(self._get_redis_rules())
        except redis.RedisError as error:
            so = "the last rules stay" if self.redis_rules else "check REDIS_HOST and REDIS_PORT, or REDIS_URL"
            self.logger.warning(f"Redis cannot be read: {so}", extra={"error": str(error)})
            self._plan_next_look(self.rule_check_interval)
            return self.redis_rules
        self._vitals.rules = self._vitals.rules._replace(left_out=len(self._problems))
        if not found and self.redis_rules and not noticed:
            self.logger.error("no rules in Redis, and no notice came: the last rules stay")
            self._plan_next_look(self.rule_check_interval)
            return self.redis_rules
        if noticed and found == self.redis_rules:
            self.logger.info("rules unchanged")
        return found

    def _get_redis_rules(self) -> Iterator[dict[str, str]]:
        """Yield this Traptor's rules from Redis: those that one connection may ask for, in order of rule_id.

        Each is a hash under ``traptor-<type>:<id>:<rule_id>``; a connection may have 5000 follow rules, 400 track
        phrases or 25 locations boxes. What Twitter would refuse is left out with a warning. Raises redis.RedisError.
        """
        found = checked.check(self.traptor_type, stored.read(self.redis_conn, self.traptor_type, self.traptor_id))
        self._tell_problems(found.problems)
        yield from found.rules

    def _tell_problems(self, problems: list[checked.Problem]) -> None:
        """Warn of each rule that is left out, once for as long as it stays so."""
        for problem in problems:
            if problem not in self._problems:
                self.logger.warning("rule left out", extra=problem._asdict())
        if problems and problems != self._problems:
            self.logger.warning("rules left out in all", extra={"count": len(problems)})
        self._problems = problems

    def _make_twitter_rules(self, rules_from_redis: list[dict[str, str]]) -> str:
        """The rules, dicts as they come from Redis, as the value of Twitter's parameter. Compiles the matcher."""
        sound = checked.check(self.traptor_type, sorted(rules_from_redis, key=checked.order))
        if sound.problems:
            self._tell_problems(sound.problems)
        self._compiled(sound.rules)
        if self.traptor_type == "locations":
            self.locations_rule = self._get_locations_traptor_rule()
        joined = checked.join(self.traptor_type, sound.rules)
        self._vitals.rules = checked.facts(self.traptor_type, sound.rules, len(self._problems))
        self.logger.debug("rules for Twitter", extra={"rules": joined})
        return joined

    def _compiled(self, rule_set: list[dict[str, str]]) -> None:
        self.rule_set = checked.version(rule_set)
        self._matcher: Matcher = compile_rules(self.traptor_type, rule_set)
        self._blocks = blocks.Blocks(self.traptor_type, self.traptor_id, rule_set, self.rule_set)
        self._rule_ids = [rule.get("rule_id", "") for rule in rule_set]

    def _get_locations_traptor_rule(self) -> dict[str, Any]:
        """A dict with the single rule that a locations Traptor reports if there is one; of several, the last."""
        rule = self.redis_rules[-1] if self.redis_rules else {}
        return {"rule_tag": rule.get("tag"), "rule_value": rule.get("value"), **rule} if rule else {}

    # Connecting

    def _create_birdy_stream(self) -> None:
        """Try to create ``self.birdy_stream``; None where that failed and a wait has been set, or we are to stop.

        Ends the process with exit code 3 if Twitter's answer is meant for good, so that no supervisor restarts it and
        gets the account locked out.
        """
        create = {
            "track": self._create_twitter_track_stream,
            "follow": self._create_twitter_follow_stream,
            "locations": self._create_twitter_locations_stream,
        }[self.traptor_type]
        self.birdy_stream = None
        self._vitals.enter(State.CONNECTING)
        self._gaps.tried()
        try:
            self._interruptibly(create)
        except TwitterApiError as error:
            self._answered_with_error(error)
        except TwitterClientError as error:
            self._back_off(backoff.Kind.NETWORK, "network", {"error": str(error)})
        if self.birdy_stream is not None:
            self._stream_opened()

    def _stream_opened(self) -> None:
        self._stream_opened_at = self._vitals.last_message_at = time.monotonic()
        self._unauthorized = 0
        self._disconnect_code = self._look = None
        self._has_received = self._is_good_stretch = False
        self._vitals.percent_full = 0
        self._limit_watch = counters.LimitWatch()
        if self._gaps.open:
            self.account.counts[f"reconnects:{self._gaps.open.cause}"] += 1
        self._gaps.end(self.rule_set)
        self._vitals.stream = self.birdy_stream
        self._vitals.enter(State.STREAMING)
        self._plan_next_look(self.settings.RULE_REFRESH_INTERVAL)
        self.logger.info(
            "streaming",
            extra={
                "url": getattr(self.birdy_stream, "resource_url", ""),
                "rules": len(self._rule_ids),
                "rule_set": self.rule_set,
            },
        )

    def _create_twitter_follow_stream(self) -> None:
        """Create a Twitter follow stream."""
        self.birdy_stream = self._filter(follow=self.twitter_rules)

    def _create_twitter_track_stream(self) -> None:
        """Create a Twitter track stream."""
        self.birdy_stream = self._filter(track=self.twitter_rules)

    def _create_twitter_locations_stream(self) -> None:
        """Create a Twitter locations stream."""
        self.birdy_stream = self._filter(locations=self.twitter_rules)

    def _filter(self, **predicates: str | None) -> Any:
        """POST statuses/filter. Raises birdy's TwitterApiError and TwitterClientError."""
        return self.birdy_conn.stream.statuses.filter.post(stall_warnings="true", **predicates)

    def _interruptibly(self, blocking: Callable[[], _T]) -> _T | None:
        """What this returns, however long it waits for a server; None when told to stop meanwhile."""
        done = self._in_background(blocking)
        while not (done.done() or self._stopping):
            self._wait(BEAT_SECONDS)
        return done.result() if done.done() else None

    def _in_background(self, blocking: Callable[[], _T]) -> Future[_T]:
        """Run it in a thread of its own, which wakes the main loop when it is done."""
        done: Future[_T] = Future()

        def settle() -> None:
            try:
                done.set_result(blocking())
            except BaseException as error:
                done.set_exception(error)
            self._wake_up()

        threading.Thread(target=settle, name="traptor-waiting", daemon=True).start()
        return done

    def _answered_with_error(self, error: TwitterApiError) -> None:
        """Back off as Twitter asks, or end the process if the answer is meant for good."""
        status, headers = error.status_code, error.headers or {}
        self._unauthorized = self._unauthorized + 1 if status == backoff.UNAUTHORIZED else 0
        if status is None or backoff.is_refusal(status, self._unauthorized or 1):
            self._reporter.report(error)
            self._refuse(f"{status} {error}: {backoff.advice(status, headers, time.time())}")
        asked_seconds = backoff.asked_wait_seconds(status, headers, time.time())
        self._back_off(backoff.kind_of(status), f"http-{status}", {"answer": str(error)}, asked_seconds)

    # Collecting

    def _main_loop(self) -> None:
        """Handle what the stream brings until it ends, or until told to stop or to restart.

        Raises StreamEnded when Twitter or the network ended it.
        """
        reads, handle = self._way_of_messages()
        closed = False
        for received in self._portions(reads):
            handle(received)
            self._turn()
            if self._has_reached_tweet_limit():
                self.stop()
                self._end_stream()
                return
            if not closed and (self._stopping or self._credential.lost or self._is_restart_due()):
                self._end_stream()
                closed = True

    def _is_restart_due(self) -> bool:
        """Has a look at the rules, in the background, found some that need another stream?"""
        if self._look is None and self._is_look_at_rules_due():
            self._look = self._look_at_rules()
        if self._look is None or not self._look.done():
            return False
        found, self._look = self._look.result(), None
        return self._take_up_rules(found)

    def _end_stream(self) -> None:
        """We end the stream ourselves: read no more; what has arrived is still handled."""
        cause = "stopped" if self._stopping else "credential-lost" if self._credential.lost else "rules"
        self._gaps.begin(self._vitals.collected_until(), cause)
        self._close_stream()

    def _is_look_at_rules_due(self) -> bool:
        """A notice has come, or it is time anyway; a storm of notices is answered once in RESTART_MIN_INTERVAL."""
        if self.restart_flag or self._may_have_missed_notices:
            return self._vitals.progress_at >= self._restart_not_before
        return self._vitals.progress_at >= self._read_rules_at

    def _look_at_rules(self) -> Future[list[dict[str, str]]]:
        noticed = self.restart_flag
        self.restart_flag = self._may_have_missed_notices = False
        self._plan_next_look(self.settings.RULE_REFRESH_INTERVAL)
        return self._in_background(partial(self._read_rules, noticed=noticed))

    def _take_up_rules(self, found: list[dict[str, str]]) -> bool:
        """Take these rules up on the open stream. True if the stream must be opened anew instead."""
        before, self.redis_rules = self.redis_rules, found
        if not found or (found != before and not self._change_rules(found, before)):
            self._restart_not_before = self._vitals.progress_at + self.settings.RESTART_MIN_INTERVAL
            return True
        return False

    def _change_rules(self, found: list[dict[str, str]], _before: list[dict[str, str]]) -> bool:
        """Take other rules up on the open stream; False where what Twitter was asked for is not what they ask for."""
        if checked.join(self.traptor_type, found) != self.twitter_rules:
            return False
        self._make_twitter_rules(found)
        self._make_rule_counters()
        self.logger.info("rules taken up without reconnecting", extra={"rule_set": self.rule_set})
        return True

    def _plan_next_look(self, seconds: float) -> None:
        self._read_rules_at = self._vitals.progress_at + seconds if seconds else math.inf

    def _way_of_messages(self) -> tuple[Iterator[Sequence[Any]], Callable[[Sequence[Any]], None]]:
        """What the stream brings, and the method that takes it: bytes, unless somebody has replaced the stream, or a
        method that takes dicts.
        """
        if not isinstance(self.birdy_stream, FilterStream):
            # None stands for a moment in which nothing came.
            singly = ([] if message is None else [message] for message in self.birdy_stream.stream())
            return singly, self._handle_dicts
        if self._is_dict_method_replaced():
            return self.birdy_stream.reads(), self._handle_bytes_as_dicts
        return self.birdy_stream.reads(), self._handle_bytes

    def _portions(self, reads: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        """What has arrived, in so many messages at a time that what is due in between is not late."""
        most = PORTION_MESSAGES if self._tweet_limit is None else 1
        for received in reads:
            for start in range(0, len(received) or 1, most):
                yield received[start : start + most]

    def _is_dict_method_replaced(self) -> bool:
        return any(
            name in vars(self) or getattr(type(self), name) is not getattr(Traptor, name) for name in DICT_METHODS
        )

    def _turn(self) -> None:
        """What is due between two messages: show progress, and let things settle."""
        now = self._vitals.progress_at = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + TICK_SECONDS
            self._door.tick()
            self._gaps.tick(now)
            self._vitals.tell()
            self.account.mark()
            if self.birdy_stream is not None and not self._is_good_stretch and self._has_received:
                self._is_good_stretch = self._lasted_seconds() >= GOOD_STRETCH_SECONDS
                if self._is_good_stretch:
                    self._credential.succeeded()

    def _close_stream(self) -> None:
        """Read no more; what has arrived can still be handled."""
        if hasattr(self.birdy_stream, "close"):
            self.birdy_stream.close()

    def _has_reached_tweet_limit(self) -> bool:
        counts = self.account.counts
        return self._tweet_limit is not None and counts["matched"] + counts["unmatched"] >= self._tweet_limit

    def _handle_bytes(self, received: Sequence[bytes]) -> None:
        """Messages on the short way: Twitter's bytes stay as they are, the ``traptor`` object is appended.

        Each step is done for all of them before the next begins: what a step needs stays in the processor's caches.
        """
        tweets: list[tuple[bytes, fields.Tweet]] = []
        for raw, message in self._decoded(received, fields.decode):
            self._note_message()
            if not isinstance(message, fields.Tweet):
                self._pass_on(tweets)
                tweets = []
                self._handle_odd(message, raw)
            elif self._is_new_tweet(message.id_str or ""):
                tweets.append((raw, message))
        self._pass_on(tweets)

    def _pass_on(self, tweets: Sequence[tuple[bytes, fields.Tweet]]) -> None:
        """Match, count, append and deliver."""
        found = [self._matcher.match(tweet) for _, tweet in tweets]
        for matches in found:
            self._count_matches(matches)
        self._door.send(
            [
                self._message(tweet.id_str or "", self._blocks.append(raw, tweet.created_at, matches))
                for (raw, tweet), matches in zip(tweets, found, strict=True)
            ]
        )

    def _decoded(self, received: Sequence[bytes], decode: Callable[[bytes], Any]) -> Iterator[tuple[bytes, Any]]:
        """The messages among them, each with its bytes. What is no message is skipped."""
        for raw in received:
            try:
                message = decode(raw)
            except ValueError:
                self._skip(raw)
            else:
                yield raw, message

    def _handle_odd(self, message: Any, raw: bytes) -> None:
        """A notice, which passes through untouched, or a tweet whose bytes cannot be kept as they are."""
        if self._message_is_tweet(message):
            if self._is_new_tweet(id_str := kinds.tweet_id(message)):
                self._deliver(id_str, fields.dump(self._enrich_tweet(message)))
        else:
            self._heed(message)
            self._deliver_notice(self._enrich_tweet(message), raw)

    def _handle_bytes_as_dicts(self, received: Sequence[bytes]) -> None:
        for _, message in self._decoded(received, fields.load):
            self._handle_dict(message)

    def _handle_dicts(self, received: Sequence[Any]) -> None:
        for message in received:
            self._handle_dict(message)

    def _handle_dict(self, message: Any) -> None:
        """One message on the long way, through the methods that people replace."""
        self._note_message()
        if self._message_is_tweet(message):
            if not self._is_new_tweet(kinds.tweet_id(message)):
                return
        else:
            self._heed(message)
        self._send_enriched_data_to_kafka(message, self._enrich_tweet(message))

    def _note_message(self) -> None:
        self._has_received = True
        self._vitals.last_message_at = self._vitals.progress_at

    def _is_new_tweet(self, id_str: str) -> bool:
        """Count a tweet; False for one that has come before."""
        self.account.counts["received:tweet"] += 1
        self._vitals.last_tweet_at = self._vitals.progress_at
        self._gaps.tweet(id_str)
        if id_str and self._recent.is_known(id_str):
            self.account.counts["dropped:duplicate"] += 1
            return False
        return True

    def _skip(self, raw: bytes) -> None:
        """Count and log what is no message. One that is too long comes cut, and so is not JSON either."""
        reason = "too_long" if len(raw) > stream.MAX_MESSAGE_BYTES else "not_json"
        self.account.counts["received:unreadable"] += 1
        self.account.counts[f"dropped:{reason}"] += 1
        if raw.startswith(backoff.CONNECTION_LIMIT):
            self._disconnect_code = backoff.DUPLICATE_STREAM
        self.logger.warning("message skipped", extra={"reason": reason, "head": repr(raw[:SKIPPED_HEAD_BYTES])})

    def _heed(self, message: Any) -> None:
        """Do what a notice asks for, or remember what it says. Limit notices are counted where tweets are enriched."""
        kind = kinds.kind(message)
        self.account.counts[f"received:{kind}"] += 1
        if kind == "delete" and (id_str := kinds.deleted_id(message)):
            self._door.forget(id_str.encode("utf-8", "replace"))
        elif kind == "scrub_geo" and (scrubbed := kinds.scrubbed(message)):
            self._door.scrub(*scrubbed)
        elif kind == "disconnect":
            self._disconnect_code = kinds.number(message, "disconnect", "code")
            self.logger.warning("Twitter disconnects us", extra={"notice": message["disconnect"]})
        elif kind == "warning":
            self._vitals.percent_full = kinds.number(message, "warning", "percent_full") or 0
            self.logger.warning("Twitter warns", extra={"notice": message["warning"]})

    def _deliver(self, id_str: str, value: bytes) -> None:
        self._door.send([self._message(id_str, value)])

    def _message(self, id_str: str, value: bytes) -> Message:
        """A tweet for Kafka, keyed by its id."""
        return Message(id_str.encode("utf-8", "replace") or None, value, self.kafka_topic)

    def _deliver_notice(self, message: Any, value: bytes) -> None:
        """To the topic of notices, keyed by the id it speaks of, or else where the tweets go."""
        if topic := self.settings.KAFKA_NOTICES_TOPIC:
            key = kinds.subject_id(message)
            self._door.send([Message(key.encode("utf-8", "replace") if key else None, value, topic)])
        else:
            self._door.send([Message(None, value, self.kafka_topic)])

    def _send_enriched_data_to_kafka(self, tweet: Any, enriched_data: Any) -> None:
        """Send the enriched data, keyed by the tweet's id. Waits for nobody; standard output where Kafka is off."""
        value = fields.dump(enriched_data)
        if self._message_is_tweet(tweet):
            self._deliver(kinds.tweet_id(tweet), value)
        else:
            self._deliver_notice(tweet, value)

    # Enriching, dict in and dict out

    def _enrich_tweet(self, tweet: Any) -> Any:
        """The tweet with its ``traptor`` object; any other message as it is. Counts either."""
        if self._message_is_tweet(tweet):
            tweet = self._create_traptor_obj(tweet)
            tweet = self._add_iso_created_at(tweet)
            return self._find_rule_matches(tweet)
        if self._message_is_limit_message(tweet) and (count := kinds.limit_count(tweet)) is not None:
            self._increment_limit_message_counter(count)
        return tweet

    @staticmethod
    def _message_is_tweet(message: Any) -> bool:
        return kinds.kind(message) == "tweet"

    @staticmethod
    def _message_is_limit_message(message: Any) -> bool:
        return kinds.kind(message) == "limit"

    def _create_traptor_obj(self, tweet_dict: dict[str, Any]) -> dict[str, Any]:
        """The tweet with a ``traptor`` dict that holds type and id of this Traptor."""
        return {**tweet_dict, "traptor": dict(self._blocks.identity)}

    def _add_iso_created_at(self, tweet_dict: dict[str, Any]) -> dict[str, Any]:
        """The tweet with ``traptor.created_at_iso``; None where it has no time that can be read."""
        iso = times.iso_time_or_none(tweet_dict.get("created_at"))
        return {**tweet_dict, "traptor": {**tweet_dict.get("traptor", {}), "created_at_iso": iso}}

    def _find_rule_matches(self, tweet_dict: dict[str, Any]) -> dict[str, Any]:
        """The tweet with the flat fields of the last rule that holds, and all that hold in ``rules``."""
        matches = self._matcher.match(fields.view(tweet_dict))
        self._count_matches(matches)
        matched = fields.load(self._blocks.matched(matches))
        return {**tweet_dict, "traptor": {**tweet_dict.get("traptor", {}), **matched}}

    @staticmethod
    def _tweet_time_to_iso(tweet_time: str) -> str:
        """``created_at`` in ISO format. Raises ValueError for what is no time."""
        return times.iso_time(tweet_time)

    # Counting

    def _count_matches(self, matches: Sequence[Match]) -> None:
        """Count a tweet that fits these rules."""
        self.account.counts["matched" if matches else "unmatched"] += 1
        for match in matches:
            self._increment_rule_counter(self._rule_ids[match.position])

    def _acknowledged(self, delivered: Sequence[Message], now: float) -> None:
        """Kafka has them."""
        tweet_ids = [message.key for message in delivered if message.key and message.topic == self.kafka_topic]
        self._latency.observe(tweet_ids, now)

    def _make_rule_counters(self) -> dict[str, counters.RollingCounter]:
        """Make ``self.rule_counters``, by rule_id; the counters of rules that stay go on counting."""
        rule_ids = [rule.get("rule_id", "") for rule in self.redis_rules if self.enable_stats_collection]
        self.rule_counters = {
            rule_id: self.rule_counters.get(rule_id) or self._create_rule_counter(rule_id) for rule_id in rule_ids
        }
        return self.rule_counters

    def _create_rule_counter(self, rule_id: str) -> counters.RollingCounter:
        """A counter of one rule's matches within the rolling window."""
        key = keys.stats(self.traptor_type, self.traptor_id, rule_id)
        return counters.RollingCounter(key, self.settings.STATS_COLLECTION_WINDOW)

    def _delete_rule_counters(self) -> None:
        """Forget the rule counters; what they wrote to Redis goes with its TTL."""
        self.rule_counters = {}

    def _increment_rule_counter(self, rule_value: str) -> None:
        """Count a match of the rule with this rule_id."""
        if counter := self.rule_counters.get(rule_value):
            counter.increment()

    def _make_limit_message_counter(self) -> None:
        """Make ``self.limit_counter``, the tweets that Twitter says it withheld within the rolling window."""
        self.limit_counter = self.limit_counter or counters.RollingCounter(
            keys.limit(self.traptor_type, self.traptor_id), self.settings.LIMIT_COUNT_COLLECTION_WINDOW
        )

    def _increment_limit_message_counter(self, limit_count: int) -> None:
        """Count what this number in a limit notice adds to the largest one seen on this connection."""
        if raised := self._limit_watch.raised_by(limit_count):
            self.account.counts["withheld"] += raised
            self._make_limit_message_counter()
            self.limit_counter.increment(raised)

    # Side roads: each runs in a thread of its own, and only sets flags

    def _guarded(self, side_road: Callable[[], None]) -> None:
        """Run a side road for as long as we live: whatever surfaces at its edge is told, and it goes on."""
        name = side_road.__name__.strip("_")
        while not self._stopped.is_set():
            try:
                side_road()
            except redis.RedisError as error:
                self.logger.warning("Redis fails: trying again", extra={"in": name, "error": str(error)})
            except Exception as error:
                self.logger.exception("a thread failed and is started again", extra={"in": name})
                self._reporter.report(error)
            self._stopped.wait(SIDE_ROAD_RETRY_SECONDS)

    def _listen_for_notices(self) -> None:
        while not self._stopped.is_set():
            self._check_redis_pubsub_for_restart()

    def _check_redis_pubsub_for_restart(self) -> None:
        """Look for a notice for this Traptor; when one has come, set ``restart_flag`` and return.

        The subscription stays for the next call, so that nothing published in between is lost.
        """
        self._notices = self._notices or notices.payloads(self.pubsub_conn, self.traptor_notify_channel)
        try:
            for payload in self._notices:
                if payload is notices.SUBSCRIBED:
                    # One may have been published before the subscription stood.
                    self._may_have_missed_notices = True
                    self._wake_up()
                elif keys.is_notice_for(payload, self.traptor_type, self.traptor_id):
                    put_off_seconds = max(0.0, self._restart_not_before - time.monotonic())
                    self.logger.info("restart notice", extra={"put_off_s": round(put_off_seconds, 2)})
                    self.restart_flag = True
                    self._wake_up()
                    return
                elif payload is None and self._stopped.wait(self.settings.PUBSUB_CHECK_INTERVAL):
                    return
        except BaseException:
            self._notices = None
            raise

    def _send_heartbeat_message(self) -> None:
        """Write a heartbeat to Redis every HEARTBEAT_INTERVAL, for as long as the main loop makes progress."""
        while not self._stopped.is_set():
            if self._vitals.is_alive():
                self._add_heartbeat_message_to_redis(self.heartbeat_conn)
            self._stopped.wait(self.settings.HEARTBEAT_INTERVAL)

    def _add_heartbeat_message_to_redis(self, heartbeat_conn: Any) -> Any:
        """Add a heartbeat to Redis. Raises redis.ConnectionError when Redis refuses it three times."""
        return heartbeat.beat(heartbeat_conn, self.traptor_type, self.traptor_id, self.settings.HEARTBEAT_INTERVAL)

    def _hold_credential(self) -> None:
        """Renew the lease, for as long as the main loop makes progress."""
        while not self._stopped.wait(RENEW_SECONDS):
            if self._vitals.is_alive():
                self._credential.renew()

    def _report_every_second(self) -> None:
        while not self._stopped.wait(REPORT_SECONDS):
            self._report()

    def _report(self) -> None:
        """Write counters, status, sign of life and gaps to Redis. Raises redis.RedisError; the next one catches up."""
        until = self._vitals.collected_until()
        life = journal.life(self._gaps, self.account.counts["withheld"], until, stopped=self._stopping)
        self._journal.write(self._all_counters(), self._status(), life)

    def _status(self) -> dict[str, Any]:
        """What stands in the status key."""
        return self._vitals.status()

    def _all_counters(self) -> list[counters.RollingCounter]:
        return [*self.rule_counters.values(), *([self.limit_counter] if self.limit_counter else [])]

    # Gaps

    def _recall_life(self) -> None:
        """Take up where the last run ended: what was withheld, and the gap since its last sign of life."""
        try:
            if life := self._journal.last_life():
                self.account.counts["withheld"] = journal.take_up(life, self._gaps)
        except (redis.RedisError, ValueError) as error:
            self.logger.warning("the end of the last run is not known", extra={"error": str(error)})

    def _tell_gap(self, gap: Gap) -> None:
        """A gap is over: log it, keep it for Redis, and send it where notices go."""
        record = gap.record()
        self.logger.warning("gap", extra=record)
        self._journal.add(gap)
        if topic := self.settings.KAFKA_NOTICES_TOPIC:
            self.account.counts["received:gap"] += 1
            key = keys.notice(self.traptor_type, self.traptor_id)
            self._door.send([Message(key.encode(), fields.dump({"gap": record}), topic)])

    # Waiting

    def _pause(self, seconds: float) -> None:
        """Wait, unless told to stop or to restart."""
        deadline = time.monotonic() + seconds
        while not self._is_interrupted() and (left := deadline - time.monotonic()) > 0:
            self._wait(min(left, BEAT_SECONDS))

    def _is_interrupted(self) -> bool:
        return self._stopping or self.restart_flag or self._may_have_missed_notices

    def _wake_up(self) -> None:
        """Cut a wait short."""
        if self._wake.empty():
            self._wake.put(None)

    def _wait(self, seconds: float) -> None:
        """Wait until woken, and show that the main loop makes progress."""
        self._turn()
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=seconds)
        self._turn()


DICT_METHODS = (
    "_enrich_tweet",
    "_message_is_tweet",
    "_message_is_limit_message",
    "_create_traptor_obj",
    "_add_iso_created_at",
    "_find_rule_matches",
    "_tweet_time_to_iso",
    "_increment_rule_counter",
    "_increment_limit_message_counter",
    "_send_enriched_data_to_kafka",
)
"""Whoever replaces one of these sees every message pass through it."""
SIDE_ROAD_RETRY_SECONDS = 5.0


def main() -> None:
    """The command line, as ``python -m traptor`` runs it."""
    runpy.run_module("traptor", run_name="__main__", alter_sys=True)
