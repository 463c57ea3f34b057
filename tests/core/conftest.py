"""What tests of the core stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vdsm_core.events import EventBus
from vdsm_core.state import StateStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    """An open state store in a file of its own."""
    made = StateStore(str(tmp_path / "state" / "state.sqlite"))
    made.open()
    yield made
    made.close()


@pytest.fixture
def bus(store: StateStore) -> EventBus:
    """A started event bus that keeps ten events."""
    made = EventBus(store, history=10)
    made.start()
    return made
