"""When to look at the rules in Redis, and what to make of what is found."""

import logging
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future

import redis

from traptor.rules.checked import Problem
from traptor.threads import in_background

log = logging.getLogger(__name__)

RuleDicts = list[dict[str, str]]


class Watch:
    """The rules of one Traptor, as its main loop watches them. Times by time.monotonic(), waits in seconds.

    They are looked at every ``refresh`` seconds, and when there is a notice; a storm of those is answered once in
    ``least`` seconds. Where Redis cannot be read, it is asked again after ``retry`` seconds.
    """

    def __init__(self, refresh: float, least: float, retry: float) -> None:
        self._left_out: list[Problem] = []
        self._refused: list[Problem] = []
        self._refresh, self._least, self._retry = refresh, least, retry
        self._look_at = math.inf
        self._not_before = 0.0
        self._looking: Future[RuleDicts] | None = None

    def opened(self, now: float) -> None:
        """There is a stream for the rules as they are; what a look that still goes on will find is of no use."""
        self._looking = None
        self.plan(now, self._refresh)

    def plan(self, now: float, seconds: float) -> None:
        """Look again after so many seconds, though no notice comes; 0: never."""
        self._look_at = now + seconds if seconds else math.inf

    def is_due(self, now: float, *, noticed: bool) -> bool:
        """Is it time for a look, while none goes on?"""
        return self._looking is None and now >= (self._not_before if noticed else self._look_at)

    def look(self, now: float, look: Callable[[], RuleDicts], wake: Callable[[], None]) -> None:
        """Look in the background; ``wake`` is called when something is found."""
        self.plan(now, self._refresh)
        self._looking = in_background(look, wake)

    def found(self) -> RuleDicts | None:
        """What a look in the background has found, once; None while there is nothing new."""
        if self._looking is None or not self._looking.done():
            return None
        found, self._looking = self._looking.result(), None
        return found

    def answered(self, now: float) -> None:
        """A notice has cost a connection: the next one is put off."""
        self._not_before = now + self._least

    def put_off_seconds(self, now: float) -> float:
        """For how long a notice that comes now is put off."""
        return max(0.0, self._not_before - now)

    def read(
        self, read: Callable[[], Iterable[dict[str, str]]], last: RuleDicts, now: float, *, noticed: bool
    ) -> RuleDicts:
        """What ``read`` gives, or the ``last`` whole set: where Redis cannot be read, and where it is empty though no
        notice said so, as it is after a restart without its data.
        """
        try:
            found = list(read())
        except redis.RedisError as error:
            so = "the last rules stay" if last else "check REDIS_HOST and REDIS_PORT, or REDIS_URL"
            log.warning(f"Redis cannot be read: {so}", extra={"error": str(error)})
            self.plan(now, self._retry)
            return last
        if not found and last and not noticed:
            log.error("no rules in Redis, and no notice came: the last rules stay")
            self.plan(now, self._retry)
            return last
        if noticed and found == last:
            log.info("rules unchanged")
        return found

    @property
    def problems(self) -> list[Problem]:
        """The rules that are left out: by the last look, and by the server."""
        return [*self._left_out, *self._refused]

    def left_out(self, problems: list[Problem]) -> None:
        """A look has found that these cannot be asked for."""
        before, self._left_out = self.problems, problems
        self._tell(before)

    def refused(self, problems: list[Problem]) -> None:
        """The server takes none of these."""
        before, self._refused = self.problems, problems
        self._tell(before)

    def _tell(self, before: list[Problem]) -> None:
        """Warn of each rule that is left out, once for as long as it stays so."""
        for problem in self.problems:
            if problem not in before:
                log.warning("rule left out", extra=problem._asdict())
        if self.problems and self.problems != before:
            log.warning("rules left out in all", extra={"count": len(self.problems)})
