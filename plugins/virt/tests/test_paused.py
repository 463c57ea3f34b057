"""Machines that an I/O error has paused: VDSM's `resumeBehavior` decides what becomes of them."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import msgspec
import pytest

from vdsm_core.errors import InvalidArgument
from vdsm_core.hooks.specs.storage import vdsm_storage_domain_valid
from vdsm_core.hypervisor import DomainIOError, DomainLifecycle, DomainState
from vdsm_virt import Virt
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import Machine

DOMAIN = "7d8b0e6c-9a3f-4c7e-8d52-6f1f0a9d3b11"
XML = """
<domain xmlns:ovirt-vm="http://ovirt.org/vm/1.0"><name>{name}</name><memory unit="MiB">64</memory>
<os><type>hvm</type></os>
<metadata><ovirt-vm:vm>{members}</ovirt-vm:vm></metadata></domain>
"""


def paused(vms: Any, vm_id: str, seconds: float = 0.0) -> None:
    """Let a disk of a machine fail, so many seconds ago."""
    vms.call("VM.pause", vmID=vm_id)
    announce = vms.hypervisor._dispatcher.announce
    announce(DomainIOError(vm_id, "a", "vda", "/disk", "pause", "eio"))
    announce(DomainLifecycle(vm_id, "a", "suspended", "ioerror"))
    vms.wait(vm_id, lambda stats: (stats.status, stats.pause_code) == ("Paused", "EIO"))
    feature(vms)._inventory.update(
        vm_id,
        lambda known: msgspec.structs.replace(
            known, paused_at=time.time() - seconds, details=with_disk(known.details)
        ),
    )


def with_disk(details: Details) -> Details:
    """Details of a machine that has a disk on the storage domain."""
    known = msgspec.structs.replace(details.metadata, devices={"vda": {"domainID": DOMAIN}})
    return msgspec.structs.replace(details, metadata=known)


class Known(Virt):
    """The feature, known to the test."""

    last: ClassVar[Any] = None

    def __init__(self, runtime: Any, config: Any) -> None:
        super().__init__(runtime, config)
        type(self).last = self


@pytest.fixture
def vms(make_machines: Any, make_vdsm_host: Any, machines_of: Any) -> Any:
    """The machines of a host whose feature is `Known.last`."""
    return machines_of(make_vdsm_host(verbs={"virt": Known}))


def feature(_vms: Any) -> Any:
    """The feature itself."""
    return Known.last


@pytest.mark.parametrize(
    ("behavior", "seconds", "status"),
    [("auto_resume", 100, "Up"), ("leave_paused", 100, "Paused"), ("kill", 10, "Up"), ("kill", 100, "Down")],
)
def test_storage_is_back(vms: Any, behavior: str, seconds: float, status: str) -> None:
    """The machine goes on, stays, or is destroyed if that took too long; others are left alone."""
    vm_id = vms.create(resumeBehavior=behavior)
    paused(vms, vm_id, seconds)
    vms.host.host.runtime.hooks.run(vdsm_storage_domain_valid, "another")
    assert vms.status(vm_id) == "Paused"
    vms.host.host.runtime.hooks.run(vdsm_storage_domain_valid, DOMAIN)
    shown = vms.wait(vm_id, lambda stats: stats.status == status)
    if status == "Down":
        assert (shown.exit_code, shown.exit_reason) == (1, 14)


def test_a_pause_that_lasts(vms: Any) -> None:
    """Is the end of a machine that is not to wait, with VDSM's reason; of no other."""
    waits, ends = vms.create(vmName="waits"), vms.create(vmName="ends", resumeBehavior="kill")
    for vm_id in (waits, ends):
        paused(vms, vm_id, 81)
    feature(vms)._paused.look()
    shown = vms.wait(ends, lambda stats: stats.status == "Down")
    assert (shown.exit_reason, vms.status(waits)) == (14, "Paused")


def test_behavior_in_a_document(vms: Any) -> None:
    """oVirt's engine says it in the metadata of its document, as whether the machine begins paused."""
    members = (
        "<ovirt-vm:resumeBehavior>kill</ovirt-vm:resumeBehavior>"
        "<ovirt-vm:launchPaused>true</ovirt-vm:launchPaused>"
    )
    vm_id = vms.create(xml=XML.format(name="x", members=members))
    assert vms.status(vm_id) == "Paused"
    machine = feature(vms)._inventory.get(vm_id)
    assert machine.details.metadata.resume_behavior == "kill"
    members = "<ovirt-vm:resumeBehavior>explode</ovirt-vm:resumeBehavior>"
    with pytest.raises(InvalidArgument, match="resumeBehavior"):
        vms.create(xml=XML.format(name="y", members=members))


def test_an_error_at_the_start() -> None:
    """A machine that lacks room as soon as it starts is shown so, not as one that a client has paused."""
    machine = transitions.io_error(transitions.defined("i", "n"), "ENOSPC")
    domain = DomainState(
        uuid="i", name="n", state="paused", reason="ioerror", active=True, persistent=True, id=1
    )
    shown: Machine = transitions.launched(machine, domain, machine.details)  # type: ignore[arg-type]
    assert (shown.status, shown.pause_code, shown.io_error) == ("Paused", "ENOSPC", "ENOSPC")
    by_client = transitions.launched(
        transitions.defined("i", "n"),
        msgspec.structs.replace(domain, reason="user"),
        machine.details,  # type: ignore[arg-type]
    )
    assert by_client.pause_code == "NOERR"
