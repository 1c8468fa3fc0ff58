"""Rules from elsewhere into Redis, spread over as many Traptors as they need. The work is in the traptor package."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

# In a checkout without an installation, `python scripts/rule_extract.py` would see this folder alone.
sys.path.append(str(Path(__file__).parent.parent))

from traptor import keys, settings
from traptor.commands.loading import load, load_source
from traptor.exits import Exit
from traptor.rules.checked import LIMITS


class RulesToRedis:
    """Writes rules to Redis. ``conn`` is a redis-py client, or anything that behaves like one."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    def rule_max(self, traptor_type: str) -> int:
        """How many rules one Traptor of this type takes. Raises ValueError for what is no type."""
        if traptor_type not in LIMITS:
            raise ValueError(f"{traptor_type!r} is not a type of Traptor; allowed is {', '.join(LIMITS)}")
        return LIMITS[traptor_type]

    def send_rules(self, traptor_type: str, rules: Iterable[Mapping[str, Any]]) -> None:
        """Write each rule as a hash under ``traptor-<type>:<shard>:<index>``, all at once; full shards come first.

        Raises ValueError for what is no type, and redis.RedisError.
        """
        most = self.rule_max(traptor_type)
        with self.conn.pipeline() as pipe:
            for index, rule in enumerate(rules):
                pipe.hset(keys.rule(traptor_type, index // most, index), mapping=dict(rule))
            pipe.execute()


@click.group()
def cli() -> None:
    """Rules from a database or a file into Redis. `load` takes every source and shows what it would do."""


type_argument = click.argument("traptor_type", type=click.Choice(keys.TYPES))


@cli.command()
@click.option("--settings", "database", default="{}", help="JSON object with HOST, PORT, USER, PASSWD and DB.")
@type_argument
def sqldb(database: str, traptor_type: str) -> None:
    """Rules of one type from a MySQL database."""
    named = {"HOST": "localhost", "PORT": 3306, "USER": "", "PASSWD": "", "DB": "traptor"}
    try:
        named |= {name: value for name, value in json.loads(database).items() if value is not None}
    except (ValueError, AttributeError):
        raise click.BadParameter("is not a JSON object with HOST, PORT, USER, PASSWD and DB") from None
    url = f"mysql://{quote(str(named['USER']), safe='')}@{named['HOST']}:{named['PORT']}/{named['DB']}"
    password = {"MYSQL_PASSWORD": str(named["PASSWD"])} if named["PASSWD"] else {}
    load_source(settings.load(password), url, None, traptor_type)


@cli.command()
@type_argument
@click.argument("filename", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--conn", metavar="URL", help="The Redis to write to; otherwise that of the settings.")
def jsonfile(traptor_type: str, filename: str, conn: str | None) -> None:
    """Rules of one type from a file with a JSON object per line, as they are."""
    load_source(settings.load({"REDIS_URL": conn}), filename, "jsonl", traptor_type, as_is=True)


cli.add_command(load)


def main() -> None:
    try:
        cli()
    except settings.SettingError as error:
        click.echo(f"rule_extract: {error}", err=True)
        sys.exit(Exit.WRONG_SETTING)


if __name__ == "__main__":
    main()
