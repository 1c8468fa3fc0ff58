"""What commands share: how they show what strangers wrote."""

import io
import sys

import pytest

from traptor.commands import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out,shown", [(Terminal(), "a,\\x1b]0;x\nb\n"), (io.StringIO(), "a,\x1b]0;x\nb\n")])
def test_csv_acts_on_no_terminal_and_is_whole_for_a_program(
    out: io.StringIO, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", out)
    console.say_csv("a,\x1b]0;x\nb\n")
    assert out.getvalue() == shown
