"""Verbs of `VM` on backups and checkpoints."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyForm
from vdsm_bridge.call.context import Context
from vdsm_core.types import UUID
from vdsm_virt.api.backup import (
    BackupConfig,
    BackupInfo,
    Checkpoint,
    CheckpointInfo,
    CheckpointName,
    CheckpointsResponse,
)
from vdsm_virt.api.scalars import given
from vdsm_virt.jobs.backup.backups import Backups
from vdsm_virt.jobs.backup.checkpoints import MachineCheckpoints
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.verbs.vm import VM

#: Member of VDSM's reply with the result.
_RESULT: Final = LegacyForm(member="result")
CheckpointNames = Annotated[list[CheckpointName], Meta(max_length=10_000)]


class Backup(Namespace, group_of=VM):
    """Back up the disks of a running machine, and use its checkpoints."""

    def __init__(self, backups: Backups, checkpoints: MachineCheckpoints, host_access: HostAccess) -> None:
        self._host_access = host_access
        self._backups = backups
        self._checkpoints = checkpoints

    @action(since="1.0", name="start_backup", legacy=_RESULT)
    def start_backup(self, vm_id: UUID, config: BackupConfig, context: Context) -> BackupInfo:
        """Begin a backup of disks of a running machine, full or incremental.

        The disks are read from NBD exports on a unix socket, as they were at this moment, until
        `VM.stop_backup`. The guest is frozen while the backup begins, if its agent can do that. The backup
        goes on if the daemon ends. Meanwhile the machine is not migrated.

        :param config: the disks, and the checkpoints that the backup begins at and creates
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises NoSuchDrive: it has no disk with these ids
        :raises BackupFailed: the hypervisor refuses, or a backup of it is in progress
        :raises MigrationInProgress: it is being migrated
        :raises FreezeFailed: the guest cannot be frozen, and `require_consistency` is set
        :raises NeedsAdmin: a scratch disk is outside the image folders, and the caller is no `admin`
        """
        for index, disk in enumerate(config.disks):
            if scratch := given(disk.scratch_disk, None):
                self._host_access.check_image(
                    scratch.path, f"config.disks[{index}].scratch_disk.path", "VM.start_backup", context
                )
        return self._backups.begin(vm_id.lower(), config, context)

    @query(
        since="1.0",
        name="backup_info",
        names={"backup_id": "backup_id", "checkpoint_id": "checkpoint_id"},
        legacy=_RESULT,
    )
    def backup_info(
        self, vm_id: UUID, backup_id: UUID, checkpoint_id: CheckpointName | None = None
    ) -> BackupInfo:
        """Return a backup in progress.

        :param backup_id: the backup's `backup_id`
        :param checkpoint_id: the checkpoint whose document is added, by default the one that was created
        :raises NoSuchVM: no machine of this id is on the host
        :raises NoSuchBackup: no backup of this id is in progress
        :raises NoSuchCheckpointOfVM: the machine has no such checkpoint
        """
        return self._backups.info(vm_id.lower(), backup_id, checkpoint_id or "")

    @action(
        since="1.0",
        name="stop_backup",
        names={"backup_id": "backup_id"},
        legacy=LegacyForm(member=LegacyForm.STATUS),
    )
    def stop_backup(self, vm_id: UUID, backup_id: UUID) -> None:
        """End a backup. One that is over already is no error.

        :param backup_id: the backup's `backup_id`
        :raises NoSuchVM: no machine of this id is on the host
        :raises BackupFailed: the hypervisor refuses
        """
        self._backups.end(vm_id.lower(), backup_id)

    @query(since="1.0", name="list_checkpoints", legacy=_RESULT)
    def list_checkpoints(self, vm_id: UUID) -> list[str]:
        """Return the names of a machine's checkpoints, each after its parent.

        :raises NoSuchVM: no machine of this id is on the host
        :raises CheckpointFailed: the hypervisor refuses
        """
        return self._checkpoints.names(vm_id.lower())

    @query(since="1.0", name="dump_checkpoint", names={"checkpoint_id": "checkpoint_id"}, legacy=_RESULT)
    def dump_checkpoint(self, vm_id: UUID, checkpoint_id: CheckpointName) -> CheckpointInfo:
        """Return libvirt's document of a checkpoint.

        :param checkpoint_id: its name
        :raises NoSuchVM: no machine of this id is on the host
        :raises NoSuchCheckpointOfVM: the machine has no such checkpoint
        """
        return self._checkpoints.dump(vm_id.lower(), checkpoint_id)

    @action(
        since="1.0", name="delete_checkpoints", names={"checkpoint_ids": "checkpoint_ids"}, legacy=_RESULT
    )
    def delete_checkpoints(self, vm_id: UUID, checkpoint_ids: CheckpointNames) -> CheckpointsResponse:
        """Remove checkpoints, up to the first error, which is part of the result.

        :param checkpoint_ids: their names, each after that of its parent
        :raises NoSuchVM: no machine of this id is on the host
        """
        return self._checkpoints.delete(vm_id.lower(), checkpoint_ids)

    @action(since="1.0", name="redefine_checkpoints", legacy=_RESULT)
    def redefine_checkpoints(
        self, vm_id: UUID, checkpoints: Annotated[list[Checkpoint], Meta(max_length=10_000)]
    ) -> CheckpointsResponse:
        """Define checkpoints of a machine again that was started anew, up to the first error.

        Their bitmaps have to be in its volumes.

        :param checkpoints: each after its parent
        :raises NoSuchVM: no machine of this id is on the host
        :raises NoSuchDrive: it has no disk with the ids of a `config`
        """
        return self._checkpoints.redefine(vm_id.lower(), checkpoints)
