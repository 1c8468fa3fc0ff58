"""Every setting, once: name, type, default, unit and meaning.

A value comes from the command line, else the environment, else ``localsettings.py`` (in the working directory or in
this package), else the default. A secret may also stand in a file that NAME_FILE names.
"""

# ruff: noqa: RUF009 - _setting makes a field

import contextlib
import dataclasses
import os
import runpy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traptor import folders, kafka_options, misnomers, permissions, redis_options
from traptor.misnomers import Misnomer
from traptor.redaction import SHORTEST, Secret, redact
from traptor.values import (
    A_YEAR_SECONDS,
    API_KEY,
    BOOLEAN,
    DSN,
    HOST,
    HOSTS,
    SECRET,
    SERVER_URL,
    TEXT,
    TOPIC,
    Kind,
    SettingError,
    clean,
    number,
    one_of,
    parsed,
    seconds,
    whole,
)

__all__ = ["SettingError"]

_IN_FILE = "file "
MOST_OF_A_FILE = 1 << 16
"""Characters of a secret; some files have no end."""
KAFKA_CLIENTS = KAFKA_PYTHON, CONFLUENT = "kafka-python", "confluent"
APIKEY_NAMES = ("CONSUMER_KEY", "CONSUMER_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET")
REDIS_URL = Kind(redis_options.read, "redis:// or rediss://host:port/db, with options of redis-py")
KAFKA_OPTIONS = Kind(kafka_options.read, 'a JSON object, such as {"security_protocol": "SSL"}')


def boolean(name: str, value: object) -> bool:
    """A boolean as people write it. Raises SettingError with this name."""
    return bool(parsed(name, BOOLEAN, value))


def _setting(default: Any, kind: Kind, meaning: str, *, unit: str = "", secret: bool = False, alias: str = "") -> Any:
    facts = {"kind": kind, "meaning": meaning, "unit": unit, "secret": secret, "alias": alias}
    return field(default=default, metadata=facts)


NONE = Secret()


@dataclass(frozen=True)
class Settings:
    """All settings of one Traptor, parsed and checked."""

    TRAPTOR_TYPE: str = _setting("track", one_of("track", "follow", "locations"), "what the rules of this Traptor are")
    TRAPTOR_ID: int = _setting(0, whole(0, 999_999_999), "which of the Traptors of its type this is")
    CONSUMER_KEY: Secret = _setting(NONE, API_KEY, "Twitter API key", secret=True)
    CONSUMER_SECRET: Secret = _setting(NONE, API_KEY, "Twitter API secret", secret=True)
    ACCESS_TOKEN: Secret = _setting(NONE, API_KEY, "Twitter access token", secret=True)
    ACCESS_TOKEN_SECRET: Secret = _setting(NONE, API_KEY, "Twitter access token secret", secret=True)
    TWITTER_STREAM_URL: str = _setting("https://stream.twitter.com", SERVER_URL, "scheme, host and port of the stream")
    TWITTER_API: str = _setting("1.1", one_of("1.1", "2"), "v1.1's statuses/filter, or X API v2's filtered stream")
    TWITTER_API_URL: str = _setting("https://api.x.com", SERVER_URL, "scheme, host and port of X API v2")
    BEARER_TOKEN: Secret = _setting(
        NONE, API_KEY, "app-only token for v2; unset: asked for with CONSUMER_KEY and CONSUMER_SECRET", secret=True
    )
    V2_RULE_LIMIT: int = _setting(1000, whole(1), "rules that the account may have on v2's server")
    V2_RULE_LENGTH: int = _setting(1024, whole(1), "longest rule on v2's server", unit="characters")
    V2_BACKFILL_MINUTES: int = _setting(
        0, whole(0, 5), "missed minutes that v2 sends after a gap, where the account allows it", unit="min"
    )
    V2_RECOVERY_HOURS: int = _setting(
        0, whole(0, 24), "longer gaps that v2 is asked for again, where the account allows it; 0 = none", unit="h"
    )
    V2_END_CONNECTIONS: bool = _setting(
        False, BOOLEAN, "end the app's other connections where X says that there are too many"
    )
    V2_MONTHLY_POST_CAP: int = _setting(3_000_000, whole(0), "posts a month that the account may read; shown only")
    V2_MONTHLY_POST_LIMIT: int = _setting(0, whole(0), "posts a month after which the stream stays closed; 0 = none")
    V2_POST_PRICE: float = _setting(0.005, number(), "price of a post, for the cost in the status", unit="USD")
    KEEP_V2: bool = _setting(False, BOOLEAN, "keep each tweet's v2 payload under `traptor.v2`")
    RULE_CHECK_INTERVAL: float = _setting(
        60.0, seconds(above=0.01), "wait between looks for rules while there are none", unit="s"
    )
    RULE_REFRESH_INTERVAL: float = _setting(
        300.0, seconds(), "time between looks for changed rules that no notice told of; 0 = never", unit="s"
    )
    RESTART_MIN_INTERVAL: float = _setting(5.0, seconds(), "least time between reconnects for changed rules", unit="s")
    REDIS_HOST: str = _setting("localhost", HOST, "Redis server")
    REDIS_PORT: int = _setting(6379, whole(1, 65535), "Redis port")
    REDIS_DB: int = _setting(0, whole(0), "Redis database")
    REDIS_URL: str = _setting(
        "",
        REDIS_URL,
        "Redis with user, password or TLS; wins over host, port and db",
        secret=True,
    )
    RULES_QUERY: str = _setting(
        "select tag, value, type from rules", TEXT, "query of `rules load mysql://…`; its columns are a rule's fields"
    )
    MYSQL_PASSWORD: Secret = _setting(NONE, SECRET, "password of the database of `rules load mysql://…`", secret=True)
    STORE_PASSWORD: Secret = _setting(NONE, SECRET, "password of the server of `traptor store`", secret=True)
    REBALANCE_AFTER: float = _setting(
        60.0, seconds(), "silence after which `rules rebalance` moves the rules of a Traptor", unit="s"
    )
    REBALANCE_RETURN: bool = _setting(
        False, BOOLEAN, "moved rules go back when their Traptor lives again; otherwise they stay"
    )
    REDIS_PUBSUB_CHANNEL: str = _setting("traptor-notify", TEXT, "channel of restart notices")
    PUBSUB_CHECK_INTERVAL: float = _setting(0.2, seconds(above=0.01), "wait between looks for notices", unit="s")
    HEARTBEAT_INTERVAL: float = _setting(5.0, seconds(above=0.5), "time between heartbeats", unit="s")
    ENABLE_STATS_COLLECTION: bool = _setting(True, BOOLEAN, "count the matches of each rule in Redis")
    STATS_COLLECTION_WINDOW: int = _setting(900, whole(1, A_YEAR_SECONDS), "rolling window of the matches", unit="s")
    LIMIT_COUNT_COLLECTION_WINDOW: int = _setting(
        900, whole(1, A_YEAR_SECONDS), "rolling window of withheld tweets", unit="s"
    )
    KAFKA_ENABLED: bool = _setting(True, BOOLEAN, "send to Kafka; otherwise write to standard output")
    KAFKA_HOSTS: str = _setting("localhost:9092", HOSTS, "Kafka's bootstrap servers")
    KAFKA_TOPIC: str = _setting("traptor", TOPIC, "topic of the enriched tweets")
    KAFKA_NOTICES_TOPIC: str = _setting(
        "", TOPIC, "topic of delete, limit and other notices and of gap records; unset: notices go with the tweets"
    )
    KAFKA_CLIENT: str = _setting(
        KAFKA_PYTHON,
        one_of(*KAFKA_CLIENTS),
        "what sends to Kafka; `confluent` takes less CPU time, and needs `pip install confluent-kafka`",
    )
    KAFKA_OPTIONS: dict[str, Any] | None = _setting(
        None, KAFKA_OPTIONS, "more arguments of kafka-python's producer: TLS, SASL, compression", secret=True
    )
    SPOOL_DIR: str = _setting(
        folders.SYSTEM["SPOOL_DIR"],
        TEXT,
        "directory of the spool: what waits while Kafka is away; unset, and not to be written: one of the user's own",
    )
    SPOOL_MAX_BYTES: int = _setting(1 << 30, whole(0), "size up to which messages are spooled", unit="bytes")
    STOP_TIMEOUT: float = _setting(
        8.0,
        seconds(),
        "time to deliver what was received when told to stop; where Redis is away for 15 s of it, "
        "the process that follows may deliver some of that as well",
        unit="s",
    )
    DEDUPE_WINDOW: int = _setting(10_000, whole(0), "tweets among which duplicates are found and dropped")
    DEDUPE_ACROSS: bool = _setting(
        False,
        BOOLEAN,
        "mark tweets that another Traptor has brought within ten minutes, by Redis; none is dropped",
    )
    METRICS_PORT: int = _setting(0, whole(0, 65535), "port of /metrics and /healthz; 0 = off")
    METRICS_ADDRESS: str = _setting("127.0.0.1", HOST, "address of /metrics and /healthz")
    USE_SENTRY: bool = _setting(False, BOOLEAN, "report errors to Sentry")
    SENTRY_URL: str = _setting("", DSN, "Sentry's DSN", secret=True)
    LOG_LEVEL: str = _setting(
        "INFO", one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", change=str.upper), "least level logged"
    )
    LOG_DIR: str = _setting(
        folders.SYSTEM["LOG_DIR"],
        TEXT,
        "directory of the log file; `none` = no file; unset, and not to be written: one of the user's own",
    )
    LOG_FILE: str = _setting("traptor.log", TEXT, "name of the log file", alias="LOG_FILE_NAME")
    LOG_JSON: bool = _setting(False, BOOLEAN, "one JSON object per log line")
    LOG_STDOUT: bool = _setting(True, BOOLEAN, "log to the terminal as well (to standard error, in spite of the name)")
    LOG_MAX_BYTES: int = _setting(10_000_000, whole(0), "size at which the log file is rotated", unit="bytes")
    LOG_BACKUPS: int = _setting(5, whole(0), "rotated log files that are kept")
    STRICT_LOCALSETTINGS: bool = _setting(
        False, BOOLEAN, "a name in localsettings.py that is no setting stops the start; otherwise it is told"
    )

    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where each value came from: ``command line``, ``environment``, a path, ``file PATH`` or ``default``."""
    misnomers: Sequence[Misnomer] = field(default=(), repr=False, compare=False)
    """Names that are nearly settings, and were not read."""

    @property
    def apikeys(self) -> dict[str, Secret]:
        return {name: getattr(self, name) for name in APIKEY_NAMES}

    @property
    def credential(self) -> Mapping[str, str]:
        """The public keys that name it: a v2 connection belongs to the app, whoever's token there is beside."""
        if self.TWITTER_API == "2":
            return {"CONSUMER_KEY": self.CONSUMER_KEY or self.BEARER_TOKEN, "ACCESS_TOKEN": "v2"}
        return self.apikeys

    @property
    def needed_keys(self) -> tuple[str, ...]:
        """The keys without which Twitter lets nobody in: for v2 a bearer token, or what it is asked for with."""
        return self.needed_keys_of_v2 if self.TWITTER_API == "2" else APIKEY_NAMES

    @property
    def needed_keys_of_v2(self) -> tuple[str, ...]:
        return ("BEARER_TOKEN",) if self.BEARER_TOKEN else ("CONSUMER_KEY", "CONSUMER_SECRET")

    @property
    def short_secrets(self) -> list[str]:
        """The names of those that are too short to be found in what others have written."""
        found = {one.name: getattr(self, one.name) for one in known()}
        options = {f"KAFKA_OPTIONS.{name}": value for name, value in (self.KAFKA_OPTIONS or {}).items()}
        return [
            name
            for name, value in {**found, **options}.items()
            if isinstance(value, Secret) and 0 < len(value) < SHORTEST
        ]


def known() -> list["dataclasses.Field[Any]"]:
    """The fields of Settings that are settings, in the order in which they are documented."""
    return [one for one in dataclasses.fields(Settings) if one.metadata]


def load(
    command_line: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    local: Mapping[str, Any] | None = None,
) -> Settings:
    """Read every setting from the first source that has it.

    ``local`` is what ``localsettings.py`` defines; by default the file is looked for. Raises SettingError, which tells
    all that is wrong.
    """
    local = local_settings() if local is None else local
    environ = os.environ if environ is None else environ
    path = str(local.get("__file__", "localsettings.py"))
    levels = [
        ("command line", command_line or {}),
        ("environment", environ),
        (path, {**_apikeys(local), **local}),
    ]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    wrong: list[object] = []
    for one in known():
        try:
            raw, sources[one.name] = _find(one, levels)
            if raw is not None:
                values[one.name] = parsed(one.name, one.metadata["kind"], raw, secret=one.metadata["secret"])
            elif one.name in folders.SYSTEM:
                values[one.name] = folders.usual(one.name)
        except SettingError as error:
            wrong.append(error)
    in_file = list(misnomers.in_file([*local, *_apikeys(local)], path, _names() | {"APIKEYS"}))
    if values.get("STRICT_LOCALSETTINGS"):
        wrong += in_file
    if wrong:
        raise SettingError("; ".join(map(str, wrong)))
    in_environment = misnomers.in_environment(environ.items(), _names())
    return Settings(**values, sources=sources, misnomers=[*in_environment, *in_file])


def _names() -> set[str]:
    """Every name under which a setting is read."""
    names = {name for one in known() for name in (one.name, one.metadata["alias"]) if name}
    return names | {f"{one.name}_FILE" for one in known() if one.metadata["secret"]}


def with_secrets_read_again(current: Settings) -> Settings:
    """The same settings, with those API keys that stand in files as they are now. Raises SettingError."""
    fresh: dict[str, Any] = {
        name: parsed(name, API_KEY, _read_secret(name, current.sources[name].removeprefix(_IN_FILE)), secret=True)
        for name in (*APIKEY_NAMES, "BEARER_TOKEN")
        if current.sources.get(name, "").startswith(_IN_FILE)
    }
    return dataclasses.replace(current, **fresh) if fresh else current


def _apikeys(local: Mapping[str, Any]) -> Mapping[str, Any]:
    apikeys = local.get("APIKEYS") or {}
    if not isinstance(apikeys, Mapping):
        raise SettingError(f"APIKEYS: its value is not allowed; allowed is a dict with {', '.join(APIKEY_NAMES)}")
    return apikeys


def _find(one: "dataclasses.Field[Any]", levels: list[tuple[str, Mapping[str, Any]]]) -> tuple[Any, str]:
    """The raw value and its source. An empty text is no value."""
    for source, values in levels:
        written = (clean(values.get(name)) for name in (one.name, one.metadata["alias"]))
        raw = next((value for value in written if value not in (None, "")), None)
        path = clean(values.get(f"{one.name}_FILE")) if one.metadata["secret"] else None
        if raw is not None and path:
            raise SettingError(f"{one.name} and {one.name}_FILE are both set ({source}): set one of them")
        if path:
            return _read_secret(one.name, path), f"{_IN_FILE}{path}"
        if raw is not None:
            return raw, source
    return None, "default"


def _read_secret(name: str, path: str) -> Secret:
    try:
        with open(path, encoding="utf-8") as file:
            secret = Secret(clean(file.read(MOST_OF_A_FILE)))
    except (OSError, ValueError) as error:
        raise SettingError(f"{name}_FILE: {path!r} cannot be read: {redact(str(error))}") from None
    if not secret:
        raise SettingError(f"{name}_FILE: {path!r} is empty")
    return secret


def _folders() -> Iterator[Path]:
    """Where localsettings.py may stand."""
    with contextlib.suppress(FileNotFoundError):  # the working directory has been deleted
        yield Path.cwd()
    yield Path(__file__).parent


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # a working directory that is not ours to look into, such as root's after runuser
        return False


def local_settings() -> dict[str, Any]:
    """What the first ``localsettings.py`` found defines; nothing where there is none. Raises SettingError."""
    for folder in _folders():
        path = folder / "localsettings.py"
        if _is_file(path):
            if told := permissions.stranger(path):
                raise SettingError(f"{path} is code that another user could have written, and is not run: {told}")
            try:
                return {**runpy.run_path(str(path)), "__file__": str(path)}
            except (Exception, SystemExit) as error:
                # The error's own text may quote a key that stands there without its quotes.
                raise SettingError(f"{path} cannot be read: {type(error).__name__}; python {path} shows it") from None
    return {}


def markdown_table() -> str:
    """The settings as the table that stands in docs/settings.md."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for one in known():
        unit = f" {one.metadata['unit']}" if one.metadata["unit"] else ""
        default = "" if one.default in ("", None) else f"`{one.default}`{unit}"
        lines.append(f"| `{one.name}` | {default} | {one.metadata['meaning']} ({one.metadata['kind'].allowed}) |")
    return "\n".join(lines)


def _write_table(page: Path) -> None:
    """Put the table between its marks in this page."""
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- settings -->\n")
    _, mark, after = rest.partition("<!-- /settings -->")
    page.write_text(f"{before}<!-- settings -->\n{markdown_table()}\n{mark}{after}", encoding="utf-8")


if __name__ == "__main__":
    _write_table(Path(__file__).parent.parent / "docs/settings.md")
