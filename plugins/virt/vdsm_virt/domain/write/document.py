"""The domain document of a machine, from VDSM's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_virt.api.devices import (
    AnyDevice,
    Balloon,
    Channel,
    Console,
    Controller,
    Disk,
    Graphics,
    Interface,
    Rng,
    Smartcard,
    Sound,
    Video,
    Watchdog,
)
from vdsm_virt.api.params import KnownVmParams
from vdsm_virt.api.scalars import given, truth
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.elements import add
from vdsm_virt.domain.write import cpu, disks, displays, firmware, legacy_devices, nics, peripherals


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
}


class Built:
    """A document in the making: the element, and VDSM's ids of its disks by target name."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self.disks: dict[str, dict[str, str]] = {}


def build(params: KnownVmParams, vm_id: str, name: str, kind: DomainKind) -> Built:
    """The document.

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
    taken: set[str] = set()
    for index, device in enumerate(found):
        _device(built, parent, device, f"vmParams.devices[{index}]", taken)
    _guest_agent(parent, params, found)
    if truth(params.tablet_enable, False):
        add(parent, "input", type="tablet", bus="usb")
    firmware.boot(domain, params, kind, ordered=parent.find("*/boot") is not None)
    return built


def _device(built: Built, parent: Element, device: AnyDevice, argument: str, taken: set[str]) -> None:
    if not isinstance(device, Disk):
        _WRITERS[type(device)](parent, device, argument)
        return
    target = disks.disk(parent, device, argument, disks.target(device, argument, taken))
    taken.add(target)
    ids = disks.identity(device)
    if not isinstance(device.device_id, UnsetType):
        ids["deviceId"] = device.device_id
    if ids:
        built.disks[target] = ids


def _guest_agent(parent: Element, params: KnownVmParams, found: list[AnyDevice]) -> None:
    name = given(params.agent_channel_name, peripherals.GUEST_AGENT)
    listed = {
        given(device.name, peripherals.GUEST_AGENT)
        for device in found
        if isinstance(device, Channel) and device.device == "unix"
    }
    if name not in listed:
        peripherals.channel(parent, Channel(name=name))
