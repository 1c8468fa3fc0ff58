-- The tables, the same in SQLite and PostgreSQL. Times are in UTC; ids are 64-bit integers. REFERENCES tells Datasette
-- and its like what belongs together; nobody enforces it, for a user or a tweet may be gone.

-- What this file is: its version, and what is still to be erased from the text index.
CREATE TABLE IF NOT EXISTS about (name text PRIMARY KEY, value text NOT NULL);

-- One row for each tweet, however many Traptors collected it. A retweet has the whole text of what it retweets.
CREATE TABLE IF NOT EXISTS tweets (
    id bigint PRIMARY KEY,
    created_at timestamptz,
    user_id bigint REFERENCES users (id),
    text text,
    lang text,
    source text,
    in_reply_to_status_id bigint,
    in_reply_to_user_id bigint,
    retweeted_id bigint,
    retweeted_user_id bigint REFERENCES users (id),
    quoted_id bigint,
    quoted_user_id bigint REFERENCES users (id),
    quoted_text text,
    longitude double precision,
    latitude double precision,
    place_id text REFERENCES places (id),
    quote_count bigint,
    reply_count bigint,
    retweet_count bigint,
    favorite_count bigint,
    possibly_sensitive boolean,
    raw blob
);
CREATE INDEX IF NOT EXISTS tweets_created_at ON tweets (created_at);
CREATE INDEX IF NOT EXISTS tweets_user_id ON tweets (user_id);
CREATE INDEX IF NOT EXISTS tweets_retweeted_id ON tweets (retweeted_id) WHERE retweeted_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS tweets_retweeted_user_id ON tweets (retweeted_user_id) WHERE retweeted_user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS tweets_quoted_id ON tweets (quoted_id) WHERE quoted_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS tweets_quoted_user_id ON tweets (quoted_user_id) WHERE quoted_user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS tweets_place_id ON tweets (place_id) WHERE place_id IS NOT NULL;

-- Authors, also of what is retweeted or quoted, as they were in the newest tweet that shows them, seen_in.
CREATE TABLE IF NOT EXISTS users (
    id bigint PRIMARY KEY,
    screen_name text,
    name text,
    description text,
    location text,
    url text,
    created_at timestamptz,
    followers_count bigint,
    friends_count bigint,
    statuses_count bigint,
    verified boolean,
    seen_in bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS places (
    id text PRIMARY KEY,
    full_name text,
    name text,
    country text,
    country_code text,
    place_type text,
    west double precision,
    south double precision,
    east double precision,
    north double precision
);

-- sign is # for a hashtag, $ for a cashtag.
CREATE TABLE IF NOT EXISTS hashtags (
    tweet_id bigint REFERENCES tweets (id),
    position integer,
    sign text,
    tag text,
    PRIMARY KEY (tweet_id, position)
);

CREATE TABLE IF NOT EXISTS urls (
    tweet_id bigint REFERENCES tweets (id),
    position integer,
    url text,
    expanded_url text,
    display_url text,
    PRIMARY KEY (tweet_id, position)
);

CREATE TABLE IF NOT EXISTS mentions (
    tweet_id bigint REFERENCES tweets (id),
    position integer,
    user_id bigint,
    screen_name text,
    name text,
    PRIMARY KEY (tweet_id, position)
);

-- video_url is the video in its best quality; url its first picture.
CREATE TABLE IF NOT EXISTS media (
    tweet_id bigint REFERENCES tweets (id),
    position integer,
    id bigint,
    type text,
    url text,
    expanded_url text,
    video_url text,
    PRIMARY KEY (tweet_id, position)
);

-- One row for each rule of each Traptor that a tweet satisfies. fields has the rule's other fields.
CREATE TABLE IF NOT EXISTS matches (
    tweet_id bigint REFERENCES tweets (id),
    traptor text,
    rule_id text,
    tag text,
    value text,
    matched_in json,
    rule_set text,
    fields json,
    PRIMARY KEY (tweet_id, traptor, rule_id)
);
CREATE INDEX IF NOT EXISTS matches_tag ON matches (tag);

-- Times without a stream.
CREATE TABLE IF NOT EXISTS gaps (
    traptor text,
    since timestamptz,
    until timestamptz,
    cause text,
    last_tweet_id bigint,
    first_tweet_id bigint,
    rule_set text,
    reconnects bigint,
    PRIMARY KEY (traptor, since)
);

-- What Twitter said that it left out: tweets since a connection opened, so a lower bound.
CREATE TABLE IF NOT EXISTS limits (at timestamptz, tweets bigint, PRIMARY KEY (at, tweets));

-- Where a tweet or a user must not be shown. kind is tweet or user; XX is every country, XY a matter of copyright.
CREATE TABLE IF NOT EXISTS withheld (kind text, id bigint, country text, PRIMARY KEY (kind, id, country));

-- What was taken back, so that it never comes again.
CREATE TABLE IF NOT EXISTS deleted (tweet_id bigint PRIMARY KEY);
CREATE TABLE IF NOT EXISTS scrubbed (user_id bigint PRIMARY KEY, up_to_id bigint NOT NULL);

-- Messages that could not be stored.
CREATE TABLE IF NOT EXISTS apart (
    topic text, "partition" integer, "offset" bigint, at timestamptz, reason text, value blob,
    PRIMARY KEY (topic, "partition", "offset")
);

-- The ids that stand in a message of apart, by which it goes when its tweet is deleted.
CREATE TABLE IF NOT EXISTS apart_ids (
    id bigint, topic text, "partition" integer, "offset" bigint, PRIMARY KEY (id, topic, "partition", "offset")
);
CREATE INDEX IF NOT EXISTS apart_ids_place ON apart_ids (topic, "partition", "offset");

-- Up to where each partition is stored: the next offset to read.
CREATE TABLE IF NOT EXISTS progress (
    topic text, "partition" integer, "offset" bigint NOT NULL, PRIMARY KEY (topic, "partition")
);
