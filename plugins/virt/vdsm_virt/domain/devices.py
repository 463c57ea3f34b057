"""How one device of a domain is named across documents."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element

from vdsm_core.types import UUID_PATTERN
from vdsm_virt.domain.elements import under

#: libvirt keeps aliases with this prefix as they are given, and makes up the others at each start.
USER_ALIAS: Final = "ua-"
#: The first three bytes of the MAC addresses that libvirt generates for QEMU.
_MAC_PREFIX: Final = "52:54:00"
#: Devices that take no alias of a client, and the attributes that distinguish those of a kind: the built-in
#: controllers of QEMU have fixed names, a display and a smartcard reader have none, a console shares that of
#: its serial port, and a balloon of model none drops it.
_FIXED: Final[Mapping[str, tuple[str, ...]]] = {
    "controller": ("type", "index"),
    "graphics": ("type",),
    "console": (),
    "memballoon": (),
    "smartcard": (),
}


def device_key(device: Element) -> str:
    """Return the name of a device that stays the same over starts and hotplugs; empty if it has none.

    It is the MAC address of a NIC, the target of a disk, type and index of a controller, the type of a
    display, and the alias of any other device if a client gave it one.
    """
    if device.tag in _FIXED:
        return ":".join([device.tag, *(device.get(name, "") for name in _FIXED[device.tag])])
    if device.tag == "interface":
        return _named("mac", device.find("mac"), "address").lower()
    if device.tag == "disk":
        return _named("target", device.find("target"), "dev")
    alias = _named("alias", device.find("alias"), "name")
    return alias if alias.startswith(f"alias:{USER_ALIAS}") else ""


def name_device(device: Element, device_id: str = "") -> str:
    """Return the name of a device, after giving it one if it has none.

    :param device_id: the id that becomes its alias; without it, a random one
    """
    if not (key := device_key(device)):
        if device.tag == "interface":
            suffix = secrets.token_bytes(3)
            under(device, "mac").set("address", ":".join([_MAC_PREFIX, *(f"{byte:02x}" for byte in suffix)]))
        elif device.tag != "disk":
            under(device, "alias").set("name", f"{USER_ALIAS}{device_id or uuid.uuid4()}")
        key = device_key(device)
    return key


def identify(device: Element, device_id: str) -> None:
    """Give a device VDSM's id of it as its alias, unless `has_fixed_name`."""
    under(device, "alias").set("name", f"{USER_ALIAS}{device_id}")


def has_fixed_name(device: Element) -> bool:
    """Return whether libvirt takes no alias of a client for a device."""
    return device.tag in _FIXED


def device_id(device: Element, ids: Mapping[str, str]) -> str:
    """Return VDSM's id of a device; empty if it has none.

    :param ids: those that are kept, by `device_key`
    """
    alias = device.find("alias")
    name = alias.get("name", "") if alias is not None else ""
    rest = name.removeprefix(USER_ALIAS)
    return rest if rest != name and re.match(UUID_PATTERN, rest) else ids.get(device_key(device), "")


def _named(kind: str, element: Element | None, attribute: str) -> str:
    name = element.get(attribute, "") if element is not None else ""
    return f"{kind}:{name}" if name else ""
