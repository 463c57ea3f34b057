"""Disks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from xml.etree.ElementTree import Element

from msgspec import UNSET, UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import Disk
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.domain.elements import add

#: Where the path of a disk will stand that a plugin has to prepare first; nothing can exist below it.
UNPREPARED: Final = "/dev/null/unprepared/"
#: Prefix of the name that libvirt knows a disk by, for each bus.
_PREFIX: Final = {"virtio": "vd", "ide": "hd", "scsi": "sd", "sata": "sd", "usb": "sd", "fdc": "fd"}
#: VDSM's words for how QEMU opens the image; "transient" writes to a copy that is thrown away.
_POLICY: Final = {True: "stop", "on": "stop", "report": "report"}
_MOST: Final = 1024


def disk(parent: Element, spec: Disk, argument: str, names: Iterator[str]) -> str:
    """One `<disk>`; returns its target name.

    :param names: target names that are free, by bus
    :raises InvalidArgument: it has no path and nothing to find one by
    """
    path = source(spec, argument)
    block = path.startswith("/dev/") and not path.startswith(UNPREPARED)
    kind = given(spec.disk_type, "block" if block or spec.device == "lun" else "file")
    element = add(parent, "disk", type=kind, device=spec.device, snapshot="no")
    _driver(element, spec, path, argument)
    if path:
        add(element, "source", **{"dev" if kind == "block" else "file": path})
    target = next(names)
    add(element, "target", dev=target, bus=bus(spec))
    _sharing(element, spec)
    add_text(element, "serial", spec)
    _tune(element, spec, argument)
    order = whole(spec.boot_order, f"{argument}.bootOrder", 0, most=_MOST)
    if order:
        add(element, "boot", order=order)
    return target


def bus(spec: Disk) -> str:
    """The bus a disk hangs on: floppies and CDs have their own where VDSM did not say."""
    if spec.device == "floppy":
        return "fdc"
    default = {"cdrom": "sata", "lun": "scsi"}.get(spec.device, "virtio")
    return str(given(spec.iface, default))


def target(spec: Disk, argument: str, taken: set[str]) -> Iterator[str]:
    """Names for a disk that are free, that of its `index` first.

    :raises InvalidArgument: the index is taken
    """
    prefix = _PREFIX[bus(spec)]
    if not isinstance(spec.index, UnsetType):
        name = prefix + letters(whole(spec.index, f"{argument}.index", 0, most=_MOST))
        if name in taken:
            raise InvalidArgument(argument=f"{argument}.index", reason=f"'{name}' is another disk's place")
        yield name
    for number in range(_MOST):
        name = prefix + letters(number)
        if name not in taken:
            yield name


def letters(number: int) -> str:
    """0 is a, 25 is z, 26 is aa: as the kernel counts its disks."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def source(spec: Disk, argument: str) -> str:
    """The path; below `UNPREPARED` if a plugin has to make it, empty for an empty drive.

    :raises InvalidArgument: neither a path nor ids that lead to one
    """
    if not isinstance(spec.path, UnsetType) and (spec.path or spec.device in ("cdrom", "floppy")):
        return spec.path
    ids = identity(spec)
    if ids:
        return UNPREPARED + str(ids.get("imageID") or next(iter(ids.values()))).replace("/", "_")
    if spec.device in ("cdrom", "floppy"):
        return ""
    raise InvalidArgument(
        argument=f"{argument}.path", reason="a disk needs a path, a GUID, a UUID or an imageID with its pool"
    )


def identity(spec: Disk) -> dict[str, Any]:
    """VDSM's ids of the disk, as far as they are given."""
    ids = {
        "imageID": spec.image_id,
        "volumeID": spec.volume_id,
        "domainID": spec.domain_id,
        "poolID": spec.pool_id,
        "GUID": spec.guid,
        "UUID": spec.uuid,
    }
    return {name: value for name, value in ids.items() if not isinstance(value, UnsetType) and value}


def _driver(element: Element, spec: Disk, path: str, argument: str) -> None:
    io_thread = whole(
        spec.spec_params.pin_to_io_thread, f"{argument}.specParams.pinToIoThread", 0, most=_MOST
    )
    add(
        element,
        "driver",
        name="qemu",
        type="raw" if spec.format == "raw" or spec.device != "disk" else "qcow2",
        cache=spec.cache if path else None,
        # QEMU has no such choice for floppies, and an empty drive has no errors.
        error_policy=_POLICY.get(spec.propagate_errors, "stop") if spec.device in ("disk", "lun") else None,
        iothread=io_thread or None,
    )


def _sharing(element: Element, spec: Disk) -> None:
    shared = spec.shared
    if shared in ("shared", "exclusive", "none", "transient"):
        if shared == "shared":
            add(element, "shareable")
        elif shared == "transient":
            add(element, "transient")
    elif shared in (True, "true", "True", "TRUE"):
        add(element, "shareable")
    if truth(spec.readonly, False) or spec.device == "cdrom":
        add(element, "readonly")


def add_text(element: Element, tag: str, spec: Disk) -> None:
    """The serial number; that of an image is its id, so that the guest can tell its disks apart."""
    serial = given(spec.serial, "") or given(spec.image_id, "")
    if serial and spec.device == "disk":
        add(element, tag, serial)


def _tune(element: Element, spec: Disk, argument: str) -> None:
    tune = spec.spec_params.io_tune
    if tune is UNSET or isinstance(tune, UnsetType):
        return
    limits = {name: getattr(tune, name) for name in type(tune).__struct_fields__}
    wanted = {
        name: whole(value, f"{argument}.specParams.ioTune.{name}", 0, most=2**50)
        for name, value in limits.items()
    }
    if any(wanted.values()):
        parent = add(element, "iotune")
        for name, value in wanted.items():
            if value:
                add(parent, name, value)
