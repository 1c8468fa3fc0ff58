"""How we are: the facts that the main loop notes, and what the status key, the metrics and the log make of them."""

import logging
import os
import socket
import threading
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from traptor import __version__
from traptor.account.gaps import Gaps, iso
from traptor.account.ledger import Account
from traptor.account.state import State, of_stream, worst
from traptor.delivery.door import Door
from traptor.printable import harmless
from traptor.rules.checked import LIMITS, Facts
from traptor.rules.watch import Watch
from traptor.sources.source import Source
from traptor.sources.stream import KEEP_ALIVE_SECONDS, FilterStream
from traptor.sources.turn import Turn

STUCK_SECONDS = 15.0
"""Without progress of the main loop for so long, nobody says that we are alive."""
MOST_REASON = 500
"""Characters; it may repeat what a server says."""


class Vitals:
    """Written by the main loop, read by any thread. Times are of time.monotonic() unless they are datetimes."""

    def __init__(
        self,
        traptor_type: str,
        traptor_id: int,
        source: Source,
        *,
        account: Account,
        gaps: Gaps,
        turn: Turn,
        watch: Watch,
    ) -> None:
        self.account = account
        self.door: Door | None = None
        self.stream: Any = None
        self.rules = Facts("", 0, 0)
        self.phase = State.STARTING
        self.reason = ""
        self.risks: list[str] = []
        """What the settings allow that may lose tweets, in words."""
        self.progress_at = time.monotonic()
        self.last_message_at = 0.0
        self.last_tweet_at = 0.0
        self.percent_full = 0
        """How full Twitter's queue for us is, by its last warning."""
        self._type = traptor_type
        self._id = traptor_id
        self._source = source
        self._gaps = gaps
        self._turn = turn
        self._watch = watch
        self._log = logging.getLogger(f"traptor.{traptor_type}-{traptor_id}")
        self._telling = threading.Lock()
        self._told = State.STARTING
        self._since = self._started = datetime.now(UTC)

    def enter(self, phase: State, reason: str = "") -> None:
        """The main loop does something else now."""
        self.phase, self.reason = phase, harmless(reason, MOST_REASON)

    def opened(self, stream: Any, rule_set: str) -> None:
        """There is a stream again, for these rules: the gap is over."""
        self.last_message_at = time.monotonic()
        self.percent_full = 0
        if self._gaps.open:
            self.account.counts[f"reconnects:{self._gaps.open.cause}"] += 1
        self._gaps.end(rule_set)
        self.stream = stream
        self.enter(State.STREAMING)

    def closed(self) -> None:
        """The stream is over: its bytes are the account's."""
        self.account.counts["received_bytes"] += getattr(self.stream, "received_bytes", 0)
        self.stream = None

    def accept(self, risks: list[str]) -> None:
        """The settings allow these: told now, and for as long as we run."""
        self.risks = risks
        for risk in risks:
            self._log.warning("KAFKA_OPTIONS put tweets at risk", extra={"risk": risk})

    def is_alive(self) -> bool:
        """Does the main loop make progress?"""
        return time.monotonic() - self.progress_at < STUCK_SECONDS

    def state(self) -> State:
        """What matters most now."""
        phase, open_stream, now = self.phase, self.stream, time.monotonic()
        if phase is State.STREAMING and isinstance(open_stream, FilterStream):
            phase = of_stream(now - open_stream.last_byte, now - self.last_message_at)
        return worst(phase, self._troubles())

    def _troubles(self) -> dict[str, str]:
        return self.door.troubles() if self.door else {}

    def why(self, state: State) -> str:
        """More about this state."""
        if trouble := self._troubles().get(state):
            return trouble
        if rival := self._turn.credential.rival:
            waits = "{host} pid {pid} waits to run as this Traptor too".format_map(defaultdict(str, rival))
            return f"{self.reason}; {waits}" if self.reason else waits
        return self.reason

    def collected_until(self) -> datetime:
        """Now; or when the last byte came, where the open stream owes us a keep-alive."""
        now, silent_seconds = datetime.now(UTC), 0.0
        if isinstance(open_stream := self.stream, FilterStream):
            silent_seconds = time.monotonic() - open_stream.last_byte
        return now - timedelta(seconds=silent_seconds) if silent_seconds > KEEP_ALIVE_SECONDS else now

    def tell(self) -> State:
        """Log a change of state once, and remember since when it holds."""
        with self._telling:
            state = self.state()
            if state is not self._told:
                self._told, self._since = state, datetime.now(UTC)
                why = self.why(state)
                self._log.info("state", extra={"state": state.value, **({"reason": why} if why else {})})
            return state

    def counts(self) -> Counter[str]:
        """The account's counts, with the bytes of the open stream."""
        counts = self.account.counts.copy()
        counts["received_bytes"] += getattr(self.stream, "received_bytes", 0)
        return counts

    def gauges(self) -> dict[str, float]:
        """The values of metrics.GAUGES; those of a stream only while there is one."""
        now = time.monotonic()
        gauges = {
            "gap_seconds": self._gaps.seconds,
            "waiting_messages": self.door.waiting() if self.door else 0,
            "rules": self.rules.rules,
            "rules_left_out": len(self._watch.problems),
        }
        if self.door:
            gauges |= self.door.gauges()
        if isinstance(open_stream := self.stream, FilterStream):
            gauges["seconds_since_last_byte"] = now - open_stream.last_byte
            gauges["stall_percent_full"] = self.percent_full
        if self.last_tweet_at:
            gauges["seconds_since_last_tweet"] = now - self.last_tweet_at
        return gauges

    def status(self) -> dict[str, Any]:
        """What stands in the status key."""
        state, counts, gauges = self.tell(), self.account.counts, self.gauges()
        until = datetime.now(UTC) + timedelta(seconds=self._turn.credential.wait_seconds())
        gaps_day, gap_seconds_day = self._gaps.of_last_day()
        return {
            "type": self._type,
            "id": self._id,
            "state": state,
            "since": iso(self._since),
            "started": iso(self._started),
            "reason": self.why(state),
            "risks": "; ".join(self.risks),
            "until": iso(until) if state is State.BACKING_OFF else None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "rule_set": self.rules.rule_set,
            "rules": self.rules.rules,
            "predicates": self.rules.predicates,
            "predicate_limit": LIMITS[self._type],
            "left_out": gauges["rules_left_out"],
            "tweets_per_second": self.account.rate(),
            "rates": self.account.rates(),
            "last_tweet_at": _ago(gauges.get("seconds_since_last_tweet")),
            "last_byte_at": _ago(gauges.get("seconds_since_last_byte")),
            "received": self.account.sum("received"),
            "matched": counts["matched"],
            "unmatched": counts["unmatched"],
            "taken_up": counts["taken_up"],
            "delivered": counts["delivered"],
            "waiting": gauges["waiting_messages"],
            "spool_messages": gauges.get("spool_messages", 0),
            "spool_bytes": gauges.get("spool_bytes", 0),
            "apart": counts["apart"],
            "spool_damaged_files": counts["spool_damaged_files"],
            "dropped": self.account.sum("dropped"),
            "withheld": counts["withheld"],
            "ack_lag_seconds": round(gauges.get("ack_lag_seconds", 0.0), 1),
            "gaps_day": gaps_day,
            "gap_seconds_day": gap_seconds_day,
            "credential": self._turn.credential.name,
            **self._source.status(),
        }


def _ago(seconds: float | None) -> str | None:
    return None if seconds is None else iso(datetime.now(UTC) - timedelta(seconds=seconds))
