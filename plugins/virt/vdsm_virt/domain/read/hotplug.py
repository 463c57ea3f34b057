"""A document of one device, as engines send it to plug it in or out."""

from __future__ import annotations

from collections.abc import Collection
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import InvalidArgument
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse


class DeviceDocument(msgspec.Struct, frozen=True):
    """A device and what oVirt's metadata say about it.

    :ivar device: its element, as libvirt has it
    :ivar custom: custom properties
    :ivar mirrored: networks whose traffic a NIC is to see
    """

    device: Element
    custom: dict[str, str]
    mirrored: list[str]


def read(text: str, argument: str, tags: Collection[str]) -> DeviceDocument:
    """Return the device in a document.

    :param tags: elements that are acceptable as the device
    :raises InvalidArgument: it is no document, or has not exactly one such device
    """
    try:
        root = parse(text)
    except ValueError as error:
        raise InvalidArgument(argument=argument, reason=str(error)) from None
    devices = [root] if root.tag in tags else list(root.findall("devices/*"))
    if len(devices) != 1 or devices[0].tag not in tags:
        found = ", ".join(f"<{device.tag[:40]}>" for device in devices[:5]) or "none"
        raise InvalidArgument(
            argument=argument,
            reason=f"it needs exactly one device, {' or '.join(f'<{tag}>' for tag in tags)}; it has {found}",
        )
    known = metadata.foreign_device(root)
    return DeviceDocument(devices[0], metadata.custom_of(known), metadata.mirrored_by(known))


def alias_of(device: Element) -> str:
    """Return libvirt's name of a device; empty if it has none."""
    alias = device.find("alias")
    return alias.get("name", "") if alias is not None else ""
