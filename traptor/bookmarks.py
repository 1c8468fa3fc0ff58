"""How far a replay has got, in a file: what has been written for good is not written again."""

import json
import os
from pathlib import Path
from typing import Any

from traptor.archives import Part

DONE = -1


class Bookmarks:
    """Steps (lines and problems) done, by place; DONE for a part that is read to its end.

    ``note`` is for what has been handed on; ``save`` when all of that has been acknowledged. ``outlet`` is whatever the
    outlet needs to go on. Without a path nothing is read or written.
    """

    def __init__(self, path: Path | None) -> None:
        """Raises ValueError when the file is not what ``save`` has written."""
        self._path = path
        self.steps: dict[str, int] = {}
        self.outlet: dict[str, Any] = {}
        if path and path.exists():
            saved = json.loads(path.read_bytes())
            if not isinstance(saved, dict) or not {"steps", "outlet"} <= saved.keys():
                raise ValueError("is not the state of a replay")
            self.steps, self.outlet = saved["steps"], saved["outlet"]

    def steps_done(self, part: Part) -> int:
        return self.steps.get(_place(part), 0)

    def note(self, part: Part, steps: int, *, is_last: bool) -> None:
        self.steps[_place(part)] = DONE if is_last else max(steps, self.steps_done(part))

    def save(self, outlet: dict[str, Any]) -> None:
        """All at once: a reader sees the old file or the new one, also after a crash."""
        self.outlet = outlet
        if not self._path:
            return
        beside = self._path.with_name(self._path.name + ".new")
        with beside.open("w") as file:
            json.dump({"steps": self.steps, "outlet": outlet}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def _place(part: Part) -> str:
    """Wherever the replay is started from, a file is the same file."""
    return part._replace(path=os.path.abspath(part.path)).place
