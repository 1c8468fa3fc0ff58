"""The dashboards of `search/`, as far as files can be checked: no Kibana and no OpenSearch Dashboards are at hand."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.saved_objects import FILES, PANELS, text
from traptor.store.search.indices import load

PROGRAMS = pytest.mark.parametrize("program", FILES)


def objects(program: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILES[program].read_text().splitlines()]


@PROGRAMS
def test_the_file_is_as_the_script_writes_it(program: str) -> None:
    assert FILES[program].read_text() == text(program)


@PROGRAMS
def test_each_object_refers_to_one_before_it(program: str) -> None:
    known: set[tuple[str, str]] = set()
    for one in objects(program):
        assert {(reference["type"], reference["id"]) for reference in one["references"]} <= known
        known.add((one["type"], one["id"]))


@PROGRAMS
def test_each_reference_is_used_by_its_name_and_each_name_has_one(program: str) -> None:
    for one in objects(program):
        named = sorted(value for name, value in fields(one["attributes"]) if name.endswith("RefName"))
        assert named == sorted(reference["name"] for reference in one["references"])


@PROGRAMS
def test_each_field_that_is_asked_for_is_in_the_mapping(program: str) -> None:
    tweets, gaps = load("template.json")["template"]["mappings"], load("indices.json")["gaps"]
    asked = set()
    for one in objects(program):
        mapping = gaps if one["id"] == "traptor-gaps" else tweets
        names = {value for name, value in fields(one["attributes"]) if name in {"field", "geoField", "timeFieldName"}}
        names.update(one["attributes"].get("columns", ()))
        for name in names - {"doc_count"}:
            properties = mapping["properties"]
            *parents, last = name.split(".")
            for parent in parents:
                properties = properties[parent]["properties"]
            assert last in properties
        asked |= names
    assert {"created_at", "matches.tag", "lang", "hashtags", "point", "since", "cause"} <= asked


@PROGRAMS
def test_no_panel_lies_on_another(program: str) -> None:
    cells = [
        (x, y)
        for panel in PANELS
        for x in range(panel.x, panel.x + panel.width)
        for y in range(panel.y, panel.y + panel.height)
    ]
    assert len(cells) == len(set(cells)) == 48 * max(y + 1 for _, y in cells)


def fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Every name with its plain value, also inside of texts that are JSON."""
    if isinstance(value, dict):
        for name, inside in value.items():
            if isinstance(inside, str) and inside.startswith(("{", "[")):
                yield from fields(json.loads(inside))
            elif isinstance(inside, dict | list):
                yield from fields(inside)
            else:
                yield name, inside
    elif isinstance(value, list):
        for inside in value:
            yield from fields(inside)
