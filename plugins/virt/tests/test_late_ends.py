"""Machines whose destruction is not answered: the caller learns why, and they are removed once they end."""

from __future__ import annotations

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import HypervisorDeadline, HypervisorError, NotResponding
from vdsm_virt.errors import VMDestroyFailed
from vdsm_virt.machine.late_ends import VMNotEnded

UNANSWERED = [
    HypervisorDeadline(operation="destroy", object="x", seconds=30.0),
    NotResponding(object="x", operation="destroy", seconds=30.0),
    HypervisorError(operation="destroy", reason="Failed to terminate process", libvirt_code=38),
]


@pytest.mark.parametrize("error", UNANSWERED, ids=lambda error: error.slug)
def test_a_machine_that_ends_late(vms, monkeypatch, error):
    """Repeated, the call has the same error; the end of QEMU completes what was begun."""
    domains = vms.host.host.runtime.hypervisor.domains
    destroy = domains.destroy

    def hangs(*_args, **_options):
        raise error

    vm_id = vms.create()
    monkeypatch.setattr(domains, "destroy", hangs)
    for _ in range(2):
        with pytest.raises(VMNotEnded, match="it is removed once it has") as failed:
            vms.call("VM.destroy", vmID=vm_id)
        assert failed.value.code == 42
    assert vms.status(vm_id) != "Down"
    destroy(vm_id)
    until(lambda: vms.ids() == [])
    until(lambda: vm_id not in [domain.uuid for domain in domains.list_all()])


def test_a_refusal_is_final(vms, monkeypatch):
    """The machine runs on, and is not removed when it ends for another reason."""
    domains = vms.host.host.runtime.hypervisor.domains
    destroy = domains.destroy

    def refuses(*_args, **_options):
        raise HypervisorError(operation="destroy", reason="access denied", libvirt_code=88)

    vm_id = vms.create()
    monkeypatch.setattr(domains, "destroy", refuses)
    with pytest.raises(VMDestroyFailed, match="access denied"):
        vms.call("VM.destroy", vmID=vm_id)
    assert vms.status(vm_id) == "Up"
    monkeypatch.undo()
    destroy(vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert vms.ids() == [vm_id]
