"""``traptor export``: tweets out of a database."""

import sys
from datetime import UTC, datetime
from typing import BinaryIO

import click

from traptor import settings
from traptor.commands import results
from traptor.commands.replay import moment
from traptor.commands.store import opened
from traptor.exits import Exit, drop_output
from traptor.printable import counted
from traptor.store.destination import Selection
from traptor.store.export import FORMATS

EXAMPLES = """
\b
Examples:
  traptor export tweets.db --format csv > tweets.csv       opens in a spreadsheet
  traptor export tweets.db --format ids --rule weather     ids alone: what may be shared
  traptor export postgresql://traptor@db/tweets --format parquet --since 2021-01-01 --out january.parquet
"""


@click.command(epilog=EXAMPLES)
@click.argument("name", metavar="DESTINATION")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="jsonl", show_default=True)
@click.option("--rule", metavar="RULE", help="Only tweets of this rule: its rule_id, its tag or its value.")
@click.option("--since", type=moment, metavar="TIME", help="Leave out tweets posted before this time (UTC).")
@click.option("--until", type=moment, metavar="TIME", help="Leave out tweets posted at this time or later.")
@click.option("--out", type=click.File("wb", lazy=True), default="-", callback=results.export,
              help="A file instead of standard output.")  # fmt: skip
def export(  # noqa: PLR0917 - click passes by name
    name: str, form: str, rule: str | None, since: float | None, until: float | None, out: BinaryIO
) -> None:
    """Write the tweets of a database to standard output. In the order of their ids.

    Lists stand in one column, joined by blanks. Whoever shares tweets with others may share their ids: --format ids.
    """
    selection = Selection(rule, _iso(since), _iso(until))
    try:
        with opened(name, settings.load()) as database:
            count = FORMATS[form](database.tweets(selection), out)
    except ImportError as error:
        raise click.ClickException(f"{error}; pip install pyarrow brings it") from None
    except BrokenPipeError:
        drop_output()
        sys.exit(Exit.ENDED)
    click.echo(f"export: {counted(count, 'tweet')}", err=True)


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
