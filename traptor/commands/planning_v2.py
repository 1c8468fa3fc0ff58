"""``rules plan --api 2``: what the rules need of X API v2, and what a month costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
from birdy.twitter import TwitterApiError, TwitterClientError

from traptor.commands.console import say_json, say_table
from traptor.commands.simulate import read_lines
from traptor.settings import Settings
from traptor.sources import connecting
from traptor.sources.v2 import plan
from traptor.sources.v2.client import V2Client
from traptor.tweets import fields
from traptor.tweets.rule import Rule


class Sample(NamedTuple):
    """Tweets to tell a rate by, and which share of all tweets they are."""

    files: Sequence[Path]
    share: float


def say(wanted: Settings, rules: Mapping[str, Sequence[Rule]], sample: Sample, *, as_json: bool) -> None:
    """What each type needs, and all of them cost. Raises click.ClickException for a sample that cannot be used."""
    needs = [plan.need(name, found, wanted.V2_RULE_LENGTH, wanted.V2_RULE_LIMIT) for name, found in rules.items()]
    by, posts = _posts(wanted, rules, needs, sample)
    lines = [
        {"type": need.traptor_type, "rules": need.rules, "left_out": need.left_out,
         "server_rules": len(need.server_rules), "limit": wanted.V2_RULE_LIMIT, "connections": need.apps}
        for need in needs
    ]  # fmt: skip
    month = {"posts": posts, "by": by, "cap": wanted.V2_MONTHLY_POST_CAP, "cost": _cost(wanted, posts)}
    if as_json:
        say_json({"needed": lines, "month": month})
        return
    say_table(
        ("type", ">rules", ">left out", ">server rules", ">limit of one app", ">connections, each of an app"),
        [tuple(line.values()) for line in lines],
    )
    click.echo(f"\n{_said(wanted, posts, by)}")


def _posts(
    wanted: Settings, rules: Mapping[str, Sequence[Rule]], needs: Sequence[plan.Need], sample: Sample
) -> tuple[str, int | None]:
    """How many posts a month brings, and how that is known; None and why not, where it is not known."""
    if sample.files:
        return "sample", _sampled(rules, sample)
    if not all(getattr(wanted, name) for name in wanted.needed_keys_of_v2):
        return "no keys to ask X with; give a --sample", None
    api = V2Client(wanted.CONSUMER_KEY, wanted.CONSUMER_SECRET, wanted.BEARER_TOKEN, wanted.TWITTER_API_URL)
    try:
        return "X's counts of the last week", sum(plan.posts_a_month(api, need.server_rules) for need in needs)
    except (TwitterApiError, TwitterClientError) as error:
        return f"X does not count them ({connecting.why(error)}); give a --sample", None


def _sampled(rules: Mapping[str, Sequence[Rule]], sample: Sample) -> int:
    try:
        tweets = [fields.load(line) for line in read_lines(sample.files)]
        return sum(plan.sampled_posts_a_month(name, found, tweets, sample.share) for name, found in rules.items())
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _cost(wanted: Settings, posts: int | None) -> float | None:
    return None if posts is None else round(posts * wanted.V2_POST_PRICE, 2)


def _said(wanted: Settings, posts: int | None, by: str) -> str:
    if posts is None:
        return f"What a month costs is not known: {by}"
    beyond = f", more than the {wanted.V2_MONTHLY_POST_CAP:,} allowed" if posts > wanted.V2_MONTHLY_POST_CAP else ""
    return f"A month: about {posts:,} posts{beyond}, {_cost(wanted, posts):,.2f} USD for them alone, by {by}"
