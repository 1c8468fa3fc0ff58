"""What rules need of v2, and what they cost."""

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from traptor.commands.planning import plan as command
from traptor.simulator import CREDENTIAL, Simulator, v2_request
from traptor.simulator.feed import Synthetic, decode
from traptor.simulator.predicates import Predicates
from traptor.simulator.snowflakes import Snowflakes, stamp
from traptor.simulator.v2 import bearer_token
from traptor.simulator.v2_payload import payload
from traptor.sources.v2 import plan
from traptor.sources.v2.rules import ServerRule


def numbered(count: int) -> list[dict[str, str]]:
    return [{"rule_id": str(number), "value": f"phrase number {number}"} for number in range(count)]


@pytest.mark.parametrize(
    "rules, limit, server_rules, apps, left_out",
    [
        ([], 1000, 0, 0, 0),
        (numbered(3), 1000, 3, 1, 0),
        (numbered(1000), 1000, 1000, 1, 0),
        (numbered(100), 25, 4, 1, 0),
        (numbered(100), 3, 4, 2, 0),
        ([*numbered(1), {"rule_id": "9", "value": ","}], 5, 1, 1, 1),
    ],
)
def test_what_rules_need(rules: list[dict[str, str]], limit: int, server_rules: int, apps: int, left_out: int) -> None:
    need = plan.need("track", rules, 1024, limit)
    assert (need.rules, len(need.server_rules), need.apps, need.left_out) == (len(rules), server_rules, apps, left_out)


class Counting:
    def __init__(self) -> None:
        self.queries: list[str] = []

    def posts_of_a_week(self, query: str) -> int:
        self.queries.append(query)
        return 70


@pytest.mark.parametrize(
    "values, queries, posts",
    [
        ([], [], 0),
        (["a", "b OR c"], ["a OR b OR c"], 300),
        (["x" * 300, "y" * 300, "z"], ["x" * 300, f"{'y' * 300} OR z"], 600),
        (["x" * 600, "y"], ["x" * 600, "y"], 600),
        (["x" * 254, "y" * 254], [f"{'x' * 254} OR {'y' * 254}"], 300),
        (["x" * 254, "y" * 255], ["x" * 254, "y" * 255], 600),
    ],
)
def test_rules_are_counted_together_as_far_as_a_query_holds_them(
    values: list[str], queries: list[str], posts: int
) -> None:
    counting = Counting()
    assert plan.posts_a_month(counting, [ServerRule(value, "") for value in values]) == posts
    assert counting.queries == queries


def test_of_many_queries_some_stand_for_all() -> None:
    counting = Counting()
    rules = [ServerRule(f"{number:0400}", "") for number in range(1000)]
    assert plan.posts_a_month(counting, rules) == 1000 * 300
    assert len(counting.queries) == 100


def tweets_of_a_minute(share_of_storms: float) -> list[dict[str, Any]]:
    """A hundred, evenly spaced."""
    storms = round(100 * share_of_storms)
    made = Synthetic(1, Snowflakes()).messages(Predicates(track=("storm",)))
    calm = Synthetic(1, Snowflakes()).messages(Predicates(track=("zzz",)))
    tweets = [decode(one.body) for one in (*islice(made, storms), *islice(calm, 100 - storms))]
    times = [stamp(1_700_000_000_000 + number * 60_000 // 99, number) for number in range(100)]
    return [{**tweet, "id": time.id, "id_str": str(time.id)} for tweet, time in zip(tweets, times, strict=True)]


@pytest.mark.parametrize("is_v2", [False, True])
def test_a_sample_tells_the_rate(is_v2: bool) -> None:
    tweets = tweets_of_a_minute(0.3)
    asked = v2_request.asked("tweet.fields=entities,note_tweet&expansions=referenced_tweets.id,attachments.media_keys"
                             "&media.fields=url")  # fmt: skip
    messages = [payload(tweet, [], asked) for tweet in tweets] if is_v2 else tweets
    posts = plan.sampled_posts_a_month("track", [{"rule_id": "1", "value": "storm"}], messages, 0.01)
    assert posts == pytest.approx(30 * 100 * 60 * 24 * 30, rel=0.02)


@pytest.mark.parametrize("odd", [None, "", "20", "1" * 20, "-1", 7])
def test_a_second_is_long_enough_and_ids_that_tell_no_time_make_it_no_longer(odd: Any) -> None:
    ids = [str(stamp(1_700_000_000_000 + milliseconds, 1).id) for milliseconds in (0, 1000)]
    messages = [{"id_str": id_, "text": "storm"} for id_ in [*ids, odd]]
    posts = plan.sampled_posts_a_month("track", [{"rule_id": "1", "value": "storm"}], messages, 1.0)
    assert posts == 3 * 86_400 * 30


@pytest.mark.parametrize("messages", [[], [{"id_str": "1950000000000000001", "text": "storm"}], [{"delete": {}}]])
def test_a_sample_without_a_time_tells_nothing(messages: list[Any]) -> None:
    with pytest.raises(ValueError, match="its rate cannot be told"):
        plan.sampled_posts_a_month("track", [{"rule_id": "1", "value": "storm"}], messages, 0.01)


# The command


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.csv"
    path.write_text("type,value,tag\ntrack,storm,weather\nfollow,12,people\n")
    return str(path)


def told(*arguments: str, **environment: str) -> dict[str, Any]:
    done = CliRunner().invoke(command, [*arguments, "--api", "2", "--json"], env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_command_asks_x(rules: str) -> None:
    with Simulator(rate=1) as twitter:
        answer = told(rules, TWITTER_API_URL=twitter.url, BEARER_TOKEN=bearer_token(CREDENTIAL))
    assert [(line["type"], line["server_rules"], line["connections"]) for line in answer["needed"]] == [
        ("track", 1, 1), ("follow", 1, 1),
    ]  # fmt: skip
    posts = 2 * 86_400 * 30
    assert answer["month"] == {
        "posts": posts, "by": "X's counts of the last week", "cap": 3_000_000, "cost": posts * 0.005,
    }  # fmt: skip


def test_without_keys_and_sample_the_cost_is_not_known(rules: str) -> None:
    month = told(rules)["month"]
    assert (month["posts"], month["cost"], month["by"]) == (None, None, "no keys to ask X with; give a --sample")


def test_where_x_does_not_count_it_is_told(rules: str) -> None:
    with Simulator() as twitter:
        month = told(rules, TWITTER_API_URL=twitter.url, BEARER_TOKEN="wrong")["month"]
    assert month["posts"] is None
    assert "BEARER_TOKEN is refused" in month["by"]


def test_the_command_takes_a_sample(rules: str, tmp_path: Path) -> None:
    sample = tmp_path / "sample.jsonl.gz"
    sample.write_bytes(gzip.compress(b"\n".join(json.dumps(one).encode() for one in tweets_of_a_minute(0.3))))
    month = told(rules, "--sample", str(sample), "--share", "0.1")["month"]
    assert month["posts"] == pytest.approx(30 * 10 * 60 * 24 * 30, rel=0.02)


def test_what_is_said_names_cost_and_cap(rules: str) -> None:
    with Simulator(rate=10) as twitter:
        environment = {"TWITTER_API_URL": twitter.url, "BEARER_TOKEN": bearer_token(CREDENTIAL), "TWITTER_API": "2"}
        done = CliRunner().invoke(command, [rules], env=environment, catch_exceptions=False)
    assert (
        "A month: about 51,840,000 posts, more than the 3,000,000 allowed, 259,200.00 USD for them alone" in done.stdout
    )


def test_what_is_left_out_of_a_plan_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rules.jsonl"
    path.write_text('{"value":"storm"}\n')
    done = CliRunner().invoke(command, [str(path), "--api", "2"], catch_exceptions=False)
    assert "'storm' has no type: name one with --type" in done.stderr


def test_a_sample_is_for_v2(rules: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [rules, "--sample", rules])
    assert (done.exit_code, "--sample goes with --api 2" in done.output) == (2, True)
