"""Rules from elsewhere into Redis, spread over as many Traptors as they need."""

from collections.abc import Iterable, Mapping
from typing import Any

from traptor import keys
from traptor.rules import LIMITS


class RulesToRedis:
    """Writes rules to Redis. ``conn`` is a redis-py client, or anything that behaves like one."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    def rule_max(self, traptor_type: str) -> int:
        """How many rules one Traptor of this type takes. Raises ValueError for what is no type."""
        if traptor_type not in LIMITS:
            raise ValueError(f"{traptor_type!r} is not a type of Traptor; allowed is {', '.join(LIMITS)}")
        return LIMITS[traptor_type]

    def send_rules(self, traptor_type: str, rules: Iterable[Mapping[str, Any]]) -> None:
        """Write each rule as a hash under ``traptor-<type>:<shard>:<index>``, all at once; full shards come first.

        Raises ValueError for what is no type, and redis.RedisError.
        """
        most = self.rule_max(traptor_type)
        with self.conn.pipeline() as pipe:
            for index, rule in enumerate(rules):
                pipe.hset(keys.rule(traptor_type, index // most, index), mapping=dict(rule))
            pipe.execute()
