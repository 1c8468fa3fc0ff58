"""``status --serve``: the fleet as a page for a browser."""

from collections.abc import Mapping
from typing import Any

import click
import redis

from traptor import settings
from traptor.commands.console import stop_signal
from traptor.connections import is_loopback
from traptor.look import runs, sight

LOOPBACK = "127.0.0.1"
OPEN = "warning: the page has no login: whoever reaches {address} sees it"


def place(text: str) -> tuple[str, int]:
    """``[ADDRESS:]PORT``; port 0 is any that is free. Raises click.BadParameter."""
    address, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16 and _is_host(address)):
        raise click.BadParameter(f"{text!r}; allowed is a port, or an address and a port, such as 127.0.0.1:8000")
    return address.strip("[]") or LOOPBACK, int(port)


def _is_host(address: str) -> bool:
    """Or is a part of the name too long to be asked for, or empty?"""
    try:
        return bool(address.encode("idna")) or not address
    except UnicodeError:
        return False


def serve(wanted: settings.Settings, conn: "redis.Redis", address: str, port: int) -> None:
    """Until SIGINT or SIGTERM. Raises click.ClickException where the address cannot be used."""
    from traptor.fleet import latest  # Kafka's client takes time to import
    from traptor.fleet.page import Page

    topics = list(filter(None, [wanted.KAFKA_TOPIC, wanted.KAFKA_NOTICES_TOPIC]))
    tweets = latest.Latest(lambda: latest.connect(wanted.KAFKA_HOSTS, topics, wanted.KAFKA_OPTIONS or {}), _shown)
    seen = tweets.seen if wanted.KAFKA_ENABLED else lambda: {"tweets": [], "trouble": "KAFKA_ENABLED is off."}
    stop = stop_signal()
    try:
        server = Page(conn, wanted.STATS_COLLECTION_WINDOW, seen, {address.lower()}).serve(address, port)
    except OSError as error:
        raise click.ClickException(f"{address}:{port} cannot be used: {error.strerror}") from None
    if not is_loopback(address):
        click.echo(OPEN.format(address=address), err=True)
    shown = f"[{address}]" if ":" in address else address
    click.echo(f"status: http://{shown}:{server.server_port}/ in a browser; Ctrl-C ends it", err=True)
    with tweets:
        stop.wait()
    server.shutdown()
    server.server_close()


def _shown(tweet: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of it; ``text`` in pieces that are marked or not."""
    seen = sight(tweet)
    return {
        "at": seen.at, "tags": seen.tags, "by": seen.screen_name, "text": runs(seen.text), "where": seen.where,
    }  # fmt: skip
