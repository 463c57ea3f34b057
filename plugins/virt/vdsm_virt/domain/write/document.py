"""The domain document of a machine, from VDSM's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import (
    AnyDevice,
    Balloon,
    Channel,
    Console,
    Controller,
    Disk,
    Graphics,
    HostDevice,
    Interface,
    Memory,
    Payload,
    Redir,
    Rng,
    Smartcard,
    Sound,
    Tpm,
    Video,
    Watchdog,
)
from vdsm_virt.api.params import KnownVmParams
from vdsm_virt.api.scalars import given, truth
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.devices import device_key, has_fixed_name, identify, name_device
from vdsm_virt.domain.elements import add
from vdsm_virt.domain.write import (
    cpu,
    disks,
    displays,
    firmware,
    host_devices,
    legacy_devices,
    nics,
    peripherals,
    placement,
)


def _plain(write: Callable[[Element, Any], None]) -> Callable[[Element, Any, str], None]:
    return lambda parent, spec, _argument: write(parent, spec)


_WRITERS: Final[dict[type, Callable[[Element, Any, str], None]]] = {
    Interface: nics.nic,
    Graphics: displays.graphics,
    Video: displays.video,
    Controller: peripherals.controller,
    Rng: peripherals.rng,
    Sound: _plain(peripherals.sound),
    Channel: _plain(peripherals.channel),
    Console: _plain(peripherals.console),
    Balloon: _plain(peripherals.balloon),
    Watchdog: _plain(peripherals.watchdog),
    Smartcard: _plain(peripherals.smartcard),
    Redir: _plain(peripherals.redirected),
    Memory: peripherals.memory,
    Tpm: _plain(peripherals.tpm),
    HostDevice: host_devices.host_device,
}


class FilePayload(msgspec.Struct, frozen=True, kw_only=True):
    """Files to make a medium of.

    :ivar kind: kind of the medium
    :ivar payload: the files
    """

    kind: Literal["cdrom", "floppy"]
    payload: Payload


class Built:
    """A document in the making: the element, and VDSM's ids of its disks by target name.

    `payloads` are the files to make images of, `exclusive` the disks whose volumes' leases are taken.
    `origins` are the members of the request that devices are from, by their elements. `device_ids` are the
    ids and `device_custom` the custom properties of devices by `device_key`.
    """

    def __init__(self, element: Element) -> None:
        self.element = element
        self.disks: dict[str, dict[str, str]] = {}
        self.payloads: dict[str, FilePayload] = {}
        self.exclusive: set[str] = set()
        self.device_ids: dict[str, str] = {}
        self.origins: dict[Element, str] = {}
        self.device_custom: dict[str, dict[str, str]] = {}


def build(params: KnownVmParams, vm_id: str, name: str, kind: DomainKind) -> Built:
    """Build the document.

    :raises InvalidArgument: parameters contradict each other or cannot be expressed
    """
    built = Built(Element("domain", type=kind.domain_type(accelerate=truth(params.kvm_enable, True))))
    domain = built.element
    add(domain, "name", name)
    add(domain, "uuid", vm_id)
    cpu.memory(domain, params)
    cpu.processors(domain, params)
    found = legacy_devices.with_defaults(legacy_devices.devices(params))
    firmware.features(domain, params)
    parent = add(domain, "devices")
    names = disks.Names([device for _, device in found if isinstance(device, Disk)])
    for argument, device in found:
        if isinstance(device, Memory) and domain.find("maxMemory") is None:
            raise InvalidArgument(
                argument=argument, reason="modules of memory need a maxMemSize above memSize"
            )
        _device(built, parent, device, argument, names)
        placement.place(parent[-1], device, argument)
        built.origins[parent[-1]] = argument
    cpu.add_modules(domain)
    peripherals.place_consoles(parent, vm_id)
    placement.number_controllers(parent)
    _identify(built, parent, found)
    _agents(parent, params, found)
    if truth(params.tablet_enable, False):
        add(parent, "input", type="tablet", bus="usb")
    firmware.boot(domain, params, kind, ordered=parent.find("*/boot") is not None)
    return built


def _device(built: Built, parent: Element, device: AnyDevice, argument: str, names: disks.Names) -> None:
    if not isinstance(device, Disk):
        _WRITERS[type(device)](parent, device, argument)
        return
    target = disks.disk(parent, device, argument, names.next_for(device, argument))
    payload = device.spec_params.vm_payload
    if not isinstance(payload, UnsetType):
        floppy = device.device == "floppy"
        built.payloads[target] = FilePayload(kind="floppy" if floppy else "cdrom", payload=payload)
    if disks.sharing(device) == "exclusive":
        built.exclusive.add(target)
    ids = disks.identity(device)
    if not isinstance(device.device_id, UnsetType):
        ids["deviceId"] = device.device_id
    if ids:
        built.disks[target] = ids


def _identify(built: Built, parent: Element, found: list[legacy_devices.Placed]) -> None:
    """Give each device its id, as its alias where libvirt takes one; keep the custom properties of each."""
    for element, (_, device) in zip(parent, found, strict=True):
        own = given(device.device_id, "")
        if own and not isinstance(device, Disk):
            if has_fixed_name(element):
                built.device_ids[device_key(element)] = own
            else:
                identify(element, own)
        if device.custom:
            built.device_custom[name_device(element, own)] = dict(device.custom)


def _agents(parent: Element, params: KnownVmParams, found: list[legacy_devices.Placed]) -> None:
    """Add the channels of the guest agents, and that of SPICE's agent beside a display of SPICE."""
    listed = [device for _, device in found if isinstance(device, Channel)]
    there = {given(each.name, peripherals.GUEST_AGENT) for each in listed if each.device == "unix"}
    ovirt = given(params.agent_channel_name, peripherals.OVIRT_AGENT)
    for name in dict.fromkeys((peripherals.GUEST_AGENT, ovirt)):
        if name not in there:
            peripherals.channel(parent, Channel(name=name))
    displays_spice = any(isinstance(device, Graphics) and device.device == "spice" for _, device in found)
    if displays_spice and not any(each.device == "spicevmc" for each in listed):
        peripherals.channel(parent, Channel(device="spicevmc"))
