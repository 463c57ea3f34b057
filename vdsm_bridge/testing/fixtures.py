"""pytest fixtures for plugin authors, there wherever `vdsm` is installed; importing this is cheap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vdsm_bridge.testing.host import TestHost

pytest.register_assert_rewrite("vdsm_bridge.testing.contract", "vdsm_bridge.testing.event_contract")


@pytest.fixture
def make_vdsm_host() -> Iterator[Callable[..., TestHost]]:
    """A function that starts hosts, with the arguments of `TestHost`; they stop when the test ends."""
    from vdsm_bridge.testing.host import TestHost  # noqa: PLC0415 - most test runs need no host

    with ExitStack() as stack:

        def make(**arguments: Any) -> TestHost:
            return stack.enter_context(TestHost(**arguments))

        yield make


@pytest.fixture
def vdsm_host(make_vdsm_host: Callable[..., TestHost]) -> TestHost:
    """A started host on libvirt's test driver, with the `base` verbs and the sample feature."""
    return make_vdsm_host()
