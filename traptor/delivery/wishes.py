"""What authors have taken back, for as long as something in memory is older than their wish."""

from typing import NamedTuple

from traptor.delivery.message import Message


class Wish(NamedTuple):
    """That a tweet go; or, where there is an ``up_to_id``, the locations in a user's tweets up to this one."""

    id_: str
    up_to_id: int | None
    at: float

    def fulfilled(self, message: Message) -> Message | None:
        """What is left of a message that mentions the id."""
        if self.up_to_id is None:
            return message.without({self.id_}, {})
        return message.without((), {self.id_: self.up_to_id})


class Wishes:
    """The latest of each kind for each id, the oldest first."""

    def __init__(self) -> None:
        self._wishes: dict[tuple[str, bool], Wish] = {}

    def add(self, wish: Wish) -> None:
        which = wish.id_, wish.up_to_id is None
        if (before := self._wishes.pop(which, None)) and before.up_to_id is not None and wish.up_to_id is not None:
            wish = wish._replace(up_to_id=max(before.up_to_id, wish.up_to_id))
        self._wishes[which] = wish

    def fulfilled(self, message: Message, since: float) -> Message | None:
        """What is left of a message that has waited since then."""
        if not self._wishes:
            return message
        left: Message | None = message
        for id_ in message.mentions():
            for is_deleted in (True, False):
                wish = self._wishes.get((id_, is_deleted))
                if wish and wish.at >= since and left:
                    left = wish.fulfilled(left)
        return left

    def forget_before(self, oldest: float) -> None:
        """Nothing waits in memory that is older than this."""
        for which, wish in list(self._wishes.items()):
            if wish.at >= oldest:
                return
            del self._wishes[which]
