"""A disk that is to be plugged in, made of a request in either of VDSM's forms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument, MissingArgument
from vdsm_core.volumes import DiskId
from vdsm_virt.api.devices import Disk
from vdsm_virt.api.drives import HotplugDiskParams
from vdsm_virt.domain.elements import parse, under
from vdsm_virt.domain.write import disks
from vdsm_virt.errors import MethodNotImplemented

_OVIRT: Final = "{http://ovirt.org/vm/1.0}"
#: Members of a disk in oVirt's metadata that are its ids here.
_IDS: Final = ("poolID", "domainID", "imageID", "volumeID", "GUID", "UUID", "deviceId")


class DrivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A disk as it is to be plugged in.

    :ivar element: libvirt's `<disk>`; its source is a placeholder if storage has to prepare the image
    :ivar target: its name, such as "vdb"
    :ivar disk: the image, for storage; false if it is given by its path
    :ivar ids: what is kept of the disk's ids
    :ivar custom: its custom properties
    :ivar argument: the member of the request that it is from
    :ivar ready_xml: whether the element is the client's own
    """

    element: Element
    target: str
    disk: DiskId
    ids: dict[str, str]
    custom: dict[str, str] = {}
    argument: str = "params.drive"
    ready_xml: bool = False


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of a disk that is in the machine.

    :ivar alias: libvirt's name of the device; empty if it is not given
    :ivar target: its name; empty if it is not given
    :ivar disk: its image
    :ivar path: the path of its image; empty if it is not given
    """

    alias: str = ""
    target: str = ""
    disk: DiskId = DiskId()
    path: str = ""


def plan_drive(params: HotplugDiskParams, taken: Iterable[str]) -> DrivePlan:
    """Return the disk of a request to plug one in.

    :param taken: names of the disks that the machine has
    :raises MissingArgument: the request has neither form
    :raises InvalidArgument: it cannot be expressed, or has both forms
    :raises MethodNotImplemented: it asks for the lease of a volume
    """
    _check_form(params)
    if isinstance(params.xml, UnsetType):
        assert not isinstance(params.drive, UnsetType)
        return _from_members(params.drive, set(taken))
    return _from_xml(params.xml, set(taken))


def read_wanted(params: HotplugDiskParams) -> Wanted:
    """Return which disk a request to plug one out is about.

    :raises MissingArgument: the request has neither form
    :raises InvalidArgument: it has both, or the document is none
    """
    _check_form(params)
    if isinstance(params.xml, UnsetType):
        assert not isinstance(params.drive, UnsetType)
        drive = params.drive
        return Wanted(
            alias=drive.alias if isinstance(drive.alias, str) else "",
            target=drive.name if isinstance(drive.name, str) else "",
            disk=DiskId.read(disks.identity(drive)),
            path=drive.path if isinstance(drive.path, str) else "",
        )
    device, ids, _custom = _read_xml(params.xml)
    alias, target = device.find("alias"), device.find("target")
    return Wanted(
        alias=alias.get("name", "") if alias is not None else "",
        target=target.get("dev", "") if target is not None else "",
        disk=DiskId.read(ids),
        path=_path(device),
    )


def is_placeholder(element: Element) -> bool:
    """Return whether a disk's source has to be filled in by storage."""
    source = element.find("source")
    return source is not None and any(v.startswith(disks.UNPREPARED) for v in source.attrib.values())


def _check_form(params: HotplugDiskParams) -> None:
    has_drive, has_xml = (not isinstance(value, UnsetType) for value in (params.drive, params.xml))
    if not (has_drive or has_xml):
        raise MissingArgument(argument="params.drive")
    if has_drive and has_xml:
        raise InvalidArgument(argument="params.xml", reason="drive is given as well; give one of them")


def _from_members(drive: Disk, taken: set[str]) -> DrivePlan:
    argument = "params.drive"
    if drive.device not in ("disk", "lun"):
        raise InvalidArgument(argument=f"{argument}.device", reason=f"a {drive.device} cannot be plugged in")
    if disks.sharing(drive) == "exclusive":
        raise MethodNotImplemented(reason="an exclusive disk, whose lease is taken, cannot be plugged in")
    parent = Element("devices")
    target = disks.disk(parent, drive, argument, disks.free_name(drive, argument, taken))
    ids = {name: str(value) for name, value in disks.identity(drive).items()}
    if not isinstance(drive.device_id, UnsetType):
        ids["deviceId"] = drive.device_id
    return DrivePlan(
        element=parent[0],
        target=target,
        disk=DiskId.read(ids) if is_placeholder(parent[0]) else DiskId(),
        ids=ids,
        custom=dict(drive.custom),
        argument=argument,
    )


def _from_xml(text: str, taken: set[str]) -> DrivePlan:
    element, ids, custom = _read_xml(text)
    if element.get("device", "disk") not in ("disk", "lun"):
        raise InvalidArgument(argument="params.xml", reason=f"a {element.get('device')} cannot be plugged in")
    target = under(element, "target")
    name = _free_name(target.get("dev", ""), target.get("bus", ""), taken)
    target.set("dev", name)
    disk = DiskId.read(ids)
    if not disk and not _path(element):
        raise InvalidArgument(
            argument="params.xml", reason="the disk has neither a source nor ids of an image"
        )
    if disk:
        source = under(element, "source")
        source.attrib.clear()
        source.set("file", f"{disks.UNPREPARED}{name}")
    return DrivePlan(
        element=element,
        target=name,
        disk=disk,
        ids=ids,
        custom=custom,
        argument="params.xml",
        ready_xml=True,
    )


def _read_xml(text: str) -> tuple[Element, dict[str, str], dict[str, str]]:
    """Return the disk of a document, with its ids and its custom properties.

    :raises InvalidArgument: the document is none, or has no disk or several devices
    """
    try:
        root = parse(text)
    except ValueError as error:
        raise InvalidArgument(argument="params.xml", reason=str(error)) from None
    devices = list(root.iterfind("devices/*"))
    if len(devices) != 1 or devices[0].tag != "disk":
        raise InvalidArgument(argument="params.xml", reason="<devices> has to hold exactly one <disk>")
    entries = root.findall(f"metadata/{_OVIRT}vm/{_OVIRT}device[@devtype='disk']")
    if len(entries) > 1:
        raise InvalidArgument(argument="params.xml", reason="its metadata describe several disks")
    ids: dict[str, str] = {}
    custom: dict[str, str] = {}
    for entry in entries:
        ids = {name: value for name in _IDS if (value := entry.findtext(f"{_OVIRT}{name}", "").strip())}
        for child in entry.iterfind(f"{_OVIRT}custom/*"):
            custom[child.tag.rpartition("}")[2]] = child.text or ""
    return devices[0], ids, custom


def _free_name(name: str, bus: str, taken: set[str]) -> str:
    """Return the name that a document asks for, or the next free one of its bus."""
    if name and name not in taken and disks.is_name(name):
        return name
    prefix = disks.prefix(bus or "virtio")
    return next(found for number in range(1024) if (found := prefix + disks.letters(number)) not in taken)


def _path(element: Element) -> str:
    source: Any = element.find("source")
    if source is None:
        return ""
    return next((source.get(name) for name in ("file", "dev", "name") if source.get(name)), "")
