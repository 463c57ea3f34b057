"""Devices of the host, given to a machine."""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import HostDevice
from vdsm_virt.api.scalars import whole
from vdsm_virt.domain.elements import add

_PCI: Final = re.compile(r"pci_([0-9a-f]{4,8})_([0-9a-f]{2})_([0-9a-f]{2})_([0-7])")
_SCSI: Final = re.compile(r"scsi_([0-9]{1,5})_([0-9]{1,5})_([0-9]{1,5})_([0-9]{1,5})")
_MEDIATED: Final = re.compile(r"mdev_([0-9a-f]{8}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{12})(_.*)?")
_MAX: Final = 1024


def host_device(parent: Element, spec: HostDevice, argument: str) -> None:
    """Add one `<hostdev>`.

    :raises InvalidArgument: the name is none of a PCI, SCSI or mediated device
    """
    name = spec.device
    if _PCI.fullmatch(name):
        element = add(parent, "hostdev", mode="subsystem", type="pci", managed="yes")
        address = pci_address(name, f"{argument}.device")
        # libvirt's schema has the type in sources of NICs alone.
        del address["type"]
        add(add(element, "source"), "address", **address)
    elif match := _SCSI.fullmatch(name):
        host, bus, target, lun = match.groups()
        element = add(parent, "hostdev", mode="subsystem", type="scsi", managed="no", rawio="yes")
        source = add(element, "source")
        add(source, "adapter", name=f"scsi_host{int(host)}")
        add(source, "address", bus=int(bus), target=int(target), unit=int(lun))
    elif match := _MEDIATED.fullmatch(name):
        element = add(parent, "hostdev", mode="subsystem", type="mdev", model="vfio-pci")
        add(add(element, "source"), "address", uuid=match[1].replace("_", "-"))
    else:
        raise InvalidArgument(
            argument=f"{argument}.device",
            reason=f"'{name}' is no PCI, SCSI or mediated device; give others as XML",
        )
    order = whole(spec.boot_order, f"{argument}.bootOrder", 0, maximum=_MAX)
    if order:
        add(element, "boot", order=order)


def pci_address(name: str, argument: str) -> dict[str, str]:
    """Return the address of a PCI device, from libvirt's name of it.

    :raises InvalidArgument: the name is none of a PCI device
    """
    match = _PCI.fullmatch(name)
    if match is None:
        raise InvalidArgument(argument=argument, reason=f"'{name}' is no PCI device such as pci_0000_05_00_0")
    domain, bus, slot, function = (int(number, 16) for number in match.groups())
    return {
        "type": "pci",
        "domain": f"0x{domain:04x}",
        "bus": f"0x{bus:02x}",
        "slot": f"0x{slot:02x}",
        "function": f"0x{function:x}",
    }
