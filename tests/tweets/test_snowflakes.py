import pytest

from traptor.tweets.snowflakes import posted_ms


@pytest.mark.parametrize(
    "tweet_id, milliseconds",
    [
        (1_212_092_628_029_698_048, 1_577_820_376_771),
        (29_700_859_247, None),  # of the last that were counted
        (20, None),
        (0, None),
    ],
)
def test_an_id_tells_when_its_tweet_was_posted(tweet_id: int, milliseconds: int | None) -> None:
    assert posted_ms(tweet_id) == milliseconds
