"""How far a replay has got, in a file: what has been written for good is not written again."""

import json
import os
from pathlib import Path
from typing import Any

from msgspec import Struct, convert, to_builtins

from traptor.archives.outlets import Unfinished
from traptor.archives.reading import Part
from traptor.permissions import private_opener

DONE = -1


class _State(Struct):
    """What the file has. Places are those of parts."""

    asked: dict[str, Any]
    steps: dict[str, int] = {}
    """Lines and problems done."""
    done: dict[str, int | None] = {}
    """Parts that were read to their end, and how large they were."""
    unfinished: Unfinished | None = None


class Bookmarks:
    """How far each part is done, and the file of the outlet that is not finished.

    ``note`` is for what has been handed on; ``save`` when all of that has been acknowledged. ``asked`` is what makes a
    replay this one: its rules and options; ``changed`` names those that were others before. Without a path nothing is
    read or written.
    """

    def __init__(self, path: Path | None, asked: dict[str, Any]) -> None:
        """Raises ValueError when the file is not what ``save`` has written."""
        self._path = path
        self._state = convert(json.loads(path.read_bytes()), _State) if path and path.exists() else _State(asked)
        self.changed = [name for name, value in asked.items() if self._state.asked.get(name) != value]
        self._state.asked = asked

    @property
    def unfinished(self) -> Unfinished | None:
        return self._state.unfinished

    def steps_done(self, part: Part) -> int:
        """DONE for a part that was read to its end and is as large as it was then."""
        place = _place(part)
        is_done = place in self._state.done and self._state.done[place] == part.size_bytes
        return DONE if is_done else self._state.steps.get(place, 0)

    def note(self, part: Part, steps: int, *, is_last: bool) -> None:
        place = _place(part)
        if is_last:
            self._state.done[place] = part.size_bytes
        # While it is read past what is done, a part has fewer steps than that.
        self._state.steps[place] = steps if is_last else max(steps, self._state.steps.get(place, 0))

    def save(self, unfinished: Unfinished | None) -> None:
        """All at once: a reader sees the old file or the new one, also after a crash."""
        self._state.unfinished = unfinished
        if not self._path:
            return
        beside = self._path.with_name(self._path.name + ".new")
        with open(beside, "w", encoding="utf-8", opener=private_opener) as file:
            json.dump(to_builtins(self._state), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def _place(part: Part) -> str:
    """Wherever the replay is started from, a file is the same file."""
    return part._replace(path=os.path.abspath(part.path)).place
