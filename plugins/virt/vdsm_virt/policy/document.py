"""What in a domain document gives the machine more of the host than an operator may give away.

The document is compared with a list of what is harmless. An element or an attribute that is not on the list
needs `admin`: a new device of libvirt or of `domain.write` is refused to operators until it is listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_virt.domain.metadata import URI as OWN
from vdsm_virt.domain.write.disks import UNPREPARED
from vdsm_virt.domain.write.peripherals import console_socket
from vdsm_virt.policy.image_folders import ImageFolders


class Need(msgspec.Struct, frozen=True):
    """Something that needs `admin`: the member of the request, and what it is, as one clause."""

    argument: str
    reason: str


class Additions(msgspec.Struct, frozen=True, kw_only=True):
    """What else is harmless in a document of another origin; see `HARMLESS`.

    :ivar elements: further elements, and further attributes of those that are known
    :ivar values: the harmless values of attributes
    :ivar texts: the harmless texts of elements
    :ivar metadata: whether metadata of other programs are
    """

    elements: Mapping[str, frozenset[str]] = {}
    values: Mapping[tuple[str, str], frozenset[str]] = {}
    texts: Mapping[str, frozenset[str]] = {}
    metadata: bool = True


_NOTHING: Final = Additions(metadata=False)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: The elements that are harmless as such, by their path, and the attributes that each may have.
HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    path: _words(attributes)
    for path, attributes in {
        "": "type",
        "name": "",
        "uuid": "",
        "memory": "unit",
        "maxMemory": "unit slots",
        "vcpu": "current",
        "iothreads": "",
        "cpu": "mode match",
        "cpu/model": "",
        "cpu/feature": "name policy",
        "cpu/topology": "sockets cores threads",
        "cpu/numa": "",
        "cpu/numa/cell": "id cpus memory unit",
        "cputune": "",
        "cputune/shares": "",
        "cputune/vcpupin": "vcpu cpuset",
        "numatune": "",
        "numatune/memory": "mode nodeset",
        "features": "",
        "features/acpi": "",
        "features/hyperv": "",
        "features/hyperv/relaxed": "state",
        "features/hyperv/vapic": "state",
        "features/hyperv/spinlocks": "state retries",
        "clock": "offset adjustment",
        "clock/timer": "name present tickpolicy",
        "os": "",
        "os/type": "arch machine",
        "os/cmdline": "",
        "os/boot": "dev",
        "os/bootmenu": "enable timeout",
        "metadata": "",
        "devices": "",
        "devices/*/boot": "order",
        "devices/*/alias": "name",
        "devices/*/address": "type domain bus slot function multifunction controller target unit port base",
        "devices/disk": "type device snapshot",
        "devices/disk/driver": "name type cache error_policy io discard iothread",
        "devices/disk/source": "file dev startupPolicy",
        "devices/disk/target": "dev bus",
        "devices/disk/shareable": "",
        "devices/disk/transient": "",
        "devices/disk/readonly": "",
        "devices/disk/serial": "",
        "devices/disk/iotune": "",
        **{
            f"devices/disk/iotune/{kind}_{unit}_sec": ""
            for kind in ("total", "read", "write")
            for unit in ("bytes", "iops")
        },
        "devices/interface": "type",
        "devices/interface/source": "bridge network",
        "devices/interface/mac": "address",
        "devices/interface/model": "type",
        "devices/interface/link": "state",
        "devices/interface/mtu": "size",
        "devices/interface/port": "isolated",
        "devices/interface/driver": "name queues",
        "devices/interface/tune": "",
        "devices/interface/tune/sndbuf": "",
        "devices/interface/filterref": "filter",
        "devices/interface/filterref/parameter": "name value",
        "devices/interface/bandwidth": "",
        "devices/interface/bandwidth/inbound": "average peak burst",
        "devices/interface/bandwidth/outbound": "average peak burst",
        "devices/graphics": "type autoport keymap passwd passwdValidTo",
        "devices/graphics/listen": "type address",
        "devices/graphics/channel": "name mode",
        "devices/graphics/clipboard": "copypaste",
        "devices/graphics/filetransfer": "enable",
        "devices/video": "",
        "devices/video/model": "type vram ram vgamem heads",
        "devices/sound": "model",
        "devices/controller": "type index model ports",
        "devices/controller/driver": "iothread",
        "devices/memballoon": "model",
        "devices/memballoon/stats": "period",
        "devices/channel": "type",
        "devices/channel/source": "mode",
        "devices/channel/target": "type name",
        "devices/console": "type",
        "devices/console/source": "mode",
        "devices/console/target": "type port",
        "devices/watchdog": "model action",
        "devices/rng": "model",
        "devices/rng/rate": "bytes period",
        "devices/rng/backend": "model",
        "devices/smartcard": "mode type",
        "devices/input": "type bus",
        "devices/redirdev": "bus type",
        "devices/memory": "model",
        "devices/memory/target": "",
        "devices/memory/target/size": "unit",
        "devices/memory/target/node": "",
    }.items()
}

#: The values that are harmless of the attributes that choose between what is harmless and what is not.
_VALUES: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("", "type"): _words("kvm qemu test"),
    ("devices/disk", "type"): _words("file"),
    ("devices/disk", "device"): _words("disk cdrom floppy"),
    ("devices/interface", "type"): _words("bridge network"),
    ("devices/graphics", "type"): _words("vnc spice"),
    ("devices/graphics/listen", "type"): _words("address"),
    ("devices/channel", "type"): _words("unix spicevmc"),
    ("devices/channel/source", "mode"): _words("bind"),
    ("devices/console", "type"): _words("pty unix"),
    ("devices/console/source", "mode"): _words("bind"),
    ("devices/rng/backend", "model"): _words("random"),
    ("devices/smartcard", "mode"): _words("passthrough"),
    ("devices/redirdev", "type"): _words("spicevmc"),
    ("devices/memory", "model"): _words("dimm"),
    ("devices/smartcard", "type"): _words("spicevmc"),
    ("devices/disk/driver", "type"): _words("raw qcow2"),
    ("devices/disk/source", "startupPolicy"): _words("optional"),
}
#: Texts that are harmless of the elements whose text names something of the host.
_TEXTS: Final[Mapping[str, frozenset[str]]] = {
    "os/type": _words("hvm"),
    "devices/rng/backend": _words("/dev/random /dev/urandom /dev/hwrng"),
}
#: What people call what is refused most.
_NAMES: Final[Mapping[tuple[str, str], str]] = {
    ("os/kernel", ""): "a kernel on the host",
    ("os/initrd", ""): "an initial ramdisk on the host",
    ("devices/disk", "type"): "a disk that is a device of the host",
    ("devices/disk", "device"): "a SCSI device of the host",
    ("devices/interface", "type"): "a NIC that reaches services of the host itself",
    ("devices/channel/source", "path"): "a socket at a path of the host",
    ("devices/console/source", "path"): "a socket at a path of the host",
    ("devices/smartcard", "mode"): "the smartcard reader of the host",
    ("devices/hostdev", ""): "a device of the host",
    ("devices/tpm", ""): "the TPM of the host",
}


def needs(
    domain: Element,
    folders: ImageFolders,
    *,
    origins: Mapping[Element, str],
    prepared: frozenset[str],
    also: Additions = _NOTHING,
    argument: str = "vmParams",
) -> Iterator[Need]:
    """Yield what in a document needs `admin`.

    :param origins: the members of the request, by the elements that were made of them
    :param prepared: targets of the disks whose paths a storage plugin will fill in
    :param also: what is harmless, too
    :param argument: the member of the request that elements without an origin are from
    """
    texts = {**_TEXTS, **also.texts}
    for element, path, member in _walk(domain, origins, argument, metadata=also.metadata):
        harmless = _harmless(path, also)
        if harmless is None:
            yield Need(member, _NAMES.get((path, ""), f"the element <{path or element.tag}>"))
            continue
        for name, value in element.attrib.items():
            values = also.values.get((path, name)) or _VALUES.get((path, name))
            known = name in harmless and (values is None or value in values)
            if (path, name) == ("devices/console/source", "path"):
                known = value == console_socket(domain.findtext("uuid") or "")
            if not known:
                words = _NAMES.get((path, name), f"'{name}' of <{path or 'domain'}>")
                yield Need(member, f"{words} ({name}='{value}')")
        if path in texts and (element.text or "") not in texts[path]:
            yield Need(member, f"<{path}> '{element.text}'")
    for disk in domain.findall("devices/disk"):
        for fault in _faults(disk, folders, prepared):
            yield Need(_argument(disk, "devices/disk", origins, argument), fault)


def _faults(disk: Element, folders: ImageFolders, prepared: frozenset[str]) -> Iterator[str]:
    target, driver = disk.find("target"), disk.find("driver")
    for source in disk.findall("source"):
        for name, path in source.attrib.items():
            if name in ("startupPolicy", "index"):
                continue
            if target is not None and target.get("dev") in prepared and _is_placeholder(path):
                continue
            raw = driver is not None and driver.get("type") == "raw"
            if fault := folders.fault(path, raw=raw):
                yield f"the image {fault}"


def _is_placeholder(path: str) -> bool:
    name = path.removeprefix(UNPREPARED)
    return path.startswith(UNPREPARED) and "/" not in name and name not in ("", ".", "..")


def _harmless(path: str, also: Additions) -> frozenset[str] | None:
    """Return the attributes that an element may have; None of one that is not harmless."""
    listed = HARMLESS.get(path, HARMLESS.get(_any_device(path)))
    added = also.elements.get(path)
    if listed is None or added is None:
        return listed if added is None else added
    return listed | added


def _walk(
    domain: Element, origins: Mapping[Element, str], whole: str, *, metadata: bool
) -> Iterator[tuple[Element, str, str]]:
    """Yield each element with its path and the member of the request, except our own metadata.

    :param metadata: except those of other programs, too
    """
    waiting = [(domain, "", whole)]
    while waiting:
        element, path, argument = waiting.pop()
        yield element, path, argument
        for child in element:
            below = f"{path}/{child.tag}".lstrip("/")
            if path == "metadata" and (metadata or child.tag.startswith(f"{{{OWN}}}")):
                continue
            waiting.append((child, below, _argument(child, below, origins, argument)))


def _argument(element: Element, path: str, origins: Mapping[Element, str], otherwise: str) -> str:
    if path in ("os/kernel", "os/initrd") and otherwise == "vmParams":
        return f"vmParams.{element.tag}"
    return origins.get(element, otherwise)


def _any_device(path: str) -> str:
    parts = path.split("/")
    return f"devices/*/{parts[2]}" if len(parts) == 3 and parts[0] == "devices" else path
