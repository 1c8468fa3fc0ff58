from pathlib import Path

import pytest

from traptor.sources.choices import CHOICES, Choice

PAGE = (Path(__file__).parents[2] / "docs/which-api.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("choice", CHOICES, ids=[choice.name for choice in CHOICES])
def test_the_page_says_the_same(choice: Choice) -> None:
    assert f"| {choice.name} | {choice.text} | {choice.advice} |" in PAGE
