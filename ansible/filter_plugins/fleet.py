"""Which Traptor runs where, and with which key of the pool; and what is in a release."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import PurePath
from typing import Any
from zipfile import ZipFile

GROUPS = {"follow": "traptor-follow-nodes", "track": "traptor-track-nodes", "locations": "traptor-location-nodes"}
PARTS = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")


def traptor_plan(groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every Traptor of the inventory: host, type, id, name (TYPE:ID), process (supervisor's name), key (place in pool).

    A host runs one of each type whose group it is in, or ``traptor_<type>_processes`` of them. Ids count on from host
    to host, and keys from type to type.
    """
    plan: list[dict[str, Any]] = []
    for kind, group in GROUPS.items():
        hosts = [host for host in groups.get(group, ()) for _ in range(_processes(hostvars[host], kind))]
        for number, host in enumerate(hosts):
            names = {"name": f"{kind}:{number}", "process": f"{kind}-{number}"}
            plan.append({"host": host, "type": kind, "id": number, **names, "key": len(plan)})
    return plan


def _processes(variables: Mapping[str, Any], kind: str) -> int:
    return int(variables.get(f"traptor_{kind}_processes", 1))


def traptor_pool_problem(apikeys: Sequence[Mapping[str, str]], plan: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with the pool of keys for this plan, told by places counted from 1; empty if nothing is."""
    for place, key in enumerate(apikeys, start=1):
        if missing := [part for part in PARTS if not key.get(part)]:
            return f"key {place} of apikeys has no {', '.join(missing)}"
        if any(key[part].startswith("YOUR_INFO") for part in PARTS):
            return f"key {place} of apikeys is still the example's: put one of yours there"
    times = Counter((key["consumer_key"], key["access_token"]) for key in apikeys)
    if max(times.values(), default=0) > 1:
        places = [place for place, key in enumerate(apikeys, 1) if times[key["consumer_key"], key["access_token"]] > 1]
        return f"apikeys has the same key at places {', '.join(map(str, places))}; each belongs to one Traptor"
    if len(apikeys) < len(plan):
        return (
            f"the inventory has {len(plan)} Traptors, and apikeys only {len(apikeys)} keys; each needs one of its own"
        )
    return ""


def traptor_strangers(told: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who lives, as ``status --json`` has told it (or nothing), without being among the files found on the nodes."""
    known = {PurePath(file["path"]).stem for one in found for file in one["files"]}
    living = [one for one in json.loads(told or "{}").get("traptors", ()) if one["living"]]
    return [f"{one['status'].get('host')} runs {one['traptor']}" for one in living if one["traptor"] not in known]


def traptor_content(wheel: str) -> str:
    """What tells the content of a wheel from another's, and is the same whenever it was built: its RECORD's SHA-256."""
    with ZipFile(wheel) as archive:
        [record] = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
        return sha256(archive.read(record)).hexdigest()


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "traptor_plan": traptor_plan,
            "traptor_pool_problem": traptor_pool_problem,
            "traptor_strangers": traptor_strangers,
            "traptor_content": traptor_content,
        }
