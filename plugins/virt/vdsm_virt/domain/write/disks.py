"""Disks."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Any, Final
from xml.etree.ElementTree import Element

from msgspec import UNSET, UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import Disk
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.domain.elements import add

#: Where the path of a disk will stand that a plugin has to prepare first; nothing can exist below it.
UNPREPARED: Final = "/dev/null/unprepared/"
#: Prefix of the target name of a disk, for each bus.
_PREFIX: Final = {"virtio": "vd", "ide": "hd", "scsi": "sd", "sata": "sd", "usb": "sd", "fdc": "fd"}
#: What QEMU does about an error of the image, by VDSM's words for which errors reach the guest.
_POLICY: Final[dict[object, str]] = {"on": "enospace", "report": "report"}
_MAX: Final = 1024


def disk(parent: Element, spec: Disk, argument: str, target: str) -> str:
    """Add one `<disk>`; return its target name.

    :param target: that name
    :raises InvalidArgument: it has no path and nothing to find one by
    """
    path = source(spec, argument)
    block = path.startswith("/dev/") and not path.startswith(UNPREPARED)
    kind = given(spec.disk_type, "block" if block or spec.device == "lun" else "file")
    sgio = given(spec.sgio, "") if spec.device == "lun" else ""
    element = add(parent, "disk", type=kind, device=spec.device, snapshot="no", sgio=sgio or None)
    _driver(element, spec, path, argument, block=kind == "block")
    if path:
        optional = "optional" if truth(spec.optional, False) and spec.device in ("cdrom", "floppy") else None
        add(element, "source", **{"dev" if kind == "block" else "file": path}, startupPolicy=optional)
    add(element, "target", dev=target, bus=bus(spec))
    _sharing(element, spec)
    add_text(element, "serial", spec)
    _tune(element, spec, argument)
    order = whole(spec.boot_order, f"{argument}.bootOrder", 0, maximum=_MAX)
    if order:
        add(element, "boot", order=order)
    return target


def bus(spec: Disk) -> str:
    """Return the bus of a disk: floppies and CDs have their own where no bus is given."""
    if spec.device == "floppy":
        return "fdc"
    default = {"cdrom": "sata", "lun": "scsi"}.get(spec.device, "virtio")
    return str(given(spec.iface, default))


class Names:
    """The names of the disks of one machine.

    Names that disks ask for by their index are not given to others, wherever these are in the list.

    :param specs: every disk of the machine
    """

    def __init__(self, specs: Iterable[Disk]) -> None:
        self._taken: set[str] = set()
        self._reserved = {
            _PREFIX[bus(spec)] + letters(whole(spec.index, "index", 0, maximum=_MAX))
            for spec in specs
            if not isinstance(spec.index, UnsetType)
        }

    def next_for(self, spec: Disk, argument: str) -> str:
        """Return the name of a disk, which is taken from then on.

        :raises InvalidArgument: its index is that of another one
        """
        has_index = not isinstance(spec.index, UnsetType)
        name = free_name(spec, argument, self._taken if has_index else self._taken | self._reserved)
        self._taken.add(name)
        return name


def free_name(spec: Disk, argument: str, taken: Container[str]) -> str:
    """Return the name that a disk asks for by its index, or the first free one of its bus.

    :raises InvalidArgument: the index is taken
    """
    start = prefix(bus(spec))
    if not isinstance(spec.index, UnsetType):
        name = start + letters(whole(spec.index, f"{argument}.index", 0, maximum=_MAX))
        if name in taken:
            raise InvalidArgument(argument=f"{argument}.index", reason=f"'{name}' is another disk's place")
        return name
    return next(name for number in range(_MAX) if (name := start + letters(number)) not in taken)


def prefix(bus_name: str) -> str:
    """Return how the names of a bus's disks begin; VDSM's `hd` for a bus without names of its own."""
    return _PREFIX.get(bus_name, "hd")


def is_name(text: str) -> bool:
    """Return whether a text is the name of a disk, such as "vda"."""
    return re.fullmatch(r"(vd|hd|sd|fd)[a-z]{1,3}", text) is not None


def letters(number: int) -> str:
    """Return the letters of a number as the kernel counts its disks: 0 is a, 25 is z, 26 is aa."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def source(spec: Disk, argument: str) -> str:
    """Return the path; below `UNPREPARED` if a plugin has to make it, empty for an empty drive.

    :raises InvalidArgument: neither a path nor ids that lead to one
    """
    if not isinstance(spec.spec_params.vm_payload, UnsetType):
        if spec.device not in ("cdrom", "floppy"):
            raise InvalidArgument(
                argument=f"{argument}.specParams.vmPayload", reason="only CD-ROMs and floppies have payloads"
            )
        return f"{UNPREPARED}payload"
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
    """Return VDSM's ids of the disk, as far as they are given."""
    ids = {
        "imageID": spec.image_id,
        "volumeID": spec.volume_id,
        "domainID": spec.domain_id,
        "poolID": spec.pool_id,
        "GUID": spec.guid,
        "UUID": spec.uuid,
    }
    return {name: value for name, value in ids.items() if not isinstance(value, UnsetType) and value}


def sharing(spec: Disk) -> str:
    """Return how a disk is shared, in VDSM's words."""
    if spec.shared in ("shared", "exclusive", "none", "transient"):
        return str(spec.shared)
    return "shared" if truth(spec.shared, False) else "none"  # type: ignore[arg-type]


def _driver(element: Element, spec: Disk, path: str, argument: str, *, block: bool) -> None:
    io_thread = whole(
        spec.spec_params.pin_to_io_thread, f"{argument}.specParams.pinToIoThread", 0, maximum=_MAX
    )
    has_errors = spec.device in ("disk", "lun")
    cache = "writethrough" if sharing(spec) == "transient" else given(spec.cache, "none")
    add(
        element,
        "driver",
        name="qemu",
        type="raw" if spec.format == "raw" or spec.device != "disk" else "qcow2",
        # QEMU has no such choices for floppies, and an empty drive has no errors.
        cache=cache if path else None,
        error_policy=_POLICY.get(_propagated(spec), "stop") if has_errors else None,
        io=("native" if block and cache in ("none", "directsync") else "threads") if has_errors else None,
        discard="unmap" if truth(spec.discard, False) and has_errors else None,
        iothread=io_thread or None,
    )


def _propagated(spec: Disk) -> str:
    value = spec.propagate_errors
    if value in ("on", "off", "report"):
        return str(value)
    return "on" if truth(value, False) else "off"  # type: ignore[arg-type]


def _sharing(element: Element, spec: Disk) -> None:
    how = sharing(spec)
    if how == "shared":
        add(element, "shareable")
    elif how == "transient":
        add(element, "transient")
    if truth(spec.readonly, False) or spec.device == "cdrom":
        add(element, "readonly")


def add_text(element: Element, tag: str, spec: Disk) -> None:
    """Add the serial number; that of an image is its id, which distinguishes disks in the guest."""
    serial = given(spec.serial, "") or given(spec.image_id, "")
    if serial and spec.device == "disk":
        add(element, tag, serial)


def _tune(element: Element, spec: Disk, argument: str) -> None:
    tune = spec.spec_params.io_tune
    if tune is UNSET or isinstance(tune, UnsetType):
        return
    limits = {name: getattr(tune, name) for name in type(tune).__struct_fields__}
    wanted = {
        name: whole(value, f"{argument}.specParams.ioTune.{name}", 0, maximum=2**50)
        for name, value in limits.items()
    }
    if any(wanted.values()):
        parent = add(element, "iotune")
        for name, value in wanted.items():
            if value:
                add(parent, name, value)
