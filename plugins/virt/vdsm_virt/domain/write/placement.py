"""The place of a device in the guest, and the index of a controller."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import Address, Device
from vdsm_virt.domain.elements import add


def place(element: Element, spec: Device, argument: str) -> None:
    """Add the `<address>` that a device has in the guest, if it is given.

    :raises InvalidArgument: it has numbers, but no type
    """
    address = spec.address
    if isinstance(address, UnsetType):
        return
    numbers = {
        field.name: getattr(address, field.name)
        for field in msgspec.structs.fields(Address)
        if field.name != "type" and not isinstance(getattr(address, field.name), UnsetType)
    }
    if not isinstance(address.type, UnsetType):
        add(element, "address", type=address.type, **numbers)
    elif numbers:
        raise InvalidArgument(argument=f"{argument}.address.type", reason="an address needs a type")


def number_controllers(devices: Element) -> None:
    """Give each `<controller>` without an index the first one that is free for its type."""
    controllers = devices.findall("controller")
    taken = {(each.get("type"), each.get("index")) for each in controllers}
    for controller in controllers:
        if controller.get("index") is None:
            kind, index = controller.get("type"), 0
            while (kind, str(index)) in taken:
                index += 1
            taken.add((kind, str(index)))
            controller.set("index", str(index))
