"""What tests of the core stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vdsm_core.events import EventBus, Journal
from vdsm_core.state import MEMORY, StateStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    """An open state store in a file of its own."""
    made = StateStore(str(tmp_path / "state" / "state.sqlite"))
    made.open()
    yield made
    made.close()


@pytest.fixture
def bus() -> Iterator[EventBus]:
    """A started event bus whose journal is in memory, and which keeps ten events beside it."""
    made = EventBus(Journal(MEMORY, max_bytes=10**7, keep=1000.0), recent=10)
    made.start()
    yield made
    made.stop()
