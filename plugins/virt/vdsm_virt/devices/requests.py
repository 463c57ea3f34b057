"""Devices as clients ask for them, in either of VDSM's forms, as elements of libvirt."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument, MissingArgument
from vdsm_virt.api.devices import Device, HostDevice
from vdsm_virt.api.hotplug import HostDeviceSpec, HotplugMemoryParams, HotplugNicParams
from vdsm_virt.api.scalars import given
from vdsm_virt.domain import devices as device_names
from vdsm_virt.domain.read import hotplug
from vdsm_virt.domain.write import host_devices, nics, peripherals, placement

_Writer = Callable[[Element, Any, str], None]
#: Elements of devices of the host: a device, or a virtual function that is a NIC.
HOST_DEVICES: Final = ("hostdev", "interface")


class DeviceRequest(msgspec.Struct, frozen=True):
    """A device that is to be plugged in or out.

    :ivar element: as libvirt takes it
    :ivar argument: the member of the request that it is from
    :ivar custom: its custom properties, for hooks
    :ivar source: what the client sent, where that is text
    """

    element: Element
    argument: str
    custom: dict[str, str] = {}
    source: str = ""

    @property
    def alias(self) -> str:
        """libvirt's name of the device; empty if the client gives none."""
        return hotplug.alias_of(self.element)


def nic(params: HotplugNicParams) -> DeviceRequest:
    """Return the NIC that is to be plugged in.

    :raises MissingArgument: neither form is given
    :raises InvalidArgument: it cannot be expressed
    """
    if not isinstance(params.xml, UnsetType):
        return from_xml(params.xml, "params.xml", ("interface",))
    if isinstance(params.nic, UnsetType):
        raise MissingArgument(argument="params.nic")
    return _from_struct(params.nic, "params.nic", nics.nic)


def unplugged_nic(params: HotplugNicParams) -> DeviceRequest:
    """Return what names the NIC that is to be unplugged: an `<interface>` with its alias or MAC.

    :raises MissingArgument: neither form is given
    :raises InvalidArgument: it names no NIC
    """
    if not isinstance(params.xml, UnsetType):
        return from_xml(params.xml, "params.xml", ("interface",))
    if isinstance(params.nic, UnsetType):
        raise MissingArgument(argument="params.nic")
    element = Element("interface")
    if not isinstance(params.nic.device_id, UnsetType):
        device_names.identify(element, params.nic.device_id)
    if not isinstance(params.nic.mac_addr, UnsetType):
        nics.set_mac(element, params.nic.mac_addr)
    if not len(element):
        raise MissingArgument(argument="params.nic.macAddr")
    return DeviceRequest(element, "params.nic", dict(params.nic.custom))


def memory(params: HotplugMemoryParams) -> DeviceRequest:
    """Return a module of memory.

    :raises MissingArgument: neither form is given
    :raises InvalidArgument: it cannot be expressed
    """
    if not isinstance(params.xml, UnsetType):
        return from_xml(params.xml, "params.xml", ("memory",))
    if isinstance(params.memory, UnsetType):
        raise MissingArgument(argument="params.memory")
    return _from_struct(params.memory, "params.memory", peripherals.memory)


def host_device(spec: HostDeviceSpec, argument: str) -> DeviceRequest:
    """Return a device of the host.

    :raises InvalidArgument: it is no document of one, and no name of a device
    """
    if isinstance(spec, HostDevice):
        return _from_struct(spec, argument, host_devices.host_device)
    if spec.lstrip().startswith("<"):
        return from_xml(spec, argument, HOST_DEVICES)
    made = _from_struct(HostDevice(device=spec), argument, host_devices.host_device)
    return msgspec.structs.replace(made, source=spec)


def from_xml(text: str, argument: str, tags: tuple[str, ...]) -> DeviceRequest:
    """Return the device in a document.

    :raises InvalidArgument: it is no document of one such device, or asks for port mirroring
    """
    document = hotplug.read(text, argument, tags)
    if document.mirrored:
        raise InvalidArgument(argument=f"{argument}.portMirroring", reason="port mirroring is not supported")
    return DeviceRequest(document.device, argument, document.custom, text)


def named(request: DeviceRequest) -> str:
    """Return the alias of a device that is to be plugged in, after giving it one if it has none."""
    if not request.alias.startswith(device_names.USER_ALIAS):
        device_names.identify(request.element, str(uuid.uuid4()))
    return request.alias


def _from_struct(spec: Device, argument: str, write: _Writer) -> DeviceRequest:
    parent = Element("devices")
    write(parent, spec, argument)
    element = parent[0]
    placement.place(element, spec, argument)
    if device_id := given(spec.device_id, ""):
        device_names.identify(element, device_id)
    return DeviceRequest(element, argument, dict(spec.custom))
