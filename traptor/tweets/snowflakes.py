"""Ids of tweets, which tell the time since November 2010."""

EPOCH_MS = 1_288_834_974_657
FIRST = 1 << 35
"""Ids below were counted, until November 2010, and do not tell the time."""


def posted_ms(tweet_id: int) -> int | None:
    """When a tweet was posted, in milliseconds since 1970; None where its id does not tell."""
    return (tweet_id >> 22) + EPOCH_MS if tweet_id >= FIRST else None
