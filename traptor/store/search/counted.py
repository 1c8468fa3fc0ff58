"""What a search server has, counted for a report by its aggregations."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from traptor.store.overview import MOST_NAMES, Gap, Overview
from traptor.store.search.indices import Indices
from traptor.store.search.server import Json, Server

MINUTES = 10_000
"""Of one answer."""


def overview(server: Server, indices: Indices) -> Overview:
    for index in (indices.tweets, indices.gaps, indices.limits):
        server.refresh(index)
    counts = _aggregated(server, indices.tweets, {
        "rules": {**_terms("rules"), "aggs": {"one": {"top_hits": {"size": 1, "_source": ["rules", "matches"]}}}},
        "languages": _terms("lang", missing="und"),
        "hashtags": _terms("hashtags"),
        "accounts": _terms("user.screen_name"),
    })  # fmt: skip
    days = {"date_histogram": {"field": "at", "calendar_interval": "day", "min_doc_count": 1}}
    withheld = _aggregated(server, indices.limits, {"days": {**days, "aggs": {"most": {"max": {"field": "tweets"}}}}})
    return Overview(
        list(_minutes(server, indices.tweets)),
        [_rule(bucket) for bucket in _buckets(counts, "rules")],
        _counted(counts, "languages"),
        _counted(counts, "hashtags"),
        _counted(counts, "accounts"),
        list(_gaps(server, indices.gaps)),
        [(day["key"] // 1000, int(day["most"]["value"])) for day in _buckets(withheld, "days")],
    )


def _terms(name: str, **more: str) -> dict[str, Any]:
    return {"terms": {"field": name, "size": MOST_NAMES, **more}}


def _aggregated(server: Server, index: str, wanted: Json) -> Json:
    return server.search(index, {"size": 0, "aggs": wanted}).get("aggregations", {})


def _buckets(counts: Json, name: str) -> list[Json]:
    return list(counts.get(name, {}).get("buckets", ()))


def _counted(counts: Json, name: str) -> list[tuple[str, int]]:
    return [(bucket["key"], bucket["doc_count"]) for bucket in _buckets(counts, name)]


def _rule(bucket: Json) -> tuple[str, str, str, str, int]:
    """Tag and value stand in any tweet that the rule matched."""
    one = bucket["one"]["hits"]["hits"][0]["_source"]
    match = one["matches"][one["rules"].index(bucket["key"])]
    return match["traptor"], match["rule_id"], match.get("tag"), match.get("value"), bucket["doc_count"]


def _minutes(server: Server, index: str) -> Iterator[tuple[int, int, int]]:
    """Page by page: a year has more of them than one answer may have."""
    source = {"minute": {"date_histogram": {"field": "created_at", "fixed_interval": "1m"}}}
    composite: dict[str, Any] = {"size": MINUTES, "sources": [source]}
    matched = {"matched": {"filter": {"exists": {"field": "rules"}}}}
    while True:
        found = _aggregated(server, index, {"minutes": {"composite": composite, "aggs": matched}})
        for bucket in _buckets(found, "minutes"):
            yield bucket["key"]["minute"] // 1000, bucket["doc_count"], bucket["matched"]["doc_count"]
        if "after_key" not in found.get("minutes", {}):
            return
        composite["after"] = found["minutes"]["after_key"]


def _gaps(server: Server, index: str) -> Iterator[Gap]:
    for hits in server.pages(index, {"exists": {"field": "until"}}, [{"since": "asc"}, {"traptor": "asc"}]):
        for gap in (hit["_source"] for hit in hits):
            yield Gap(_seconds(gap["since"]), _seconds(gap["until"]), gap["traptor"], gap.get("cause") or "")


def _seconds(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp())
