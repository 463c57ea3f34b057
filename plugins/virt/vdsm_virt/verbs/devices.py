"""Verbs of `VM` that plug devices of a running machine in and out, and change them; disks apart."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, UnsetType

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.errors import InvalidArgument, MissingArgument
from vdsm_core.types import UUID
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.hotplug import (
    HostDeviceSpec,
    HotplugMemoryParams,
    HotplugNicParams,
    UpdateDeviceParams,
)
from vdsm_virt.api.scalars import given, whole
from vdsm_virt.devices import requests
from vdsm_virt.devices.hostdevs import PluggedHostDevices
from vdsm_virt.devices.memory import MemoryModules
from vdsm_virt.devices.nics import Nics, NicUpdate
from vdsm_virt.devices.requests import DeviceRequest
from vdsm_virt.errors import DeviceNotUpdatable
from vdsm_virt.machine.control import Control
from vdsm_virt.machine.describe import definition
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.verbs.vm import VM

HostDevices = Annotated[list[HostDeviceSpec], Meta(min_length=1, max_length=64)]
#: What the end of a console may lead to. Others act on the guest, which nothing here carries out.
_HARMLESS_ACTIONS: Final = ("", "NONE", "LOCK_SCREEN")
_MAX_TTL: Final = 10**9


class Devices(Namespace, group_of=VM):
    """Plug devices of a running machine in and out, and change them."""

    def __init__(
        self,
        nics: Nics,
        memory: MemoryModules,
        host_devices: PluggedHostDevices,
        control: Control,
        host_access: HostAccess,
    ) -> None:
        self._nics = nics
        self._memory = memory
        self._host_devices = host_devices
        self._control = control
        self._host_access = host_access

    @action(
        since="1.0",
        legacy=LegacyMethod("hotplugNic", args=("params",), id_inside="vmId", reply="vmList"),
    )
    def hotplug_nic(self, vm_id: UUID, params: HotplugNicParams, context: Context) -> VmDefinition:
        """Plug a NIC into a running machine.

        :param params: the NIC, as a member of VDSM's form or as XML
        :returns: the machine with the NIC
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HotplugNicFailed: the hypervisor refuses
        :raises NeedsAdmin: the NIC is more than one on a bridge or a network, and the caller is no `admin`
        """
        machine = _one_id(vm_id, params.vm_id)
        request = requests.nic(params)
        self._allow("VM.hotplugNic", request, context)
        return definition(self._nics.hotplug(machine, request))

    @action(
        since="1.0",
        legacy=LegacyMethod("hotunplugNic", args=("params",), id_inside="vmId", reply="vmList"),
    )
    def hotunplug_nic(self, vm_id: UUID, params: HotplugNicParams) -> VmDefinition:
        """Unplug a NIC from a running machine. Returns when the guest has released it, at most after 30 s.

        :param params: the NIC, by its alias in the XML, or by `deviceId` or `macAddr`
        :returns: the machine without the NIC
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HotunplugNicFailed: there is no such NIC, or the guest does not release it
        """
        machine = _one_id(vm_id, params.vm_id)
        return definition(self._nics.hotunplug(machine, requests.unplugged_nic(params)))

    @action(
        since="1.0",
        legacy=LegacyMethod("vmUpdateDevice", args=("vmID", "params"), reply="vmList"),
    )
    def update_device(self, vm_id: UUID, params: UpdateDeviceParams, context: Context) -> VmDefinition:
        """Change a NIC of a running machine, or the password of a display.

        :param params: the device and what is changed; the rest stays
        :returns: the machine
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises UpdateDeviceFailed: there is no such device, or a hook or the hypervisor refuses
        :raises DeviceNotUpdatable: the device is neither a NIC nor a display
        :raises NeedsAdmin: the NIC becomes another than one on a bridge, and the caller is no `admin`
        """
        kind = given(params.device_type, "" if isinstance(params.xml, UnsetType) else "interface")
        if kind == "graphics":
            self._set_ticket(vm_id.lower(), params)
            return definition(self._nics.shown(vm_id.lower()))
        if kind != "interface":
            raise DeviceNotUpdatable(kind=kind)
        update = _nic_update(params)
        if update.given is not None:
            self._allow("VM.updateDevice", update.given, context)
        self._host_access.check_custom("VM.updateDevice", "params.custom", update.custom, context)
        return definition(self._nics.update(vm_id.lower(), update))

    @action(
        since="1.0",
        legacy=LegacyMethod("hotplugMemory", args=("params",), id_inside="vmId", reply="vmList"),
    )
    def hotplug_memory(self, vm_id: UUID, params: HotplugMemoryParams, context: Context) -> VmDefinition:
        """Plug a module of memory into a running machine, which needs room for it (`maxMemSize`).

        :param params: the module, as a member of VDSM's form or as XML
        :returns: the machine with the module
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HotplugMemoryFailed: the machine has no room, or the hypervisor refuses
        :raises NeedsAdmin: the module is a file or a device of the host, and the caller is no `admin`
        """
        machine = _one_id(vm_id, params.vm_id)
        request = requests.memory(params)
        self._allow("VM.hotplugMemory", request, context)
        return definition(self._memory.hotplug(machine, request, _guaranteed(params)))

    @action(since="1.0")
    def hotunplug_memory(self, vm_id: UUID, params: HotplugMemoryParams) -> None:
        """Request the guest to release a module of memory. The definition shows when it has.

        :param params: the module, by its alias in the XML, or by `deviceId`, or by `size` and `node`
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HotunplugMemoryFailed: there is no such module, or the hypervisor refuses
        """
        machine = _one_id(vm_id, params.vm_id)
        self._memory.hotunplug(machine, requests.memory(params), _guaranteed(params))

    @action(
        since="1.0",
        legacy=(
            LegacyMethod("hostdevHotplug", args=("vmID", "devices"), reply="assignedDevices"),
            LegacyForm(member="assignedDevices"),
        ),
    )
    def hotplug_hostdev(self, vm_id: UUID, devices: HostDevices, context: Context) -> list[str]:
        """Plug devices of the host into a running machine. Needs the role `admin`.

        :param devices: documents of the devices, or their names in `Host.hostdevListByCaps`
        :returns: those that were plugged in; the log has why others were not
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HostDeviceDetachFailed: one cannot be taken from its driver; none was plugged in
        :raises NeedsAdmin: the caller is no `admin`
        """
        wanted = _host_devices(devices)
        for request in wanted:
            self._allow("VM.hotplugHostdev", request, context)
        return [request.source for request in self._host_devices.hotplug(vm_id.lower(), wanted)]

    @action(
        since="1.0",
        legacy=(
            LegacyMethod("hostdevHotunplug", args=("vmID", "devices"), reply="unpluggedDevices"),
            LegacyForm(member="unpluggedDevices"),
        ),
    )
    def hotunplug_hostdev(self, vm_id: UUID, devices: HostDevices) -> list[str]:
        """Unplug devices of the host from a running machine.

        :param devices: documents of the devices, or their names in `Host.hostdevListByCaps`
        :returns: those that the guest has released; the log has why others were not
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        """
        released = self._host_devices.hotunplug(vm_id.lower(), _host_devices(devices))
        return [request.source for request in released]

    def _allow(self, verb: str, request: DeviceRequest, context: Context) -> None:
        self._host_access.check_device(verb, request.element, request.argument, context)
        self._host_access.check_custom(verb, f"{request.argument}.custom", request.custom, context)

    def _set_ticket(self, vm_id: str, params: UpdateDeviceParams) -> None:
        if isinstance(params.password, UnsetType):
            raise MissingArgument(argument="params.password")
        action = given(params.disconnect_action, "")
        if action.upper() not in _HARMLESS_ACTIONS:
            raise InvalidArgument(
                argument="params.disconnectAction",
                reason=f"'{action}' is not supported; expected NONE or LOCK_SCREEN",
            )
        if params.params.get("fips", "false") != "false":
            raise InvalidArgument(argument="params.params.fips", reason="SASL for displays is not supported")
        self._control.set_ticket(
            vm_id,
            params.password,
            whole(params.ttl, "params.ttl", 0, maximum=_MAX_TTL),
            given(params.existing_conn_action, "disconnect"),
            params.params,
            kind=given(params.graphics_type, ""),
        )


def _one_id(vm_id: str, inside: str | UnsetType) -> str:
    if given(inside, vm_id).lower() != vm_id.lower():
        raise InvalidArgument(argument="params.vmId", reason=f"it is not vmID, {vm_id}")
    return vm_id.lower()


def _guaranteed(params: HotplugMemoryParams) -> int:
    return whole(params.mem_guaranteed_size, "params.memGuaranteedSize", 0, maximum=2**40)


def _host_devices(devices: HostDevices) -> list[DeviceRequest]:
    return [requests.host_device(device, f"devices[{index}]") for index, device in enumerate(devices)]


def _nic_update(params: UpdateDeviceParams) -> NicUpdate:
    if isinstance(params.xml, UnsetType):
        if isinstance(params.alias, UnsetType):
            raise MissingArgument(argument="params.alias")
        return NicUpdate(params.alias, params, None, dict(params.custom))
    nic = requests.from_xml(params.xml, "params.xml", ("interface",))
    alias = nic.alias or given(params.alias, "")
    if not alias:
        raise InvalidArgument(argument="params.xml", reason="the NIC needs an alias")
    return NicUpdate(alias, params, nic, {**nic.custom, **params.custom})
