"""Parameters and results of the verbs on backups and checkpoints: VDSM's structs."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Record, Request
from vdsm_virt.api.scalars import AbsolutePath, LooseBool, LooseUint, patterned

#: Name of a checkpoint: an engine's are UUIDs, other clients of libvirt may have chosen theirs.
CheckpointName = Annotated[
    str, patterned(r"^[A-Za-z0-9_.:+-]+$", "the name of a checkpoint", minimum=1, maximum=255)
]


class ScratchDisk(Request, frozen=True):
    """Where QEMU keeps the old contents of what the guest overwrites during a backup: an empty qcow2 volume.

    `domainID`, `imageID` and `volumeID` are storage's ids of it.
    """

    path: Annotated[AbsolutePath, Meta(description="Path of the file or block device.")]
    type: Annotated[Literal["file", "block"], Meta(description="Kind of the path.")] = "file"
    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)


class BackupDisk(Request, frozen=True):
    """A disk of a backup: with `checkpoint` its changes are recorded from this backup on."""

    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)
    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    sd_id: UUID | UnsetType = msgspec.field(name="sd_id", default=UNSET)
    img_id: UUID | UnsetType = msgspec.field(name="img_id", default=UNSET)
    vol_id: UUID | UnsetType = msgspec.field(name="vol_id", default=UNSET)
    checkpoint: LooseBool = False
    backup_mode: Literal["full", "incremental"] | UnsetType | None = msgspec.field(
        name="backup_mode", default=UNSET
    )
    scratch_disk: ScratchDisk | UnsetType | None = msgspec.field(name="scratch_disk", default=UNSET)


class BackupConfig(Request, frozen=True, rename=None):
    """A backup. Without `from_checkpoint_id` it is full, with it, it has what changed since that checkpoint.

    `to_checkpoint_id` is the checkpoint that it creates. With `require_consistency`, a guest whose file
    systems cannot be frozen is not backed up. `creation_time` is the Unix time in seconds, for checkpoints
    that are defined again.
    """

    backup_id: UUID
    disks: Annotated[list[BackupDisk], Meta(max_length=512)]
    from_checkpoint_id: CheckpointName | UnsetType | None = UNSET
    to_checkpoint_id: CheckpointName | UnsetType | None = UNSET
    parent_checkpoint_id: CheckpointName | UnsetType | None = UNSET
    require_consistency: LooseBool = False
    creation_time: LooseUint | UnsetType | None = UNSET


class BackupInfo(Record, frozen=True):
    """A backup in progress.

    `disks` are the addresses of the NBD exports by image id (by the disk's name for one without ids);
    `checkpoint` is libvirt's document of the checkpoint that the backup created.
    """

    disks: dict[str, str]
    checkpoint: str | UnsetType = UNSET


class Checkpoint(Request, frozen=True):
    """A checkpoint to define again: by libvirt's document, or by the backup that created it."""

    id: CheckpointName
    xml: Annotated[str, Meta(max_length=1_048_576)] | UnsetType | None = UNSET
    config: BackupConfig | UnsetType | None = UNSET


class ErrorInfo(Record, frozen=True):
    """An error: libvirt's number of it, and its message."""

    code: int
    message: str


class CheckpointsResponse(Record, frozen=True):
    """The checkpoints that were changed, in order, and the error at which the work stopped."""

    checkpoint_ids: Annotated[list[str], Meta(description="Names of the checkpoints that were changed.")] = (
        msgspec.field(name="checkpoint_ids")
    )
    error: ErrorInfo | UnsetType = UNSET


class CheckpointInfo(Record, frozen=True):
    """A checkpoint, as libvirt's document of it."""

    checkpoint: str
