"""``traptor report``: one page about what a running fleet has collected."""

import os
import time
from pathlib import Path

import click
import redis

from traptor import settings
from traptor.archives.tally import Stretch, Tally
from traptor.commands import results
from traptor.commands.console import kafka_fails
from traptor.commands.finite import Finite
from traptor.connections import connect_to_redis
from traptor.printable import counted
from traptor.store.destinations import ALLOWED, is_destination

EXAMPLES = """
\b
Examples:
  traptor report today.html                   the last 24 hours of the topic
  traptor report --last 1 hour.html           the last hour
  traptor report tweets.db                    what `traptor store` keeps there, as tweets.html
  traptor report postgresql://traptor@db/tweets page.html
"""


@click.command(epilog=EXAMPLES)
@click.argument("place", metavar="[DESTINATION] FILE")
@click.argument("file", metavar="", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--last", "hours", type=Finite(0, min_open=True), default=24.0, show_default=True,
              metavar="HOURS", help="How far to look back in Kafka.")  # fmt: skip
@click.pass_context
def report(context: click.Context, place: str, file: Path | None, hours: float) -> None:
    """Write an HTML page about what was collected. Over time, by rule, by language, with the gaps.

    Of the tweets in the Kafka topic, or in a database.

    KAFKA_HOSTS, KAFKA_TOPIC and KAFKA_OPTIONS say where; the gaps are those that Traptors have recorded in Redis.
    Nothing is committed or written there.
    """
    if is_destination(place):
        file = file or Path(Path(place.removeprefix("sqlite:")).with_suffix(".html").name)
        _of_database(place, _checked(context, file))
    elif file:
        raise click.UsageError(f"{place} is no destination; allowed are {ALLOWED}")
    else:
        _of_topic(_checked(context, Path(place)), hours)


def _checked(context: click.Context, file: Path) -> Path:
    if os.path.isdir(file):
        raise click.UsageError(f"{file} is a folder")
    return results.page(context, context.command.params[1], file) or file


def _of_database(name: str, file: Path) -> None:
    from traptor.archives.held import Held, once
    from traptor.archives.report import page
    from traptor.commands.store import opened

    wanted = settings.load()
    with opened(name, wanted) as database:
        found = database.overview()
        shown = database.name
    tally = Tally()
    for start, tweets, matched in found.minutes:
        tally.read.counts[start] = tweets
        tally.written.counts.update({start: matched} if matched else {})
    tally.counts.update(tweets=tally.read.counts.total(), matched=tally.written.counts.total())
    tally.languages.update(dict(found.languages))
    tally.hashtags.update(dict(found.hashtags))
    tally.accounts.update(dict(found.accounts))
    rules = once(
        (Held(at, rule_id, tag or "", value or "", count) for at, rule_id, tag, value, count in found.rules), tally
    )
    missing = [Stretch(gap.since, gap.until, f"{gap.traptor} had no stream ({gap.cause})") for gap in found.gaps]
    missing += [
        Stretch(day, day + 86_400, f"Twitter withheld at least {counted(count, 'tweet')}")
        for day, count in found.withheld
    ]
    _write(file, page(tally, rules, [shown], missing), tally)


def _of_topic(file: Path, hours: float) -> None:
    from kafka.errors import KafkaError  # its client takes time to import

    from traptor.archives import collected
    from traptor.archives.report import page

    wanted = settings.load()
    since = time.time() - hours * 3600
    values = collected.window(wanted.KAFKA_HOSTS, wanted.KAFKA_TOPIC, wanted.KAFKA_OPTIONS or {}, since)
    try:
        tally, rules = collected.counted(values)
    except (KafkaError, OSError) as error:
        raise kafka_fails(error) from None
    try:
        gaps = collected.gaps(connect_to_redis(wanted), since)
    except redis.RedisError as error:
        click.echo(f"report: Redis cannot be read, so the gaps are told by silence: {error}", err=True)
        gaps = None
    _write(file, page(tally, rules, [f"Kafka topic {wanted.KAFKA_TOPIC}"], gaps), tally)


def _write(file: Path, html: str, tally: Tally) -> None:
    file.write_text(html, encoding="utf-8")
    tweets = counted(tally.counts["tweets"], "tweet")
    click.echo(f"report: {tweets}, matched {tally.counts['matched']}, in {file}", err=True)
