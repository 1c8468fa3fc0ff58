"""The credential lease: one Traptor per credential, since Twitter ends the older of two streams."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traptor import keys

TTL_SECONDS = 15
RENEW_SECONDS = 3.0
FREE = ""
"""What stands there once it was released. A key that is gone before its time has only been lost."""


def credential_hash(apikeys: Mapping[str, str]) -> str:
    """A short hash of consumer key and token, never of a secret, to name a credential by."""
    names = f"{apikeys.get('CONSUMER_KEY', '')}\0{apikeys.get('ACCESS_TOKEN', '')}"
    return hashlib.sha256(names.encode()).hexdigest()[:16]


class Lease:
    """A key in Redis that says who we are, for as long as we renew it. Every method raises redis.RedisError."""

    def __init__(self, conn: Any, key: str, traptor_type: str, traptor_id: int) -> None:
        self._conn = conn
        self._key = key
        process = {"host": socket.gethostname(), "pid": os.getpid(), "place": _place()}
        self._own = json.dumps({**process, "type": traptor_type, "id": traptor_id, "nonce": os.urandom(4).hex()})
        self._other: dict[str, Any] = {}
        self._others_until = 0.0
        """Who else had it by our last look, and how long it lasts if it is not renewed."""

    def take(self) -> dict[str, Any] | None:
        """Take or renew the lease, at once from a process that is seen to be dead.

        None when it is ours, else who holds it: host, pid, type, id.
        """
        # Looked at before it is written: a frozen Redis, once it thaws, does whatever it has been sent meanwhile.
        holder: dict[str, Any] | None = self._conn.transaction(self._renew, self._key, value_from_callable=True)
        return holder

    def _renew(self, pipe: Any) -> dict[str, Any] | None:
        value, left_ms = pipe.get(self._key), pipe.pttl(self._key)
        pipe.multi()
        if value is None and time.monotonic() < self._others_until and not _is_dead(self._other):
            # Redis has lost it: who holds it is to have the time to write it again.
            return self._other
        held = _text(value)
        holder = _holder(held)
        if held in {self._own, FREE} or _is_dead(holder):
            pipe.set(self._key, self._own, ex=TTL_SECONDS)
            return None
        self._other, self._others_until = holder, time.monotonic() + left_ms / 1000
        return holder

    def release(self) -> None:
        """Hand the lease over, if it is ours."""

        def free(pipe: Any) -> None:
            held = _text(pipe.get(self._key))
            pipe.multi()
            if held == self._own:
                pipe.set(self._key, FREE, ex=TTL_SECONDS)

        self._conn.transaction(free, self._key)


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def _holder(held: str) -> dict[str, Any]:
    try:
        return keys.content(held)
    except ValueError:
        return {"host": "unknown", "value": held[:100]}


def _place() -> str:
    """Where process numbers mean the same: this boot of this machine, and this container on it. Empty where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_dead(holder: Mapping[str, Any]) -> bool:
    """Is the holder a process of this place that is no more? Of other places nobody can tell."""
    place, pid = holder.get("place"), holder.get("pid")
    if not place or place != _place() or not isinstance(pid, int) or pid <= 0:
        return False
    return pid != os.getpid() and not Path(f"/proc/{pid}").exists()
