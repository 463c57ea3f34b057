"""A host with the feature `virt` on libvirt's test driver, and handles on its machines."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import libvirt
import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.hypervisor import open_libvirt
from vdsm_virt import Virt

#: The machine that libvirt's test driver is born with.
BORN_WITH = "6695eb01-f6a4-8304-79aa-97f2502e193f"


class Machines:
    """The machines of a host, as its API shows them."""

    born_with = BORN_WITH

    def __init__(self, host: TestHost) -> None:
        self.host = host
        self.hypervisor = host.host.runtime.hypervisor

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
        until(lambda: reached(self.stats(vm_id)), within, detail=lambda: self.stats(vm_id))
        return self.stats(vm_id)

    def listen(self, pattern: str = "|virt|VM_status|*") -> Any:
        """A subscription to what happens from now on."""
        # What the daemon found when it started is published at some time after that.
        self.host.host.runtime.events.flush()
        return self.host.bridge.subscribe(pattern)

    def received(self, subscription: Any) -> list[dict[str, Any]]:
        """The parameters of the events that a subscription has had since it was asked last."""
        self.host.host.runtime.events.flush()
        return [event.params for event in subscription.next(timeout=0, max_events=10_000)]

    def ids(self) -> list[str]:
        return [vm_id for vm_id in self.call("Host.getVMList", onlyUUID=True) if vm_id != BORN_WITH]


def _forget_machines() -> None:
    """Let go of the machines of an earlier test.

    libvirt's test driver keeps them as long as one connection of the process is open. An error that a test
    has caught holds the connection it came from in its frames, until the garbage collector runs; the error of
    a test that failed holds it until the end of the run.
    """
    if _machines_left():
        gc.collect()
        _machines_left(remove=True)


def _machines_left(*, remove: bool = False) -> bool:
    connection = libvirt.open("test:///default")
    try:
        left = [domain for domain in connection.listAllDomains() if domain.name() != "test"]
        for domain in left if remove else []:
            if domain.isActive():
                domain.destroy()
            if domain.isPersistent():
                domain.undefine()
        return bool(left)
    finally:
        connection.close()


@pytest.fixture
def make_machines(make_vdsm_host: Callable[..., TestHost]) -> Callable[..., Machines]:
    """A function that starts hosts with `virt`, with the arguments of `TestHost`."""

    _forget_machines()

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


class Journey:
    """What a `MovingDriver` acts out for one domain: `settle` ends it, from outside or by `abortJob`."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.error: tuple[int, int, str] | None = None
        self.how: tuple[str, dict[str, Any], int] = ("", {}, 0)
        self.remaining = 100
        self.iteration = 1
        self.abortable = True

    def settle(self, code: int = 0, message: str = "", domain: int = libvirt.VIR_FROM_QEMU) -> None:
        """Let it end: successfully, or with an error of libvirt."""
        self.error = (code, domain, message) if code else None
        self.over.set()


class MovingDriver:
    """Libvirt's test driver, with migrations acted out as QEMU's does them. Give `connect` to a host."""

    def __init__(self) -> None:
        self.journeys: dict[str, Journey] = {}
        self.settings: list[tuple[str, int]] = []
        #: Connections are found broken.
        self.dead = False
        self._moved: set[str] = set()
        #: Callbacks of the daemon for completed jobs.
        self.listeners: list[Callable[[Any, dict[str, Any]], None]] = []
        self._kept = open_libvirt("test:///default")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for journey in self.journeys.values():
            journey.settle(libvirt.VIR_ERR_OPERATION_FAILED, "the test is over")
        self._kept.close()

    def connect(self, uri: str) -> Any:
        return _MovingConnection(self, open_libvirt(uri))

    def journey(self, vm_id: str, within: float = 5.0) -> Journey:
        """The one under way, as soon as it is."""
        return until(lambda: self.journeys.get(vm_id), within)

    def move(self, real: Any, how: tuple[str, dict[str, Any], int]) -> None:
        """What `migrateToURI3` does."""
        vm_id = real.UUIDString()
        journey = self.journeys[vm_id] = Journey()
        journey.how = how
        journey.over.wait()
        del self.journeys[vm_id]
        if journey.error is not None:
            raise _error(*journey.error)
        self.take_away(vm_id)
        stats = {"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, "downtime": 77}
        for notify in self.listeners:
            notify(real, stats)

    def take_away(self, vm_id: str) -> None:
        """What becomes of a domain here when it has moved."""
        self._moved.add(vm_id)
        domain = self._kept.lookupByUUIDString(vm_id)
        domain.undefine()
        domain.destroy()

    def has(self, vm_id: str) -> bool:
        """Whether libvirt has the domain."""
        return vm_id in [domain.UUIDString() for domain in self._kept.listAllDomains()]

    def hides(self, domain: Any, event: int) -> bool:
        """That a definition has moved is no event."""
        return event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED and domain.UUIDString() in self._moved

    def detail(self, domain: Any, event: int, detail: int) -> int:
        """A domain that has moved was not destroyed."""
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED and domain.UUIDString() in self._moved:
            return int(libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED)
        return detail


def _error(code: int, domain: int, message: str) -> libvirt.libvirtError:
    error = libvirt.libvirtError(message)
    error.err = (code, domain, message, 2, message, None, None, 0, 0)
    return error


class _MovingConnection:
    def __init__(self, driver: MovingDriver, real: Any) -> None:
        self._driver = driver
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def isAlive(self) -> bool:
        return not self._driver.dead and bool(self._real.isAlive())

    def lookupByUUIDString(self, uuid: str) -> Any:
        return _MovingDomain(self._driver, self._real.lookupByUUIDString(uuid))

    def domainEventRegisterAny(self, domain: Any, event: int, callback: Any, opaque: Any) -> int:
        if event == libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED:
            self._driver.listeners.append(lambda moved, stats: callback(self, moved, stats, opaque))

        def published(connection: Any, told_domain: Any, *rest: Any) -> None:
            if event == libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE:
                if self._driver.hides(told_domain, rest[0]):
                    return
                rest = (rest[0], self._driver.detail(told_domain, rest[0], rest[1]), *rest[2:])
            callback(connection, told_domain, *rest)

        return int(self._real.domainEventRegisterAny(domain, event, published, opaque))


class _MovingDomain:
    def __init__(self, driver: MovingDriver, real: Any) -> None:
        self._driver = driver
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def migrateToURI3(self, uri: str, params: dict[str, Any], flags: int) -> None:
        self._driver.move(self._real, (uri, params, flags))

    def migrateSetMaxDowntime(self, milliseconds: int) -> None:
        self._driver.settings.append(("downtime", milliseconds))

    def migrateStartPostCopy(self) -> None:
        self._driver.settings.append(("postcopy", 1))

    def migrateSetMaxSpeed(self, mib: int) -> None:
        self._driver.settings.append(("bandwidth", mib))

    def jobStats(self) -> dict[str, Any]:
        journey = self._driver.journeys.get(self._real.UUIDString())
        if journey is None:
            return {"type": libvirt.VIR_DOMAIN_JOB_NONE}
        return {
            "type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
            "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
            "time_elapsed": 1234,
            "data_total": 100,
            "data_processed": 100 - journey.remaining,
            "data_remaining": journey.remaining,
            "memory_iteration": journey.iteration,
        }

    def abortJob(self) -> None:
        journey = self._driver.journeys.get(self._real.UUIDString())
        if journey is None or not journey.abortable:
            raise _error(
                libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_FROM_QEMU, "no job is active on the domain"
            )
        journey.settle(libvirt.VIR_ERR_OPERATION_ABORTED, "canceled by client")


@pytest.fixture
def moving() -> Iterator[MovingDriver]:
    """Migrations, acted out."""
    with MovingDriver() as driver:
        yield driver


@pytest.fixture
def movers(make_machines: Callable[..., Machines], moving: MovingDriver) -> Iterator[Machines]:
    """The machines of a started host on which they can be moved."""
    yield make_machines(connect=moving.connect)
    # Before the host is stopped: nothing may be under way then.
    for journey in list(moving.journeys.values()):
        journey.settle(libvirt.VIR_ERR_OPERATION_FAILED, "the test is over")
