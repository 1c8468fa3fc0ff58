"""Signs of life in Redis."""

from datetime import UTC, datetime
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from traptor import keys

RETRIES = 2
_RETRY = Retry(ExponentialBackoff(cap=1.0, base=0.1), RETRIES, supported_errors=(redis.ConnectionError,))


def beat(conn: Any, traptor_type: str, traptor_id: int, interval_seconds: float) -> Any:
    """Write one heartbeat that lives for two intervals. Raises redis.ConnectionError after its retries."""
    key = keys.heartbeat(traptor_type, traptor_id, datetime.now(UTC))
    ttl_seconds = max(1, round(2 * interval_seconds))
    return _RETRY.call_with_retry(lambda: conn.setex(key, ttl_seconds, "alive"), lambda error: None)
