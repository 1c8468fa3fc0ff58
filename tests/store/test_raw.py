"""Raw messages without what was taken back."""

import pytest

from traptor.store.raw import honoured

DEEP = b"[" * 600 + b"]" * 600
TOO_LARGE = b"1e999"


@pytest.mark.parametrize("odd", [DEEP, TOO_LARGE])
@pytest.mark.parametrize(
    "deleted, scrubbed, is_left",
    [({99}, {}, False), (set(), {7: 500}, False), ({98}, {8: 500}, True)],
)
def test_of_what_cannot_be_taken_apart_nothing_is_left_that_was_taken_back(
    odd: bytes, deleted: set[int], scrubbed: dict[int, int], *, is_left: bool
) -> None:
    value = b'{"id_str":"1","user":{"id_str":"7"},"quoted_status":{"id_str":"99"},"odd":%b}' % odd
    assert honoured(value, deleted, scrubbed) == (value if is_left else b"{}")
