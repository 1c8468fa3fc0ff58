"""The queries of docs/store.md."""

import re
from pathlib import Path

import pytest

from tests.store.samples import matched, messages, retweet, tweet
from tests.store.sql_facts import rows
from traptor.store.sqlite import SQLite

DOCS = (Path(__file__).parents[2] / "docs/store.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.+?);\n```", DOCS, re.DOTALL)


@pytest.mark.parametrize("query", QUERIES)
def test_each_query_of_the_page_is_answered(tmp_path: Path, query: str) -> None:
    database = SQLite(tmp_path / "tweets.db")
    database.open()
    original = matched(tweet(1, "storm over the bay"))
    database.write(messages(original, retweet(2, original), tweet(3, "東京 storm")))
    rows(database, query)
    database.close()


def test_there_are_a_dozen() -> None:
    assert len(QUERIES) == 12
