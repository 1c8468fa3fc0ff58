"""The Traptor: one credential, one type of rule, one stream. The story of the program, in the order of its life."""

import logging
import math
import runpy
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from traptor import exits, keys, logs, settings
from traptor.account import claims, counters, heartbeat, journal, metrics
from traptor.account.gaps import Gap, Gaps
from traptor.account.intake import Intake
from traptor.account.journal import Journal
from traptor.account.ledger import Account
from traptor.account.state import State
from traptor.account.vitals import Vitals
from traptor.account.web_server import Server
from traptor.connections import connect_to_redis
from traptor.delivery.address import Address
from traptor.delivery.door import Door, OutputError
from traptor.delivery.standard_output import StandardOutput
from traptor.dict_methods import DictMethods
from traptor.exits import Exit
from traptor.kafka_methods import KafkaMethods
from traptor.passage import Passage, portions
from traptor.reports import Reporter
from traptor.rule_methods import RuleMethods
from traptor.rules import notices
from traptor.rules.watch import Watch
from traptor.sources.credential import Credential
from traptor.sources.lease import RENEW_SECONDS
from traptor.sources.source import chosen
from traptor.sources.stream import StreamEnded
from traptor.sources.turn import Turn, Verdict, Wait
from traptor.sources.v1 import MyBirdyClient
from traptor.threads import Pulse, SideRoads, say_farewell
from traptor.tweets.duplicates import RecentIds
from traptor.tweets.enrichment import Enrichment

__all__ = ["MyBirdyClient", "Traptor", "main"]

PORTION_MESSAGES = 100
TICK_SECONDS = 0.1
"""How often the door is asked to settle what is on its way."""
REPORT_SECONDS = 1.0
FAREWELL_SECONDS = 0.7
"""What Redis may take of the time to stop, each time that it is told something."""
DELIVERY_SECONDS = 2.0
"""What is left of the time to stop for what we have received ourselves."""


class Traptor(RuleMethods, KafkaMethods, DictMethods):
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
        self.traptor_notify_channel = wanted.REDIS_PUBSUB_CHANNEL
        self.rule_check_interval = wanted.RULE_CHECK_INTERVAL
        self.traptor_type, self.traptor_id = wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID
        self.apikeys = wanted.apikeys
        self.kafka_enabled = wanted.KAFKA_ENABLED
        self.kafka_hosts = wanted.KAFKA_HOSTS
        self.kafka_topic = wanted.KAFKA_TOPIC
        self.use_sentry, self.sentry_url = wanted.USE_SENTRY, wanted.SENTRY_URL
        self.log_level, self.log_dir, self.log_file_name = wanted.LOG_LEVEL, wanted.LOG_DIR, wanted.LOG_FILE
        self.enable_stats_collection = wanted.ENABLE_STATS_COLLECTION

        self.name = f"traptor-{self.traptor_type}-{self.traptor_id}"
        self.logger: Any = logging.getLogger(f"traptor.{self.traptor_type}-{self.traptor_id}")
        self.restart_flag = False
        self.birdy_stream: Any = None
        self.redis_rules: list[dict[str, str]] = []
        self.twitter_rules: str | None = None
        self.locations_rule: dict[str, Any] = {}
        self.rule_counters: dict[str, counters.RollingCounter] = {}
        self.limit_counter: Any = None
        self.account = Account()
        self.output: Any = None
        """In the place of standard output: what has ``writelines`` and ``flush``."""
        self._furnish(wanted)

    def _furnish(self, wanted: settings.Settings) -> None:
        """What this life needs of each wing."""
        name, counts = (self.traptor_type, self.traptor_id), self.account.counts
        self._source = chosen(wanted, counts)
        self._enrichment = Enrichment(*name, [])
        self._watch = Watch(wanted.RULE_REFRESH_INTERVAL, wanted.RESTART_MIN_INTERVAL, self.rule_check_interval)
        self._listener = notices.Listener(self.pubsub_conn, self.traptor_notify_channel, *name)
        self._pulse = Pulse(self._tick, lambda: self._stopping)
        self._turn = Turn(Credential(self.redis_conn, wanted.credential, *name), self._pulse.wake)
        self._gaps = Gaps(*name, self._tell_gap)
        self._vitals = Vitals(
            *name, self._source, account=self.account, gaps=self._gaps, turn=self._turn, watch=self._watch
        )
        window = max(wanted.DEDUPE_WINDOW, self._source.most_repeated) if wanted.DEDUPE_WINDOW else 0
        self._recent = RecentIds(window)
        self._intake = Intake(self._vitals, self._gaps, self._turn, self._recent)
        self._address = Address(self.kafka_topic, wanted.KAFKA_NOTICES_TOPIC)
        self._passage = Passage(self._source, self._intake, self._address, self._count_matches, claims.claiming(wanted))
        self._door: Door = StandardOutput(counts)
        self._journal = Journal(self.heartbeat_conn, *name, max(15, round(3 * wanted.HEARTBEAT_INTERVAL)))
        self._latency = metrics.Latency()
        self._metrics_server: Server | None = None
        self._reporter = Reporter(None)
        self._side_roads = SideRoads(lambda error: self._reporter.report(error))  # noqa: PLW0108 - it is another one later
        self._limit_watch = counters.LimitWatch()
        self._tweet_limit: int | None = None
        self._knows_rules = self._stopping = False
        self._stop_by = math.inf
        """When what was received is to be delivered, by time.monotonic()."""
        self._tick_at = 0.0

    def __repr__(self) -> str:
        return f"Traptor(type={self.traptor_type!r}, id={self.traptor_id!r}, topic={self.kafka_topic!r})"

    @property
    def rule_set(self) -> str:
        """A short hash of the rules that tweets are matched against."""
        return self._enrichment.version

    @property
    def birdy_conn(self) -> Any:
        """The client that speaks to Twitter; None before ``_setup_birdy``."""
        return self._source.client

    @birdy_conn.setter
    def birdy_conn(self, client: Any) -> None:
        self._source.client = client

    # The whole life

    def run(self, tweet_limit: int | None = None, delay: float = 0.0) -> None:
        """Run until told to stop, or for so many tweets; connect after ``delay`` seconds.

        Ends the process with exit code 3 if Twitter refuses it.
        """
        self._tweet_limit = tweet_limit
        self._turn.credential.not_before = time.monotonic() + delay
        try:
            with exits.heeding_signals(self._told_to_stop):
                self._setup()
                self._live()
        except (BrokenPipeError, OutputError):
            raise
        except Exception as error:
            self._reporter.report(error)
            if not isinstance(error, settings.SettingError):
                self.logger.critical("ended by an error of our own", exc_info=True)
            raise

    def _live(self) -> None:
        self._side_roads.start(self._send_heartbeat_message)
        self._side_roads.every(self.settings.PUBSUB_CHECK_INTERVAL, self._check_redis_pubsub_for_restart)
        self._side_roads.every(RENEW_SECONDS, self._hold_credential)
        self._side_roads.every(REPORT_SECONDS, self._report)
        try:
            while not self._stopping:
                self._collect()
        finally:
            self._shut_down()

    def stop(self) -> None:
        """Stop reading, deliver what was received, and let ``run`` return. Safe in a signal handler."""
        self._begin_to_end()
        self._stopping = True
        self._pulse.wake()

    def _begin_to_end(self) -> None:
        """Whether we are told to, or refused, or fail: the time that is left begins."""
        self._stop_by = min(self._stop_by, time.monotonic() + self.settings.STOP_TIMEOUT)

    def _told_to_stop(self, *_: object) -> None:
        self.stop()
        if isinstance(self._door, StandardOutput):
            self._door.give_up_in(self.settings.STOP_TIMEOUT)

    def _shut_down(self) -> None:
        """Leave within ten seconds: STOP_TIMEOUT, since we were told to, for what was received; a moment for Redis."""
        self._begin_to_end()
        if self._vitals.phase is not State.REFUSED:
            self._vitals.enter(State.STOPPING)
        self._close_stream()
        self._gaps.finish()
        say_farewell(FAREWELL_SECONDS, self._hand_over)
        # The side roads go on meanwhile: the lease on our name, which is renewed, is the spool's as well.
        self._door.close(self._stop_by - time.monotonic())
        self._side_roads.stopped.set()
        say_farewell(FAREWELL_SECONDS, self._report_end)
        say_farewell(FAREWELL_SECONDS, self._turn.credential.release)
        if self._metrics_server:
            self._metrics_server.shutdown()
        self.logger.info("stopped", extra=self.summary())

    def _hand_over(self) -> None:
        """Whoever waits may open a stream now, and is to know since when there is none. Raises redis.RedisError."""
        self._report()
        self._turn.credential.hand_over()

    def _report_end(self) -> None:
        self._report()
        is_ours = self._source.most_repeated and not self._turn.credential.has_namesake()
        if is_ours and (ids := self._recent.ids()):
            self._journal.keep_recent(ids)

    def summary(self) -> dict[str, int]:
        """This run in figures: tweets received and matched, messages delivered; what waits or was dropped, if any."""
        return self.account.summary(waiting=self._door.waiting())

    def status(self) -> dict[str, Any]:
        """What stands in the status key."""
        return self._vitals.status()

    # Setting up

    def _setup(self) -> None:
        """Set up logging, error reports, metrics, Kafka and birdy. Waits for nobody. Raises SettingError."""
        logs.set_up(self.settings)
        if self.use_sentry and not self.sentry_url:
            raise settings.SettingError("SENTRY_URL: not set, but USE_SENTRY is; allowed is your Sentry project's DSN")
        self._reporter = Reporter(self.sentry_url if self.use_sentry else None)
        self._metrics_server = metrics.serve_vitals(self.settings, self._vitals, self._latency)
        self._setup_kafka()
        self._setup_birdy()

    def _setup_birdy(self) -> None:
        """Create ``self.birdy_conn``. Connects to nothing yet."""
        self.birdy_conn = self._source.connect(self.settings)

    # One connection, from its rules to its end

    def _collect(self) -> None:
        """Wait until it is our turn, read the rules, connect, and collect until something ends it."""
        self._wait_for_turn()
        self._wait_for_rules()
        if self._stopping:
            return
        self._journal.recall(self.account, self._gaps)
        self.twitter_rules = self._make_twitter_rules(self.redis_rules)
        self._make_rule_counters()
        self._make_limit_message_counter()
        self._create_birdy_stream()
        if self.birdy_stream is None:
            return
        try:
            self._wait_for_predecessor()
            self._main_loop()
        except StreamEnded as ended:
            self._stream_ended(ended)
        finally:
            self._close_stream()
            self._vitals.closed()
            self.birdy_stream = None

    def _wait_for_turn(self) -> None:
        """Wait for the credential, for what the source says, and wait out the back-off.

        A notice cuts a short wait short, once in RESTART_MIN_INTERVAL, but never the one that Twitter has asked for.
        """
        self._renew_secrets()
        for wait in self._turn.waits(self._source.closed):
            if self._stopping or (not wait.reason and self._is_early()):
                break
            self._hold_back(wait)
        self._take_up()

    def _hold_back(self, wait: Wait) -> None:
        """Not now."""
        if wait.reason:
            self._vitals.enter(State.BACKING_OFF, wait.reason)
        if wait.is_held:
            self._stand_by()
        self._take_up()
        self._pulse.wait(wait.seconds)

    def _take_up(self) -> None:
        """What an earlier process of our name has left is ours, once that has delivered what it received."""
        if self._turn.credential.has_name():
            self._door.take_up()

    def _is_early(self) -> bool:
        """May we connect before the back-off is over, for new rules?"""
        now, credential = self._vitals.progress_at, self._turn.credential
        if not (self.restart_flag and credential.may_connect_early and self._watch.is_due(now, noticed=True)):
            return False
        self._watch.answered(now)
        return True

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
            self._turn.exchange(Credential(self.redis_conn, fresh.credential, self.traptor_type, self.traptor_id))
            self._setup_birdy()

    def _stream_ended(self, ended: StreamEnded) -> None:
        """Twitter or the network ended the stream: note the gap, and when to connect again."""
        quiet_seconds = time.monotonic() - self.birdy_stream.last_byte
        self._no_stream(self._turn.ended(ended), datetime.now(UTC) - timedelta(seconds=quiet_seconds))

    def _no_stream(self, verdict: Verdict, since: datetime | None = None) -> None:
        """There is no stream, and the verdict says why. One that is meant for good ends the process."""
        self._gaps.begin(since or datetime.now(UTC), verdict.cause)
        if verdict.refusal:
            if verdict.answer:
                self._reporter.report(verdict.answer)
            self._vitals.enter(State.REFUSED, verdict.refusal)
            self.logger.critical(f"Twitter refuses us, do not restart: {verdict.refusal}")
            raise SystemExit(Exit.REFUSED)
        self._vitals.enter(State.BACKING_OFF, verdict.cause)
        self.logger.warning("no stream", extra={"cause": verdict.cause, **verdict.facts})

    # Connecting

    def _create_birdy_stream(self) -> None:
        """Try to create ``self.birdy_stream``; None where that failed and a wait has been set, or we are to stop.

        Ends the process with exit code 3 if Twitter's answer is meant for good, so that no supervisor restarts it and
        gets the account locked out.
        """
        self.birdy_stream = None
        self._vitals.enter(State.CONNECTING)
        self._gaps.tried()
        if verdict := self._turn.attempt(partial(self._pulse.result, self._create_twitter_stream)):
            self._no_stream(verdict)
        elif self.birdy_stream is not None:
            self._stream_opened()
        elif not self._stopping:
            self._nothing_to_ask_for()

    def _create_twitter_stream(self) -> None:
        """In the background, by the method for our type of rules. Whoever follows has the credential, once we are to
        stop: a stream that is open only then would stand in its way.
        """
        getattr(self, f"_create_twitter_{self.traptor_type}_stream")()
        if self._stopping:
            self._close_stream()

    def _create_twitter_track_stream(self) -> None:
        """Create ``self.birdy_stream``, under the name for this type of rules, for each may be replaced by itself."""
        missed_since = datetime.fromisoformat(self._gaps.open.since) if self._gaps.open else None
        self.birdy_stream = self._source.open(self.twitter_rules or "", self.redis_rules, missed_since=missed_since)

    _create_twitter_follow_stream = _create_twitter_locations_stream = _create_twitter_track_stream

    def _stream_opened(self) -> None:
        self._turn.opened()
        self._limit_watch = counters.LimitWatch()
        self._vitals.opened(self.birdy_stream, self.rule_set)
        self._watch.refused(self._source.refused())
        self._watch.opened(self._vitals.progress_at)
        facts = {"rules": len(self._enrichment.rules), "rule_set": self.rule_set}
        url = getattr(self.birdy_stream, "resource_url", "")
        self.logger.info("streaming", extra={"url": url, **facts})

    def _nothing_to_ask_for(self) -> None:
        """The server can have none of the rules."""
        self.logger.error("none of the rules can be on the server: no stream")
        self._vitals.enter(State.WAITING_FOR_RULES, "none of the rules can be on the server")
        self._wait_for_predecessor()
        self._pulse.pause(self.rule_check_interval, self._is_noticed)

    # Collecting

    def _wait_for_predecessor(self) -> None:
        """Until whoever has handed the credential over to us has delivered what it received. What our stream brings is
        left in its buffer, and then in its socket, meanwhile: a delete must not overtake its tweet. What came last
        before us may come once more.
        """
        for _ in self._turn.inheriting():
            if time.monotonic() >= self._stop_by - DELIVERY_SECONDS:
                break
            self._pulse.wait()
        self._take_up()
        if self._source.most_repeated and not self._recent.ids():
            self._recent.learn(self._journal.recent())

    def _main_loop(self) -> None:
        """Handle what the stream brings until it ends, or until told to stop or to restart.

        Raises StreamEnded when Twitter or the network ended it.
        """
        reads, handle = self._long_way() or (self.birdy_stream.reads(), self._handle_bytes)
        is_ending = False
        for received in portions(reads, PORTION_MESSAGES if self._tweet_limit is None else 1):
            handle(received)
            self._tick()
            if self._has_reached_tweet_limit():
                self.stop()
                self._end_stream("stopped")
                return
            if not is_ending and (cause := self._cause_to_end()):
                self._end_stream(cause)
                is_ending = True

    def _handle_bytes(self, received: Sequence[bytes]) -> None:
        """Messages on the short way, as bytes from end to end."""
        self._passage.portion(received, self._enrichment, self._door, self._enrich_tweet)

    def _cause_to_end(self) -> str:
        """Why we are to end the stream ourselves; empty while we are not."""
        if self._stopping:
            return "stopped"
        if self._turn.credential.lost:
            return "credential-lost"
        if self._source.closed():
            return "budget"
        return "rules" if self._is_restart_due() else ""

    def _end_stream(self, cause: str) -> None:
        """We end the stream ourselves: read no more; what has arrived is still handled."""
        self._gaps.begin(self._vitals.collected_until(), cause)
        self._close_stream()

    def _close_stream(self) -> None:
        """Read no more; what has arrived can still be handled."""
        if hasattr(self.birdy_stream, "close"):
            self.birdy_stream.close()

    def _has_reached_tweet_limit(self) -> bool:
        counts = self.account.counts
        return self._tweet_limit is not None and counts["matched"] + counts["unmatched"] >= self._tweet_limit

    # Side roads: each runs in a thread of its own, and only sets flags

    def _send_heartbeat_message(self) -> None:
        """Write a heartbeat to Redis every HEARTBEAT_INTERVAL, for as long as the main loop makes progress."""
        while not self._side_roads.stopped.is_set():
            if self._vitals.is_alive():
                self._add_heartbeat_message_to_redis(self.heartbeat_conn)
            self._side_roads.stopped.wait(self.settings.HEARTBEAT_INTERVAL)

    def _add_heartbeat_message_to_redis(self, heartbeat_conn: Any) -> Any:
        """Add a heartbeat to Redis. Raises redis.ConnectionError when Redis refuses it three times."""
        return heartbeat.beat(heartbeat_conn, self.traptor_type, self.traptor_id, self.settings.HEARTBEAT_INTERVAL)

    def _hold_credential(self) -> None:
        """Renew the lease, for as long as the main loop makes progress, or has time left to deliver at the end."""
        if self._vitals.is_alive() or time.monotonic() < self._stop_by < math.inf:
            self._turn.credential.renew()

    def _report(self) -> None:
        """Write counters, status, sign of life and gaps to Redis, unless another process of our name writes its own.

        Raises redis.RedisError; the next one catches up.
        """
        self._source.report(self.redis_conn)
        if self._turn.credential.has_namesake():
            return
        rolling = [*self.rule_counters.values(), *([self.limit_counter] if self.limit_counter else [])]
        until = self._vitals.collected_until()
        life = journal.life(self._gaps, self.account.counts["withheld"], until, stopped=self._stopping)
        self._journal.write(rolling, self._vitals.status(), life)

    def _tell_gap(self, gap: Gap) -> None:
        """A gap is over: log it, keep it for Redis, and send it where notices go."""
        record = gap.record()
        self.logger.warning("gap", extra=record)
        self._journal.add(gap)
        if message := self._address.gap(keys.notice(self.traptor_type, self.traptor_id), record):
            self.account.counts["received:gap"] += 1
            self._door.send([message])

    def _tick(self) -> None:
        """What is due between two messages: show progress, and let things settle."""
        now = self._vitals.progress_at = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + TICK_SECONDS
            self._door.tick()
            self._gaps.tick(now)
            self._vitals.tell()
            self.account.mark()
            if self.birdy_stream is not None:
                self._turn.tick()


def main() -> None:
    """The command line, as ``python -m traptor`` runs it."""
    runpy.run_module("traptor", run_name="__main__", alter_sys=True)
