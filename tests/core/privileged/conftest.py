"""A helper that serves the sample operations, within the test's process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.privileged import sample
from vdsm_bridge.testing.privileged import connected, serving
from vdsm_core.privileged import operations_of
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_core.privileged.server.registry import Registry


@pytest.fixture
def registry() -> Registry:
    """The sample operations, as plugin `sample`."""
    registry = Registry()
    registry.add("sample", operations_of(sample))
    return registry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the root of the sample operations is."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def client(registry: Registry, root: Path) -> Iterator[PrivilegedClient]:
    """A client of a running helper."""
    with (
        serving(registry, roots={sample.ROOT: str(root)}) as address,
        connected(address, "sample", sample) as client,
    ):
        yield client
