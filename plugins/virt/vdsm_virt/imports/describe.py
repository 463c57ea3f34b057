"""Describe machines that may be imported, from libvirt's documents and from OVF."""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element

from msgspec import UNSET, UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.hypervisor import ExternalDomain
from vdsm_core.types import UUID_PATTERN
from vdsm_virt.api.imports import ExternalDisk, ExternalMachine, ExternalNic
from vdsm_virt.domain.elements import parse
from vdsm_virt.imports.ova import Ova

#: libvirt's units of memory in bytes; k and KB are powers of ten.
_UNITS: Final = {
    "b": 1, "bytes": 1, "kb": 10**3, "k": 2**10, "kib": 2**10, "mb": 10**6, "m": 2**20, "mib": 2**20,
    "gb": 10**9, "g": 2**30, "gib": 2**30, "tb": 10**12, "t": 2**40, "tib": 2**40,
}  # fmt: skip
_MIB: Final = 2**20
#: Where libvirt names what a disk or a NIC is connected to.
_DISK_SOURCES: Final = ("file", "dev", "name", "volume")
_NIC_SOURCES: Final = ("bridge", "network", "dev")

#: ResourceType of CIM_ResourceAllocationSettingData, on which OVF is based.
_CPU, _MEMORY, _NIC, _DISK = "3", "4", "10", "17"
#: What oVirt writes as the type of its own OVF documents, and its number for machines that it exported.
_OVIRT: Final = "ovirt"
_ORIGIN_OVIRT: Final = 3


def _id(text: str) -> str | UnsetType:
    return text if re.match(UUID_PATTERN, text) else UNSET


def domain(found: ExternalDomain) -> ExternalMachine:
    """Return the description of a domain of another hypervisor.

    :raises ValueError: its document cannot be read
    """
    root = parse(found.xml)
    graphics, video = root.find("devices/graphics"), root.find("devices/video/model")
    machine_type = root.find("os/type")
    vm_id = (root.findtext("uuid") or "").strip()
    return ExternalMachine(
        vm_name=found.name,
        vm_id=_id(vm_id),
        status="Up" if found.active else "Down",
        mem_size=_memory(root),
        smp=int(root.findtext("vcpu") or 1),
        arch=_attribute(machine_type, "arch"),
        has_snapshots=UNSET if found.has_snapshots is None else found.has_snapshots,
        graphics=_attribute(graphics, "type"),
        video=_attribute(video, "type"),
        disks=[
            _disk(element, found)
            for element in root.iterfind("devices/disk")
            if element.get("device", "disk") == "disk"
        ],
        networks=[_nic(element) for element in root.iterfind("devices/interface")],
    )


def _memory(root: Element) -> int:
    memory = root.find("memory")
    if memory is None:
        return 0
    unit = _UNITS.get(memory.get("unit", "KiB").lower(), 2**10)
    return int(memory.text or 0) * unit // _MIB


def _disk(element: Element, found: ExternalDomain) -> ExternalDisk:
    source, driver = element.find("source"), element.find("driver")
    dev = _attribute(element.find("target"), "dev")
    size = None if isinstance(dev, UnsetType) else found.disks.get(dev)
    layout = _attribute(driver, "type")
    return ExternalDisk(
        dev=dev,
        disk_type=element.get("type", UNSET),
        alias=_first(source, _DISK_SOURCES),
        pool=_attribute(source, "pool"),
        volume=_attribute(source, "volume"),
        format=UNSET if isinstance(layout, UnsetType) else "COW" if layout == "qcow2" else "RAW",
        capacity=UNSET if size is None else str(size.capacity),
        allocation=UNSET if size is None else str(size.allocation),
    )


def _nic(element: Element) -> ExternalNic:
    return ExternalNic(
        type=element.get("type", "bridge"),
        mac_addr=_attribute(element.find("mac"), "address"),
        bridge=_first(element.find("source"), _NIC_SOURCES),
        dev=_attribute(element.find("target"), "dev"),
        model=_attribute(element.find("model"), "type"),
    )


def ova(found: Ova) -> ExternalMachine:
    """Return the description of the machine in an OVA.

    :raises InvalidArgument: the description is no OVF document, or lacks what a machine has
    """
    try:
        root = parse(found.ovf.decode("utf-8-sig"))
        return _ovf(root, found)
    except (ValueError, UnicodeError) as error:
        reason = f"the description in the OVA is not accepted: {error}"
        raise InvalidArgument(argument="ova_path", reason=reason) from None


def _ovf(root: Element, found: Ova) -> ExternalMachine:
    by_name = _Ovf(root)
    system = by_name.first(root, "VirtualSystem")
    if system is None:
        # oVirt's own documents name the same element differently.
        system = by_name.first(root, "Content")
    if system is None:
        raise ValueError("it describes no machine")
    items = list(by_name.all(system, "Item"))
    name = by_name.text(system, "Name") or by_name.attribute(system, "id")
    if not name:
        raise ValueError("the machine has no name")
    is_ovirt = any(_OVIRT in value.lower() for value in root.attrib.values())
    vm_id = by_name.attribute(system, "id")
    return ExternalMachine(
        vm_name=name,
        vm_id=_id(vm_id),
        mem_size=_quantity(by_name, items, _MEMORY),
        smp=_quantity(by_name, items, _CPU),
        origin_type=_ORIGIN_OVIRT if is_ovirt else UNSET,
        disks=_ovf_disks(by_name, root, items, found),
        networks=[
            ExternalNic(
                bridge=by_name.text(item, "Connection") or UNSET,
                dev=by_name.text(item, "ElementName") or UNSET,
                model=(by_name.text(item, "ResourceSubType") or "").lower() or UNSET,
                mac_addr=by_name.text(item, "MACAddress") or UNSET,
            )
            for item in items
            if by_name.text(item, "ResourceType") == _NIC
        ],
    )


def _quantity(by_name: _Ovf, items: list[Element], resource: str) -> int:
    """Return the amount of a resource: of memory in MiB, of processors their number."""
    for item in items:
        if by_name.text(item, "ResourceType") == resource:
            text = by_name.text(item, "VirtualQuantity")
            if not text:  # oVirt's older documents
                text = by_name.text(item, "num_of_sockets") or "1"
            amount = int(text)
            if resource == _MEMORY:
                amount = amount * _memory_unit(by_name.text(item, "AllocationUnits")) // _MIB
            return amount
    raise ValueError(f"it has no item of resource type {resource}")


def _memory_unit(text: str) -> int:
    """Return the bytes of DSP0004's "byte * 2^20", or of a word such as "MegaBytes"; MiB by default."""
    words = text.replace(" ", "").lower()
    if words.startswith("byte*2^"):
        exponent = int(words.removeprefix("byte*2^"))
        if exponent > 60:
            raise ValueError(f"the unit '{text}' is not known")
        return int(2**exponent)
    return {"": _MIB, "megabytes": _MIB, "mb": _MIB, "kilobytes": 2**10, "kb": 2**10, "gigabytes": 2**30,
            "gb": 2**30, "byte": 1, "bytes": 1}.get(words, _MIB)  # fmt: skip


def _ovf_disks(by_name: _Ovf, root: Element, items: list[Element], found: Ova) -> list[ExternalDisk]:
    """Return the disks in the order of the machine's items, as the conversion takes them."""
    files = {by_name.attribute(f, "id"): by_name.attribute(f, "href") for f in by_name.all(root, "File")}
    disks = {by_name.attribute(d, "diskId"): d for d in by_name.all(root, "Disk")}
    described = []
    for item in items:
        if by_name.text(item, "ResourceType") != _DISK:
            continue
        resource = by_name.text(item, "HostResource")
        disk = disks.get(resource.rpartition("/")[2])
        if disk is None:
            raise ValueError(f"there is no disk '{resource}'")
        href = files.get(by_name.attribute(disk, "fileRef"), "")
        described.append(
            ExternalDisk(
                dev=by_name.text(item, "ElementName") or UNSET,
                alias=href or UNSET,
                capacity=_capacity(by_name, disk),
                allocation=str(found.sizes[href]) if href in found.sizes else UNSET,
            )
        )
    return described


def _capacity(by_name: _Ovf, disk: Element) -> str | UnsetType:
    text = by_name.attribute(disk, "capacity")
    units = by_name.attribute(disk, "capacityAllocationUnits") or "byte"
    if text:
        return str(int(text) * _memory_unit(units))
    size = by_name.attribute(disk, "size")  # oVirt's older documents, in GiB
    return str(int(size) * 2**30) if size else UNSET


class _Ovf:
    """Elements and attributes of OVF by their local names: its versions differ in namespaces."""

    def __init__(self, root: Element) -> None:
        self._all = [element for element in root.iter() if isinstance(element.tag, str)]

    def all(self, parent: Element, name: str) -> list[Element]:
        """Return the elements of a name beneath another one."""
        return [each for each in parent.iter() if _local(each.tag) == name]

    def first(self, parent: Element, name: str) -> Element | None:
        """Return the first element of a name beneath another one."""
        return next(iter(self.all(parent, name)), None)

    def text(self, parent: Element, name: str) -> str:
        """Return the text of a child, trimmed; empty if there is none."""
        for child in parent:
            if _local(child.tag) == name:
                return (child.text or "").strip()
        return ""

    def attribute(self, element: Element, name: str) -> str:
        """Return an attribute; empty if there is none."""
        for key, value in element.attrib.items():
            if _local(key) == name:
                return value
        return ""


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _attribute(element: Element | None, name: str) -> str | UnsetType:
    return UNSET if element is None else element.get(name, UNSET)


def _first(element: Element | None, names: tuple[str, ...]) -> str | UnsetType:
    if element is not None:
        for name in names:
            if value := element.get(name):
                return value
    return UNSET
