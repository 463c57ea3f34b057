"""The lab, started once for all functional tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.functional.lab import BootFiles, LabHost, LabPair, Unusable, boot_files, why_unusable

#: Kept between runs; `make clean` removes it.
CACHE = Path(__file__).parents[2] / "build" / "lab"


def absent(reason: str) -> NoReturn:
    """Skip for a person without the means; in CI, where the means are promised, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"the lab is needed here: {reason}")
    pytest.skip(f"the lab: {reason}")


@pytest.fixture(scope="session")
def lab() -> None:
    """The means for a lab are here."""
    if (reason := why_unusable()) is not None:
        absent(reason)


@pytest.fixture(scope="session")
def lab_host(lab: None) -> Iterator[LabHost]:
    """A libvirtd of our own, with QEMU."""
    try:
        host = LabHost.open()
    except Unusable as unusable:
        absent(str(unusable))
    with host:
        yield host


@pytest.fixture(scope="module")
def lab_pair(lab: None) -> Iterator[LabPair]:
    """Two hosts that reach each other."""
    try:
        pair = LabPair.open()
    except Unusable as unusable:
        absent(str(unusable))
    with pair:
        yield pair


@pytest.fixture(scope="session")
def boot(lab: None) -> BootFiles:
    """What the guests boot."""
    try:
        return boot_files(CACHE)
    except (subprocess.CalledProcessError, LookupError, TimeoutError) as error:
        absent(f"the guest's kernel cannot be had: {error}")
