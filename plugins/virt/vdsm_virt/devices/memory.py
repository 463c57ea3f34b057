"""Modules of memory of running machines."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import HypervisorError
from vdsm_core.hooks.specs.devices import vdsm_after_memory_hotplug, vdsm_before_memory_hotplug
from vdsm_core.hypervisor import DeviceNotReleased
from vdsm_virt.devices import requests
from vdsm_virt.devices.plugging import Plugging, by_alias
from vdsm_virt.devices.requests import DeviceRequest
from vdsm_virt.domain.elements import under
from vdsm_virt.domain.read.devices import in_kib
from vdsm_virt.errors import HotplugMemoryFailed, HotunplugMemoryFailed, reason_of
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines

#: Seconds for guests that release memory at once; of all others, an event reports it.
_RELEASE: Final = 2.0


class MemoryModules:
    """Plugs modules of memory in and out."""

    def __init__(self, machines: Machines, plugging: Plugging) -> None:
        self._hooks = machines.hooks
        self._machine_hooks = machines.machine_hooks
        self._plugging = plugging

    def hotplug(self, vm_id: str, request: DeviceRequest, guaranteed: int) -> Machine:
        """Plug a module in.

        :param guaranteed: MiB that become the guaranteed memory of the machine; 0 leaves it
        :raises VMIsDown: the machine does not run
        :raises MigrationInProgress: it is being migrated
        :raises HotplugMemoryFailed: libvirt refuses: the machine has no room for it, or no NUMA cells
        :raises VdsmError: a hook refuses, or libvirt has not answered
        """
        self._plugging.running(vm_id)
        alias = requests.named(request)
        custom = self._machine_hooks.custom(vm_id)
        device = self._hooks.run(
            vdsm_before_memory_hotplug, request.element, vm_id, custom, dict(request.custom)
        )
        under(device, "alias").set("name", alias)
        try:
            self._plugging.attach(vm_id, device)
        except HypervisorError as error:
            self._plugging.look_soon(vm_id)
            raise HotplugMemoryFailed(vm_id=vm_id, reason=reason_of(error)) from error
        self._plugging.keep_custom(vm_id, device, request.custom)
        if guaranteed:
            self._guarantee(vm_id, guaranteed)
        machine = self._plugging.shown(vm_id)
        self._hooks.run(vdsm_after_memory_hotplug, vm_id, device, custom, dict(request.custom))
        return machine

    def hotunplug(self, vm_id: str, request: DeviceRequest, guaranteed: int) -> None:
        """Request the guest to release a module. Returns before it has; the definition shows when.

        :param request: names the module by its alias, or by its size and NUMA cell
        :param guaranteed: MiB that become the guaranteed memory of the machine; 0 leaves it
        :raises VMIsDown: the machine does not run
        :raises MigrationInProgress: it is being migrated
        :raises HotunplugMemoryFailed: there is no such module, or libvirt refuses
        """
        self._plugging.running(vm_id)
        module = _named(self._plugging.devices(vm_id, "memory"), request)
        if module is None:
            raise HotunplugMemoryFailed(vm_id=vm_id, reason="the machine has no such module")
        try:
            self._plugging.detach(vm_id, module, within=_RELEASE)
        except DeviceNotReleased:
            # Requested: the guest may take its time, or never release it.
            self._plugging.look_soon(vm_id)
        except HypervisorError as error:
            raise HotunplugMemoryFailed(vm_id=vm_id, reason=reason_of(error)) from error
        if guaranteed:
            self._guarantee(vm_id, guaranteed)
        self._plugging.shown(vm_id)

    def _guarantee(self, vm_id: str, mib: int) -> None:
        self._plugging.keep(vm_id, lambda facts: msgspec.structs.replace(facts, guaranteed_memory=mib))


def _named(found: list[Element], request: DeviceRequest) -> Element | None:
    if request.alias:
        return by_alias(found, request.alias)
    wanted = _place(request.element)
    return next((module for module in found if _place(module) == wanted), None)


def _place(module: Element) -> tuple[int, str]:
    return in_kib(module.find("target/size")), module.findtext("target/node") or "0"
