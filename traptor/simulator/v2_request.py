"""What a request of X API v2 may ask for, checked as X checks it, and what is sent if nothing is asked for."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from traptor.simulator.refusals import Refusal

PROBLEMS = "https://api.twitter.com/2/problems/"
MOST_BACKFILL_MINUTES = 5
RECOVERY = timedelta(hours=24)

Json = dict[str, Any]

FIELDS = {
    "tweet.fields": (
        "article,attachments,author_id,card_uri,community_id,context_annotations,conversation_id,created_at,"
        "display_text_range,edit_controls,edit_history_tweet_ids,entities,geo,id,in_reply_to_user_id,lang,"
        "matched_media_notes,media_metadata,non_public_metrics,note_request_suggestions,note_tweet,organic_metrics,"
        "paid_partnership,possibly_sensitive,promoted_metrics,public_metrics,referenced_tweets,reply_settings,scopes,"
        "source,suggested_source_links,suggested_source_links_with_counts,text,withheld"
    ),
    "expansions": (
        "article.cover_media,article.media_entities,attachments.media_keys,attachments.media_source_tweet,"
        "attachments.poll_ids,author_id,edit_history_tweet_ids,entities.mentions.username,geo.place_id,"
        "in_reply_to_user_id,entities.note.mentions.username,referenced_tweets.id,"
        "referenced_tweets.id.attachments.media_keys,referenced_tweets.id.author_id"
    ),
    "media.fields": (
        "alt_text,duration_ms,height,media_key,non_public_metrics,organic_metrics,preview_image_url,promoted_metrics,"
        "public_metrics,type,url,variants,width"
    ),
    "poll.fields": "duration_minutes,end_datetime,id,options,voting_status",
    "user.fields": (
        "affiliation,confirmed_email,connection_status,created_at,description,entities,id,is_identity_verified,"
        "location,most_recent_tweet_id,name,parody,pinned_tweet_id,profile_banner_url,profile_image_url,protected,"
        "public_metrics,receives_your_dm,subscription,subscription_type,url,username,verified,"
        "verified_followers_count,verified_type,withheld"
    ),
    "place.fields": "contained_within,country,country_code,full_name,geo,id,name,place_type",
    "connection.fields": "client_ip,connected_at,disconnect_reason,disconnected_at,endpoint_name,id",
    "rules_count.fields": (
        "all_project_client_apps,cap_per_client_app,cap_per_project,client_app_rules_count,project_rules_count"
    ),
}
"""The closed lists of X's specification; that of ``rules_count.fields`` is in its pages alone."""
DEFAULT_FIELDS = {
    "tweet.fields": {"id", "text", "edit_history_tweet_ids"},
    "user.fields": {"id", "name", "username"},
    "media.fields": {"media_key", "type"},
    "place.fields": {"id", "full_name"},
}
ENDPOINTS = (
    "filtered_stream,sample_stream,sample10_stream,firehose_stream,tweets_compliance_stream,users_compliance_stream,"
    "tweet_label_stream,firehose_stream_lang_en,firehose_stream_lang_ja,firehose_stream_lang_ko,"
    "firehose_stream_lang_pt,likes_firehose_stream,likes_sample10_stream,likes_compliance_stream"
)


class Wrong(ValueError):
    """What is wrong with a value, in X's words."""


Check = Callable[[str], None]


def one_of(allowed: str) -> Check:
    """A list of some of these, each once."""

    def check(given: str) -> None:
        for value in given.split(","):
            if value not in allowed.split(","):
                raise Wrong(f"is not one of [{allowed}]")

    return check


def between(least: int, most: int) -> Check:
    def check(given: str) -> None:
        if not re.fullmatch("-?[0-9]{1,9}", given) or not least <= int(given) <= most:
            raise Wrong(f"is not between {least} and {most}")

    return check


def matching(pattern: str) -> Check:
    def check(given: str) -> None:
        if not all(re.fullmatch(pattern, value) for value in given.split(",")):
            raise Wrong(f"does not match ^{pattern}$")

    return check


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
RULE_ID = "[0-9]{1,19}"

_OF = {name: one_of(allowed) for name, allowed in FIELDS.items()}
PARAMETERS: dict[str, Mapping[str, Check]] = {
    "GET /2/tweets/search/stream": {
        "backfill_minutes": between(0, MOST_BACKFILL_MINUTES),
        "start_time": matching(TIME),
        "end_time": matching(TIME),
        **{name: check for name, check in _OF.items() if name not in ("connection.fields", "rules_count.fields")},
    },
    "GET /2/tweets/search/stream/rules": {
        "ids": matching(RULE_ID),
        "max_results": between(1, 1000),
        "pagination_token": matching("[0-9a-v]{16}"),
    },
    "POST /2/tweets/search/stream/rules": {
        "dry_run": one_of("true,false"),
        "delete_all": one_of("true,false"),
    },
    "GET /2/tweets/search/stream/rules/counts": {"rules_count.fields": _OF["rules_count.fields"]},
    "GET /2/tweets/counts/recent": {
        "query": matching("(?s).*"),
        "granularity": one_of("minute,hour,day"),
        "start_time": matching(TIME),
        "end_time": matching(TIME),
    },
    "GET /2/connections": {
        "status": one_of("active,inactive,all"),
        "endpoints": one_of(ENDPOINTS),
        "max_results": between(1, 100),
        "pagination_token": matching(".+"),
        "connection.fields": _OF["connection.fields"],
    },
    "DELETE /2/connections": {},
    "DELETE /2/connections/all": {},
    "DELETE /2/connections/filtered_stream": {},
}
"""By request: its parameters, each with what is allowed."""


def refusal(status: int, body: Json) -> Refusal:
    return Refusal(status, json.dumps(body), {"Content-Type": "application/json"})


def invalid(*messages: str, **parameters: list[str]) -> Refusal:
    """X's answer to a request that it does not understand."""
    errors = [{"parameters": parameters, "message": message} for message in messages]
    detail = "One or more parameters to your request was invalid."
    return refusal(
        400, {"errors": errors, "title": "Invalid Request", "detail": detail, "type": f"{PROBLEMS}invalid-request"}
    )


def parameters(request: str, query: str) -> dict[str, str]:
    """The parameters of a request such as ``GET /2/connections``. Raises Refusal with 400 or 404."""
    known = PARAMETERS.get(request)
    if known is None:
        raise refusal(404, {"title": "Not Found", "detail": f"There is no {request}", "type": "about:blank"})
    asked = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    if wrong := list(_wrong(known, asked)):
        named = {name: [value] for name, value, _ in wrong}
        raise invalid(*[message for _, _, message in wrong], **named)
    return asked


def _wrong(known: Mapping[str, Check], asked: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Name, value and what is the matter."""
    for name, value in asked.items():
        if name not in known:
            yield name, value, f"The query parameter [{name}] is not one of [{','.join(sorted(known))}]"
            continue
        try:
            known[name](value)
        except Wrong as error:
            yield name, value, f"The `{name}` query parameter value [{value}] {error}"


class Asked(NamedTuple):
    """What a request for the stream wants to have sent."""

    expansions: frozenset[str]
    fields: Mapping[str, frozenset[str]]
    backfill_minutes: int = 0
    window: tuple[datetime, datetime] | None = None
    """Of a recovery: from when to when."""


def asked(query: str) -> Asked:
    """Raises Refusal with 400."""
    given = parameters("GET /2/tweets/search/stream", query)
    expansions = frozenset(given["expansions"].split(",") if "expansions" in given else ())
    fields = {
        name: frozenset(defaults | set(given[name].split(",") if name in given else ()))
        for name, defaults in DEFAULT_FIELDS.items()
    }
    # Whatever is expanded is itself sent.
    fields["tweet.fields"] |= {name.partition(".")[0] for name in expansions}
    return Asked(expansions, fields, int(given.get("backfill_minutes", 0)), _window(given))


def _window(given: Mapping[str, str]) -> tuple[datetime, datetime] | None:
    """The times of a recovery, which ends when it has sent what is between them."""
    if not {"start_time", "end_time"} & given.keys():
        return None
    now = datetime.now(UTC)
    start, end = (
        datetime.fromisoformat(given[name]) if name in given else default
        for name, default in (("start_time", now), ("end_time", now))
    )
    if not now - RECOVERY <= start < end:
        raise invalid(
            "start_time has to be within the last 24 hours, and before end_time",
            start_time=[given.get("start_time", "")],
        )
    return start, end
