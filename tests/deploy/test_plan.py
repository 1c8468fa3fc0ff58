"""Who gets which key: the filters that the playbooks plan with."""

import importlib.util
from types import ModuleType
from typing import Any

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
        ([{"consumer_key": "a"}], "key 1 of apikeys has no consumer_secret, access_token, access_token_secret"),
    ],
)
def test_pool(apikeys: list[dict[str, str]], problem: str) -> None:
    plan = plugin.traptor_plan({"traptor-track-nodes": ["a", "b"]}, {"a": {}, "b": {}})
    assert plugin.traptor_pool_problem(apikeys, plan) == problem
