-- Words of the texts. Scripts without blanks between words stand letter by letter: ask for phraseto_tsquery of '東 京'.
CREATE TABLE IF NOT EXISTS words (tweet_id bigint PRIMARY KEY, text tsvector NOT NULL);
CREATE INDEX IF NOT EXISTS words_text ON words USING gin (text);

CREATE OR REPLACE VIEW tweets_by_day AS
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS tweets, count(retweeted_id) AS retweets,
    count(DISTINCT user_id) AS users
FROM tweets GROUP BY day ORDER BY day;

CREATE OR REPLACE VIEW tweets_by_rule AS
SELECT traptor, rule_id, tag, value, count(*) AS tweets FROM matches
GROUP BY traptor, rule_id, tag, value ORDER BY tweets DESC;

CREATE OR REPLACE VIEW tweets_by_language AS
SELECT lang, count(*) AS tweets FROM tweets GROUP BY lang ORDER BY tweets DESC;

-- What is missing, by day, beside what came: gaps by the day they began; withheld is a lower bound.
CREATE OR REPLACE VIEW missing AS
WITH came AS (
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS tweets FROM tweets GROUP BY 1
), gone AS (
    SELECT (since AT TIME ZONE 'UTC')::date AS day, count(*) AS gaps,
        round(coalesce(sum(extract(epoch FROM until - since)), 0)::numeric, 1) AS gap_seconds
    FROM gaps GROUP BY 1
), withheld AS (
    SELECT (at AT TIME ZONE 'UTC')::date AS day, max(tweets) AS withheld FROM limits GROUP BY 1
)
SELECT day, coalesce(tweets, 0) AS tweets, coalesce(gaps, 0) AS gaps, coalesce(gap_seconds, 0) AS gap_seconds,
    coalesce(withheld, 0) AS withheld
FROM came FULL JOIN gone USING (day) FULL JOIN withheld USING (day) WHERE day IS NOT NULL ORDER BY day;

-- Tweets that must not be shown in some countries, by themselves, by their authors, or by what they contain.
CREATE OR REPLACE VIEW withheld_tweets AS
SELECT tweets.id AS tweet_id, withheld.kind, withheld.country FROM tweets JOIN withheld
ON (withheld.kind = 'tweet' AND withheld.id IN (tweets.id, tweets.retweeted_id, tweets.quoted_id))
OR (withheld.kind = 'user' AND withheld.id IN (tweets.user_id, tweets.retweeted_user_id, tweets.quoted_user_id));

-- A wide row for each tweet: what an export has.
CREATE OR REPLACE VIEW tweets_wide AS
SELECT
    tweets.id, tweets.created_at, tweets.user_id, users.screen_name, users.name, users.followers_count,
    tweets.text, tweets.lang, tweets.source, tweets.in_reply_to_status_id, tweets.in_reply_to_user_id,
    tweets.retweeted_id, tweets.retweeted_user_id, tweets.quoted_id, tweets.quoted_user_id, tweets.quoted_text,
    tweets.longitude, tweets.latitude, tweets.place_id, places.full_name AS place, places.country_code,
    tweets.retweet_count, tweets.favorite_count, tweets.possibly_sensitive,
    (SELECT string_agg(sign || tag, ' ' ORDER BY position) FROM hashtags WHERE tweet_id = tweets.id) AS hashtags,
    (SELECT string_agg(coalesce(expanded_url, url), ' ' ORDER BY position) FROM urls WHERE tweet_id = tweets.id) AS urls,
    (SELECT string_agg('@' || screen_name, ' ' ORDER BY position) FROM mentions WHERE tweet_id = tweets.id) AS mentions,
    (SELECT string_agg(coalesce(video_url, url), ' ' ORDER BY position) FROM media WHERE tweet_id = tweets.id) AS media,
    (SELECT string_agg(traptor || ':' || rule_id, ' ') FROM matches WHERE tweet_id = tweets.id) AS rules,
    (SELECT string_agg(DISTINCT tag, ',') FROM matches WHERE tweet_id = tweets.id) AS tags,
    (SELECT string_agg(DISTINCT country, ',') FROM withheld
        WHERE (kind = 'tweet' AND withheld.id IN (tweets.id, tweets.retweeted_id, tweets.quoted_id))
        OR (kind = 'user' AND withheld.id IN (tweets.user_id, tweets.retweeted_user_id, tweets.quoted_user_id))
    ) AS withheld_in
FROM tweets LEFT JOIN users ON users.id = tweets.user_id LEFT JOIN places ON places.id = tweets.place_id;
