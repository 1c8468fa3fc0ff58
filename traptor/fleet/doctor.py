"""Is everything there that a Traptor needs? Looked at piece by piece; each finding is a line, with what to do."""

import os
import shutil
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import redis
import requests
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor import folders, keys, redis_options
from traptor.account.claims import CLAIM
from traptor.fleet import kafka_check, roster
from traptor.fleet.finding import Finding, error, ok, warning
from traptor.logs import NO_FILE
from traptor.redaction import SHORTEST, Secret, reveal
from traptor.rules import checked, stored
from traptor.rules.checked import LIMITS
from traptor.rules.doubts import doubts
from traptor.settings import Settings, known
from traptor.sources import backoff, connecting
from traptor.sources.choices import CHOICES
from traptor.sources.lease import Lease, credential_hash
from traptor.sources.v1 import V1Source
from traptor.sources.v2.rules import pack
from traptor.tweets.rule import Rule

SLOW_REDIS_SECONDS = 0.05
SKEW_SECONDS = 60.0
TIMEOUT_SECONDS = 5.0
MOST_PROBLEMS = 20


def examine(
    wanted: Settings,
    conn: "redis.Redis",
    *,
    every_setting: bool = False,
    connect: bool = False,
    probe_topic: str | None = None,
) -> Iterator[Finding]:
    """All findings, in the order in which a Traptor would need the pieces. Nothing is changed, but for the probes."""
    yield from settings_and_sources(wanted, every_setting=every_setting)
    yield from credentials(wanted)
    pieces: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("redis", lambda: redis_server(conn, wanted)),
        ("rules", lambda: rules_in_redis(conn, wanted)),
        ("credential", lambda: other_holders(conn, wanted)),
        ("kafka", lambda: kafka_check.examine(wanted, probe_topic)),
        ("disk", lambda: disk(wanted)),
        ("twitter", lambda: clock(wanted.TWITTER_API_URL if wanted.TWITTER_API == "2" else wanted.TWITTER_STREAM_URL)),
    ]
    if connect:
        pieces.append(("twitter", lambda: twitter(conn, wanted)))
    for subject, look in pieces:
        yield from _looked_at(subject, look)


def _looked_at(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a piece comes to. Whatever its libraries raise is a finding as well, and the next piece is looked at."""
    try:
        yield from look()
    except redis.RedisError as failed:
        yield warning(subject, f"not looked at: {failed}", "see to Redis first")
    except Exception as failed:
        yield error(subject, f"cannot be looked at: {type(failed).__name__}: {failed}", "correct its settings")


def settings_and_sources(wanted: Settings, *, every_setting: bool = False) -> Iterator[Finding]:
    """The settings that do not have their default, or every one, and where they came from; of a secret only that."""
    sources = {one.name: wanted.sources.get(one.name, "default") for one in known()}
    shown = [one for one in known() if every_setting or sources[one.name] != "default"]
    for one in shown:
        yield ok("setting", f"{one.name} = {getattr(wanted, one.name)!r} ({sources[one.name]})")
    if others := len(sources) - len(shown):
        yield ok("setting", f"the other {others} settings have their defaults")
    yield from _weak(wanted)


def _weak(wanted: Settings) -> Iterator[Finding]:
    """What is allowed, and not wise."""
    for misnomer in wanted.misnomers:
        yield warning("setting", str(misnomer), "correct its name, or take it out")
    for name in wanted.short_secrets:
        text = f"{name} has fewer than {SHORTEST} characters: it is not looked for in what servers and libraries say"
        yield warning("setting", text, "take a longer one")
    for name in ("TWITTER_STREAM_URL", "TWITTER_API_URL"):
        if isinstance(getattr(wanted, name), Secret):
            yield warning("setting", f"{name} has a user in it, whom Twitter does not know", "take it out")
    for name, path in wanted.sources.items():
        if path.startswith("file ") and os.stat(path.removeprefix("file ")).st_mode & 0o077:
            yield warning("setting", f"{name}_FILE can be read by others", f"chmod 600 {path.removeprefix('file ')}")


def credentials(wanted: Settings) -> Iterator[Finding]:
    missing = [name for name in wanted.needed_keys if not getattr(wanted, name)]
    is_elsewhere = wanted.TWITTER_API != "2" and wanted.sources.get("TWITTER_STREAM_URL", "default") != "default"
    if missing and is_elsewhere:
        told = f"take them from whoever runs {wanted.TWITTER_STREAM_URL}; `traptor simulate` prints its own"
        yield error("credential", f"{', '.join(missing)} not set", told)
    elif missing:
        yield error("credential", f"{', '.join(missing)} not set", "take them from your app's page at Twitter")
        if not any((wanted.BEARER_TOKEN, *wanted.apikeys.values())):
            yield from (warning("api", f"{one.name} {one.text}", one.advice) for one in CHOICES)
    else:
        yield ok("credential", f"all keys are set; known as {credential_hash(wanted.credential)}")


def redis_server(conn: "redis.Redis", wanted: Settings) -> Iterator[Finding]:
    """Reachable, fast, allowed to do what a Traptor does, and never throwing rules away."""
    try:
        started = time.perf_counter()
        conn.ping()
        seconds = time.perf_counter() - started
    except redis.RedisError as failed:
        yield error("redis", f"cannot be used: {failed}", "set REDIS_HOST and REDIS_PORT, or REDIS_URL")
        return
    for risk in redis_options.risks(wanted.REDIS_URL):
        yield warning("redis", risk, "see REDIS_URL")
    told = f"answers in {seconds * 1000:.1f} ms"
    yield ok("redis", told) if seconds < SLOW_REDIS_SECONDS else warning("redis", told, "move closer to it")
    yield from _permissions(conn, wanted)
    try:
        info: Mapping[str, Any] = conn.info()
    except redis.RedisError as failed:
        yield warning("redis", f"does not say how it is set up: {failed}", "allow INFO, or see to maxmemory-policy")
        return
    yield ok("redis", f"version {info.get('redis_version', 'unknown')}")
    yield _eviction(str(info.get("maxmemory_policy", "unknown")), int(info.get("maxmemory", 0)))


def _permissions(conn: "redis.Redis", wanted: Settings) -> Iterator[Finding]:
    """Do on keys of our own, which look like theirs, what a Traptor and ``rules`` do. All are gone a moment later."""
    own, channel = (wanted.TRAPTOR_TYPE, f"doctor-{os.getpid()}"), wanted.REDIS_PUBSUB_CHANNEL
    attempts = _as_traptor(conn, channel, *own)
    if refused := _refused(chain(attempts, _as_one_of_many(conn, own[1])) if wanted.DEDUPE_ACROSS else attempts):
        yield error("redis", f"refuses {', '.join(refused)}", "give its user these commands, keys and the channel")
    else:
        yield ok("redis", "allows what a Traptor does")
    if refused := _refused(_as_rules(conn, channel, *own)):
        text = f"refuses what `rules` does: {', '.join(refused)}"
        yield warning("redis", text, "no matter, if another user changes the rules")
    else:
        yield ok("redis", "allows what `rules` does")


_Attempt = tuple[str, Callable[[], Any]]


def _as_traptor(conn: Any, channel: str, traptor_type: str, traptor_id: str) -> Iterator[_Attempt]:
    beat = keys.heartbeat(traptor_type, traptor_id, datetime.now(UTC))
    lease, handover = keys.lease(traptor_id), keys.handover(traptor_id)
    gaps, posts = keys.gaps(traptor_type, traptor_id), keys.posts(traptor_id, "month")
    texts = [
        keys.stats(traptor_type, traptor_id, "0"),
        keys.limit(traptor_type, traptor_id),
        keys.status(traptor_type, traptor_id),
        keys.life(traptor_type, traptor_id),
        keys.backoff(traptor_id),
    ]
    yield from _commands(
        conn,
        ("SCAN", 0, "MATCH", "traptor-*", "COUNT", 10),
        ("HGETALL", keys.rule(traptor_type, traptor_id, "0")),
        ("SETEX", beat, 5, "alive"),
        *[("SET", key, "doctor", "EX", 5) for key in texts],
        ("GET", keys.life(traptor_type, traptor_id)),
        ("MGET", *texts),
        ("RPUSH", gaps, "{}"),
        ("LTRIM", gaps, -1, -1),
        ("EXPIRE", gaps, 5),
        ("LRANGE", gaps, 0, -1),
        ("INCRBY", posts, 0),
        ("EXPIRE", posts, 5),
        ("LPUSH", handover, "doctor"),
        ("EXPIRE", handover, 5),
        ("BLPOP", handover, 1),
        ("DEL", beat, *texts, gaps, posts),
    )
    yield f"WATCH and MULTI {lease}", partial(_held_once, conn, lease)
    yield f"SUBSCRIBE {channel}", partial(_subscribe, conn, channel)


def _as_one_of_many(conn: Any, traptor_id: str) -> Iterator[_Attempt]:
    brought = keys.brought(traptor_id)
    yield f"EVALSHA {brought} (DEDUPE_ACROSS)", partial(conn.register_script(CLAIM), [brought], ["doctor", 5, "0"])


def _as_rules(conn: Any, channel: str, traptor_type: str, traptor_id: str) -> Iterator[_Attempt]:
    rule, moved = keys.rule(traptor_type, traptor_id, "0"), keys.rule(traptor_type, traptor_id, "1")
    silent, homes = keys.silent(traptor_type, traptor_id), keys.homes(traptor_id)
    yield from _commands(
        conn,
        ("HSET", rule, "value", "doctor"),
        ("EXPIRE", rule, 5),
        ("RENAMENX", rule, moved),
        ("HSET", homes, "0", "0"),
        ("EXPIRE", homes, 5),
        ("SET", silent, "doctor", "EX", 5),
        ("DEL", rule, moved, silent, homes),
        ("PUBLISH", channel, "doctor"),
    )
    # In place of the lock on rules, which is not ours to take.
    yield "WATCH and MULTI traptor:lock:*", partial(_held_once, conn, f"traptor:lock:{traptor_id}")


def _commands(conn: Any, *commands: tuple[Any, ...]) -> Iterator[_Attempt]:
    for command in commands:
        yield " ".join(map(str, command[:2])), partial(conn.execute_command, *command)


def _refused(attempts: Iterable[_Attempt]) -> list[str]:
    """What Redis does not allow, a line for each reason that it gives."""
    refused = defaultdict(list)
    for name, attempt in attempts:
        try:
            attempt()
        except redis.ResponseError as failed:
            # A key that an earlier attempt was not allowed to make is missing here.
            if "no such key" not in str(failed):
                refused[str(failed)].append(name)
    return [f"{', '.join(names)} ({reason})" for reason, names in refused.items()]


def _held_once(conn: Any, key: str) -> None:
    lease = Lease(conn, [key], "", 0)
    lease.take()
    lease.release()
    conn.delete(key)


def _subscribe(conn: Any, channel: str) -> None:
    with conn.pubsub() as pubsub:
        pubsub.subscribe(channel)
        pubsub.get_message(timeout=TIMEOUT_SECONDS)


def _eviction(policy: str, max_memory_bytes: int) -> Finding:
    if not max_memory_bytes or policy == "noeviction" or policy.startswith("volatile"):
        # Rules have no TTL, so what is volatile is never one of them.
        return ok("redis", f"keeps rules when memory is short ({policy})")
    return error("redis", f"may throw rules away ({policy})", "CONFIG SET maxmemory-policy noeviction")


def rules_in_redis(conn: "redis.Redis", wanted: Settings) -> Iterator[Finding]:
    """What this Traptor would ask for, and what it would leave out, and why."""
    name = roster.Name(wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID)
    found = stored.read(conn, *name)
    asked, problems = _asked(wanted, found)
    if len(found) == len(problems):
        yield warning("rules", f"none for {name}", f"traptor rules add {name.traptor_type} …, or rules load")
    else:
        yield ok("rules", f"{len(found) - len(problems)} for {name}: {asked}")
    doubtful = [
        (rule, doubt) for rule in found if name.traptor_type == "track" for doubt in doubts(rule.get("value", ""))
    ]
    for rule, doubt in doubtful[:MOST_PROBLEMS]:
        yield warning("rules", f"{rule['rule_id']} {rule['value']!r} {doubt}", "`rules test` shows how it is read")
    for problem in problems[:MOST_PROBLEMS]:
        text = f"{problem.rule_id} {problem.value!r} would be left out: {problem.reason}"
        yield warning("rules", text, "change it, or `rules rebalance` if there are too many")
    if len(problems) > MOST_PROBLEMS:
        yield warning("rules", f"{len(problems)} would be left out in all", "`rules check` lists them")


def _asked(wanted: Settings, found: Sequence[Rule]) -> tuple[str, list[checked.Problem]]:
    """How much of what Twitter takes these rules take, and those that it would not."""
    traptor_type, traptor_id = wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID
    if wanted.TWITTER_API == "2":
        packed, problems = pack(traptor_type, traptor_id, found, wanted.V2_RULE_LENGTH, wanted.V2_RULE_LIMIT)
        return f"{len(packed)} of {wanted.V2_RULE_LIMIT} that the server takes", problems
    sound = checked.check(traptor_type, found)
    asked = checked.count(traptor_type, sound.rules)
    return f"{asked} of {LIMITS[traptor_type]} that one connection takes", sound.problems


def other_holders(conn: "redis.Redis", wanted: Settings) -> Iterator[Finding]:
    """Who else uses this credential: Twitter ends the older of two streams."""
    credential, own = credential_hash(wanted.credential), roster.Name(wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID)
    for key in (keys.name(*own), keys.rival(*own)):
        if (namesake := _lease_holder(conn, key)).get("credential", credential) != credential:
            text = f"{own} runs or waits on {_place(namesake)} with another credential"
            yield error("credential", text, "one process for each TRAPTOR_ID")
    holder = _lease_holder(conn, keys.lease(credential))
    if holder and holder.get("type") == own.traptor_type and holder.get("id") == own.traptor_id:
        yield ok("credential", f"{own} runs, on {_place(holder)}")
    elif holder:
        name = f"{holder.get('type')}:{holder.get('id')}"
        yield warning("credential", f"in use by {name} on {_place(holder)}", "give each Traptor keys of its own")
    told = {str(own), f"{holder.get('type')}:{holder.get('id')}"}
    sharing = [name for name, member in roster.look(conn).items() if member.status.get("credential") == credential]
    if others := [str(name) for name in sharing if str(name) not in told]:
        yield warning("credential", f"also that of {', '.join(others)}", "give each Traptor keys of its own")


def _lease_holder(conn: "redis.Redis", key: str) -> dict[str, Any]:
    """Host, pid, type and id; empty if nobody holds it."""
    try:
        return keys.content(str(conn.get(key) or "{}"))
    except ValueError:
        return {"host": "unknown"}


def _place(holder: Mapping[str, Any]) -> str:
    return f"{holder.get('host')} (pid {holder.get('pid')})"


def disk(wanted: Settings) -> Iterator[Finding]:
    """Room for the spool and the log, and leave to write there."""
    if wanted.KAFKA_ENABLED:
        yield from _folder("spool", wanted.SPOOL_DIR, wanted.SPOOL_MAX_BYTES, "SPOOL_DIR")
    if wanted.LOG_DIR != NO_FILE:
        yield from _folder("log", wanted.LOG_DIR, wanted.LOG_MAX_BYTES * (wanted.LOG_BACKUPS + 1), "LOG_DIR")


def _folder(subject: str, path: str, wanted_bytes: int, setting: str) -> Iterator[Finding]:
    there = folders.standing(Path(path))
    if there.is_file() or not folders.can_be_written(there):
        yield error(subject, f"{path} cannot be written", f"set {setting}, or change who owns {there}")
        return
    if there == Path(path).absolute() and (mode := stat.S_IMODE(there.stat().st_mode)) & 0o077:
        yield warning(subject, f"{path} is open to others, with mode {mode:04o}", f"chmod 700 {path}")
    free_bytes = shutil.disk_usage(there).free
    text = f"{path}: {free_bytes >> 20:,} MiB free, up to {wanted_bytes >> 20:,} MiB used"
    yield ok(subject, text) if free_bytes >= wanted_bytes else warning(subject, text, f"make room, or set {setting}")


def clock(stream_url: str) -> Iterator[Finding]:
    """This machine's against Twitter's, which refuses signatures that are five minutes off."""
    try:
        answer = requests.head(reveal(stream_url), timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.RequestException as failed:
        yield error("twitter", f"{stream_url} cannot be reached: {connecting.why(failed)}", "see to network and proxy")
        return
    yield ok("twitter", f"{stream_url} answers")
    try:
        skew_seconds = (datetime.now(UTC) - parsedate_to_datetime(answer.headers.get("Date", ""))).total_seconds()
    except ValueError:
        yield warning("clock", "the answer has no Date to compare with", "see to NTP yourself")
        return
    text = f"{skew_seconds:+.0f} s off Twitter's"
    if abs(skew_seconds) < SKEW_SECONDS:
        yield ok("clock", text)
    else:
        level = error if abs(skew_seconds) > backoff.CLOCK_SKEW_SECONDS else warning
        yield level("clock", text, "set it right, with NTP")


def twitter(conn: "redis.Redis", wanted: Settings) -> Iterator[Finding]:
    """One short connection, only while nobody uses the credential and Twitter has not told it to wait."""
    if wanted.TWITTER_API == "2":
        yield warning("twitter", "not tried: a short connection is for v1.1 only", "run traptor --test --limit 1")
        return
    credential = credential_hash(wanted.credential)
    if (wait_seconds := _wait_seconds(conn, credential)) > 0:
        text = f"not tried: this credential has to wait for {wait_seconds:.0f} s more"
        yield warning("twitter", text, "try again then")
        return
    lease = Lease(conn, [keys.lease(credential)], wanted.TRAPTOR_TYPE, wanted.TRAPTOR_ID, credential)
    if holder := lease.take():
        yield warning("twitter", f"not tried: the credential is in use on {_place(holder)}", "stop that Traptor first")
        return
    try:
        yield _connect(wanted)
    finally:
        lease.release()


def _wait_seconds(conn: "redis.Redis", credential: str) -> float:
    """Until this credential may connect again, by what its Traptor remembers; not above 0 where that is now."""
    key = keys.backoff(credential)
    try:
        return float(keys.content(str(conn.get(key) or "{}"))["not_before"]) - time.time()
    except (ValueError, TypeError, KeyError):
        return float(conn.ttl(key))  # that of nothing is below 0


def _connect(wanted: Settings) -> Finding:
    client = V1Source(wanted).connect(wanted)
    try:
        client.stream.statuses.filter.post(track="traptor").close()
    except TwitterApiError as refused:
        told = backoff.advice(refused.status_code, refused.headers or {}, time.time())
        return error("twitter", f"answers {refused.status_code}: {refused}", told)
    except TwitterClientError as failed:
        return error("twitter", f"cannot be reached: {connecting.why(failed)}", "see to network and proxy")
    return ok("twitter", "lets this credential in")
