"""The dashboard of tweets for OpenSearch Dashboards and Kibana: ``python -m scripts.saved_objects`` writes it into
``search/``, as their saved objects are imported, one JSON object a line.

They are of the versions of 7.10, from which both have come, and which both take up; but maps have gone two ways.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

SEARCH = Path(__file__).parent.parent / "search"
FILES = {"OpenSearch Dashboards": SEARCH / "opensearch-dashboards.ndjson", "Kibana": SEARCH / "kibana.ndjson"}
TWEETS, GAPS = "traptor-tweets", "traptor-gaps"
VERSIONS = {
    "index-pattern": "7.6.0",
    "visualization": "7.10.0",
    "search": "7.9.3",
    "dashboard": "7.9.3",
    "map": "7.9.0",
}
MOST = 20
"""Names in a list."""
COUNT = {"id": "1", "enabled": True, "type": "count", "schema": "metric", "params": {}}

Json = dict[str, Any]


class Panel(NamedTuple):
    """On the dashboard: where, in a grid 48 wide, and what."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    id: str


PANELS = [
    Panel(0, 0, 48, 12, "visualization", "traptor-over-time"),
    Panel(0, 12, 16, 16, "visualization", "traptor-by-rule"),
    Panel(16, 12, 16, 16, "visualization", "traptor-by-language"),
    Panel(32, 12, 16, 16, "visualization", "traptor-hashtags"),
    Panel(0, 28, 28, 20, "", "traptor-map"),
    Panel(28, 28, 20, 20, "search", "traptor-gaps"),
]


def objects(program: str) -> list[Json]:
    """Those of a file, each after what it refers to."""
    over_time = {"field": "created_at", "interval": "auto", "min_doc_count": 1, "drop_partials": False}
    rule = {"id": "3", "enabled": True, "type": "terms", "schema": "group", "params": _most("matches.tag", 10)}
    where = _map() if program == "Kibana" else _tile_map()
    return [
        _object("index-pattern", TWEETS, {"title": TWEETS, "timeFieldName": "created_at"}),
        _object("index-pattern", GAPS, {"title": GAPS, "timeFieldName": "since"}),
        _visualization("traptor-over-time", "Tweets over time, by rule", "histogram",
                       [_bucket("date_histogram", over_time), rule], _columns()),
        _visualization("traptor-by-rule", "Tweets by rule", "table", [_bucket("terms", _most("matches.tag"), "bucket")],
                       {"perPage": MOST}),
        _visualization("traptor-by-language", "Tweets by language", "pie", [_bucket("terms", _most("lang"))],
                       {"isDonut": True, "addTooltip": True, "addLegend": True, "legendPosition": "right"}),
        _visualization("traptor-hashtags", "Hashtags", "tagcloud", [_bucket("terms", _most("hashtags", 50))],
                       {"scale": "linear", "orientation": "single", "minFontSize": 14, "maxFontSize": 48}),
        where,
        _gaps(),
        _dashboard(where["type"]),
    ]  # fmt: skip


def _object(kind: str, id_: str, attributes: Json, references: list[Json] | None = None) -> Json:
    return {
        "id": id_,
        "type": kind,
        "attributes": attributes,
        "references": references or [],
        "migrationVersion": {kind: VERSIONS[kind]},
    }


def _reference(name: str, kind: str, id_: str) -> Json:
    return {"name": name, "type": kind, "id": id_}


def _searched(index: str) -> tuple[Json, list[Json]]:
    """What is searched, and the reference to its index."""
    name = "kibanaSavedObjectMeta.searchSourceJSON.index"
    source = {"query": {"query": "", "language": "kuery"}, "filter": [], "indexRefName": name}
    return {"searchSourceJSON": json.dumps(source)}, [_reference(name, "index-pattern", index)]


def _visualization(id_: str, title: str, kind: str, buckets: list[Json], params: Json) -> Json:
    state = {"title": title, "type": kind, "params": params, "aggs": [COUNT, *buckets]}
    searched, references = _searched(TWEETS)
    attributes = {"title": title, "visState": json.dumps(state), "uiStateJSON": "{}", "description": "", "version": 1,
                  "kibanaSavedObjectMeta": searched}  # fmt: skip
    return _object("visualization", id_, attributes, references)


def _bucket(kind: str, params: Json, schema: str = "segment") -> Json:
    return {"id": "2", "enabled": True, "type": kind, "schema": schema, "params": params}


def _most(field: str, count: int = MOST) -> Json:
    return {"field": field, "size": count, "orderBy": "1", "order": "desc", "otherBucket": False}


def _columns() -> Json:
    return {
        "type": "histogram", "addTooltip": True, "addLegend": True, "legendPosition": "right",
        "grid": {"categoryLines": False}, "times": [], "addTimeMarker": False,
        "categoryAxes": [{"id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": True,
                          "scale": {"type": "linear"}, "labels": {"show": True, "filter": True}, "title": {}}],
        "valueAxes": [{"id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "left", "show": True,
                       "scale": {"type": "linear", "mode": "normal"}, "labels": {"show": True},
                       "title": {"text": "tweets"}}],
        "seriesParams": [{"show": True, "type": "histogram", "mode": "stacked", "valueAxis": "ValueAxis-1",
                          "data": {"id": "1", "label": "tweets"}}],
    }  # fmt: skip


def _tile_map() -> Json:
    grid = {"field": "point", "autoPrecision": True, "isFilteredByCollar": True, "useGeocentroid": True, "precision": 2}
    params = {"colorSchema": "Yellow to Red", "mapType": "Scaled Circle Markers", "isDesaturated": True,
              "addTooltip": True, "legendPosition": "bottomright", "mapZoom": 2, "mapCenter": [0, 0],
              "wms": {}}  # fmt: skip
    return _visualization("traptor-map", "Tweets with a point", "tile_map", [_bucket("geohash_grid", grid)], params)


def _map() -> Json:
    """As Kibana has maps since 7.x: layers of their own kind."""
    index = "layer_1_source_index_pattern"
    ground = {"id": "ground", "type": "VECTOR_TILE", "visible": True, "alpha": 1, "minZoom": 0, "maxZoom": 24,
              "sourceDescriptor": {"type": "EMS_TMS", "isAutoSelect": True}, "style": {"type": "TILE"}}  # fmt: skip
    source = {"id": "grid", "type": "ES_GEO_GRID", "geoField": "point", "requestType": "point", "resolution": "COARSE",
              "metrics": [{"type": "count"}], "indexPatternRefName": index}  # fmt: skip
    size = {
        "type": "DYNAMIC",
        "options": {"minSize": 4, "maxSize": 32, "field": {"name": "doc_count", "origin": "source"}},
    }
    tweets = {"id": "tweets", "label": "Tweets", "type": "VECTOR", "visible": True, "alpha": 0.75, "minZoom": 0,
              "maxZoom": 24, "sourceDescriptor": source,
              "style": {"type": "VECTOR", "properties": {"iconSize": size}}}  # fmt: skip
    state = {"zoom": 1.5, "center": {"lon": 0, "lat": 20}, "query": {"query": "", "language": "kuery"}}
    attributes = {"title": "Tweets with a point", "description": "", "mapStateJSON": json.dumps(state),
                  "layerListJSON": json.dumps([ground, tweets]), "uiStateJSON": "{}"}  # fmt: skip
    return _object("map", "traptor-map", attributes, [_reference(index, "index-pattern", TWEETS)])


def _gaps() -> Json:
    searched, references = _searched(GAPS)
    attributes = {"title": "Gaps: times without a stream", "description": "", "hits": 0, "version": 1,
                  "columns": ["until", "traptor", "cause", "reconnects"], "sort": [["since", "desc"]],
                  "kibanaSavedObjectMeta": searched}  # fmt: skip
    return _object("search", "traptor-gaps", attributes, references)


def _dashboard(kind_of_map: str) -> Json:
    panels, references = [], []
    for number, panel in enumerate(PANELS):
        name = f"panel_{number}"
        place = {"x": panel.x, "y": panel.y, "w": panel.width, "h": panel.height, "i": str(number)}
        panels.append({"version": "7.10.0", "gridData": place, "panelIndex": str(number), "embeddableConfig": {},
                       "panelRefName": name})  # fmt: skip
        references.append(_reference(name, panel.kind or kind_of_map, panel.id))
    nothing = json.dumps({"query": {"query": "", "language": "kuery"}, "filter": []})
    attributes = {"title": "Tweets", "description": "What Traptor has collected, and what it has missed", "hits": 0,
                  "version": 1, "panelsJSON": json.dumps(panels), "optionsJSON": json.dumps({"useMargins": True}),
                  "timeRestore": True, "timeFrom": "now-7d", "timeTo": "now",
                  "kibanaSavedObjectMeta": {"searchSourceJSON": nothing}}  # fmt: skip
    return _object("dashboard", "traptor", attributes, references)


def text(program: str) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in objects(program))


if __name__ == "__main__":
    for program, path in FILES.items():
        path.write_text(text(program))
