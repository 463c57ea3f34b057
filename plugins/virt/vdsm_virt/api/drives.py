"""Arguments and results of the verbs on disks and leases of machines: VDSM's structs."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Record
from vdsm_virt.api.devices import Disk, Payload
from vdsm_virt.api.scalars import LooseUint, OptionalPath, Word

DeviceXml = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1_000_000,
        description="A document with <devices>, of one device, and <metadata> with oVirt's element vm.",
    ),
]


class HotplugDiskParams(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A disk to plug in or out, in one of two forms; other members are ignored.

    :ivar vm_id: the machine's id, as in the verb's own argument
    :ivar drive: the disk as VDSM's struct
    :ivar xml: libvirt's `<disk>` in `<devices>`, and VDSM's ids in oVirt's metadata; for unplugging the
        alias suffices. Needs the role `admin`
    """

    vm_id: UUID | UnsetType = UNSET
    drive: Disk | UnsetType = UNSET
    xml: DeviceXml | UnsetType = UNSET


class VolumeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A disk by VDSM's ids: a volume, or a device of the host."""

    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)
    guid: Word | UnsetType = msgspec.field(name="GUID", default=UNSET)
    uuid: Word | UnsetType = msgspec.field(name="UUID", default=UNSET)


class PayloadSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The further properties of a drive that matter for its medium: files to make one of."""

    vm_payload: Payload | UnsetType = UNSET


class DriveSpec(VolumeSpec, frozen=True, kw_only=True):
    """A disk, or a medium for a drive, in one of VDSM's forms.

    :ivar path: an image by its path; empty for none
    :ivar iface: bus of the drive; with `index` it names one of several drives
    :ivar index: number of the drive on its bus, from 0
    :ivar drive_spec: an image by its ids, for the drive that `iface` and `index` name; null for none
    :ivar spec_params: files to make a medium of
    :ivar device: kind of the drive; ignored
    """

    path: OptionalPath | UnsetType = UNSET
    iface: Literal["ide", "sata", "scsi", "usb", "fdc", "virtio"] | UnsetType = UNSET
    index: LooseUint | UnsetType = UNSET
    drive_spec: VolumeSpec | UnsetType | None = UNSET
    spec_params: PayloadSpec | UnsetType = msgspec.field(name="specParams", default=UNSET)
    device: Word | UnsetType = UNSET


#: VDSM's clients give media by a struct, or by a path alone.
Medium = DriveSpec | OptionalPath


class LeaseDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that belongs to no volume.

    :ivar sd_id: the storage domain
    :ivar lease_id: the lease
    :ivar type: VDSM's kind of device
    """

    sd_id: UUID
    lease_id: UUID
    type: Literal["lease"] = "lease"


class VolumeSizeInfo(Record, frozen=True, rename="lower"):
    """Sizes of a volume in bytes.

    :ivar apparentsize: size of its file or device
    :ivar truesize: space that it takes on storage
    """

    apparentsize: int
    truesize: int
