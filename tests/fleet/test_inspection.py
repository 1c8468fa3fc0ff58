"""What is wrong with the rules in Redis, in words."""

import json
from datetime import UTC, datetime

import fakeredis
import pytest

from traptor import keys
from traptor.fleet.inspection import inspect
from traptor.rules import stored

CAT, DOG = {"rule_id": "1", "value": "cat"}, {"rule_id": "2", "value": "dog"}
LONG = {"rule_id": "3", "value": "x" * 61}


def phrases(first: int, end: int) -> dict[str, str]:
    return {"rule_id": f"from {first}", "value": ",".join(f"word{number}" for number in range(first, end))}


@pytest.mark.parametrize(
    "held,errors,warnings",
    [
        pytest.param({0: [CAT], 1: [DOG]}, [], [], id="all well"),
        pytest.param({0: [CAT, LONG]}, [f"track rule 3 '{'x' * 61}' at track:0 "], [], id="refused"),
        pytest.param(
            {0: [CAT], 1: [{**DOG, "value": "Cat"}]},
            [],
            ["track:0:1, track:1:2 ask for the same, 'cat'"],
            id="one value twice",
        ),
        pytest.param(
            {0: [{**CAT, "value": "cat, stray  dog"}], 1: [{**DOG, "value": "Stray dog,cat,"}]},
            [],
            ["track:0:1, track:1:2 ask for the same, 'cat,stray dog'"],
            id="one value in other words",
        ),
        pytest.param(
            {0: [CAT], 1: [{**DOG, "rule_id": "1"}]},
            [],
            ["track:0, track:1 have the same rule_id 1"],
            id="one id twice",
        ),
        pytest.param(
            {0: [CAT], 5: [DOG]},
            [],
            ["track rule 2 'dog' is not collected: `rules rebalance` would move it from track:5 to track:1"],
            id="nobody collects it",
        ),
        pytest.param(
            {0: [phrases(0, 400)], 1: [phrases(400, 800)], 5: [DOG]},
            ["track rule 2 'dog' is an orphan: no living Traptor has room for it"],
            [],
            id="nobody has room for it",
        ),
    ],
)
def test_what_is_wrong_is_told(held: dict[int, list[dict[str, str]]], errors: list[str], warnings: list[str]) -> None:
    with fakeredis.FakeRedis(decode_responses=True) as conn:
        for traptor_id, rules in held.items():
            stored.write(conn, "track", traptor_id, rules)
        for traptor_id in (0, 1):
            conn.set(keys.status("track", traptor_id), json.dumps({"state": "streaming"}))
            conn.set(f"track:{traptor_id}:{datetime.now(UTC):%Y%m%d%H%M%S}", "alive")
        told_errors, told_warnings = inspect(conn, ["track"])
    assert [error for error in errors if error not in " ".join(told_errors)] == []
    assert bool(told_errors) == bool(errors)
    assert told_warnings == warnings


def test_boxes_that_are_written_differently_ask_for_the_same() -> None:
    with fakeredis.FakeRedis(decode_responses=True) as conn:
        boxes = ("-74,40,-73,41", "-74.0,40,-73,41.0", "-74,40,-73,42", "no box", "no box")
        stored.write(conn, "locations", 0, [{"rule_id": str(n), "value": box} for n, box in enumerate(boxes)])
        _, warnings = inspect(conn, ["locations"])
    assert warnings == [
        "locations:0:0, locations:0:1 ask for the same, '-74,40,-73,41'",
        "locations:0:3, locations:0:4 ask for the same, 'no box'",
    ]
