"""Begin merges, and report those that are in progress."""

from __future__ import annotations

import uuid
from typing import Final

import msgspec

from vdsm_bridge.call.context import Context
from vdsm_core.errors import InvalidArgument
from vdsm_core.volumes import DiskId, VolumeInfo
from vdsm_core.work.record import State
from vdsm_virt.api.live_storage import MergeStatus, MergeStatusCode
from vdsm_virt.api.stats import BlockJob
from vdsm_virt.jobs.drives import Drive
from vdsm_virt.jobs.errors import MergeFailed
from vdsm_virt.jobs.merges.job import VERB, Merge, MergeOrder
from vdsm_virt.jobs.storage_job import StorageJobs, StorageParts
from vdsm_virt.jobs.thin.sizes import Sizes

#: Bytes in a MiB.
_MIB: Final = 2**20


_STATUSES: Final[dict[State, MergeStatusCode]] = {
    "queued": "Not Started",
    "finished": "Completed",
    "failed": "Failed",
    "recovered": "Failed",
}


class Merges:
    """Merges volumes of running machines."""

    def __init__(self, parts: StorageParts, jobs: StorageJobs, sizes: Sizes) -> None:
        self._parts = parts
        self._jobs = jobs
        self._sizes = sizes
        jobs.resume_with(VERB, self._resumed)

    def begin(
        self, vm_id: str, disk: DiskId, *, base: str, top: str, bandwidth: int, job_id: str, context: Context
    ) -> None:
        """Begin to merge the volumes above `base`, up to `top`, into `base`."""
        self._parts.drives.running(vm_id, "merge volumes of")
        drive = self._parts.drives.find(vm_id, disk)
        info = self._check(vm_id, drive, base, top)
        paths = {each.id.volume_id: each.path for each in info.chain}
        order = MergeOrder(
            vm_id=vm_id,
            target=drive.target,
            disk=drive.ids,
            base=base,
            base_path=paths[base],
            top=top,
            top_path=paths[top],
            bandwidth=bandwidth,
            job_id=job_id or str(uuid.uuid4()),
        )
        if any(other.order.job_id == order.job_id for other in self._jobs.running(Merge)):
            raise InvalidArgument(argument="jobUUID", reason="a merge of this id is in progress")
        self._jobs.begin(Merge(order, self._parts, self._sizes), context)

    def in_progress(self, vm_id: str) -> dict[str, BlockJob]:
        """Return the merges of a machine by their ids."""
        return {job.order.job_id: _info(job) for job in self._jobs.running(Merge, vm_id)}

    def statuses(self, vm_id: str) -> list[MergeStatus]:
        """Return how far the newest merge of each disk is, as long as its task is kept."""
        self._parts.machines.inventory.get(vm_id)
        found: dict[str, MergeStatus] = {}
        records = [each for each in self._parts.machines.work.tasks.all() if each.verb == VERB]
        for record in sorted(records, key=lambda each: each.started):
            order = msgspec.json.decode(record.arguments, type=MergeOrder)
            if order.vm_id == vm_id:
                found[order.target] = MergeStatus(
                    domain_id=order.disk.domain_id,
                    image_id=order.disk.image_id,
                    base_volume_id=order.base,
                    volume_id=order.top,
                    disk=order.target,
                    status=_STATUSES.get(record.state, "In Progress"),
                )
        return list(found.values())

    def _check(self, vm_id: str, drive: Drive, base: str, top: str) -> VolumeInfo:
        """Return storage's view of the chain.

        :raises MergeFailed: the volumes cannot be merged
        """

        def failed(reason: str) -> MergeFailed:
            return MergeFailed(vm_id=vm_id, drive=drive.target, reason=reason)

        if drive.job or any(job.order.target == drive.target for job in self._jobs.running(Merge, vm_id)):
            raise failed("a job on the disk is in progress")
        info = self._parts.volumes.info(drive.ids)
        if info is None or not info.chain:
            raise failed("no storage plugin knows its chain of volumes")
        names = [each.id.volume_id for each in info.chain]
        for argument, name in (("base", base), ("top", top)):
            if name not in names:
                raise failed(f"{argument} volume {name} is not in its chain")
        if names.index(base) >= names.index(top):
            raise failed(f"volume {base} is not below volume {top}")
        missing = [each.path for each in info.chain if not drive.place(each.path)]
        if missing:
            raise failed(f"QEMU does not use {missing[0]}")
        base_info = self._parts.volumes.info(msgspec.structs.replace(drive.ids, volume_id=base))
        if base_info is not None and base_info.shared:
            raise failed(f"volume {base} is shared with other images")
        return info

    def _resumed(self, arguments: str) -> Merge:
        order = msgspec.json.decode(arguments, type=MergeOrder)
        return Merge(order, self._parts, self._sizes, resumed=True)


def _info(job: Merge) -> BlockJob:
    order, block = job.order, job.block_job
    return BlockJob(
        id=order.job_id,
        job_type="block",
        block_job_type="commit",
        drive=order.target,
        img_uuid=order.disk.image_id,
        bandwidth=block.bandwidth // _MIB if block is not None else order.bandwidth,
        cur=block.done if block is not None else 0,
        end=block.total if block is not None else 0,
    )
