"""Which tweets have been seen already: reconnects bring some a second time."""

from collections import deque


class RecentIds:
    """The last ``most`` ids. With none kept, nothing is a duplicate."""

    def __init__(self, most: int) -> None:
        self._order: deque[str] = deque()
        self._ids: set[str] = set()
        self._most = most

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
