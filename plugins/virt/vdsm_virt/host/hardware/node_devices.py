"""The devices of the host in VDSM's form, from libvirt's documents of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

import msgspec
from defusedxml import ElementTree
from msgspec import UNSET

from vdsm_virt.api.host_devices import HostDevice, HostDeviceParams, MdevType

#: Kinds of PCI devices that no machine can have.
_BRIDGES: Final = ("pci-bridge", "cardbus-bridge")
#: The elements of libvirt's document that make up the address, by the kind of the device.
_ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "pci": ("domain", "bus", "slot", "function"),
    "usb_device": ("bus", "device"),
    "scsi": ("host", "bus", "target", "lun"),
}

#: A device's address as a key: the kind, and the numbers of the address; of a mediated device its UUID.
Address = tuple[str, ...]


class NodeDevice(msgspec.Struct, frozen=True):
    """A device of the host.

    :ivar name: libvirt's
    :ivar kinds: its kind, and the kinds within it (`fc_host` and `vports` of a `scsi_host`)
    :ivar address: None if it has none that machines use
    :ivar params: VDSM's properties
    """

    name: str
    kinds: frozenset[str]
    address: Address | None
    params: HostDeviceParams


def read_all(documents: Iterable[str]) -> dict[str, NodeDevice]:
    """Return the devices by name.

    :param documents: libvirt's `<device>` documents
    """
    found = {device.name: device for device in map(read, documents)}
    return {name: _with_paths(device, found) for name, device in found.items()}


def read(document: str) -> NodeDevice:
    """Return one device."""
    root = ElementTree.fromstring(document)
    capability = root.find("capability")
    if capability is None:
        capability = Element("capability", {"type": ""})
    kind = capability.get("type", "")
    numbers = _numbers(capability, kind)
    params = HostDeviceParams(
        capability=kind,
        is_assignable=not any(_has(capability, bridge) for bridge in _BRIDGES),
        parent=_text(root, "parent"),
        vendor=_text(capability, "vendor"),
        vendor_id=_attribute(capability, "vendor", "id"),
        product=_text(capability, "product"),
        product_id=_attribute(capability, "product", "id"),
        driver=_text(root, "driver/name"),
        interface=_text(capability, "interface") if kind == "net" else UNSET,
        iommu_group=_attribute(capability, "iommuGroup", "number"),
        numa_node=_attribute(capability, "numa", "node"),
        totalvfs=_virtual_functions(capability),
        physfn=_physical_function(capability),
        address=numbers or UNSET,
        mdev=_mdev_types(capability) or UNSET,
        udev_path=_text(capability, "char") if kind == "scsi_generic" else UNSET,
        block_path=_text(capability, "block") if kind == "storage" else UNSET,
    )
    address: Address | None = (kind, *numbers.values()) if numbers else None
    if kind == "mdev":
        address = ("mdev", capability.findtext("uuid", "").lower())
    kinds = frozenset([kind, *(inner.get("type", "") for inner in capability.findall("capability"))])
    return NodeDevice(root.findtext("name", ""), kinds, address, params)


def in_vdsms_form(
    devices: Mapping[str, NodeDevice], kinds: Collection[str], owners: Mapping[Address, str]
) -> dict[str, HostDevice]:
    """Return devices as VDSM's clients expect them.

    :param kinds: which devices; empty: all
    :param owners: ids of the machines that have a device, by its address
    """
    wanted = frozenset(kinds)
    return {
        name: HostDevice(params=device.params, vm_id=_owner(device, owners))
        for name, device in devices.items()
        if not wanted or device.kinds & wanted
    }


def _owner(device: NodeDevice, owners: Mapping[Address, str]) -> Any:
    return owners.get(device.address, UNSET) if device.address is not None else UNSET


def _with_paths(device: NodeDevice, others: Mapping[str, NodeDevice]) -> NodeDevice:
    """Give a SCSI device the paths of the devices that stand for it: its generic and its block device."""
    if device.params.capability != "scsi":
        return device
    below = [other.params for other in others.values() if other.params.parent == device.name]
    paths = {
        name: next((value for params in below if (value := getattr(params, name)) is not UNSET), UNSET)
        for name in ("udev_path", "block_path")
    }
    return msgspec.structs.replace(device, params=msgspec.structs.replace(device.params, **paths))


def _numbers(capability: Element, kind: str) -> dict[str, str]:
    names = _ADDRESSES.get(kind, ())
    numbers = {name: (capability.findtext(name) or "").strip() for name in names}
    return numbers if all(numbers.values()) else {}


def _has(capability: Element, kind: str) -> bool:
    return capability.find(f"capability[@type='{kind}']") is not None


def _virtual_functions(capability: Element) -> Any:
    offered = capability.find("capability[@type='virt_functions']")
    return UNSET if offered is None else int(offered.get("maxCount", 0))


def _physical_function(capability: Element) -> Any:
    address = capability.find("capability[@type='phys_function']/address")
    return UNSET if address is None else pci_name(address)


def pci_name(address: Element) -> str:
    """Return libvirt's name of the PCI device at an `<address>`, whose numbers are hexadecimal."""
    domain, bus, slot, function = (
        int(address.get(name, "0"), 16) for name in ("domain", "bus", "slot", "function")
    )
    return f"pci_{domain:04x}_{bus:02x}_{slot:02x}_{function:x}"


def _mdev_types(capability: Element) -> dict[str, MdevType]:
    return {
        offered.get("id", ""): MdevType(
            name=offered.findtext("name", "") or offered.get("id", ""),
            available_instances=offered.findtext("availableInstances", "0"),
            description=_text(offered, "description"),
        )
        for offered in capability.findall("capability[@type='mdev_types']/type")
    }


def _text(parent: Element, path: str) -> Any:
    return (parent.findtext(path) or "").strip() or UNSET


def _attribute(parent: Element, path: str, name: str) -> Any:
    found = parent.find(path)
    return UNSET if found is None else found.get(name) or UNSET
