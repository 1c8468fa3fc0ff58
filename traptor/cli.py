"""The command line. Exit codes stand, by name, in ``exits``."""

import contextlib
import gc
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from traptor import __version__, settings, standard_error
from traptor.commands.finite import Finite
from traptor.exits import Exit, drop_output
from traptor.printable import READABLE, harmless
from traptor.redaction import redact

if TYPE_CHECKING:
    from traptor.traptor import Traptor

EXAMPLES = """
\b
Examples:
  traptor --demo --look                  tweets to look at: no account, no servers
  traptor --demo --test | jq .           the same as they go to Kafka, in JSON
  traptor --look                         your rules from Redis, a line for each tweet
  traptor --test | jq .                  your rules from Redis, tweets to the terminal
  traptor --type follow --id 1           collect into Kafka as the second follow Traptor
  traptor --test --limit 100 > some.jsonl
  traptor replay --rules r.jsonl a.tar   the same for tweets from an archive
  traptor store tweets.db                what is in Kafka, into a database
  traptor simulate --port 8080           a stand-in for Twitter to rehearse against

Settings come from the command line, the environment, or localsettings.py; docs/settings.md lists them.
Exit codes: 0 ended as asked; 1 a look at rules or fleet found work for a person; 2 wrong usage or settings;
3 Twitter refused us, do not restart.
"""

END = "Ctrl-C ends it"

SUBCOMMANDS = {
    "doctor": "doctor",
    "export": "export",
    "replay": "replay",
    "report": "report",
    "rules": "rules",
    "simulate": "simulate",
    "spool": "spool",
    "stats": "fleet",
    "status": "fleet",
    "store": "store",
}
"""Each with its module in ``commands``."""


class Subcommands(click.Group):
    """Known by name, and imported when they are asked for: a Traptor starts without them."""

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in SUBCOMMANDS:
            return None
        found: click.Command = getattr(import_module(f"traptor.commands.{SUBCOMMANDS[name]}"), name)
        return found


@click.group(
    cls=Subcommands,
    commands={name: click.Command(name) for name in SUBCOMMANDS},
    invoke_without_command=True,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--test", "--stdout", is_flag=True, help="No Kafka: one enriched message per line on standard output.")
@click.option("--look", is_flag=True, help="No Kafka: one line per tweet for people, with the matched words marked.")
@click.option("--demo", is_flag=True,
              help="No accounts, no servers: run against a simulated Twitter and Redis, without localsettings.py;"
              " into Kafka only where the environment has KAFKA_HOSTS.")  # fmt: skip
@click.option("--type", "traptor_type", type=click.Choice(["track", "follow", "locations"]), help="Type of the rules.")
@click.option("--id", "traptor_id", type=click.IntRange(0), help="Which Traptor of its type this is.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N tweets.")
@click.option("--delay", type=Finite(0), default=1.0, show_default=True, metavar="SECONDS",
              help="Wait before the first connection.")  # fmt: skip
@click.option("--loglevel", metavar="LEVEL", help="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
@click.option("--info", "loglevel", flag_value="INFO", help="The same as --loglevel INFO.")
@click.option("--debug", "loglevel", flag_value="DEBUG", help="The same as --loglevel DEBUG.")
@click.version_option(__version__, prog_name="traptor")
@click.pass_context
def command(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    test: bool,
    look: bool,
    demo: bool,
    traptor_type: str | None,
    traptor_id: int | None,
    limit: int | None,
    delay: float,
    loglevel: str | None,
) -> None:
    """Collect tweets for the rules in Redis and deliver them, enriched, to Kafka."""
    if context.invoked_subcommand:
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)  # until the Traptor is there to end in good order
    flags = {"TRAPTOR_TYPE": traptor_type, "TRAPTOR_ID": traptor_id, "LOG_LEVEL": loglevel}
    if demo:
        from traptor import demo as demonstration  # fakeredis is needed for nothing else

        with demonstration.running(flags) as demo_settings:
            test = test or not demonstration.has_kafka(demo_settings)
            hints = demonstration.hints(demo_settings)
            if not look:
                click.echo("\n".join([*hints, END]), err=True)
            run(demo_settings, test=test, look=look, limit=limit, delay=delay, hints=hints)
    else:
        run(settings.load(flags), test=test, look=look, limit=limit, delay=delay)


def _end(*_: object) -> None:
    sys.exit(Exit.ENDED)


def run(
    wanted: settings.Settings,
    *,
    test: bool,
    look: bool = False,
    limit: int | None,
    delay: float,
    hints: Sequence[str] = (),
) -> None:
    """Run one Traptor to its end, and say in one line what it did. ``hints`` are kept in sight on a terminal."""
    if missing := [name for name in wanted.needed_keys if not getattr(wanted, name)]:
        raise settings.SettingError(
            f"{', '.join(missing)}: not set; allowed is the key of your Twitter app, or of the server that"
            " TWITTER_STREAM_URL names (environment, localsettings.py, or NAME_FILE). To try without an account:"
            " traptor --demo --test"
        )
    from traptor.delivery.door import OutputError  # here, so that --help and the other subcommands start fast
    from traptor.traptor import Traptor

    traptor = Traptor.from_settings(wanted, test=test or look)

    # A tweet leaves no cycles; looking for some among all that is on its way costs a twentieth of the time.
    gc.freeze()
    gc.set_threshold(50_000)
    try:
        with _shown(traptor, hints, look=look):
            traptor.run(tweet_limit=limit, delay=delay)
    except BrokenPipeError:
        drop_output()
    except OutputError as error:
        drop_output()
        raise click.ClickException(str(error)) from None
    finally:
        if not isinstance(sys.exception(), settings.SettingError):
            summary = ", ".join(f"{name} {count}" for name, count in traptor.summary().items())
            click.echo(f"traptor: {summary}", err=True)


@contextlib.contextmanager
def _shown(traptor: "Traptor", hints: Sequence[str], *, look: bool) -> Iterator[None]:
    """What a terminal shows meanwhile: tweets, if we are to look at them, and a live line below them or the log."""
    from traptor import live
    from traptor.look import Look

    if (traptor.test or not traptor.kafka_enabled) and not look:
        # The lines of JSON are for a program, which may have the same terminal.
        yield
        return
    with live.line(traptor.status, hints, END, on_output=look) as console:
        if look:
            traptor.output = Look(console)
            if not console:
                click.echo("\n".join([*hints, END]), err=True)
        yield


def _reach_this_machine_directly() -> None:
    """What listens on this machine, as the demo's Twitter does, is asked for without the environment's proxy."""
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if direct != "*":
        os.environ["no_proxy"] = ",".join(filter(None, [direct, "127.0.0.1,localhost,::1"]))


def _tell_unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    click.echo(redact("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False)


def main() -> Any:
    """Run the command; every way out has its exit code, whatever becomes of standard error."""
    standard_error.install()
    os.umask(0o077)  # what is written holds what people have said: whoever wants it shown gives it another mode
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=READABLE)
    sys.excepthook = _tell_unexpected
    _reach_this_machine_directly()
    try:
        return command(prog_name="traptor")
    except settings.SettingError as error:
        click.echo(f"traptor: {harmless(error)}", err=True)
        sys.exit(Exit.WRONG_SETTING)
