"""Parameters and results of the verbs that import machines, and of libvirt's secrets."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.hypervisor import SecretUsage
from vdsm_core.secret import Secret
from vdsm_core.types import UUID
from vdsm_virt.api.definition import VmStatus
from vdsm_virt.api.scalars import AbsolutePath, Word

Bytes = Annotated[str, Meta(extra_json_schema={"x-unit": "B"})]


class ImportPassword(Secret, max_length=1024):
    """A password of another hypervisor."""


class SecretValue(Secret, max_length=65_536):
    """The value of a secret for libvirt, in base64."""


class ExternalDisk(
    msgspec.Struct, frozen=True, kw_only=True, rename={"disk_type": "disktype"}, omit_defaults=True
):
    """A disk of a machine elsewhere."""

    #: "disk" or what else libvirt calls the device.
    type: str = "disk"
    #: Name of its target there, such as "sda".
    dev: str | UnsetType = UNSET
    #: "file", "block", "volume" or "network".
    disk_type: str | UnsetType = UNSET
    #: Path or name there; in an OVA the name of the file.
    alias: str | UnsetType = UNSET
    #: Storage pool there, of a disk of type "volume".
    pool: str | UnsetType = UNSET
    #: Storage volume there, of a disk of type "volume".
    volume: str | UnsetType = UNSET
    #: Format there, "COW" or "RAW".
    format: Literal["COW", "RAW"] | UnsetType = UNSET
    #: Bytes that the guest sees, as text.
    capacity: Bytes | UnsetType = UNSET
    #: Bytes that it takes there, as text.
    allocation: Bytes | UnsetType = UNSET


class ExternalNic(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A NIC of a machine elsewhere."""

    #: libvirt's type, such as "bridge".
    type: str = "bridge"
    #: MAC address.
    mac_addr: str | UnsetType = UNSET
    #: Bridge or network there.
    bridge: str | UnsetType = UNSET
    #: Name of its target there; in an OVA the name of the NIC.
    dev: str | UnsetType = UNSET
    #: Model of the device.
    model: str | UnsetType = UNSET


class ExternalMachine(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={"vm_id": "vmId", "vm_name": "vmName", "mem_size": "memSize", "origin_type": "originType"},
):
    """A machine on another hypervisor, or in an OVA file."""

    #: Name.
    vm_name: str
    #: Id there; absent if the OVA has none.
    vm_id: UUID | UnsetType = UNSET
    #: "Up" if it runs there, else "Down".
    status: VmStatus = "Down"
    #: Memory in MiB.
    mem_size: Annotated[int, Meta(extra_json_schema={"x-unit": "MiB"})]
    #: Number of virtual processors.
    smp: int
    #: Architecture, such as "x86_64".
    arch: str | UnsetType = UNSET
    #: Whether it has snapshots; absent if that is not known.
    has_snapshots: bool | UnsetType = UNSET
    #: Its first display, "vnc" or "spice".
    graphics: str | UnsetType = UNSET
    #: Model of its first video adapter.
    video: str | UnsetType = UNSET
    #: 3 if oVirt has made the OVA.
    origin_type: int | UnsetType = UNSET
    #: Disks, in the order in which they are converted.
    disks: list[ExternalDisk] = []
    #: NICs.
    networks: list[ExternalNic] = []


class TargetDisk(
    msgspec.Struct, frozen=True, kw_only=True, rename={"image_id": "imageID", "volume_id": "volumeID"}
):
    """The volume that a disk is copied to, which exists already."""

    #: Its image.
    image_id: UUID
    #: The volume.
    volume_id: UUID


class ImportParams(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"vm_name": "vmName", "pool_id": "poolID", "domain_id": "domainID"},
):
    """What to convert, and where to: VDSM's `vminfo`. Further members are ignored."""

    #: Name of the machine there.
    vm_name: Annotated[str, Meta(min_length=1, max_length=255)]
    #: Storage pool of the volumes.
    pool_id: UUID
    #: Storage domain of the volumes.
    domain_id: UUID
    #: The volumes, one for each disk, in their order.
    disks: Annotated[list[TargetDisk], Meta(min_length=1, max_length=64)]
    #: Id that the machine will have here; absent: it is generated.
    vm_id: UUID | UnsetType = msgspec.field(default=UNSET, name="vmId")
    #: "SPARSE" or "PREALLOCATED".
    allocation: Annotated[str, Meta(pattern="^(?i:sparse|preallocated)$")] = "SPARSE"
    #: Format of the volumes, "RAW" or "COW".
    format: Annotated[str, Meta(pattern="^(?i:raw|cow)$")] = "RAW"
    #: ISO image with drivers for Windows guests, in a folder of `import_folders`.
    virtio_iso_path: AbsolutePath | UnsetType | None = UNSET
    #: Version of qcow2, "0.10" or "1.1".
    qcow2_compat: Literal["0.10", "1.1"] | UnsetType | None = UNSET


class ImportJob(msgspec.Struct, frozen=True, kw_only=True):
    """How far a conversion is."""

    #: The job.
    id: UUID
    #: State.
    status: Literal["starting", "copying_disk", "done", "error", "aborted"]
    #: What is being done, or why it failed.
    description: str
    #: Percent; the disks share the range.
    progress: Annotated[int, Meta(ge=0, le=100)]


class SecretInfo(
    msgspec.Struct, frozen=True, kw_only=True, rename={"usage_type": "usageType", "usage_id": "usageID"}
):
    """A secret for libvirt."""

    #: Id.
    uuid: UUID
    #: What it is for: "ceph", "volume" or "iscsi".
    usage_type: SecretUsage
    #: The object that it belongs to.
    usage_id: Word
    #: The value in base64.
    password: SecretValue
    #: A description for people.
    description: Word = ""
