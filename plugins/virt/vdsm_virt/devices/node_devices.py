"""The devices of the host: which there are, which machine has one, and their way back to the host."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from vdsm_core.errors import HypervisorError, InvalidArgument, OperationFailed
from vdsm_core.hooks.specs.host import vdsm_after_hostdev_list_by_caps
from vdsm_core.hypervisor import OperationUnsupported
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_core.types import TypeMismatch, builtins, convert
from vdsm_virt.api.host_devices import HostDevice
from vdsm_virt.errors import HostDeviceInUse, reason_of
from vdsm_virt.host.hardware.node_devices import Address, NodeDevice, in_vdsms_form, read, read_all
from vdsm_virt.machine.machines import Machines
from vdsm_virt.privileged import set_virtual_functions

log = logging.getLogger(__name__)


class HostDevices:
    """Lists the devices of the host, and changes what the host does with them.

    :param privileged: the helper that writes to sysfs
    """

    def __init__(self, machines: Machines, privileged: PrivilegedClient) -> None:
        self._devices = machines.hypervisor.node_devices
        self._inventory = machines.inventory
        self._hooks = machines.hooks
        self._privileged = privileged

    def all(self) -> dict[str, NodeDevice]:
        """Return the devices of the host by name; none where libvirt's driver has no list of them."""
        try:
            return read_all(self._devices.documents())
        except OperationUnsupported:
            return {}

    def listed(self, kinds: Collection[str]) -> dict[str, HostDevice]:
        """Return devices by name, as VDSM lists them.

        :param kinds: which devices; empty: all
        """
        found = in_vdsms_form(self.all(), kinds, self.owners())
        if not self._hooks.implemented(vdsm_after_hostdev_list_by_caps):
            return found
        edited = self._hooks.run(vdsm_after_hostdev_list_by_caps, builtins(found))
        try:
            restored: dict[str, HostDevice] = convert(edited, dict[str, HostDevice], text=True)
        except TypeMismatch as error:
            log.warning("A hook's list of the host's devices is discarded: %s: %s", error.path, error.reason)
            return found
        return restored

    def owners(self) -> Mapping[Address, str]:
        """Return the machine that has a device of the host, by the device's address."""
        return {
            address: machine.id
            for machine in self._inventory.all()
            if machine.active and machine.details is not None
            for address in machine.details.host_addresses
        }

    def reattach(self, name: str) -> None:
        """Return a device to its driver on the host.

        :raises NoSuchNodeDevice: the host has none of this name
        :raises HostDeviceInUse: a machine has it
        :raises OperationFailed: libvirt cannot return it
        """
        device = read(self._devices.document(name))
        owner = self.owners().get(device.address) if device.address is not None else None
        if owner is not None:
            raise HostDeviceInUse(name=name, vm_id=owner)
        if device.params.capability != "pci":
            # Devices of other kinds leave and regain their driver with the machine.
            return
        try:
            self._devices.reattach(name)
        except HypervisorError as error:
            raise OperationFailed(reason=f"cannot reattach device '{name}': {reason_of(error)}") from error

    def set_virtual_functions(self, name: str, count: int) -> None:
        """Set the number of virtual functions of a PCI device.

        :raises NoSuchNodeDevice: the host has none of this name
        :raises InvalidArgument: it is no PCI device
        :raises HostDeviceInUse: a machine has one of its functions, which would be removed
        :raises OperationFailed: it has no SR-IOV or fewer functions, or its driver refuses
        """
        device = read(self._devices.document(name))
        if device.params.capability != "pci" or device.address is None:
            raise InvalidArgument(argument="deviceName", reason=f"device '{name}' is no PCI device")
        owners = self.owners()
        for other in self.all().values():
            owner = owners.get(other.address) if other.address is not None else None
            if other.params.physfn == name and owner is not None:
                raise HostDeviceInUse(name=other.name, vm_id=owner)
        domain, bus, slot, function = (int(number) for number in device.address[1:])
        self._privileged.run(set_virtual_functions, f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}", count)
