"""``traptor report``: one page about what a running fleet has collected."""

import time
from pathlib import Path

import click
import redis

from traptor import settings
from traptor.commands.replay import writable
from traptor.connections import connect_to_redis

EXAMPLES = """
\b
Examples:
  traptor report today.html                   the last 24 hours of the topic
  traptor report --last 1 hour.html           the last hour
"""


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), callback=writable)
@click.option("--last", "hours", type=click.FloatRange(0, min_open=True), default=24.0, show_default=True,
              metavar="HOURS", help="How far to look back.")  # fmt: skip
def report(file: Path, hours: float) -> None:
    """Write an HTML page about the tweets in the Kafka topic: over time, by rule, by language, and gaps.

    KAFKA_HOSTS, KAFKA_TOPIC and KAFKA_OPTIONS say where; the gaps are those that Traptors have recorded in Redis.
    Nothing is committed or written there.
    """
    from kafka.errors import KafkaError  # its client takes time to import

    from traptor.archives import collected
    from traptor.archives.report import page

    wanted = settings.load()
    since = time.time() - hours * 3600
    values = collected.window(wanted.KAFKA_HOSTS, wanted.KAFKA_TOPIC, wanted.KAFKA_OPTIONS or {}, since)
    try:
        tally, rules = collected.counted(values)
    except (KafkaError, OSError) as error:
        raise click.ClickException(f"Kafka cannot be read: {type(error).__name__}: {error}") from None
    try:
        gaps = collected.gaps(connect_to_redis(wanted), since)
    except redis.RedisError as error:
        click.echo(f"report: Redis cannot be read, so the gaps are told by silence: {error}", err=True)
        gaps = None
    file.write_text(page(tally, rules, [f"Kafka topic {wanted.KAFKA_TOPIC}"], gaps), encoding="utf-8")
    click.echo(f"report: {tally.counts['tweets']} tweets, matched {tally.counts['matched']}, in {file}", err=True)
