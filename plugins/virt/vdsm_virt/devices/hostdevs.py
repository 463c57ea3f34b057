"""Devices of the host, plugged into running machines and out of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vdsm_core.errors import HypervisorError, VdsmError
from vdsm_core.hypervisor.node_devices import NodeDevices
from vdsm_virt.devices import requests
from vdsm_virt.devices.plugging import Plugging, by_alias
from vdsm_virt.devices.requests import DeviceRequest
from vdsm_virt.domain.read.devices import host_address, node_name
from vdsm_virt.errors import HostDeviceDetachFailed, reason_of

log = logging.getLogger(__name__)


class PluggedHostDevices:
    """Plugs devices of the host in and out. One that fails does not keep the others from it."""

    def __init__(self, node_devices: NodeDevices, plugging: Plugging) -> None:
        self._node_devices = node_devices
        self._plugging = plugging

    def hotplug(self, vm_id: str, devices: Sequence[DeviceRequest]) -> list[DeviceRequest]:
        """Plug devices in; return those that were.

        All PCI devices are taken from their drivers on the host before the first one is plugged in.

        :raises VMIsDown: the machine does not run
        :raises MigrationInProgress: it is being migrated
        :raises HostDeviceDetachFailed: one cannot be taken from its driver; none was plugged in
        """
        self._plugging.running(vm_id)
        self._take(devices)
        plugged = []
        for device in devices:
            requests.named(device)
            try:
                self._plugging.attach(vm_id, device.element)
            except HypervisorError as error:
                log.warning("Cannot plug %s into machine %s: %s", device.argument, vm_id, error)
                self._give_back(device)
            else:
                plugged.append(device)
        self._plugging.shown(vm_id)
        return plugged

    def hotunplug(self, vm_id: str, devices: Sequence[DeviceRequest]) -> list[DeviceRequest]:
        """Plug devices out; return those that the guest has released.

        :raises VMIsDown: the machine does not run
        :raises MigrationInProgress: it is being migrated
        """
        self._plugging.running(vm_id)
        unplugged = []
        for device in devices:
            found = self._plugging.devices(vm_id, device.element.tag)
            present = by_alias(found, device.alias) if device.alias else None
            if present is None:
                address = host_address(device.element)
                present = next((each for each in found if address and host_address(each) == address), None)
            if present is None:
                log.warning("Cannot plug %s out of machine %s: it has no such device", device.argument, vm_id)
                continue
            try:
                self._plugging.detach(vm_id, present)
            except HypervisorError as error:
                log.warning("Cannot plug %s out of machine %s: %s", device.argument, vm_id, error)
            else:
                unplugged.append(device)
                if present.get("managed") != "yes":
                    self._give_back(device)
        self._plugging.shown(vm_id)
        return unplugged

    def _take(self, devices: Sequence[DeviceRequest]) -> None:
        taken: list[DeviceRequest] = []
        for device in devices:
            name = _pci_name(device)
            if not name:
                continue
            try:
                self._node_devices.detach(name)
            except VdsmError as error:
                for other in taken:
                    self._give_back(other)
                raise HostDeviceDetachFailed(name=name, reason=reason_of(error)) from error
            taken.append(device)

    def _give_back(self, device: DeviceRequest) -> None:
        name = _pci_name(device)
        if not name:
            return
        try:
            self._node_devices.reattach(name)
        except VdsmError as error:
            log.warning("Device %s of the host stays without a driver: %s", name, error)


def _pci_name(device: DeviceRequest) -> str:
    name = node_name(device.element)
    return name if name.startswith("pci_") else ""
