"""How far a long work is, and for whom it waits, told to whoever asked for it."""

from collections.abc import Callable
from typing import NamedTuple


def _nobody(_text: str) -> None:
    """Nobody asked."""


class Progress(NamedTuple):
    """``step`` is told how far it is, many times a second if need be; ``waits`` for whom it waits, once for each."""

    step: Callable[[str], None] = _nobody
    waits: Callable[[str], None] = _nobody


SILENT = Progress()
