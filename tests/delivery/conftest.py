from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.rig import Rig
from traptor.delivery import broker


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away is asked again at once."""
    monkeypatch.setattr(broker, "RECONNECT_SECONDS", 0.0)


@pytest.fixture
def rig(tmp_path: Path, hurry: None) -> Iterator[Rig]:
    """One whose account is closed at the end."""
    made = Rig(tmp_path)
    yield made
    made.assert_balanced()
    made.close()
