"""``rules test``: which rules hold in texts and tweets, word for word, before anybody pays for tweets."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click

from traptor import settings
from traptor.archives.forms import Problem
from traptor.archives.trial import Trial
from traptor.archives.trial import read as read_files
from traptor.commands.console import (
    Command,
    connection,
    json_option,
    needs_a_person,
    say_json,
    say_some,
    table,
    terminal,
    typed,
)
from traptor.commands.loading import read, say_remarks
from traptor.keys import TYPES
from traptor.look import line, plain_marks, where
from traptor.printable import counted, harmless
from traptor.rules import loading, stored
from traptor.tweets import fields
from traptor.tweets.explained import Part, explainer
from traptor.tweets.rule import Rule

MOST_ROWS = 50
MOST_EXPLAINED = 10
"""Rules that do not hold, with the reason for each."""
REDIS = "redis"
EXAMPLES = """
\b
Examples:
  traptor rules test 'storm,flood warning' 'Storms and a flood of warnings'
  traptor rules test rules.csv tweets.jsonl.gz     what each rule finds in a file
  traptor rules test redis monday.tar              the same for the rules in Redis
  traptor rules test --type follow 17919972 tweets.jsonl
  traptor rules test --type locations -122.75,36.8,-121.75,37.8 -122.4,37.7

RULES is a rule's value, a file or database as `rules load` takes it, or the word redis. What follows are texts, tweets
in JSON, or files of tweets as `replay` reads them; - is standard input. In place of a text there may be a user's id for
follow, and a longitude and latitude for locations. Exit code 1 if one of the rules is malformed.
"""


class Seen(NamedTuple):
    """A text or tweet, and each rule's parts as it has them."""

    text: str
    found: list[tuple[Rule, list[Part]]]


@click.command("test", cls=Command, epilog=EXAMPLES)
@click.argument("source", metavar="RULES", callback=typed)
@click.argument("what", metavar="[TEXT|FILE]...", nargs=-1)
@click.option("--type", "wanted_type", type=click.Choice(TYPES), help="Type of rules that name none.  [default: track]")
@json_option
def test_(*, source: str, what: tuple[str, ...], wanted_type: str | None, as_json: bool) -> None:
    """Which rules hold in texts or files of tweets, and why. In which field, or why not, word for word."""
    loaded = _loaded(settings.load(), source, wanted_type)
    files = [one for one in what if _is_file(one)]
    seen = [_seen(str(typed(None, None, one)), loaded.rules) for one in what if one not in files]
    trials = {name: Trial(name, rules) for name, rules in loaded.rules.items()}
    problems = read_files(files, list(trials.values()))
    if as_json:
        say_json(_as_dict(loaded, seen, trials if files else {}, problems))
    else:
        say_remarks(loaded)
        for one in seen or ([] if files else [_seen("", loaded.rules)]):
            _say_seen(one)
        if files:
            _say_trials(loaded, trials)
        say_some([f"{problem.place}: {problem.reason}" for problem in problems], "not read", err=True)
    if loaded.problems or (problems and not any(trial.tally.counts["tweets"] for trial in trials.values())):
        needs_a_person()


_LIKE_A_FILE = re.compile(r"[./~]*/\S+|\S+\.(csv|db|json|jsonl|txt|gz|bz2|xz|zst|zip|tar|tgz)")


def _is_file(name: str) -> bool:
    if name == "-" or os.path.exists(name):
        return True
    if _LIKE_A_FILE.fullmatch(name):
        raise click.BadParameter(f"there is no file {name!r}, or we may not look at it; a text has more than one word")
    return False


def _loaded(wanted: settings.Settings, source: str, wanted_type: str | None) -> loading.Loaded:
    """The rules, each with a rule_id."""
    if source == REDIS:
        with connection(wanted) as conn:
            types = [wanted_type] if wanted_type else TYPES
            rows = [
                loading.Row(f"{name}:{traptor_id} {rule_id}", {**rule, "type": name, "rule_id": None})
                for name in types
                for traptor_id, held in stored.each(conn, name)
                for rule_id, rule in held.items()
            ]
        loaded = loading.load(rows, as_is=True)
    elif _is_file(source) or "://" in source:
        loaded = read(wanted, source, None, wanted_type, default_type="track")
    else:
        loaded = loading.load([loading.Row("the rule", {"value": source})], wanted_type or "track", as_is=True)
    for rules in loaded.rules.values():
        for rule in rules:
            rule["rule_id"] = rule["rule_id"] or loading.content_id(rule["value"])
    return loaded


def _seen(text: str, rules: Mapping[str, Sequence[Rule]]) -> Seen:
    # A text is one for track rules, unless there are only others.
    types = [name for name in rules if name == "track" or len(rules) == 1 or text.lstrip().startswith("{")]
    tweets = {name: fields.view(_tweet(text, name)) for name in types}
    return Seen(
        text,
        [(rule, explainer(name, rule["value"]).explain(tweets[name])) for name in types for rule in rules[name]],
    )


def _tweet(text: str, traptor_type: str) -> dict[str, Any]:
    """As Twitter would send it: what is given as JSON, or else a text with its entities, an author, or a place."""
    if text.lstrip().startswith("{"):
        try:
            return dict(fields.load(text.encode()))
        except ValueError as error:
            raise click.BadParameter(f"{text[:50]!r} begins like a tweet in JSON, and is not: {error}") from None
    if traptor_type == "follow" and text.strip().isdecimal():
        return {"user": {"id_str": text.strip()}}
    if traptor_type == "locations" and (point := _POINT.fullmatch(text)):
        return {"coordinates": {"coordinates": [float(point[1]), float(point[2])]}}
    return {
        "text": _LINK.sub("https://t.co/link", text),
        "entities": {
            "hashtags": [{"text": tag} for tag in re.findall(r"#(\w+)", text)],
            "user_mentions": [{"screen_name": name} for name in re.findall(r"@(\w+)", text)],
            "symbols": [{"text": symbol} for symbol in re.findall(r"\$([A-Za-z]\w*)", text)],
            "urls": [{"expanded_url": link} for link in _LINK.findall(text)],
        },
    }


_LINK = re.compile(r"https?://\S+")
_DEGREES = r"\s*([+-]?\d+(?:\.\d*)?)\s*"
_POINT = re.compile(f"{_DEGREES},{_DEGREES}", re.ASCII)


def _say_seen(seen: Seen) -> None:
    """Of rules that hold, and of a few that do not, each part; without a text, how the rules are read."""
    if not seen.text:
        for rule, parts in seen.found[:MOST_EXPLAINED]:
            click.echo(f"{_named(rule)} asks for any of")
            for part in parts:
                click.echo(f"  {harmless(' and '.join(word.text for word in part.words))}")
        return
    click.echo(harmless(seen.text))
    held = [(rule, parts) for rule, parts in seen.found if any(part.holds for part in parts)]
    others = [(rule, parts) for rule, parts in seen.found if not any(part.holds for part in parts)]
    for verdict, some in (("HOLDS", held), ("does not hold", others[:MOST_EXPLAINED])):
        for rule, parts in some:
            click.echo(f"  {_named(rule)} {verdict}")
            for part in parts:
                click.echo(f"    {'yes' if part.holds else 'no ':3}  {harmless(_why(part, seen.text))}")
    if len(others) > MOST_EXPLAINED:
        click.echo(f"  more that do not hold: {len(others) - MOST_EXPLAINED}")


def _named(rule: Rule) -> str:
    tag = f" [{rule['tag']}]" if rule.get("tag") else ""
    return harmless(f"{rule['value']!r}{tag}")


def _why(part: Part, text: str) -> str:
    """Each word with the fields it is in; or that it is not there, and what comes near."""
    return ", ".join(
        f"{word.text} ({', '.join(map(where, word.fields))})" if word.fields else _why_not(word.text, text)
        for word in part.words
    )


def _why_not(word: str, text: str) -> str:
    bare = word.strip("#@$").lower()
    near = next((one for one in re.findall(r"\w+", text) if bare in one.lower()), None)
    if near is None:
        return f"{word} is not there"
    return f"{word} is not there{f', only {near}' if near.lower() == bare else f': {near} is another word'}"


def _say_trials(loaded: loading.Loaded, trials: Mapping[str, Trial]) -> None:
    """A table of matches for each type of rule, the most first, and examples below."""
    console = terminal()
    for name, rules in loaded.rules.items():
        trial = trials[name]
        counts, matches = trial.tally.counts, trial.tally.rules
        click.echo(f"{name}: {counted(counts['tweets'], 'tweet')}, {counts['matched']:,} matched")
        ordered = sorted(rules, key=lambda rule: -matches[rule["rule_id"]])
        rows = [
            (rule["value"], rule.get("tag", ""), f"{matches[rule['rule_id']]:,}", _where(trial, rule["rule_id"]))
            for rule in ordered[:MOST_ROWS]
        ]
        console.print(table(("rule", "tag", ">matches", "where"), rows, is_terminal=console.is_terminal))
        if len(rules) > MOST_ROWS:
            click.echo(f"and {len(rules) - MOST_ROWS} more; --json shows all")
        for rule in ordered[:MOST_EXPLAINED]:
            for tweet in trial.examples[rule["rule_id"]]:
                shown = line(tweet, console.width if console.is_terminal else None)
                console.print(shown if console.is_terminal else plain_marks(shown), markup=False, soft_wrap=True)


def _where(trial: Trial, rule_id: str) -> str:
    return ", ".join(f"{where(name)} {count:,}" for name, count in trial.fields[rule_id].most_common(3))


def _as_dict(
    loaded: loading.Loaded, seen: Sequence[Seen], trials: Mapping[str, Trial], problems: Sequence[Problem]
) -> dict[str, Any]:
    return {
        "texts": [
            {
                "text": one.text,
                "rules": [
                    {
                        "rule_id": rule["rule_id"],
                        "value": rule["value"],
                        "holds": any(part.holds for part in parts),
                        "parts": [
                            {"text": part.text, "holds": part.holds, "words": [word._asdict() for word in part.words]}
                            for part in parts
                        ],
                    }
                    for rule, parts in one.found
                ],
            }
            for one in seen
        ],
        "files": [
            {
                "type": name,
                "tweets": trial.tally.counts["tweets"],
                "matched": trial.tally.counts["matched"],
                "rules": [
                    {
                        **rule,
                        "matches": trial.tally.rules[rule["rule_id"]],
                        "fields": trial.fields[rule["rule_id"]],
                        "examples": [tweet.get("id_str") for tweet in trial.examples[rule["rule_id"]]],
                    }
                    for rule in loaded.rules[name]
                ],
            }
            for name, trial in trials.items()
        ],
        "problems": [problem._asdict() for problem in loaded.problems],
        "not_read": [problem._asdict() for problem in problems],
        "notes": [note._asdict() for note in loaded.notes],
    }
