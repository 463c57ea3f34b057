"""Begin and end mirrors of disks."""

from __future__ import annotations

from typing import Final

import msgspec

from vdsm_bridge.call.context import Context
from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import NoSuchDomain
from vdsm_core.volumes import DiskId
from vdsm_virt.errors import reason_of
from vdsm_virt.jobs.drives import Drive
from vdsm_virt.jobs.errors import (
    LeasesNotSupported,
    ReplicationFailed,
    ReplicationNotEnded,
    ReplicationNotInProgress,
    ReplicationNotReady,
    TransientDisk,
)
from vdsm_virt.jobs.replication.job import VERB, Replication, ReplicationOrder
from vdsm_virt.jobs.storage_job import StorageJobs, StorageParts
from vdsm_virt.jobs.thin.sizes import Sizes

#: Seconds that an ended mirror has to be settled before the caller gets a reply all the same.
_END: Final = 20.0


class Replications:
    """Mirrors disks of running machines."""

    def __init__(self, parts: StorageParts, jobs: StorageJobs, sizes: Sizes) -> None:
        self._parts = parts
        self._jobs = jobs
        self._sizes = sizes
        jobs.resume_with(VERB, self._resumed)

    def begin(
        self, vm_id: str, source: DiskId, destination: DiskId, *, extends: bool, context: Context
    ) -> None:
        """Begin to mirror a disk."""
        self._parts.drives.running(vm_id, "mirror a disk of")
        drive = self._parts.drives.find(vm_id, source)
        self._check(vm_id, drive)
        if drive.job or self._of(vm_id, drive) is not None:
            raise ReplicationFailed(
                vm_id=vm_id, drive=drive.target, reason="a job on the disk is in progress"
            )
        order = ReplicationOrder(
            vm_id=vm_id,
            target=drive.target,
            source=drive.ids,
            destination=destination,
            extends=extends,
        )
        self._jobs.begin(Replication(order, self._parts, self._sizes), context)

    def end(self, vm_id: str, source: DiskId, destination: DiskId) -> None:
        """End a mirror: the guest goes on with its destination, or with its source if that is given twice."""
        self._parts.drives.running(vm_id, "mirror a disk of")
        drive = self._parts.drives.find(vm_id, source)
        self._check(vm_id, drive)
        job = self._of(vm_id, drive)
        if job is None:
            raise ReplicationNotInProgress(vm_id=vm_id, drive=drive.target)
        stays = destination.members() == source.members()
        if not stays and not _same(destination, job.order.destination):
            raise ReplicationNotInProgress(vm_id=vm_id, drive=drive.target)
        self._finish(job, stays=stays)
        self._parts.machines.work.tasks.wake(job.task_id)
        job.ended.wait(_END)
        if job.error is not None:
            raise job.error

    def _finish(self, job: Replication, *, stays: bool) -> None:
        facts = {"vm_id": job.vm_id, "drive": job.order.target}
        block_jobs = self._parts.machines.hypervisor.block_jobs
        try:
            block = job.block_job()
        except NoSuchDomain:
            raise ReplicationFailed(**facts, reason="the machine ended") from None
        if block is None:
            raise ReplicationFailed(**facts, reason="libvirt has lost the mirror")
        if not stays and (block.done != block.total or not block.ready):
            raise ReplicationNotReady(**facts, done=block.done, total=block.total)
        # Before: the task may see the end of the mirror first.
        job.stays = stays
        try:
            (block_jobs.abort if stays else block_jobs.pivot)(job.vm_id, job.order.target)
        except VdsmError as error:
            job.stays = False
            raise ReplicationNotEnded(**facts, reason=reason_of(error)) from error

    @staticmethod
    def _check(vm_id: str, drive: Drive) -> None:
        if drive.leased:
            raise LeasesNotSupported(vm_id=vm_id, drive=drive.target, action="mirror")
        if drive.transient:
            raise TransientDisk(vm_id=vm_id, drive=drive.target, action="mirror")

    def _of(self, vm_id: str, drive: Drive) -> Replication | None:
        jobs = self._jobs.running(Replication, vm_id)
        return next((job for job in jobs if job.order.target == drive.target), None)

    def _resumed(self, arguments: str) -> Replication:
        order = msgspec.json.decode(arguments, type=ReplicationOrder)
        return Replication(order, self._parts, self._sizes, resumed=True)


def _same(one: DiskId, other: DiskId) -> bool:
    return (one.domain_id, one.image_id, one.volume_id, one.guid) == (
        other.domain_id,
        other.image_id,
        other.volume_id,
        other.guid,
    )
