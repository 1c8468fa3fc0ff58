"""Names that are nearly settings: found where people write settings, and told with the one that was probably meant."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

_CAPITALS = re.compile("[A-Z][A-Z0-9_]*")
_PREFIXES = ("TRAPTOR_", "KAFKA_", "REDIS_", "TWITTER_", "LOG_", "STATS_", "SPOOL_", "V2_", "REBALANCE_")
"""Whoever writes one of these before a name speaks to us, or to one of the ``_OTHERS``."""
_OTHERS = re.compile(
    r"TRAPTOR_(SETTINGS|HOME)"  # traptor-run
    # What Docker's links and Kubernetes' services bring: REDIS_PORT_6379_TCP, KAFKA_SERVICE_HOST.
    r"|[A-Z0-9_]+_(PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?|SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|ENV_\w+)"
    r"|(TRAPTOR|KAFKA|REDIS|TWITTER)_NAME"
    # Apache Kafka's scripts, its images, which make a property of every KAFKA_ name, and what stands around it.
    r"|KAFKA_(\w*OPTS|HOME|VERSION|SCALA_VERSION|MODE|DEBUG|CLASSPATH|CLUSTER_ID|NODE_ID|BROKER_ID|PROCESS_ROLES|LISTENERS"
    r"|LOG_DIRS?|LOG4J_\w+|LOG_(RETENTION|SEGMENT|CLEANER|FLUSH)_\w+|(CFG|CONNECT|REST|UI|JMX|KRAFT|ZOOKEEPER|LISTENER"
    r"|ADVERTISED|CONTROLLER|INTER_BROKER|OFFSETS|TRANSACTION|AUTO|DEFAULT|MIN|NUM|GROUP|DELETE|CREATE|SCHEMA)_\w+)"
    r"|REDIS_(VERSION|DOWNLOAD_(URL|SHA\d*)|ARGS|TLS_PORT|REPLICATION_MODE|DATA_DIR|BASE_DIR|VOLUME_DIR)"
)
"""Names of other programs that look like ours."""
_LINKED_PORT = re.compile(r"[A-Z0-9_]+_PORT")
_MEANT = {
    r"REDIS_(PASS(WORD)?|AUTH|USER(NAME)?|SSL|TLS\w*|SENTINEL\w*)": "REDIS_URL",
    r"KAFKA_(URL|PORT|BOOTSTRAP\w*|BROKERS?|BROKERS?_\w+|SERVERS?)": "KAFKA_HOSTS",
    r"KAFKA_(SASL\w*|SSL\w*|TLS\w*|SECURITY\w*|USER(NAME)?|PASSWORD|COMPRESSION\w*|ACKS|LINGER\w*)": "KAFKA_OPTIONS",
    r"TWITTER_(API_KEY|KEY)": "CONSUMER_KEY",
    r"TWITTER_(API_(KEY_)?SECRET|SECRET)": "CONSUMER_SECRET",
    r"LOG_(PATH|FOLDER|DIRECTORY)": "LOG_DIR",
    r"LOG_FORMAT": "LOG_JSON",
}
"""What people call a thing that has another name here, or stands in another setting."""
_NEAR = 0.88
_NEAR_WITH_PREFIX = 0.5


class Misnomer(NamedTuple):
    """A name that is no setting, where it stands, and the setting that was meant; empty where that cannot be told."""

    name: str
    source: str
    meant: str

    def __str__(self) -> str:
        told = f"{self.name} ({self.source}) is no setting and is ignored"
        return f"{told}: did you mean {self.meant}?" if self.meant else told


def in_environment(names: Iterable[tuple[str, str]], known: Collection[str]) -> Iterator[Misnomer]:
    """Of names with their values those that are near to one of the ``known``, or carry a prefix of ours.

    What other programs legitimately set is left alone.
    """
    for name, value in names:
        is_link = _LINKED_PORT.fullmatch(name) and value.startswith(("tcp://", "udp://"))
        if name in known or is_link or _OTHERS.fullmatch(name):
            continue
        meant = _meant(name, known)
        if meant or name.startswith(_PREFIXES):
            yield Misnomer(name, "environment", meant)


def in_file(names: Iterable[str], source: str, known: Collection[str]) -> Iterator[Misnomer]:
    """Of the names that a ``localsettings.py`` defines every one in capitals that is none of the ``known``.

    Those that begin with an underscore are the file's own.
    """
    for name in names:
        is_ours = _CAPITALS.fullmatch(name) or name.upper() in known
        if is_ours and name not in known:
            yield Misnomer(name, source, _meant(name, known))


def _meant(name: str, known: Collection[str]) -> str:
    """The first that one of these ways leads to."""
    ways: tuple[Callable[[], str | None], ...] = (
        lambda: name.upper() if name.upper() in known else None,
        lambda: next((meant for pattern, meant in _MEANT.items() if re.fullmatch(pattern, name)), None),
        lambda: _without_affix(name, known),
        lambda: _nearest(name, known),
    )
    return next((meant for way in ways if (meant := way())), "")


def _without_affix(name: str, known: Collection[str]) -> str | None:
    prefix, _, rest = name.partition("_")
    if f"{prefix}_" in _PREFIXES and rest in known:
        return rest
    return stem if name.endswith("_FILE") and (stem := name.removesuffix("_FILE")) in known else None


def _nearest(name: str, known: Collection[str]) -> str | None:
    """Of those with its prefix the one whose rest is nearest; without a prefix of ours only one that is very near."""
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    among = {one.removeprefix(prefix): one for one in known if one.startswith(prefix)}
    found = difflib.get_close_matches(name.removeprefix(prefix), among, 1, _NEAR_WITH_PREFIX if prefix else _NEAR)
    return among[found[0]] if found else None
