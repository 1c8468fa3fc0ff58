"""Standard output: each message is out before the next is read, and what is not written is told."""

import errno
import io
from collections import Counter
from typing import Any

import pytest

from traptor.delivery.door import OutputError
from traptor.delivery.message import Message
from traptor.delivery.standard_output import StandardOutput

MESSAGES = [Message(b"1", b'{"id":1}', "traptor"), Message(b"2", b'{\n"id":2}', "traptor")]


class Raw(io.RawIOBase):
    """Takes what it is given, or fails so."""

    def __init__(self, error: OSError | None = None) -> None:
        self.taken = b""
        self.error = error

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.error:
            raise self.error
        self.taken += bytes(data)
        return len(data)


def test_what_is_sent_is_out_at_once_a_line_each() -> None:
    raw, counts = Raw(), Counter[str]()
    out = io.BufferedWriter(raw)
    StandardOutput(counts, out).send(MESSAGES)
    assert (raw.taken, counts) == (b'{"id":1}\n{ "id":2}\n', {"delivered": 2})


@pytest.mark.parametrize(
    "error, raised, said",
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "cannot be written: No space left"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), BrokenPipeError, "Broken pipe"),
    ],
)
def test_what_is_not_written_is_counted_and_told(error: OSError, raised: type[Exception], said: str) -> None:
    raw, counts = Raw(error), Counter[str]()
    out = io.BufferedWriter(raw)
    with pytest.raises(raised, match=said):
        StandardOutput(counts, out).send(MESSAGES)
    assert counts == {"dropped:not_written": 2}
    raw.error = None
    out.close()
