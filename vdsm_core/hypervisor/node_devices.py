"""The devices of the host, as libvirt's node device driver reports them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import libvirt

from vdsm_core.errors import HypervisorError
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.errors import NoSuchNodeDevice

T = TypeVar("T")


class NodeDevices:
    """Reads the devices of the host, and passes them to machines and back.

    `timeout` and the other errors that every method raises are those of `Caller.call`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def documents(self, *, timeout: float | None = None) -> list[str]:
        """Return libvirt's `<device>` document of every device of the host.

        Devices that vanish meanwhile are left out.

        :raises OperationUnsupported: the driver has no node devices
        """
        return self._caller.call(_documents, "node_devices", timeout=timeout)

    def document(self, name: str, *, timeout: float | None = None) -> str:
        """Return libvirt's `<device>` document of one device.

        :param name: libvirt's, such as "pci_0000_05_00_0"
        :raises NoSuchNodeDevice: the host has none of this name
        """
        return self._on(name, lambda device: str(device.XMLDesc(0)), "node_device", timeout)

    def detach(self, name: str, *, timeout: float | None = None) -> None:
        """Take a device from its driver on the host, so that a machine can have it.

        :raises NoSuchNodeDevice: the host has none of this name
        :raises HypervisorError: libvirt cannot; it detaches PCI devices only
        """
        self._on(name, lambda device: device.dettach(), "node_device_detach", timeout)

    def reattach(self, name: str, *, timeout: float | None = None) -> None:
        """Return a device to its driver on the host.

        :raises NoSuchNodeDevice: the host has none of this name
        :raises HypervisorError: a machine uses it, or it is no PCI device
        """
        self._on(name, lambda device: device.reAttach(), "node_device_reattach", timeout)

    def _on(self, name: str, work: Callable[[Any], T], operation: str, timeout: float | None) -> T:
        def found(connection: Any) -> T:
            return work(connection.nodeDeviceLookupByName(name))

        try:
            return self._caller.call(found, operation, target=name, timeout=timeout)
        except HypervisorError as error:
            if error.facts.get("libvirt_code") == libvirt.VIR_ERR_NO_NODE_DEVICE:
                raise NoSuchNodeDevice(name=name) from None
            raise


def _documents(connection: Any) -> list[str]:
    found = []
    for device in connection.listAllDevices(0):
        try:
            found.append(str(device.XMLDesc(0)))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_NODE_DEVICE:
                raise
    return found
