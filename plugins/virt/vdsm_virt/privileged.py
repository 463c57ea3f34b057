"""What only root may do on the host for machines: read the board's serial number and id and settings of
libvirt, and change the number of virtual functions of a PCI device.

The kernel keeps the serial number and the id from other users; distributions keep libvirt's configuration
from them, which holds passwords. The operations return single facts, never a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from vdsm_core.errors import OperationFailed
from vdsm_core.privileged import operation

_DMI: Final = Path("/sys/class/dmi/id")
#: Where the kernel has a folder for each PCI device, by its address.
_PCI_DEVICES: Final = Path("/sys/bus/pci/devices")
#: The address of a PCI device as sysfs has it: domain, bus, slot and function, hexadecimal.
PciAddress = Annotated[str, Meta(pattern=r"\A[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z", max_length=20)]
#: Virtual functions of one device; SR-IOV's own counter has 16 bits.
VirtualFunctions = Annotated[int, Meta(ge=0, le=65_535)]
#: Of libvirt's files, the settings that say who emulators run as, and which id the host has.
_SETTINGS: Final = {
    "etc/libvirt/qemu.conf": ("user", "group"),
    "etc/libvirt/libvirtd.conf": ("host_uuid", "host_uuid_source"),
    "etc/libvirt/virtqemud.conf": ("host_uuid", "host_uuid_source"),
}
#: Bytes of a file that are read at the most.
_MAX_FILE: Final = 1_048_576
_LINE: Final = re.compile(r"^\s*(\w+)\s*=.*$", re.MULTILINE)


class Firmware(msgspec.Struct, frozen=True):
    """Who the board is, as its firmware says. Empty where it says nothing."""

    #: Serial number of the system.
    product_serial: str
    #: UUID of the system.
    product_uuid: str


class LibvirtSettings(msgspec.Struct, frozen=True):
    """Lines of libvirt's configuration as they stand there, by the path of the file below `/`."""

    lines: dict[str, list[str]]


@operation(deadline=5.0, idempotent=True)
def read_firmware() -> Firmware:
    """Read the serial number and the UUID that the firmware has given the board."""
    return Firmware(product_serial=_text(_DMI / "product_serial"), product_uuid=_text(_DMI / "product_uuid"))


@operation(deadline=5.0, idempotent=True)
def read_libvirt_settings() -> LibvirtSettings:
    """Read the user of libvirt's emulators, and the id that is configured for the host."""
    return LibvirtSettings({file: _lines(Path("/") / file, names) for file, names in _SETTINGS.items()})


@operation(deadline=60.0, idempotent=True, raises=(OperationFailed,))
def set_virtual_functions(address: PciAddress, count: VirtualFunctions) -> None:
    """Set the number of virtual functions of an SR-IOV device. Those that exist are removed first.

    :raises OperationFailed: there is no such device, it has fewer functions, or its driver refuses
    """
    write_virtual_functions(_PCI_DEVICES, address, count)


def write_virtual_functions(devices: Path, address: str, count: int) -> None:
    """Write the number of virtual functions of a device to sysfs.

    :param devices: the folder of the PCI devices
    :raises OperationFailed: as of `set_virtual_functions`
    """
    folder = devices / address
    if not folder.is_dir():
        raise OperationFailed(reason=f"the host has no PCI device {address}")
    limit = _text(folder / "sriov_totalvfs")
    if not limit.isdecimal():
        raise OperationFailed(reason=f"PCI device {address} has no SR-IOV")
    if count > int(limit):
        raise OperationFailed(reason=f"PCI device {address} has at most {limit} virtual functions")
    if _text(folder / "sriov_numvfs") == str(count):
        return
    try:
        # The kernel changes the number only from or to zero.
        (folder / "sriov_numvfs").write_text("0")
        if count:
            (folder / "sriov_numvfs").write_text(str(count))
    except OSError as error:
        raise OperationFailed(
            reason=f"the driver of PCI device {address} refuses {count} virtual functions: {error.strerror}"
        ) from None


def _lines(path: Path, names: tuple[str, ...]) -> list[str]:
    return [match[0].strip() for match in _LINE.finditer(_text(path)) if match[1] in names]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE).decode("utf-8", "replace").strip()
    except OSError:
        # Not there: no such firmware, or no libvirt of this kind.
        return ""


#: The settings of KSM, and the highest value of each; the lowest is 0 (the kernel's mm/ksm.c).
KSM_RANGES: Final = {
    "run": 2,
    "merge_across_nodes": 2,
    "sleep_millisecs": 2**32 - 1,
    "pages_to_scan": 2**32 - 1,
}
_KSM: Final = Path("/sys/kernel/mm/ksm")
_Setting = Annotated[str, Meta(pattern=r"^[a-z_]+$(?!\n)", max_length=32)]
_Number = Annotated[int, Meta(ge=0, le=2**32 - 1)]


@operation(deadline=5.0, idempotent=True)
def set_ksm(values: Annotated[dict[_Setting, _Number], Meta(max_length=4)]) -> str:
    """Write settings of the kernel's merging of equal pages; why that failed, empty if it did not."""
    for name, value in values.items():
        if name not in KSM_RANGES or not 0 <= value <= KSM_RANGES[name]:
            return f"{name} cannot be {value}"
        try:
            (_KSM / name).write_text(str(value))
        except OSError as error:
            return f"{name} = {value}: {error.strerror}"
    return ""
