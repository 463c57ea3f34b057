"""Parameters and results of the verbs on the disks of running machines: VDSM's structs."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Record, Request
from vdsm_core.volumes import DiskId
from vdsm_virt.api.scalars import Word, given, patterned

_UUID: Final = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
#: Volumes for the memory of a machine: domain, pool, image and volume of the memory, of its configuration.
MemoryVolumes = Annotated[
    str,
    patterned(
        rf"^({_UUID}( *, *{_UUID}){{5}})?$", "six ids with commas between them, or nothing", maximum=240
    ),
]
Minutes = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1, extra_json_schema={"x-unit": "min"})]
Bandwidth = Annotated[int, Meta(ge=0, le=2**31 - 1, extra_json_schema={"x-unit": "MiB/s"})]


class DriveSpec(Request, frozen=True):
    """A disk by VDSM's ids. `device` is VDSM's word for its kind, which is not needed."""

    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)
    guid: Word | UnsetType = msgspec.field(name="GUID", default=UNSET)
    uuid: Word | UnsetType = msgspec.field(name="UUID", default=UNSET)
    device: Word | UnsetType = UNSET
    disk_type: Word | UnsetType = UNSET

    def disk(self) -> DiskId:
        """Return the ids."""
        return DiskId(
            pool_id=given(self.pool_id, ""),
            domain_id=given(self.domain_id, ""),
            image_id=given(self.image_id, ""),
            volume_id=given(self.volume_id, ""),
            guid=given(self.guid, ""),
            uuid=given(self.uuid, ""),
        )


#: How far a merge is, in VDSM's words.
MergeStatusCode = Literal["Not Started", "In Progress", "Failed", "Completed"]


class MergeStatus(Record, frozen=True):
    """How far the newest merge of a disk is: `disk` is its target, the volumes are the base and the top."""

    domain_id: str = msgspec.field(name="domainID")
    image_id: str = msgspec.field(name="imageID")
    base_volume_id: str = msgspec.field(name="baseVolumeID")
    volume_id: str = msgspec.field(name="volumeID")
    disk: str
    status: MergeStatusCode


class SealedVolume(Request, frozen=True, rename=None):
    """A volume whose contents are sealed.

    :ivar sd_id: its storage domain
    :ivar img_id: its image
    :ivar vol_id: the volume
    """

    sd_id: UUID
    img_id: UUID
    vol_id: UUID


class SnapshotDrive(Request, frozen=True):
    """A disk of a snapshot: what it writes to now, and the volume that it writes to afterwards."""

    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    base_volume_id: UUID | UnsetType = msgspec.field(name="baseVolumeID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)
    base_guid: Word | UnsetType = msgspec.field(name="baseGUID", default=UNSET)
    guid: Word | UnsetType = msgspec.field(name="GUID", default=UNSET)
    base_uuid: Word | UnsetType = msgspec.field(name="baseUUID", default=UNSET)
    uuid: Word | UnsetType = msgspec.field(name="UUID", default=UNSET)
    device: Word | UnsetType = UNSET

    def before(self) -> DiskId:
        """Return the ids of what the disk writes to now."""
        return self._ids(self.base_volume_id, self.base_guid, self.base_uuid)

    def after(self) -> DiskId:
        """Return the ids of what it writes to afterwards."""
        return self._ids(self.volume_id, self.guid, self.uuid)

    def _ids(self, volume: str | UnsetType, guid: str | UnsetType, uuid: str | UnsetType) -> DiskId:
        if isinstance(volume, UnsetType):
            return DiskId(guid=given(guid, ""), uuid=given(uuid, ""))
        return DiskId(
            pool_id=given(self.pool_id, ""),
            domain_id=given(self.domain_id, ""),
            image_id=given(self.image_id, ""),
            volume_id=volume,
        )


class SnapshotResult(Record, frozen=True):
    """`quiesce`: whether the guest's file systems were frozen. Absent while the snapshot is being taken."""

    quiesce: bool | UnsetType = UNSET
