"""The lease: one Traptor per credential, since Twitter ends the older of two streams, and one process per Traptor,
since two would deliver everything twice."""

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from traptor import keys
from traptor.redaction import reveal

TTL_SECONDS = 15
RENEW_SECONDS = 3.0
NO_END = -1
"""What Redis says of a key that stays; every lease of ours ends."""
FREE = ""
"""What stands there once it was released. A key that is gone before its time has only been lost."""

log = logging.getLogger(__name__)


def credential_hash(apikeys: Mapping[str, str]) -> str:
    """A short hash of consumer key and token, never of a secret, to name a credential by."""
    names = "\0".join(reveal(apikeys.get(name, "")) for name in ("CONSUMER_KEY", "ACCESS_TOKEN"))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


class _Other(NamedTuple):
    """Who else had a key by our last look, and how long that lasts if it is not renewed."""

    holder: dict[str, Any]
    until: float


class Lease:
    """Keys in Redis that say who we are, for as long as we renew them: all of them or none. Every method raises
    redis.RedisError."""

    def __init__(
        self, conn: Any, lease_keys: Sequence[str], traptor_type: str, traptor_id: int, credential: str = ""
    ) -> None:
        self._conn = conn
        self._keys = lease_keys
        process = {"host": socket.gethostname(), "pid": os.getpid(), "place": _place()}
        name = {"type": traptor_type, "id": traptor_id, "credential": credential}
        self.own = json.dumps({**process, **name, "nonce": os.urandom(4).hex()})
        self._others: dict[str, _Other] = {}
        self._was_away = False
        """Redis has not answered since we last looked."""
        self._left: _Other | None = None

    def predecessor(self) -> dict[str, Any] | None:
        """Who has left us a part of the keys, and is to leave us the rest, by our last look; None once all are ours."""
        left = self._left  # which another thread may take or renew meanwhile
        return left.holder if left and time.monotonic() < left.until else None

    def take(self) -> dict[str, Any] | None:
        """Take or renew the lease, at once from a process that is seen to be dead.

        None when it is ours, else who holds it: host, pid, type, id and, but for earlier versions, credential. It is
        ours as well where all that is missing is what a ``predecessor`` leaves.
        """
        # Looked at before it is written: a frozen Redis, once it thaws, does whatever it has been sent meanwhile.
        was_away, self._was_away = self._was_away, True
        if was_away:
            self._give_time()
        holder: dict[str, Any] | None = self._conn.transaction(self._renew, *self._keys, value_from_callable=True)
        self._was_away = False
        return holder

    def _give_time(self) -> None:
        """Nobody could renew a lease while Redis was away: whoever has one is to have the time to."""
        until = time.monotonic() + TTL_SECONDS
        self._others = {key: other._replace(until=until) for key, other in self._others.items()}

    def _renew(self, pipe: Any) -> dict[str, Any] | None:
        looked_at = [(key, pipe.get(key), pipe.pttl(key)) for key in self._keys]
        pipe.multi()
        others = {
            key: holder
            for key, value, left_ms in looked_at
            if (holder := self._other_holder(key, value, left_ms)) is not None
        }
        if staying := [holder for holder in others.values() if not holder.get("leaves")]:
            return staying[0]
        self._others = {key: self._others[key] for key in others}
        self._left = next(iter(self._others.values()), None)
        for key in self._keys:
            if key not in others:
                pipe.set(key, self.own, ex=TTL_SECONDS)
        return None

    def hand_over(self, key: str) -> None:
        """Hand this key over now, and say with the others, as far as they are ours, that they will be left."""
        leaving = json.dumps({**json.loads(self.own), "leaves": True})

        def hand(pipe: Any) -> None:
            ours = [one for one in self._keys if _text(pipe.get(one)) == self.own]
            pipe.multi()
            for one in ours:
                pipe.set(one, FREE if one == key else leaving, ex=TTL_SECONDS)

        self._conn.transaction(hand, *self._keys)
        self.own, self._keys = leaving, [one for one in self._keys if one != key]

    def _other_holder(self, key: str, value: str | bytes | None, left_ms: int) -> dict[str, Any] | None:
        if value is None:
            # Redis has lost it: who holds it is to have the time to write it again.
            other = self._others.get(key)
            return other.holder if other and time.monotonic() < other.until and not _is_dead(other.holder) else None
        held = _text(value)
        holder = as_holder(held)
        if held in {self.own, FREE} or _is_dead(holder):
            return None
        if left_ms == NO_END and "value" in holder:
            log.warning("a lease that none of ours has written is taken", extra={"key": key, "value": holder["value"]})
            return None
        self._others[key] = _Other(holder, time.monotonic() + left_ms / 1000)
        return holder

    def release(self) -> None:
        """Hand the lease over, as far as it is ours."""

        def free(pipe: Any) -> None:
            ours = [key for key in self._keys if _text(pipe.get(key)) == self.own]
            pipe.multi()
            for key in ours:
                pipe.set(key, FREE, ex=TTL_SECONDS)

        self._conn.transaction(free, *self._keys)


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def as_holder(held: str) -> dict[str, Any]:
    """What the text of a lease says."""
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
