"""The packages, built once, and folders to look at them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import deb
import pytest
from folder import Folder, can_be_made

WORK = deb.source.ROOT / "build" / "packages"


@pytest.fixture(scope="session")
def builder() -> Iterator[Folder]:
    """The folder that the packages were built in; /build has them."""
    if reason := can_be_made():
        pytest.fail(f"a folder with a Debian: {reason}")
    WORK.mkdir(parents=True, exist_ok=True)
    folder = deb.builder(WORK)
    yield folder
    folder.remove()


@pytest.fixture
def host(builder: Folder) -> Iterator[Folder]:
    """A host on which nothing of ours is installed; /packages has the packages."""
    folder = Folder.made(WORK / "host", WORK / "base.tar")
    (folder.root / "packages").mkdir()
    for file in (WORK / "packages").glob("*.deb"):
        (folder.root / "packages" / file.name.partition("_")[0]).with_suffix(".deb").hardlink_to(file)
    yield folder
    folder.remove()


@pytest.fixture
def config() -> Path:
    """A drop-in of an administrator: libvirt's made-up hypervisor."""
    return Path("etc/vdsm/conf.d/90-try.toml")
