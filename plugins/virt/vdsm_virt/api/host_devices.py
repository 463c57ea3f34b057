"""Devices of the host that can be given to machines: VDSM's `HostDevice`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, UnsetType

from vdsm_core.types import UUID, Record, TextBool
from vdsm_virt.api.scalars import patterned

#: libvirt's name of a device of the host.
NodeDeviceName = Annotated[
    str,
    patterned(r"^[A-Za-z0-9_.:-]+$", "libvirt's name of a device, such as pci_0000_05_00_0", maximum=255),
]

#: The kinds by which VDSM selects devices.
DeviceCapability = Literal[
    "system",
    "pci",
    "usb_device",
    "usb",
    "net",
    "scsi_host",
    "scsi_target",
    "scsi",
    "storage",
    "fc_host",
    "vports",
    "scsi_generic",
]


class MdevType(Record, frozen=True, rename="lower"):
    """A type of mediated devices that a PCI device offers."""

    #: The driver's name of the type.
    name: str
    #: Number of further devices of this type that can be made.
    available_instances: str
    #: The driver's description of the type.
    description: str | UnsetType = UNSET


class HostDeviceParams(Record, frozen=True, rename="lower"):
    """Properties of a device of the host, as far as libvirt reports them."""

    #: Kind: `pci`, `usb_device`, `scsi`, `net`, `system`, ...
    capability: str
    #: Whether a machine can have it: false for PCI bridges.
    is_assignable: TextBool
    #: Name of the device that it is attached to.
    parent: str | UnsetType = UNSET
    #: Name of the vendor.
    vendor: str | UnsetType = UNSET
    #: Number of the vendor, hexadecimal with `0x`.
    vendor_id: str | UnsetType = UNSET
    #: Name of the product.
    product: str | UnsetType = UNSET
    #: Number of the product, hexadecimal with `0x`.
    product_id: str | UnsetType = UNSET
    #: Driver of the host that holds it.
    driver: str | UnsetType = UNSET
    #: Network interface of a `net` device.
    interface: str | UnsetType = UNSET
    #: Number of the IOMMU group; devices of one group are passed to the same machine.
    iommu_group: str | UnsetType = UNSET
    #: Number of the NUMA node that it is attached to.
    numa_node: str | UnsetType = UNSET
    #: Largest number of virtual functions (SR-IOV).
    totalvfs: int | UnsetType = UNSET
    #: Name of the physical function of a virtual one.
    physfn: str | UnsetType = UNSET
    #: Decimal text: domain, bus, slot, function of PCI; bus, device of USB; host, bus, target, lun of SCSI.
    address: dict[str, str] | UnsetType = UNSET
    #: Types of mediated devices, by id.
    mdev: dict[str, MdevType] | UnsetType = UNSET
    #: Character device of a SCSI device, such as `/dev/sg0`.
    udev_path: str | UnsetType = UNSET
    #: Block device of a SCSI device, such as `/dev/sda`.
    block_path: str | UnsetType = UNSET


class HostDevice(Record, frozen=True):
    """A device of the host, and the machine that has it.

    :ivar params: its properties
    :ivar vm_id: id of the machine that has it, if one has
    """

    params: HostDeviceParams
    vm_id: UUID | UnsetType = UNSET
