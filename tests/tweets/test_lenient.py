"""What of a value fits its type, and the paths of what does not."""

from typing import Any

import pytest
from msgspec import UNSET, Struct, UnsetType

from traptor.tweets.lenient import convert


class Named(Struct):
    name: str
    size: int | UnsetType = UNSET


class Box(Struct):
    corner: list[float] | UnsetType = UNSET
    named: list[Named] | UnsetType = UNSET


@pytest.mark.parametrize(
    "value,kind,expected,left_out",
    [
        ({"name": "a", "size": 1}, Named, Named("a", 1), ()),
        ({"name": "a", "size": "big"}, Named, Named("a"), ("size",)),
        ({"size": 1}, Named, UNSET, ("",)),
        ({"name": 7, "size": 1}, Named, UNSET, ("name", "")),
        ([], Named, UNSET, ("",)),
        ({"named": [{"name": "a"}, {"name": 7}, {"name": 8}]}, Box, Box(named=[Named("a")]), ("named.name", "named")),
        ({"corner": [1, "x"]}, Box, Box(), ("corner",)),
        ({"corner": [1, 2]}, Box, Box([1.0, 2.0]), ()),
    ],
)
def test_what_does_not_fit_is_left_out_and_told_once(value: Any, kind: Any, expected: Any, left_out: Any) -> None:
    assert convert(value, kind) == (expected, left_out)
