"""What was set apart, tried again: after a newer Traptor or an altered table it may be stored."""

from traptor.store.batch import sort
from traptor.store.destination import STANDARD_INPUT, Destination, Message, Refused


def store_again(destination: Destination) -> tuple[int, int]:
    """How many were tried, and how many are set apart no more. Raises Away."""
    found = list(destination.apart())
    stored = 0
    for one in found:
        # As if it came from standard input: its partition in Kafka is stored further than this by now.
        message = Message(STANDARD_INPUT, one.partition, one.offset, one.value)
        if sort([message], keep_raw=False).apart:
            continue
        try:
            destination.write([message])
        except Refused:
            continue
        destination.forget_apart([one])
        stored += 1
    return len(found), stored
