"""The control interface under /simulator/, for those who are not in the same process."""

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs

from traptor.simulator.faults import parse
from traptor.simulator.refusals import Refusal

if TYPE_CHECKING:
    from traptor.simulator.server import Simulator

PATH = "/simulator/"


def answer(simulator: "Simulator", method: str, url: SplitResult, body: bytes) -> Any:
    """What to send back, as JSON. Raises Refusal with 400 or 404 and the reason."""
    match method, url.path.removeprefix(PATH):
        case "GET", "":
            return state(simulator)
        case "GET", "sent":
            return _sent(simulator, parse_qs(url.query))
        case "POST", "messages":
            return {"streams": [simulator.push(line) for line in body.splitlines() if line.strip()]}
        case "POST", "faults":
            return _add_faults(simulator, body)
        case "DELETE", "faults":
            simulator.faults.clear()
            return {}
        case "POST", "finish":
            simulator.finish()
            return state(simulator)
        case "POST", "stop":
            simulator.stopping.set()
            return state(simulator)
    raise Refusal(404, "Not Found: GET / or sent, POST messages, faults, finish or stop, DELETE faults")


def state(simulator: "Simulator") -> dict[str, Any]:
    return {
        "url": simulator.url,
        "tweets": simulator.tweets,
        "connections": [connection.state() for connection in simulator.connections],
    }


def _sent(simulator: "Simulator", query: dict[str, list[str]]) -> list[str]:
    if "connection" not in query:
        return simulator.sent
    try:
        number = int(query["connection"][-1])
        return next(connection.sent for connection in simulator.connections if connection.number == number)
    except (ValueError, StopIteration):
        raise Refusal(404, f"No such connection; there are {len(simulator.connections)}, counted from 1") from None


def _add_faults(simulator: "Simulator", body: bytes) -> dict[str, int]:
    try:
        given = json.loads(body)
        faults = [parse(fault) for fault in (given if isinstance(given, list) else [given])]
    except ValueError as error:
        raise Refusal(400, str(error)) from None
    for fault in faults:
        simulator.faults.append(fault)
    return {"added": len(faults)}
