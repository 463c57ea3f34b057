"""A hypervisor on libvirt's test driver."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.core.hypervisor.support import OPTIONS
from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_bridge.testing.polling import until
from vdsm_core.hypervisor import Hypervisor


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Every thread that a test started has ended, the event loop's too."""
    before = set(threading.enumerate())
    yield
    until(lambda: set(threading.enumerate()) <= before, 2.0)


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    """Started, with the one domain of the test driver."""
    hypervisor = Hypervisor(OPTIONS)
    hypervisor.start()
    yield hypervisor
    assert hypervisor.stop(2.0) == 0


@pytest.fixture
def driver() -> Iterator[BlockingDriver]:
    """The test driver, with domains that block on demand."""
    with BlockingDriver() as driver:
        yield driver


@pytest.fixture
def blocking(driver: BlockingDriver) -> Iterator[Hypervisor]:
    """Started, on the driver that blocks. What a test leaves blocked is released."""
    hypervisor = Hypervisor(OPTIONS, connect=driver.connect)
    hypervisor.start()
    yield hypervisor
    driver.release_all()
    assert hypervisor.stop(2.0) == 0
