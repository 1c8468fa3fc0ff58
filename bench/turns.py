"""How long one turn of delivery takes while much waits: the main loop does nothing else meanwhile.

Without servers: Kafka is away or refuses all, and the spool is on a real disk. What passes on the clock is told
less the time in which a turn could have gone on and other programs had the core.
"""

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
from kafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from tests.servers import wait_until
from traptor.delivery.kafka_door import Kafka
from traptor.delivery.message import Message
from traptor.delivery.spool import Spool

VALUE = b'{"id_str":"%%d","user":{"id_str":"%%d"},"geo":1,"text":"%s"}' % (b"x" * 2_500)
USERS = 1_000
RATE = 2_000
"""Messages in a second."""
TURN_SECONDS = 0.05
"""Between two turns, by the clock that the door is given."""


class Turn(NamedTuple):
    seconds: float
    """By the clock, whatever it waits for but a core."""
    cpu_seconds: float


class Refusing:
    """A producer that takes nothing of what it is given."""

    def send(self, topic: str, value: bytes, key: bytes | None) -> None:
        raise MessageSizeTooLargeError("refused")


def waited_seconds() -> float:
    """How long this thread has waited for a core since it began."""
    return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9


def away() -> Any:
    raise KafkaConnectionError("nobody there")


class Rig:
    """A door whose clock goes by turns, and how many messages there have been."""

    def __init__(self, folder: Path, connect: Callable[[], Any]) -> None:
        self.now = 0.0
        self.made = 0
        self.spool = Spool(folder / "track-0.spool", 1 << 40)
        self.door = Kafka(connect, self.spool, Counter(), clock=lambda: self.now)
        self.door.open()
        self.door.take_up()

    def messages(self, count: int) -> list[Message]:
        self.made += count
        numbers = range(self.made - count, self.made)
        return [Message(b"%d" % number, VALUE % (number, number % USERS), "traptor") for number in numbers]

    def fill(self, count: int) -> None:
        """Let so many wait."""
        while self.spool.count < count:
            self.spool.append(self.messages(1_000))

    def fill_apart(self, count: int) -> None:
        """Have so many set apart."""
        for message in self.messages(count):
            self.spool.set_apart(message, "refused")

    def turn(self, happens: Callable[[], None]) -> Turn:
        self.now += TURN_SECONDS
        began, began_cpu = time.perf_counter() - waited_seconds(), time.thread_time()
        happens()
        self.door.tick()
        cpu_seconds = time.thread_time() - began_cpu
        return Turn(time.perf_counter() - waited_seconds() - began, cpu_seconds)

    def receive(self, count: int = int(RATE * TURN_SECONDS)) -> Turn:
        messages = self.messages(count)
        return self.turn(lambda: self.door.send(messages))


def spooling(folder: Path, waiting: int) -> Iterator[Turn]:
    """What comes in half a minute."""
    rig = Rig(folder, away)
    rig.fill(waiting)
    for _ in range(int(30 / TURN_SECONDS)):
        yield rig.receive()


def taking_back(folder: Path, waiting: int) -> Iterator[Turn]:
    """Forty scrub_geo and forty deletes one after the other, and the turns after them."""
    rig = Rig(folder, away)
    rig.fill(waiting)
    for number in range(40):
        yield rig.turn(lambda number=number: rig.door.scrub(f"{number}", 1 << 60))
        yield rig.turn(lambda number=number: rig.door.forget(b"%d" % number))
    for _ in range(200):
        yield rig.receive()


def setting_apart(folder: Path, apart: int) -> Iterator[Turn]:
    """All that comes, ten in a turn."""
    rig = Rig(folder, Refusing)
    rig.fill_apart(apart)
    wait_until(lambda: rig.door.producer is not None, "a producer")
    for _ in range(200):
        yield rig.receive(10)


MEASURED: list[tuple[Callable[[Path, int], Iterator[Turn]], int]] = [
    (spooling, 0), (spooling, 120_000), (taking_back, 120_000), (setting_apart, 1_000), (setting_apart, 50_000),
]  # fmt: skip


@click.command(help=__doc__)
def main() -> None:
    logging.disable()
    print(f"{'':16}{'there are':>10}{'turns':>7}{'median':>11}{'longest':>11}{'CPU: median':>14}{'longest':>11}")
    for measure, count in MEASURED:
        with tempfile.TemporaryDirectory() as folder:
            turns = list(measure(Path(folder), count))
        figures = [f"{how(times) * 1000:.1f} ms" for times in zip(*turns, strict=True) for how in (median, max)]
        name = measure.__name__.replace("_", " ")
        print("{:16}{:>10,}{:>7,}{:>11}{:>11}{:>14}{:>11}".format(name, count, len(turns), *figures), flush=True)


if __name__ == "__main__":
    main()
