"""Who gets which key: the filters that the playbooks plan with."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile, ZipInfo

import pytest

from tests.deploy.hosts import ROOT

PARTS = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fleet", ROOT / "ansible/filter_plugins/fleet.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plugin = load()


def key(name: str, **parts: str) -> dict[str, str]:
    return {**{part: f"{name}-{part}" for part in PARTS}, **parts}


def status(*fleet: tuple[str, str, bool]) -> str:
    """What ``traptor status --json`` says of these: name, host, whether it lives."""
    told = [{"traptor": name, "living": living, "status": {"host": host}} for name, host, living in fleet]
    return json.dumps({"traptors": told})


@pytest.mark.parametrize(
    "groups, variables, planned",
    [
        ({}, {}, []),
        ({"traptor-track-nodes": ["a"]}, {}, ["a track:0 0"]),
        ({"traptor-follow-nodes": ["a", "b"], "traptor-track-nodes": ["c"]}, {},
         ["a follow:0 0", "b follow:1 1", "c track:0 2"]),
        ({"traptor-track-nodes": ["a"], "traptor-location-nodes": ["a"]}, {}, ["a track:0 0", "a locations:0 1"]),
        ({"traptor-track-nodes": ["a", "b"]}, {"a": {"traptor_track_processes": 2}},
         ["a track:0 0", "a track:1 1", "b track:2 2"]),
        ({"traptor-track-nodes": ["a", "b"]}, {"a": {"traptor_track_processes": "0"}}, ["b track:0 0"]),
        ({"traptor-retired-nodes": ["a"]}, {}, []),
    ],
)  # fmt: skip
def test_plan(groups: dict[str, list[str]], variables: dict[str, dict[str, Any]], planned: list[str]) -> None:
    hostvars = {host: variables.get(host, {}) for hosts in groups.values() for host in hosts}
    plan = plugin.traptor_plan(groups, hostvars)
    assert [f"{one['host']} {one['name']} {one['key']}" for one in plan] == planned
    assert [one["process"] for one in plan] == [one["name"].replace(":", "-") for one in plan]


@pytest.mark.parametrize(
    "apikeys, problem",
    [
        ([key("a"), key("b")], ""),
        ([key("a"), key("b"), key("c")], ""),
        ([key("a")], "the inventory has 2 Traptors, and apikeys only 1 keys; each needs one of its own"),
        ([], "the inventory has 2 Traptors, and apikeys only 0 keys; each needs one of its own"),
        ([key("a"), key("b"), key("a")], "apikeys has the same key at places 1, 3; each belongs to one Traptor"),
        ([key("a"), key("a", access_token="other")], ""),
        ([key("a"), key("b", access_token="")], "key 2 of apikeys has no access_token"),
        ([key("a"), key("b", access_token="YOUR_INFO_2")],
         "key 2 of apikeys is still the example's: put one of yours there"),
        ([{"consumer_key": "a"}], "key 1 of apikeys has no consumer_secret, access_token, access_token_secret"),
    ],
)  # fmt: skip
def test_pool(apikeys: list[dict[str, str]], problem: str) -> None:
    plan = plugin.traptor_plan({"traptor-track-nodes": ["a", "b"]}, {"a": {}, "b": {}})
    assert plugin.traptor_pool_problem(apikeys, plan) == problem


@pytest.mark.parametrize(
    "told, found, strangers",
    [
        ("", [], []),
        ('{"traptors": [], "orphans": {}}', [], []),
        (status(("track:0", "a", True)), [["track:0"]], []),
        (status(("track:0", "a", True), ("follow:0", "b", True)), [["track:0"], ["track:1"]], ["b runs follow:0"]),
        (status(("follow:0", "b", False)), [], []),
    ],
)
def test_strangers(told: str, found: list[list[str]], strangers: list[str]) -> None:
    files = [{"files": [{"path": f"/etc/traptor/{name}.env"} for name in names]} for names in found]
    assert plugin.traptor_strangers(told, files) == strangers


@pytest.mark.parametrize("hashed, is_same", [("a", True), ("b", False)])
def test_content_is_the_same_whenever_it_was_built(hashed: str, is_same: bool, tmp_path: Path) -> None:
    first = plugin.traptor_content(wheel(tmp_path / "first.whl", "a", year=2025))
    assert (plugin.traptor_content(wheel(tmp_path / "other.whl", hashed, year=2026)) == first) is is_same


def wheel(path: Path, hashed: str, year: int) -> str:
    with ZipFile(path, "w") as archive:
        archive.writestr(ZipInfo("traptor/cli.py", (year, 1, 1, 0, 0, 0)), "")
        archive.writestr(ZipInfo("traptor-1.0.dist-info/RECORD"), f"traptor/cli.py,sha256={hashed},0")
    return str(path)
