-- Words of the texts. Scripts without blanks between words stand letter by letter: ask for "東 京".
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    text, content="tweets", content_rowid="id",
    tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
);

CREATE VIEW IF NOT EXISTS tweets_by_day AS
SELECT date(created_at) AS day, count(*) AS tweets, count(retweeted_id) AS retweets, count(DISTINCT user_id) AS users
FROM tweets GROUP BY day ORDER BY day;

CREATE VIEW IF NOT EXISTS tweets_by_rule AS
SELECT traptor, rule_id, tag, value, count(*) AS tweets FROM matches
GROUP BY traptor, rule_id, tag, value ORDER BY tweets DESC;

CREATE VIEW IF NOT EXISTS tweets_by_language AS
SELECT lang, count(*) AS tweets FROM tweets GROUP BY lang ORDER BY tweets DESC;

-- What is missing, by day, beside what came: gaps by the day they began; withheld is a lower bound.
CREATE VIEW IF NOT EXISTS missing AS
WITH days AS (
    SELECT date(created_at) AS day FROM tweets UNION SELECT date(since) FROM gaps UNION SELECT date(at) FROM limits
)
SELECT
    day,
    (SELECT count(*) FROM tweets WHERE date(created_at) = day) AS tweets,
    (SELECT count(*) FROM gaps WHERE date(since) = day) AS gaps,
    (SELECT round(coalesce(sum((julianday(until) - julianday(since)) * 86400), 0), 1)
        FROM gaps WHERE date(since) = day) AS gap_seconds,
    (SELECT coalesce(max(limits.tweets), 0) FROM limits WHERE date(at) = day) AS withheld
FROM days WHERE day IS NOT NULL ORDER BY day;

-- Tweets that must not be shown in some countries, by themselves, by their authors, or by what they contain.
CREATE VIEW IF NOT EXISTS withheld_tweets AS
SELECT tweets.id AS tweet_id, withheld.kind, withheld.country FROM tweets JOIN withheld
ON (withheld.kind = 'tweet' AND withheld.id IN (tweets.id, tweets.retweeted_id, tweets.quoted_id))
OR (withheld.kind = 'user' AND withheld.id IN (tweets.user_id, tweets.retweeted_user_id, tweets.quoted_user_id));

-- A wide row for each tweet: what an export has.
CREATE VIEW IF NOT EXISTS tweets_wide AS
SELECT
    tweets.id, tweets.created_at, tweets.user_id, users.screen_name, users.name, users.followers_count,
    tweets.text, tweets.lang, tweets.source, tweets.in_reply_to_status_id, tweets.in_reply_to_user_id,
    tweets.retweeted_id, tweets.retweeted_user_id, tweets.quoted_id, tweets.quoted_user_id, tweets.quoted_text,
    tweets.longitude, tweets.latitude, tweets.place_id, places.full_name AS place, places.country_code,
    tweets.retweet_count, tweets.favorite_count, tweets.possibly_sensitive,
    (SELECT group_concat(sign || tag, ' ') FROM hashtags WHERE tweet_id = tweets.id) AS hashtags,
    (SELECT group_concat(coalesce(expanded_url, url), ' ') FROM urls WHERE tweet_id = tweets.id) AS urls,
    (SELECT group_concat('@' || screen_name, ' ') FROM mentions WHERE tweet_id = tweets.id) AS mentions,
    (SELECT group_concat(coalesce(video_url, url), ' ') FROM media WHERE tweet_id = tweets.id) AS media,
    (SELECT group_concat(traptor || ':' || rule_id, ' ') FROM matches WHERE tweet_id = tweets.id) AS rules,
    (SELECT group_concat(DISTINCT tag) FROM matches WHERE tweet_id = tweets.id) AS tags,
    (SELECT group_concat(DISTINCT country) FROM withheld
        WHERE (kind = 'tweet' AND withheld.id IN (tweets.id, tweets.retweeted_id, tweets.quoted_id))
        OR (kind = 'user' AND withheld.id IN (tweets.user_id, tweets.retweeted_user_id, tweets.quoted_user_id))
    ) AS withheld_in
FROM tweets LEFT JOIN users ON users.id = tweets.user_id LEFT JOIN places ON places.id = tweets.place_id;
