"""Ids of tweets, which tell the time since November 2010."""

EPOCH_MS = 1_288_834_974_657
FIRST, LAST = 1 << 35, (1 << 63) - 1
"""Ids below were counted, until November 2010, and do not tell the time; an id is a signed number of 64 bits."""


def posted_ms(tweet_id: int) -> int | None:
    """When a tweet was posted, in milliseconds since 1970; None where its id does not tell."""
    return (tweet_id >> 22) + EPOCH_MS if FIRST <= tweet_id <= LAST else None
