"""What rules need of X API v2 before anything is collected: server rules, apps, and posts that are paid for."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from traptor.sources.v2 import shape
from traptor.sources.v2.rules import ServerRule, pack, pack_tightly
from traptor.tweets import fields, kinds
from traptor.tweets.matching import compile_rules
from traptor.tweets.rule import Rule
from traptor.tweets.snowflakes import posted_ms

DAYS_OF_A_MONTH = 30
QUERY_CHARACTERS = 512
"""The longest query that every account may count by."""
MOST_QUERIES = 100
"""Of the 300 that an app has in 15 minutes."""


class Need(NamedTuple):
    """What the rules of one type take. An app has one stream, and a Traptor of each type needs an app of its own."""

    traptor_type: str
    rules: int
    left_out: int
    server_rules: list[ServerRule]
    apps: int


class Counts(Protocol):
    def posts_of_a_week(self, query: str) -> int:
        """How many posts of the last seven days a rule's value finds."""


def need(traptor_type: str, rules: Sequence[Rule], length: int, limit: int) -> Need:
    """Each rule has server rules of its own while there is room in one app; otherwise they share."""
    apart, problems = pack(traptor_type, 0, rules, length, math.inf)
    server_rules = apart if len(apart) <= limit else pack_tightly(traptor_type, rules, length)
    return Need(traptor_type, len(rules), len(problems), server_rules, math.ceil(len(server_rules) / limit))


def posts_a_month(api: Counts, server_rules: Sequence[ServerRule]) -> int:
    """By X's counts of the last week. A post that several queries find counts several times: an upper bound.

    Of more than a hundred queries a hundred are asked, and the others taken to be like them. Raises birdy's errors.
    """
    queries = list(_queries(server_rules))
    step = math.ceil(len(queries) / MOST_QUERIES) or 1
    some = queries[::step]
    found = sum(map(api.posts_of_a_week, some))
    return round(found * len(queries) / len(some) / 7 * DAYS_OF_A_MONTH) if some else 0


def _queries(server_rules: Iterable[ServerRule]) -> Iterator[str]:
    """As many rules joined as a query may hold."""
    query = ""
    for rule in server_rules:
        joined = f"{query} OR {rule.value}" if query else rule.value
        if query and len(joined) > QUERY_CHARACTERS:
            yield query
            joined = rule.value
        query = joined
    if query:
        yield query


def sampled_posts_a_month(traptor_type: str, rules: Sequence[Rule], tweets: Iterable[Any], share: float) -> int:
    """By the tweets of a sample, of v1.1 or v2, that is this share of all tweets. Raises ValueError if it is too short.

    Its time is that of its ids, from the first to the last.
    """
    matcher = compile_rules(traptor_type, rules)
    found, times = 0, []
    for message in tweets:
        for tweet in shape.tweets(message) if shape.is_v2(message) else [message]:
            found += bool(matcher.match(fields.view(tweet)))
            if milliseconds := posted_ms(int(kinds.tweet_id(tweet) or 0)):
                times.append(milliseconds)
    seconds = (max(times) - min(times)) / 1000 if times else 0.0
    if seconds < 1:
        raise ValueError("the sample has no two tweets a second or more apart: its rate cannot be told")
    return round(found / share / seconds * DAYS_OF_A_MONTH * 86_400)
