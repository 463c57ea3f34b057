"""What holds for every test of this checkout, those of the plugins included."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.settled import Held


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    """A test leaves no thread, child process or listening socket behind."""
    before = Held.now()
    yield
    if left := before.left_since():
        pytest.fail(f"left behind: {left}")
