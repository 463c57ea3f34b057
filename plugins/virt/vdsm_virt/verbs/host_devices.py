"""Verbs of `Host` that concern devices which machines can have."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_virt.api.host_devices import DeviceCapability, HostDevice, NodeDeviceName
from vdsm_virt.devices.node_devices import HostDevices
from vdsm_virt.verbs.host import Host

_EVERY: Final[list[DeviceCapability]] = []


class HostDeviceVerbs(Namespace, group_of=Host):
    """List the devices of the host, and change what the host does with them."""

    def __init__(self, devices: HostDevices) -> None:
        self._devices = devices

    @query(since="1.0", legacy=LegacyMethod("hostdevListByCaps", reply="deviceList"))
    def hostdev_list_by_caps(
        self, caps: Annotated[list[DeviceCapability], Meta(max_length=64)] = _EVERY
    ) -> dict[str, HostDevice]:
        """Return the devices of the host by name, and the machine that has one.

        :param caps: kinds of devices to return; empty means all
        """
        return self._devices.listed(caps)

    @action(since="1.0", access="admin", legacy=LegacyMethod("hostdevReattach"))
    def hostdev_reattach(self, device_name: NodeDeviceName) -> None:
        """Return a PCI device to its driver on the host. Has no effect on devices of other kinds.

        :param device_name: name of the device, as `Host.hostdevListByCaps` lists it
        :raises NoSuchNodeDevice: the host has none of this name
        :raises HostDeviceInUse: a machine has it
        :raises OperationFailed: libvirt cannot return it
        """
        self._devices.reattach(device_name)

    @action(since="1.0", access="admin", legacy=LegacyMethod("hostdevChangeNumvfs"))
    def hostdev_change_numvfs(
        self, device_name: NodeDeviceName, numvfs: Annotated[int, Meta(ge=0, le=65_535)]
    ) -> None:
        """Set the number of virtual functions of an SR-IOV device. Its present ones are removed first.

        The number is not kept over a restart of the host.

        :param device_name: name of the PCI device, as `Host.hostdevListByCaps` lists it
        :param numvfs: number of virtual functions; 0 removes all
        :raises NoSuchNodeDevice: the host has none of this name
        :raises HostDeviceInUse: a machine has one of its virtual functions
        :raises OperationFailed: it has no SR-IOV or fewer functions, or its driver refuses
        """
        self._devices.set_virtual_functions(device_name, numvfs)
