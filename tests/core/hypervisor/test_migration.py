"""Moving domains: calls that take their time, and what they may not hold up."""

from __future__ import annotations

import threading
from typing import Any

import libvirt
import pytest

from tests.core.hypervisor.support import OPTIONS, TEST_DOMAIN
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import HypervisorError, HypervisorUnavailable
from vdsm_core.hypervisor import Hypervisor, Migration, OperationUnsupported, open_libvirt
from vdsm_core.hypervisor.domains.migration import _flags, _parameters

THERE = Migration(uri="qemu+tcp://there/system")


class Mover:
    """Connections on which a migration lasts until `gate` opens; then it fails by `error`, if any."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.error: tuple[int, int] | None = None
        self.begun = threading.Event()

    def connect(self, uri: str) -> Any:
        """A connection."""
        return _Proxy(open_libvirt(uri), lookupByUUIDString=self._lookup)

    def _lookup(self, real: Any, uuid: str) -> Any:
        return _Proxy(real.lookupByUUIDString(uuid), migrateToURI3=self._migrate)

    def _migrate(self, _real: Any, *_how: Any) -> None:
        self.begun.set()
        self.gate.wait()
        if self.error is not None:
            # A new one each time: kept, it would keep the connection from which it was raised.
            raise error(*self.error)


class _Proxy:
    def __init__(self, real: Any, **instead: Any) -> None:
        self._real = real
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        if name in self._instead:
            return lambda *arguments: self._instead[name](self._real, *arguments)
        return getattr(self._real, name)


def error(code: int, domain: int) -> libvirt.libvirtError:
    """What libvirt raises."""
    raised = libvirt.libvirtError("unable to connect")
    raised.err = (code, domain, "unable to connect", 2, "", None, None, 0, 0)
    return raised


def test_a_migration_holds_up_nothing() -> None:
    """Calls on its domain continue; it does not count as stuck; and stopping does not wait for it."""
    mover = Mover()
    hypervisor = Hypervisor(OPTIONS, connect=mover.connect)
    hypervisor.start()
    pending = hypervisor.migrations.begin(TEST_DOMAIN, THERE)
    assert mover.begun.wait(5)
    assert not pending.wait(0.01)
    hypervisor.domains.suspend(TEST_DOMAIN)
    assert hypervisor.domains.get(TEST_DOMAIN).state == "paused"
    assert hypervisor.overdue_calls() == []
    assert hypervisor.stop(2.0) == 0
    mover.gate.set()
    assert pending.wait(5)
    assert pending.wait(5)
    assert pending.error is None


def test_one_that_is_given_up_is_shown() -> None:
    """As a call that has outlived its deadline, until it returns; its domain can be used."""
    mover = Mover()
    hypervisor = Hypervisor(OPTIONS, connect=mover.connect)
    hypervisor.start()
    pending = hypervisor.migrations.begin(TEST_DOMAIN, THERE)
    pending.give_up()
    pending.give_up()
    (call,) = hypervisor.overdue_calls()
    assert (call.object, call.operation) == (f"(migration of {TEST_DOMAIN})", "migrate")
    hypervisor.domains.suspend(TEST_DOMAIN)
    mover.gate.set()
    until(lambda: hypervisor.overdue_calls() == [])
    pending.give_up()
    assert hypervisor.overdue_calls() == []
    assert hypervisor.stop(2.0) == 0


@pytest.mark.parametrize(
    ("code", "domain"),
    [
        (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_FROM_RPC),
        (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_FROM_REMOTE),
        (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_FROM_QEMU),
    ],
)
def test_the_other_host_is_not_reached(code: int, domain: int) -> None:
    """That is a refusal: our own connection is well, and stays."""
    mover = Mover()
    mover.error = (code, domain)
    mover.gate.set()
    hypervisor = Hypervisor(OPTIONS, connect=mover.connect)
    hypervisor.start()
    pending = hypervisor.migrations.begin(TEST_DOMAIN, THERE)
    assert pending.wait(5)
    assert isinstance(pending.error, HypervisorError)
    assert not isinstance(pending.error, HypervisorUnavailable)
    assert pending.error.facts == {
        "operation": "migrate",
        "reason": "unable to connect",
        "libvirt_code": code,
    }
    assert hypervisor.connected
    assert hypervisor.stop(2.0) == 0


def test_the_test_driver_does_not_migrate(hypervisor: Hypervisor) -> None:
    """Each call raises the same error."""
    for call in (
        lambda: hypervisor.jobs.get(TEST_DOMAIN),
        lambda: hypervisor.jobs.abort(TEST_DOMAIN),
        lambda: hypervisor.migrations.set_downtime(TEST_DOMAIN, 1),
        lambda: hypervisor.migrations.set_bandwidth(TEST_DOMAIN, 1),
    ):
        with pytest.raises(OperationUnsupported):
            call()
    pending = hypervisor.migrations.begin(TEST_DOMAIN, THERE)
    assert pending.wait(5)
    assert isinstance(pending.error, OperationUnsupported)


def test_parameters_for_libvirt() -> None:
    """Each member is a flag, a parameter, or both."""
    how = Migration(
        uri="qemu+tcp://there/system", memory_uri="tcp://there", bandwidth=5, parallel=3, live=False
    )
    assert _parameters(how) == {
        libvirt.VIR_MIGRATE_PARAM_URI: "tcp://there",
        libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 5,
        libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS: 3,
    }
    assert _flags(how) == (
        libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_PARALLEL
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    )
    assert _parameters(THERE) == {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 2**43 - 1}
    transient = Migration(uri="x", moves_definition=False, storage_is_shared=True)
    assert _flags(transient) == (
        libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_UNSAFE
    )
