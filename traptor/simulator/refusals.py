"""The ways not to get a stream."""

import math
import time
from collections.abc import Mapping
from email.utils import formatdate

from traptor.simulator.faults import Answer, Calm, Clock, Drop, Status

BODIES = {
    401: "Unauthorized",
    403: "Forbidden: this account may not use statuses/filter",
    404: "Not Found",
    406: "No filter parameters found. Expect at least one parameter: follow track locations",
    410: "Gone: this endpoint has been retired",
    413: "Too Long",
    416: "Range Unacceptable",
    420: "Easy there, Turbo. Too many requests recently. Enhance your calm.",
    429: "Too Many Requests",
    503: "Service Unavailable",
}
"""By status: Twitter's own texts for 406 and 420."""


class Refusal(Exception):
    """An answer other than a stream: status, plain text for the body, headers beside or instead of the usual ones."""

    def __init__(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


class Dropped(ConnectionAbortedError):
    """Close the connection without an answer."""


def of_fault(fault: Answer) -> Refusal | Dropped:
    match fault:
        case Status():
            headers: dict[str, str] = {}
            if fault.retry_after is not None:
                headers["Retry-After"] = str(fault.retry_after)
            if fault.reset_after is not None:
                headers["x-rate-limit-reset"] = str(math.ceil(time.time() + fault.reset_after))
            body = BODIES.get(fault.code, "") if fault.body is None else fault.body
            return Refusal(fault.code, body, headers)
        case Clock():
            date = formatdate(time.time() + fault.seconds, usegmt=True)
            return Refusal(401, "Timestamp out of bounds: compare your clock with the Date header", {"Date": date})
        case Calm():
            return Refusal(420, BODIES[420])
        case Drop():
            return Dropped()
