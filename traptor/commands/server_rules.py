"""``rules server``: what X API v2's server holds for the app, and how the rules of a retired Traptor go from there."""

from collections import Counter

import click
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor import settings
from traptor.commands.console import json_option, say_json, say_table
from traptor.keys import TYPES
from traptor.sources import connecting
from traptor.sources.v2.client import V2Client
from traptor.sources.v2.rules import owner


def _traptor(_context: click.Context, _option: click.Parameter, name: str | None) -> tuple[str, int] | None:
    """Type and id of a name like ``track:0``."""
    if name is None:
        return None
    traptor_type, _, traptor_id = name.partition(":")
    if traptor_type not in TYPES or not traptor_id.isdecimal():
        raise click.BadParameter(f"{name!r} is not like track:0")
    return traptor_type, int(traptor_id)


@click.command()
@click.option(
    "--remove",
    "retired",
    metavar="TYPE:ID",
    callback=_traptor,
    help="Delete the rules of this Traptor, which runs no more.",
)
@json_option
def server(*, retired: tuple[str, int] | None, as_json: bool) -> None:
    """The rules that X API v2's server holds, by Traptor. Posts for those of others are paid for, too."""
    wanted = settings.load()
    if missing := [name for name in wanted.needed_keys_of_v2 if not getattr(wanted, name)]:
        raise settings.SettingError(f"{', '.join(missing)}: not set; X API v2 tells an app's rules to its keys alone")
    client = V2Client(wanted.CONSUMER_KEY, wanted.CONSUMER_SECRET, wanted.BEARER_TOKEN, wanted.TWITTER_API_URL)
    try:
        if retired:
            client.synchronise(*retired, [], length=wanted.V2_RULE_LENGTH, limit=wanted.V2_RULE_LIMIT)
        held = Counter(owner(rule.tag) for rule in client.held_rules())
    except (TwitterApiError, TwitterClientError) as error:
        raise click.ClickException(f"Twitter cannot be asked: {connecting.why(error)}") from None
    if as_json:
        say_json(dict(held))
    else:
        say_table(("Traptor", ">rules"), sorted(held.items()))
