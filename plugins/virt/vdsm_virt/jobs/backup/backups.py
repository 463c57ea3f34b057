"""Begin, describe and end backups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import UNSET

from vdsm_bridge.call.context import Context
from vdsm_core.errors import HypervisorError
from vdsm_core.hypervisor import CheckpointInconsistent, NoSuchCheckpoint, NoSuchDomain, OperationInvalid
from vdsm_core.volumes import DiskId
from vdsm_virt.api.backup import BackupConfig, BackupDisk, BackupInfo
from vdsm_virt.api.scalars import given, truth
from vdsm_virt.errors import NoSuchVM, reason_of
from vdsm_virt.jobs.backup.document import DiskBackup
from vdsm_virt.jobs.backup.job import VERB, Backup, BackupOrder
from vdsm_virt.jobs.backup.scratch import Scratch
from vdsm_virt.jobs.drives import Drive, match
from vdsm_virt.jobs.errors import (
    BackupFailed,
    CheckpointFailed,
    CheckpointsInconsistent,
    NoSuchBackup,
    NoSuchCheckpointOfVM,
    NoSuchDrive,
)
from vdsm_virt.jobs.storage_job import StorageJobs, StorageParts

#: Seconds that an ended backup has to clean up before the caller gets a reply all the same.
_END: Final = 10.0


class Backups:
    """The backups of all machines. A machine has one at a time: libvirt has no more."""

    def __init__(self, parts: StorageParts, jobs: StorageJobs, scratch: Scratch) -> None:
        self._parts = parts
        self._jobs = jobs
        self._scratch = scratch
        jobs.resume_with(VERB, self._resumed)

    def begin(self, vm_id: str, config: BackupConfig, context: Context) -> BackupInfo:
        """Begin a backup; return where its disks are read."""
        self._parts.drives.running(vm_id, "back up")
        order = self._order(vm_id, config)
        for other in self._jobs.running(Backup, vm_id):
            raise BackupFailed(vm_id=vm_id, reason=f"its backup {other.order.backup_id} is in progress")
        job = Backup(order, self._parts, self._scratch)
        self._jobs.begin(job, context)
        return self._info(job)

    def info(self, vm_id: str, backup_id: str, checkpoint_id: str) -> BackupInfo:
        """Return where the disks of a backup are read.

        :param checkpoint_id: the checkpoint whose document is added; empty: the one that the backup created
        """
        job = self._get(vm_id, backup_id)
        return self._info(job, checkpoint_id)

    def end(self, vm_id: str, backup_id: str) -> None:
        """End a backup. One that is over is no error."""
        self._parts.machines.inventory.get(vm_id)
        for job in self._jobs.running(Backup, vm_id):
            if job.order.backup_id != backup_id.lower():
                continue
            try:
                job.abort()
            except (NoSuchDomain, OperationInvalid):
                pass  # it is over just now
            except HypervisorError as error:
                raise BackupFailed(vm_id=vm_id, reason=reason_of(error)) from error
            self._parts.machines.work.tasks.wake(job.task_id)
            job.ended.wait(_END)

    def disk_backups(
        self, vm_id: str, config: BackupConfig, *, scratch: bool = False
    ) -> Iterator[DiskBackup]:
        """Return what libvirt needs to know of each disk of a backup.

        :param scratch: whether scratch volumes are part of it
        """
        drives = self._parts.drives.all(vm_id)
        for disk in config.disks:
            drive = match_or_raise(vm_id, drives, disk)
            found = DiskBackup(
                target=drive.target,
                image_id=drive.ids.image_id or drive.target,
                checkpoint=truth(disk.checkpoint, False),
                mode=given(disk.backup_mode, None) or "",
            )
            yield self._with_scratch(vm_id, config.backup_id, disk, found) if scratch else found

    def _order(self, vm_id: str, config: BackupConfig) -> BackupOrder:
        if not config.disks:
            raise BackupFailed(vm_id=vm_id, reason="no disks are given")
        incremental = [disk for disk in config.disks if disk.backup_mode == "incremental"]
        if incremental and not config.from_checkpoint_id:
            raise BackupFailed(vm_id=vm_id, reason="an incremental backup needs from_checkpoint_id")
        disks = tuple(self.disk_backups(vm_id, config, scratch=True))
        targets = [disk.target for disk in disks]
        if len(set(targets)) < len(targets):
            raise BackupFailed(vm_id=vm_id, reason="a disk is given twice")
        return BackupOrder(
            vm_id=vm_id,
            backup_id=config.backup_id.lower(),
            disks=disks,
            since=config.from_checkpoint_id or "",
            checkpoint=config.to_checkpoint_id or "",
            consistent=truth(config.require_consistency, False),
        )

    def _with_scratch(self, vm_id: str, backup_id: str, disk: BackupDisk, found: DiskBackup) -> DiskBackup:
        wanted = given(disk.scratch_disk, None)
        if wanted is not None:
            return msgspec.structs.replace(found, scratch=wanted.path, scratch_kind=wanted.type)
        capacity = self._parts.machines.hypervisor.block_jobs.info(vm_id, found.target).capacity
        path = self._scratch.path(vm_id, f"{backup_id.lower()}.{found.target}")
        return msgspec.structs.replace(found, scratch=str(path), capacity=capacity)

    def _get(self, vm_id: str, backup_id: str) -> Backup:
        self._parts.machines.inventory.get(vm_id)
        for job in self._jobs.running(Backup, vm_id):
            if job.order.backup_id == backup_id.lower():
                return job
        raise NoSuchBackup(vm_id=vm_id, backup_id=backup_id)

    def _info(self, job: Backup, checkpoint_id: str = "") -> BackupInfo:
        created = any(disk.checkpoint for disk in job.order.disks)
        name = checkpoint_id or (job.order.checkpoint if created else "")
        if not name:
            return BackupInfo(disks=job.exports())
        with explained(job.vm_id, name):
            xml = self._parts.machines.hypervisor.checkpoints.xml(job.vm_id, name)
        return BackupInfo(disks=job.exports(), checkpoint=xml or UNSET)

    def _resumed(self, arguments: str) -> Backup:
        order = msgspec.json.decode(arguments, type=BackupOrder)
        return Backup(order, self._parts, self._scratch, resumed=True)


def match_or_raise(vm_id: str, drives: list[Drive], disk: BackupDisk) -> Drive:
    """Return the drive that a backup names by the names of either form.

    :raises NoSuchDrive: the machine has none with these ids
    """
    ids = DiskId(
        domain_id=given(disk.domain_id, given(disk.sd_id, "")),
        image_id=given(disk.image_id, given(disk.img_id, "")),
        volume_id=given(disk.volume_id, given(disk.vol_id, "")),
    )
    found = match(drives, ids)
    if found is None:
        raise NoSuchDrive(vm_id=vm_id, disk=str(ids) or "no ids")
    return found


@contextlib.contextmanager
def explained(vm_id: str, name: str = "") -> Iterator[None]:
    """Raise errors about a machine's checkpoints for libvirt's."""
    try:
        yield
    except NoSuchDomain:
        raise NoSuchVM(vm_id=vm_id) from None
    except NoSuchCheckpoint:
        raise NoSuchCheckpointOfVM(vm_id=vm_id, checkpoint_id=name) from None
    except CheckpointInconsistent as error:
        raise CheckpointsInconsistent(vm_id=vm_id, reason=reason_of(error)) from error
    except HypervisorError as error:
        raise CheckpointFailed(vm_id=vm_id, reason=reason_of(error)) from error
