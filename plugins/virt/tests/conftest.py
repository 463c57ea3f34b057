"""A host with the feature `virt` on libvirt's test driver, and handles on its machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_virt import Virt

#: The machine that libvirt's test driver is born with.
BORN_WITH = "6695eb01-f6a4-8304-79aa-97f2502e193f"


class Machines:
    """The machines of a host, as its API shows them."""

    born_with = BORN_WITH

    def __init__(self, host: TestHost) -> None:
        self.host = host
        self.hypervisor = host.server.runtime.hypervisor

    def call(self, verb: str, **arguments: Any) -> Any:
        return self.host.call(verb, **arguments)

    def begin(self, **params: Any) -> str:
        """Ask for a machine; its id."""
        params = params if "xml" in params else {"vmName": "a", "memSize": 64, **params}
        return str(self.call("VM.create", vmParams=params).vm_id)

    def create(self, **params: Any) -> str:
        """Have a machine; its id once the launch is over."""
        vm_id = self.begin(**params)
        self.wait(vm_id, lambda stats: stats.status != "WaitForLaunch")
        return vm_id

    def stats(self, vm_id: str) -> Any:
        (stats,) = self.call("VM.getStats", vmID=vm_id)
        return stats

    def status(self, vm_id: str) -> str:
        return str(self.stats(vm_id).status)

    def wait(self, vm_id: str, reached: Callable[[Any], bool], within: float = 5.0) -> Any:
        """Wait until `reached` holds of a machine's statistics."""
        self.eventually(lambda: reached(self.stats(vm_id)), within)
        return self.stats(vm_id)

    def listen(self, pattern: str = "|virt|VM_status|*") -> Any:
        """A subscription to what happens from now on."""
        # What the daemon found when it started is published at some time after that.
        self.host.server.runtime.events.flush()
        return self.host.bridge.subscribe(pattern)

    def heard(self, subscription: Any) -> list[dict[str, Any]]:
        """The parameters of the events that a subscription has had since it was asked last."""
        self.host.server.runtime.events.flush()
        return [event.params for event in subscription.next(timeout=0, most=10_000)]

    def eventually(self, holds: Callable[[], Any], within: float = 5.0) -> None:
        deadline = time.monotonic() + within
        while not holds():
            assert time.monotonic() < deadline, "it did not come to pass"
            time.sleep(0.005)

    def ids(self) -> list[str]:
        return [vm_id for vm_id in self.call("Host.getVMList", onlyUUID=True) if vm_id != BORN_WITH]


@pytest.fixture
def make_machines(make_vdsm_host: Callable[..., TestHost]) -> Callable[..., Machines]:
    """A function that starts hosts with `virt`, with the arguments of `TestHost`."""

    def make(**arguments: Any) -> Machines:
        return Machines(make_vdsm_host(verbs={"virt": Virt}, **arguments))

    return make


@pytest.fixture
def machines_of() -> Callable[[TestHost], Machines]:
    """The machines of a host that the test started itself."""
    return Machines


@pytest.fixture
def vms(make_machines: Callable[..., Machines]) -> Machines:
    """The machines of a started host."""
    return make_machines()
