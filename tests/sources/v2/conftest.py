from collections.abc import Iterator

import pytest

from traptor.simulator import Simulator


@pytest.fixture
def twitter() -> Iterator[Simulator]:
    with Simulator(rate=200) as simulator:
        yield simulator
