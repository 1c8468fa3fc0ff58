"""The simulator as a command."""

import gzip
import json
import signal
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from traptor.commands.finite import Finite
from traptor.connections import is_loopback
from traptor.printable import counted
from traptor.simulator.feed import decode
from traptor.simulator.oauth import CREDENTIAL, Credential
from traptor.simulator.server import Simulator

EXAMPLES = """\b
Examples:
  Made-up tweets, 20 a second, on a port of your choice:
    python -m traptor simulate --port 8080 --rate 20
  It says which settings point a Traptor at it. Paste these in another terminal, then:
    python -m traptor --test
  A Twitter for a fleet of which each Traptor has a key of its own:
    python -m traptor simulate --port 8080 --any-credential
  Your own recorded tweets, over and over as if they were new:
    python -m traptor simulate --file monday.jsonl.gz --rate 100
  The same, as recorded and once:
    python -m traptor simulate --file monday.jsonl.gz --once
  Two 503s first, then a stream that breaks in a message after 50:
    echo '[{"fault": "status", "code": 503, "times": 2},
           {"fault": "cut", "after": 50}]' > faults.json
    python -m traptor simulate --faults faults.json
  What is going on, and a fault while it runs:
    curl http://127.0.0.1:8080/simulator/
    curl -d '{"fault": "stall", "seconds": 95}' http://127.0.0.1:8080/simulator/faults
"""

OPEN = (
    "WARNING: whoever reaches {host} can read the stream with the simulator's keys and, without any, set faults and"
    " stop it; --host 127.0.0.1 keeps it to this machine"
)


@click.command(epilog=EXAMPLES, context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="The address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="The port; 0 takes any free one.")
@click.option("--rate", default=10.0, type=Finite(0), help="Tweets per second; 0 for as fast as it goes.")
@click.option("--limit", type=click.IntRange(0), help="Tweets per credential; then nothing but keep-alives.")
@click.option("--seed", default=0, help="The same seed makes up the same tweets.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Recorded tweets, one JSON object per line, plain or .gz; may be given several times.",
)
@click.option("--once", is_flag=True, help="Send the recorded tweets once and as they are, instead of over and over.")
@click.option("--faults", type=click.File(), help="A JSON list of faults; docs/simulator.md has their table.")
@click.option("--keep-alive", default=30.0, type=Finite(0, min_open=True), help="Seconds of quiet before one.")
@click.option(
    "--v2-names", default="tweet", type=click.Choice(["tweet", "post"]), help="Generation of X API v2's names."
)
@click.option("--any-credential", is_flag=True, help="Believe every key: a stream for each, for a whole fleet.")
@click.option("--consumer-key", default=CREDENTIAL.consumer_key, help="The credential that is accepted.")
@click.option("--consumer-secret", default=CREDENTIAL.consumer_secret)
@click.option("--access-token", default=CREDENTIAL.access_token)
@click.option("--access-token-secret", default=CREDENTIAL.access_token_secret)
def simulate(
    *,
    files: tuple[Path, ...],
    once: bool,
    faults: Any,
    keep_alive: float,
    any_credential: bool,
    consumer_key: str,
    consumer_secret: str,
    access_token: str,
    access_token_secret: str,
    **options: Any,
) -> None:
    """Be a Twitter of your own, on this machine. POST /1.1/statuses/filter.json as it was.

    It checks signatures, filters by the rules of the request, and makes up tweets that fit them. Standard error says
    where it listens. Ctrl-C or SIGTERM ends it.
    """
    known = Credential(consumer_key, consumer_secret, access_token, access_token_secret)
    try:
        simulator = Simulator(
            credentials=None if any_credential else [known],
            tweets=read_lines(files) if files else None,
            loop=not once,
            faults=read_faults(faults) if faults else (),
            keep_alive_seconds=keep_alive,
            **options,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        what = error.filename or f"{options['host']}:{options['port']} cannot be listened on"
        raise click.UsageError(f"{what}: {error.strerror}") from None
    if not is_loopback(options["host"]):
        click.echo(OPEN.format(host=options["host"]), err=True)
    run(simulator, known)


def run(simulator: Simulator, credential: Credential) -> None:
    """Until SIGINT, SIGTERM, or a stop over the control interface."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: simulator.stopping.set())
    with simulator:
        click.echo(f"listening on {simulator.url}", err=True)
        click.echo("\n".join(["to point a Traptor at it:", *assignments(simulator.url, credential)]), err=True)
        simulator.stopping.wait()
    requests, tweets = counted(len(simulator.connections), "request"), counted(simulator.tweets, "tweet")
    click.echo(f"ended: {requests} for a stream, {tweets} sent", err=True)


def assignments(url: str, credential: Credential) -> list[str]:
    """The settings that point a Traptor at it, for a shell. Keys that somebody has chosen are theirs, and not shown."""
    key, secret, token, token_secret = credential
    keys = [
        f"  export CONSUMER_KEY={key} CONSUMER_SECRET={secret}",
        f"  export ACCESS_TOKEN={token} ACCESS_TOKEN_SECRET={token_secret}",
    ]
    return [f"  export TWITTER_STREAM_URL={url}", *(keys if credential == CREDENTIAL else [])]


def read_faults(file: IO[str]) -> list[Any]:
    """ValueError names a file that is not a JSON list."""
    try:
        faults = json.load(file)
    except RecursionError:
        raise ValueError(f"{file.name}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None
    if not isinstance(faults, list):
        raise ValueError(f"{file.name}: not a JSON list of faults")
    return faults


def read_lines(files: Iterable[Path]) -> Iterator[bytes]:
    """Blank lines left out. ValueError names a file that cannot be read, or the line that is not a JSON object."""
    for path in files:
        try:
            yield from _lines(path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: {error}") from None


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _checked(line, f"{path}, line {number}")


def _checked(line: bytes, place: str) -> bytes:
    try:
        decode(line)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    return line
