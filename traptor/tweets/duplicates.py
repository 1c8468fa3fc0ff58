"""Which tweets have been seen already: reconnects bring some a second time."""

from collections import deque
from collections.abc import Iterable


class RecentIds:
    """The last ``most`` ids. With none kept, nothing is a duplicate."""

    def __init__(self, most: int) -> None:
        self._order: deque[str] = deque()
        self._ids: set[str] = set()
        self._most = most

    def ids(self) -> list[str]:
        """Those that are kept, the oldest first."""
        return list(self._order)

    def learn(self, ids: Iterable[str]) -> None:
        """These have been seen, by somebody else."""
        for id_str in ids:
            self.is_known(id_str)

    def is_known(self, id_str: str) -> bool:
        """Has this id been asked about before, within the window? It has now."""
        if id_str in self._ids:
            return True
        if self._most:
            if len(self._order) == self._most:
                self._ids.discard(self._order.popleft())
            self._order.append(id_str)
            self._ids.add(id_str)
        return False
