"""The line under everything else that a terminal shows while a Traptor runs: how it is, and how much comes."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from traptor.account.state import HEALTHY
from traptor.printable import harmless

REFRESHES_PER_SECOND = 2.0


@contextlib.contextmanager
def line(
    status: Callable[[], Mapping[str, Any]], hints: Sequence[str], end: str, *, on_output: bool
) -> Iterator[Console | None]:
    """While it holds, a terminal shows ``status`` below all else, these hints, and how to end; yields that terminal.

    ``on_output``: on standard output, else on standard error. None, and nothing shown, where that is no terminal.
    """
    console = Console(stderr=not on_output, highlight=False)
    # Of two terminals each would have half of it.
    if not (console.is_terminal and sys.stderr.isatty()) or console.is_dumb_terminal:
        yield None
        return

    def below() -> RenderableType:
        return Group(*(Text(hint, "dim") for hint in hints), told(status(), end))

    with Live(
        console=console,
        get_renderable=below,
        refresh_per_second=REFRESHES_PER_SECOND,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ):
        yield console


def told(status: Mapping[str, Any], end: str) -> Text:
    """State, tweets a second, matched, waiting, last tweet."""
    state, reason = status["state"], status["reason"]
    parts = [
        f"{status['tweets_per_second']:.1f} tweets/s",
        f"{status['matched']:,} matched",
        *([f"{status['waiting']:,} waiting"] if status["waiting"] else []),
        f"last tweet {_ago(status['last_tweet_at'])}",
        end,
    ]
    shown = Text(state.replace("-", " "), "bold green" if state in HEALTHY else "bold red")
    shown.append(f" · {' · '.join([harmless(reason, 200)] * bool(reason) + parts)}", "default")
    return shown


def _ago(iso: str | None) -> str:
    return f"{(datetime.now(UTC) - datetime.fromisoformat(iso)).total_seconds():.0f} s ago" if iso else "-"
