"""Which Traptor runs where, and with which key of the pool."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
    times = Counter((key["consumer_key"], key["access_token"]) for key in apikeys)
    if max(times.values(), default=0) > 1:
        places = [place for place, key in enumerate(apikeys, 1) if times[key["consumer_key"], key["access_token"]] > 1]
        return f"apikeys has the same key at places {', '.join(map(str, places))}; each belongs to one Traptor"
    if len(apikeys) < len(plan):
        return (
            f"the inventory has {len(plan)} Traptors, and apikeys only {len(apikeys)} keys; each needs one of its own"
        )
    return ""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"traptor_plan": traptor_plan, "traptor_pool_problem": traptor_pool_problem}
