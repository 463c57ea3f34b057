"""What a machine's domain remembers for us, in an XML element of our own namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal
from xml.etree.ElementTree import Element, register_namespace

import msgspec

from vdsm_virt.domain.devices import device_key, name_device
from vdsm_virt.domain.elements import add, parse, to_text

#: The name of our element's namespace, and the prefix that it is written with.
URI: Final = "urn:vdsm:machine:1"
PREFIX: Final = "vdsm"
_TAG: Final = f"{{{URI}}}machine"
_EXIT: Final = f"{{{URI}}}exit"
#: oVirt's engine puts custom properties here in the domain XML that it sends.
_OVIRT: Final = "http://ovirt.org/vm/1.0"
_OVIRT_CUSTOM: Final = f"metadata/{{{_OVIRT}}}vm/{{{_OVIRT}}}custom"
#: ... and what it knows of a device here.
_OVIRT_DEVICE: Final = f"metadata/{{{_OVIRT}}}vm/{{{_OVIRT}}}device"

register_namespace(PREFIX, URI)


class Exit(msgspec.Struct, frozen=True):
    """How a machine ended: `code` 0 normally, 1 by an error; `reason` by VDSM's numbers (`Reason`)."""

    code: int
    reason: int
    message: str


class PendingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a disk that has begun: written before, so that a daemon after a crash can end it.

    :ivar kind: "plugging" or "unplugging" of a disk, or "loading" of a medium; without ids and path the
        drive will be empty
    :ivar ids: VDSM's ids of the new image, or of the disk that is unplugged
    :ivar path: the path of the new image; empty as long as it is not prepared
    :ivar custom: custom properties of the new disk
    """

    kind: Literal["plugging", "unplugging", "loading"]
    ids: dict[str, str] = {}
    path: str = ""
    custom: dict[str, str] = {}


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """`created` in seconds since 1970, `guaranteed_memory` in MiB, `balloon_target` in KiB, 0 if never set.

    `devices` are VDSM's ids of disks by libvirt's target, `kept` the parameters without a meaning here.
    `device_ids` are the ids, `device_custom` the custom properties of devices by `domain.devices.device_key`.
    `pending` are the changes of disks that have begun, by target.
    `resume_behavior` is what becomes of a pause by an I/O error, in VDSM's words; empty is "auto_resume".
    `autostart`: the daemon starts the machine once after each boot of the host.
    `exit` is in the domains of an earlier release alone; see `run.Run`.
    """

    created: float = 0.0
    client_ip: str = ""
    guaranteed_memory: int = 0
    balloon_target: int = 0
    custom: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    device_ids: dict[str, str] = {}
    device_custom: dict[str, dict[str, str]] = {}
    pending: dict[str, PendingChange] = {}
    kept: dict[str, Any] = {}
    resume_behavior: str = ""
    autostart: bool = False
    exit: Exit | None = None


def write(metadata: Metadata) -> Element:
    """Return the metadata element of a machine."""
    root = Element(_TAG)
    facts = msgspec.to_builtins(msgspec.structs.replace(metadata, exit=None))
    del facts["exit"]
    for name, value in facts.items():
        # JSON in ASCII: any character of a client's text survives XML, which has no control characters.
        add(root, f"{{{URI}}}{name}", ascii_json(value))
    if metadata.exit is not None:
        add(root, _EXIT, ascii_json(msgspec.to_builtins(metadata.exit)))
    return root


def write_text(metadata: Metadata) -> str:
    """Return the metadata element as XML, to which libvirt adds namespace and prefix."""
    root = write(metadata)
    for element in root.iter():
        element.tag = _local(element)
    return to_text(root)


def read(domain: Element) -> Metadata | None:
    """Return the metadata of a domain; None if this daemon did not define it."""
    root = domain.find(f"metadata/{_TAG}")
    return None if root is None else _read(root)


def read_text(text: str | None) -> Metadata | None:
    """Return the metadata of the element as libvirt returns it; None if there is none."""
    if text is None:
        return None
    try:
        return _read(parse(text))
    except ValueError:
        # Edited by hand.
        return Metadata()


def _read(root: Element) -> Metadata:
    facts = {}
    for child in root:
        try:
            facts[_local(child)] = msgspec.json.decode(child.text or "")
        except msgspec.DecodeError:
            # Edited by hand: treat what cannot be parsed as absent.
            continue
    try:
        return msgspec.convert(facts, Metadata)
    except msgspec.ValidationError:
        return Metadata()


def foreign_custom(domain: Element) -> dict[str, str]:
    """Return custom properties in a domain document of an engine."""
    return _properties(domain.find(_OVIRT_CUSTOM))


def foreign_member(domain: Element, name: str) -> str:
    """Return the text of a member in oVirt's metadata of a machine; empty if there is none."""
    return domain.findtext(f"metadata/{{{_OVIRT}}}vm/{{{_OVIRT}}}{name}", "").strip()


def foreign_device_custom(domain: Element) -> dict[str, dict[str, str]]:
    """Return the custom properties of devices in a domain document of an engine, by `device_key`.

    The engine names a device by the attributes of its element: the alias, or the MAC address of a NIC, or
    the target of a disk. Devices that are named so get a name of ours if they have none.
    """
    found = {}
    for entry in domain.findall(_OVIRT_DEVICE):
        custom = _properties(entry.find(f"{{{_OVIRT}}}custom"))
        device = _device(domain, entry) if custom else None
        if device is not None:
            found[name_device(device)] = custom
    return found


def foreign_device(root: Element) -> Element | None:
    """Return what an engine's document of one device knows of it; None if nothing."""
    return root.find(_OVIRT_DEVICE)


def custom_of(entry: Element | None) -> dict[str, str]:
    """Return the custom properties in an engine's entry of a device."""
    return {} if entry is None else _properties(entry.find(f"{{{_OVIRT}}}custom"))


def mirrored_by(entry: Element | None) -> list[str]:
    """Return the networks whose traffic a NIC is to see, by an engine's entry of it."""
    if entry is None:
        return []
    return [each.text or "" for each in entry.findall(f"{{{_OVIRT}}}portMirroring/{{{_OVIRT}}}network")]


def keep_foreign_custom(domain: Element, is_kept: Callable[[str], bool]) -> None:
    """Remove the custom properties of an engine's document that are not among those that are kept."""
    for custom in (*domain.findall(_OVIRT_CUSTOM), *domain.findall(f"{_OVIRT_DEVICE}/{{{_OVIRT}}}custom")):
        for child in list(custom):
            if not is_kept(_local(child)):
                custom.remove(child)


def _properties(custom: Element | None) -> dict[str, str]:
    return {} if custom is None else {_local(child): child.text or "" for child in custom}


def _device(domain: Element, entry: Element) -> Element | None:
    """Return the device that an entry of an engine's metadata names; None if there is none."""
    alias, mac = entry.get("alias", ""), entry.get("mac_address", "").lower()
    target = entry.get("name", "") if entry.get("devtype") == "disk" else ""
    for device in domain.findall("devices/*"):
        own = device.find("alias")
        if alias and own is not None and own.get("name") == alias:
            return device
        key = device_key(device)
        if key and key in (f"mac:{mac}", f"target:{target}"):
            return device
    return None


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def ascii_json(value: Any) -> str:
    """Return JSON without characters that XML lacks or libvirt changes."""
    text = msgspec.json.encode(value).decode()
    return "".join(c if c.isascii() and c != "\x7f" else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
