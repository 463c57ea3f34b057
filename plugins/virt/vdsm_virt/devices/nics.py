"""NICs of running machines: plugged in, plugged out, and changed."""

from __future__ import annotations

import copy
import logging
from typing import Final
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import HypervisorError, InvalidArgument, VdsmError
from vdsm_core.hooks.declare import Hook
from vdsm_core.hooks.specs.devices import (
    vdsm_after_nic_hotplug,
    vdsm_after_nic_hotplug_fail,
    vdsm_after_nic_hotunplug,
    vdsm_after_nic_hotunplug_fail,
    vdsm_after_update_device,
    vdsm_after_update_device_fail,
    vdsm_before_nic_hotplug,
    vdsm_before_nic_hotunplug,
    vdsm_before_update_device,
)
from vdsm_virt.api.hotplug import UpdateDeviceParams
from vdsm_virt.api.scalars import truth
from vdsm_virt.devices import requests
from vdsm_virt.devices.plugging import Plugging, by_alias
from vdsm_virt.devices.requests import DeviceRequest
from vdsm_virt.domain.bridges import UNPLUGGED
from vdsm_virt.domain.devices import device_key, name_device
from vdsm_virt.domain.elements import under
from vdsm_virt.domain.write import nics
from vdsm_virt.errors import HotplugNicFailed, HotunplugNicFailed, UpdateDeviceFailed, reason_of
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.networks import NicNetworks

log = logging.getLogger(__name__)

#: What of a NIC's element can be changed while the machine runs; the rest stays as it is.
_CHANGEABLE: Final = ("source", "link", "filterref", "bandwidth", "mtu", "port")

_Notification = Hook[[str, Element, dict[str, str], dict[str, str]], None]


class NicUpdate(msgspec.Struct, frozen=True):
    """A change of a NIC.

    :ivar alias: libvirt's name of the NIC
    :ivar params: the members that are changed
    :ivar given: the NIC as the client wants it, where it sent a document
    :ivar custom: custom properties of the call, for hooks
    """

    alias: str
    params: UpdateDeviceParams
    given: DeviceRequest | None
    custom: dict[str, str]


class Nics:
    """Plugs NICs in and out, and changes them."""

    def __init__(self, machines: Machines, plugging: Plugging) -> None:
        self._hooks = machines.hooks
        self._machine_hooks = machines.machine_hooks
        self._plugging = plugging
        self._networks = NicNetworks(machines.hypervisor)

    def hotplug(self, vm_id: str, request: DeviceRequest) -> Machine:
        """Plug a NIC in.

        :raises VMIsDown: the machine does not run
        :raises MigrationInProgress: it is being migrated
        :raises HotplugNicFailed: libvirt refuses
        :raises VdsmError: a hook refuses, or libvirt has not answered
        """
        self._plugging.running(vm_id)
        alias = requests.named(request)
        name_device(request.element)
        custom = self._machine_hooks.custom(vm_id)
        device = self._hooks.run(
            vdsm_before_nic_hotplug, request.element, vm_id, custom, dict(request.custom)
        )
        # The API names the NIC by it: a hook cannot change it.
        under(device, "alias").set("name", alias)
        try:
            self._networks.prepare(device)
            self._plugging.attach(vm_id, device)
        except VdsmError as error:
            self._failed(vdsm_after_nic_hotplug_fail, vm_id, device, dict(request.custom))
            if isinstance(error, HypervisorError):
                raise HotplugNicFailed(vm_id=vm_id, reason=reason_of(error)) from error
            raise
        self._plugging.keep_custom(vm_id, device, request.custom)
        machine = self._plugging.shown(vm_id)
        self._hooks.run(vdsm_after_nic_hotplug, vm_id, device, custom, dict(request.custom))
        return machine

    def hotunplug(self, vm_id: str, request: DeviceRequest) -> Machine:
        """Plug a NIC out, and wait until the guest has released it.

        :param request: names the NIC by its alias, or by its MAC address
        :raises VMIsDown: the machine does not run
        :raises MigrationInProgress: it is being migrated
        :raises HotunplugNicFailed: there is no such NIC, the guest does not release it, or libvirt refuses
        :raises VdsmError: a hook refuses, or libvirt has not answered
        """
        self._plugging.running(vm_id)
        device = _named(self._plugging.devices(vm_id, "interface"), request)
        if device is None:
            raise HotunplugNicFailed(vm_id=vm_id, reason="the machine has no such NIC")
        custom = self._machine_hooks.custom(vm_id)
        own = self._machine_hooks.device_custom(vm_id, device) | request.custom
        self._hooks.run(vdsm_before_nic_hotunplug, vm_id, device, custom, dict(own))
        try:
            self._plugging.detach(vm_id, device)
        except VdsmError as error:
            self._failed(vdsm_after_nic_hotunplug_fail, vm_id, device, own)
            if isinstance(error, HypervisorError):
                raise HotunplugNicFailed(vm_id=vm_id, reason=reason_of(error)) from error
            raise
        machine = self._plugging.shown(vm_id)
        self._hooks.run(vdsm_after_nic_hotunplug, vm_id, device, custom, dict(own))
        return machine

    def update(self, vm_id: str, update: NicUpdate) -> Machine:
        """Change a NIC. If that fails, it is as before.

        :raises VMIsDown: the machine does not run
        :raises MigrationInProgress: it is being migrated
        :raises UpdateDeviceFailed: there is no such NIC, a hook or libvirt refuses
        :raises VdsmError: libvirt has not answered
        """
        self._plugging.running(vm_id)
        before = by_alias(self._plugging.devices(vm_id, "interface"), update.alias)
        if before is None:
            raise UpdateDeviceFailed(vm_id=vm_id, reason=f"the machine has no NIC '{update.alias}'")
        wanted = changed(before, update)
        custom = self._machine_hooks.custom(vm_id)
        try:
            wanted = self._hooks.run(vdsm_before_update_device, wanted, vm_id, custom, dict(update.custom))
            self._networks.prepare(wanted)
            self._plugging.update(vm_id, wanted)
        except VdsmError as error:
            self._roll_back(vm_id, before)
            self._failed(vdsm_after_update_device_fail, vm_id, wanted, update.custom)
            raise UpdateDeviceFailed(vm_id=vm_id, reason=reason_of(error)) from error
        machine = self._plugging.shown(vm_id)
        self._hooks.run(vdsm_after_update_device, vm_id, wanted, custom, dict(update.custom))
        return machine

    def shown(self, vm_id: str) -> Machine:
        """Return the machine as libvirt has it now."""
        return self._plugging.shown(vm_id)

    def _failed(self, hook: _Notification, vm_id: str, device: Element, own: dict[str, str]) -> None:
        self._plugging.look_soon(vm_id)
        self._hooks.run(hook, vm_id, device, self._machine_hooks.custom(vm_id), dict(own))

    def _roll_back(self, vm_id: str, before: Element) -> None:
        """Undo what libvirt may have done of a change before it failed."""
        try:
            now = by_alias(self._plugging.devices(vm_id, "interface"), _alias(before))
            if now is not None and _state(now) != _state(before):
                self._plugging.update(vm_id, before)
        except VdsmError as error:
            log.warning("NIC %s of machine %s is left half changed: %s", _alias(before), vm_id, error)


def changed(before: Element, update: NicUpdate) -> Element:
    """Return a NIC's element with a change.

    :param before: as the running machine has it
    :raises InvalidArgument: a value is out of range, or asks for what a running NIC cannot have
    """
    wanted, params = copy.deepcopy(before), update.params
    if update.given is not None:
        _take_over(wanted, update.given.element)
    if params.port_mirroring:
        raise InvalidArgument(argument="params.portMirroring", reason="port mirroring is not supported")
    was_unplugged = _bridge(before) == UNPLUGGED
    if not isinstance(params.network, UnsetType):
        nics.plug(wanted, params.network)
        if was_unplugged and params.network:
            nics.set_link(wanted, up=True)
    if not isinstance(params.link_active, UnsetType):
        nics.set_link(wanted, up=truth(params.link_active, True) and _bridge(wanted) != UNPLUGGED)
    if not isinstance(params.filter, UnsetType):
        nics.set_filter(wanted, params.filter, params.filter_parameters)
    nics.set_mtu(wanted, params.mtu, "params")
    if not isinstance(params.port_isolated, UnsetType):
        nics.set_isolated(wanted, isolated=truth(params.port_isolated, False))
    nics.set_bandwidth(wanted, params.spec_params, "params")
    return wanted


def _take_over(wanted: Element, given: Element) -> None:
    for tag in _CHANGEABLE:
        new = given.findall(tag)
        if not new and tag in ("source", "mtu"):
            continue
        for old in wanted.findall(tag):
            wanted.remove(old)
        wanted.extend(copy.deepcopy(each) for each in new)
    wanted.set("type", given.get("type", wanted.get("type", "bridge")))


def _named(found: list[Element], request: DeviceRequest) -> Element | None:
    by_name = by_alias(found, request.alias) if request.alias else None
    key = device_key(request.element)
    return (
        by_name
        if by_name is not None
        else next((nic for nic in found if key and device_key(nic) == key), None)
    )


def _alias(nic: Element) -> str:
    alias = nic.find("alias")
    return alias.get("name", "") if alias is not None else ""


def _bridge(nic: Element) -> str:
    source = nic.find("source")
    return source.get("bridge", "") if source is not None else ""


def _state(nic: Element) -> list[dict[str, str]]:
    return [dict(child.attrib) for tag in _CHANGEABLE for found in nic.findall(tag) for child in found.iter()]
