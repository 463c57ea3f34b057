"""Leases of running machines, which sanlock holds for them."""

from __future__ import annotations

import logging
from typing import Final
from xml.etree.ElementTree import Element

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hooks.specs.storage import vdsm_find_lease
from vdsm_core.hypervisor import NoSuchDevice
from vdsm_core.volumes import Lease, LeaseId
from vdsm_virt.devices.errors import HotplugLeaseFailed, HotunplugLeaseFailed
from vdsm_virt.devices.guards import as_failure, as_machine, running
from vdsm_virt.devices.running import read_running
from vdsm_virt.domain.elements import add, to_text
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines

log = logging.getLogger(__name__)

_ACTION: Final = "change the leases of"


class Leases:
    """Carries out `VM.hotplugLease` and `VM.hotunplugLease`."""

    def __init__(self, machines: Machines) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._mirror = machines.mirror
        self._hooks = machines.hooks

    def plug(self, vm_id: str, lease: LeaseId) -> Machine:
        """Add a lease to a machine.

        :raises HotplugLeaseFailed: storage does not have it, it is there already, or the hypervisor refuses
        """
        machine = running(self._inventory, vm_id, _ACTION)
        try:
            with as_machine(vm_id, _ACTION):
                self._add(vm_id, lease)
        except VdsmError as error:
            raise as_failure(error, HotplugLeaseFailed, vm_id) from error
        return self._mirror.refresh(vm_id) or machine

    def unplug(self, vm_id: str, lease: LeaseId) -> Machine:
        """Take a lease from a machine.

        :raises HotunplugLeaseFailed: the machine does not have it, or the hypervisor refuses
        """
        machine = running(self._inventory, vm_id, _ACTION)
        try:
            with as_machine(vm_id, _ACTION):
                self._remove(vm_id, lease)
        except NoSuchDevice:
            log.info("Lease %s of machine %s was gone already", lease.lease_id, vm_id)
        except VdsmError as error:
            raise as_failure(error, HotunplugLeaseFailed, vm_id) from error
        return self._mirror.refresh(vm_id) or machine

    def _add(self, vm_id: str, lease: LeaseId) -> None:
        if self._find(vm_id, lease) is not None:
            raise OperationFailed(reason="it has the lease already")
        place = self._hooks.run(vdsm_find_lease, lease)
        if place is None:
            raise OperationFailed(reason=f"no plugin has storage domain {lease.sd_id}")
        self._hypervisor.devices.attach(vm_id, to_text(lease_element(lease, place)))

    def _remove(self, vm_id: str, lease: LeaseId) -> None:
        element = self._find(vm_id, lease)
        if element is None:
            raise OperationFailed(reason="it does not have the lease")
        self._hypervisor.devices.detach_at_once(vm_id, to_text(element))
        if self._find(vm_id, lease) is not None:
            raise OperationFailed(reason="the hypervisor has not removed it")

    def _find(self, vm_id: str, lease: LeaseId) -> Element | None:
        for element in read_running(self._hypervisor, vm_id).domain.iterfind("devices/lease"):
            found = (element.findtext("lockspace", ""), element.findtext("key", ""))
            if tuple(map(str.lower, found)) == (lease.sd_id.lower(), lease.lease_id.lower()):
                return element
        return None


def lease_element(lease: LeaseId, place: Lease) -> Element:
    """Return libvirt's `<lease>`."""
    element = Element("lease")
    add(element, "lockspace", lease.sd_id)
    add(element, "key", lease.lease_id)
    add(element, "target", path=place.path, offset=place.offset)
    return element
