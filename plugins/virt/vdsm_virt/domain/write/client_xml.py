"""A domain document that the client made itself, VDSM's `xml` parameter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.types import UUID_PATTERN, TypeMismatch, convert
from vdsm_virt.api.devices import Payload
from vdsm_virt.api.params import KnownVmParams
from vdsm_virt.api.scalars import truth
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.elements import parse, under
from vdsm_virt.domain.write.disks import UNPREPARED
from vdsm_virt.domain.write.document import FilePayload

ARGUMENT: Final = "vmParams.xml"
_OVIRT: Final = "{http://ovirt.org/vm/1.0}"
#: Members of a disk in oVirt's metadata that are its ids here.
_IDS: Final = ("poolID", "domainID", "imageID", "volumeID", "GUID", "UUID", "deviceId")
#: What engines give as the path of a medium that the host has to make.
PAYLOAD: Final = "PAYLOAD:"


def read(text: str, argument: str = ARGUMENT) -> Element:
    """Return the document.

    :param argument: the member of the request that it is
    :raises InvalidArgument: it is none
    """
    try:
        domain = parse(text)
    except ValueError as error:
        raise InvalidArgument(argument=argument, reason=str(error)) from None
    if domain.tag != "domain":
        raise InvalidArgument(argument=argument, reason=f"its root is <{domain.tag[:40]}>, not <domain>")
    return domain


def uuid(domain: Element) -> str:
    """Return the machine's id in the document, in lower case; empty if there is none.

    :raises InvalidArgument: it is no UUID
    """
    text = (domain.findtext("uuid") or "").strip().lower()
    if text and not re.match(UUID_PATTERN, text):
        raise InvalidArgument(argument=ARGUMENT, reason=f"<uuid> is '{text[:60]}', which is no UUID")
    return text


def name(domain: Element) -> str:
    """Return the machine's name in the document.

    :raises InvalidArgument: it has none
    """
    text = domain.findtext("name") or ""
    if not text.strip():
        raise InvalidArgument(argument=ARGUMENT, reason="<name> is missing")
    return text


def take_disk_ids(domain: Element) -> dict[str, dict[str, str]]:
    """Return the ids of disks in a document's metadata, by target, and let storage fill in their paths."""
    found: dict[str, dict[str, str]] = {}
    for disk, entry in _described_disks(domain):
        ids = {name: text for name in _IDS if (text := entry.findtext(f"{_OVIRT}{name}", "").strip())}
        if not ids:
            continue
        name = _target(disk)
        found[name] = ids
        if set(ids) - {"deviceId"}:
            source = under(disk, "source")
            source.attrib.clear()
            source.set("file", f"{UNPREPARED}{name}")
    return found


def take_payloads(domain: Element) -> dict[str, FilePayload]:
    """Return the files of the media that are to be made, by target.

    :raises InvalidArgument: a medium is to be made, and the metadata have no files for it
    """
    found: dict[str, FilePayload] = {}
    for disk, entry in _described_disks(domain):
        payload = entry.find(f"{_OVIRT}payload")
        if payload is not None:
            found[_target(disk)] = _payload(payload, floppy=disk.get("device") == "floppy")
            # The files may hold passwords: every local user can read libvirt's document.
            entry.remove(payload)
    for disk in domain.iterfind("devices/disk"):
        source = disk.find("source")
        if source is None or not source.get("file", "").startswith(PAYLOAD):
            continue
        if _target(disk) not in found:
            raise InvalidArgument(
                argument=ARGUMENT, reason=f"the metadata have no payload for {_target(disk)}"
            )
        source.set("file", f"{UNPREPARED}payload")
    return found


def _payload(element: Element, *, floppy: bool) -> FilePayload:
    files = {file.get("path", ""): (file.text or "").strip() for file in element.findall(f"{_OVIRT}file")}
    members: dict[str, Any] = {"file": files}
    if label := element.findtext(f"{_OVIRT}volId", "").strip():
        members["volId"] = label
    try:
        payload = convert(members, Payload)
    except TypeMismatch as error:
        raise InvalidArgument(argument=ARGUMENT, reason=f"the payload: {error.reason}") from None
    return FilePayload(kind="floppy" if floppy else "cdrom", payload=payload)


def _described_disks(domain: Element) -> Iterator[tuple[Element, Element]]:
    """Yield each disk that oVirt's metadata describe, with its description."""
    entries = domain.findall(f"metadata/{_OVIRT}vm/{_OVIRT}device[@devtype='disk']")
    described = {entry.get("name", ""): entry for entry in entries}
    for disk in domain.iterfind("devices/disk"):
        if (entry := described.get(_target(disk))) is not None:
            yield disk, entry


def _target(disk: Element) -> str:
    place = disk.find("target")
    return place.get("dev", "") if place is not None else ""


def settle_type(domain: Element, params: KnownVmParams, kind: DomainKind) -> None:
    """Give the document a type that runs here, where its author leaves that open.

    libvirt's test driver has no type but its own; `kvmEnable` false asks for emulation in any case.
    """
    if kind.is_test:
        settle_test_type(domain, kind)
    elif domain.get("type") is None or not isinstance(params.kvm_enable, UnsetType):
        domain.set("type", kind.domain_type(accelerate=truth(params.kvm_enable, True)))


def settle_test_type(domain: Element, kind: DomainKind) -> None:
    """Give the document the type of libvirt's test driver, if that is what runs here."""
    if kind.is_test:
        domain.set("type", kind.emulated)
        for element in domain.findall("os/type"):
            element.attrib.pop("arch", None)
            element.attrib.pop("machine", None)
