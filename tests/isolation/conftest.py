"""A daemon whose plugins come, go and make trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolation.toggling import Daemon, daemon


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with REST and XML-RPC that looks for plugins in a folder of the test's, too."""
    with daemon(tmp_path / "etc", grace=1.0) as made:
        yield made
