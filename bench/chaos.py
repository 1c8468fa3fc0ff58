"""Do to a Traptor at work all that can go wrong, on a real Redis and a real Kafka, and account for every tweet.

``python -m bench.chaos`` runs all faults and prints each account; ``--write`` puts each row, once it is known, into the
table in docs/reliability.md.
"""

import contextlib
import fcntl
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import mean

import click

from bench import faults
from bench.faults import Fault
from bench.trial import RATE, Outcome, Sample, Servers, Trial, total
from tests.servers import ApacheKafka, RedisServer
from traptor.settings import KAFKA_CLIENTS, KAFKA_PYTHON

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
HEAD = [
    "fault", "sent", "received", "delivered", "spooled", "dropped", "again", "missing", "gaps", "lost untold", "build"
]  # fmt: skip
FLAT = 0.10
"""Memory is flat where the last quarter of a soak is no more above the first."""


@contextlib.contextmanager
def servers(folder: Path, client: str) -> Iterator[Servers]:
    """A Redis and an Apache Kafka of our own: other brokers come back empty."""
    for name in ("redis", "kafka"):
        (folder / name).mkdir()
    with RedisServer(folder / "redis") as redis_server, ApacheKafka(folder / "kafka") as broker:
        yield Servers(folder, redis_server, broker, {"KAFKA_CLIENT": client})


def title(fault: Fault, scale: float, client: str) -> str:
    """What its row is called."""
    seconds = fault.seconds * scale
    return fault.name + f" {seconds:g} s" * (seconds > 0) + f", {client}" * (client != KAFKA_PYTHON)


TITLES = [title(fault, 1.0, client) for fault in faults.FAULTS for client in KAFKA_CLIENTS]
"""All that the table may have, in its order."""


def row(name: str, outcome: Outcome) -> list[str]:
    account = outcome.account
    return [
        name,
        f"{outcome.sent:,}",
        f"{total(account, 'received'):,}",
        f"{account['delivered']:,}",
        f"{account['spooled']:,}",
        told({**outcome.dropped(), **({"set apart": account["apart"]} if account["apart"] else {})}),
        f"{outcome.again:,} ({outcome.again / outcome.sent:.1%})" if outcome.again else "0",
        told(outcome.missing),
        f"{len(outcome.gaps)} ({outcome.gap_seconds():.0f} s)" if outcome.gaps else "0",
        str(outcome.unexplained()),
        build(),
    ]


def build() -> str:
    """The latest commit that changed the program."""
    command = ["git", "log", "-1", "--format=%cs %h", "--", "traptor"]
    return subprocess.run(command, cwd=PAGE.parent.parent, capture_output=True, text=True, check=True).stdout.strip()


def told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "0"


def table(rows: Iterable[list[str]]) -> str:
    lines = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def between(page: Path, part: str) -> tuple[str, str, str]:
    """The page before this part of it, the part, and what follows."""
    begin, end = f"<!-- {part}: made by python -m bench.chaos -->\n", f"<!-- end of {part} -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    inside, after = rest.split(end)
    return before + begin, inside, end + after


def write(page: Path, part: str, text: str) -> None:
    before, _, after = between(page, part)
    page.write_text(f"{before}{text}\n{after}", encoding="utf-8")


def write_row(page: Path, new: list[str]) -> None:
    """Into the table of faults, at its place. What was shorter than it should be is not for the page.

    Several runs may do so at once.
    """
    with page.open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = between(page, "faults")[1].splitlines()[2:]
        rows = {
            line[0]: line
            for line in [*(line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines), new]
        }
        write(page, "faults", table(rows[name] for name in TITLES if name in rows))


def soak(servers: Servers, seconds: float) -> Outcome:
    """Random faults for so long."""
    happenings: list[Callable[[Trial, float], None]] = [
        faults.broker_stopped, faults.broker_frozen, faults.redis_frozen, stream_fault, stream_fault, faults.nothing,
    ]  # fmt: skip
    chance = random.Random(1)
    with Trial(servers) as trial:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            chance.choice(happenings)(trial, chance.uniform(1, 15))
        return trial.outcome()


def stream_fault(trial: Trial, seconds: float) -> None:
    fault = random.choice(["cut", "reset", "end", "disconnect", "garbage", "duplicate", "disorder", "limit"])
    trial.twitter.faults.append({"fault": fault})
    trial.wait_for_tweets(5 * RATE)


def growth(outcome: Outcome) -> float:
    """Memory of the last quarter against the first, less one. The first tenth is the start."""
    rss = [sample.rss_bytes for sample in outcome.samples][len(outcome.samples) // 10 :]
    quarter = max(1, len(rss) // 4)
    return mean(rss[-quarter:]) / mean(rss[:quarter]) - 1


def soak_told(outcome: Outcome, seconds: float) -> str:
    first, last = outcome.samples[len(outcome.samples) // 10], outcome.samples[-1]
    return "\n".join(
        [
            table([row(f"soak of {seconds / 60:.0f} minutes", outcome)]),
            "",
            f"Memory: {first.rss_bytes / 1e6:.0f} MB at the beginning, {last.rss_bytes / 1e6:.0f} MB at the end,"
            f" at most {max(sample.rss_bytes for sample in outcome.samples) / 1e6:.0f} MB;"
            f" last quarter against first {growth(outcome):+.1%}. Open files: {first.open_files} and"
            f" {last.open_files}, at most {max(sample.open_files for sample in outcome.samples)}."
            f" Threads: {first.threads} and {last.threads}.",
        ]
    )


def happened(fault: Fault, servers: Servers, scale: float, client: str) -> list[str]:
    """Its row; one that says so where it failed."""
    name = title(fault, scale, client)
    print(f"{name} ...", file=sys.stderr)
    try:
        outcome = fault.happens(servers, scale)
    except Exception:
        traceback.print_exc()
        return [name, "failed", *[""] * (len(HEAD) - 2)]
    line = row(name, outcome)
    print("  " + "; ".join(f"{head}: {cell}" for head, cell in zip(HEAD[1:], line[1:], strict=True)))
    if outcome.missing["at a kill"]:
        print(f"  oldest lost at a kill: {outcome.oldest_lost_seconds:.2f} s before it")
    largest = Sample(*map(max, zip(*outcome.samples, strict=True)))
    print(f"  at most {largest.rss_bytes / 1e6:.0f} MB, {largest.open_files} files, {largest.threads} threads")
    print(f"  account: {dict(sorted(outcome.account.items()))}", flush=True)
    return line


@click.command(help=__doc__)
@click.option("--scale", default=1.0, help="Of the durations; 0.1 for a tenth.")
@click.option(
    "--only", multiple=True, metavar="WORDS", help="Only the fault of this name, or those whose names have these words."
)
@click.option("--client", type=click.Choice(KAFKA_CLIENTS), default=KAFKA_PYTHON, help="Kafka's.")
@click.option("--soak", "soak_seconds", default=0.0, metavar="SECONDS", help="A soak with random faults instead.")
@click.option("--write/--no-write", "is_written", default=False, help="Write the rows in docs/reliability.md.")
def main(scale: float, only: tuple[str, ...], client: str, soak_seconds: float, is_written: bool) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers end with us
    named = [fault for fault in faults.FAULTS if fault.name in only]
    wanted = named or [fault for fault in faults.FAULTS if all(words in fault.name for words in only)]
    if not wanted:
        raise click.BadParameter(f"no fault has these words; there are: {', '.join(one.name for one in faults.FAULTS)}")
    rows = []
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder), client) as parts:
        if soak_seconds:
            text = soak_told(soak(parts, soak_seconds), soak_seconds)
            print(text)
            if is_written:
                write(PAGE, "soak", text)
            return
        for fault in wanted:
            rows.append(happened(fault, parts, scale, client))
            if is_written:
                write_row(PAGE, rows[-1])
    print(table(rows))
    if any(line[1] == "failed" for line in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
