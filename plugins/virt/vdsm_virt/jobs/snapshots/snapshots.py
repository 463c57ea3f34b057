"""Begin snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vdsm_bridge.call.context import Context
from vdsm_core.errors import VdsmError
from vdsm_virt.api.live_storage import SnapshotDrive, SnapshotResult
from vdsm_virt.jobs.drives import Drive, match
from vdsm_virt.jobs.errors import InvalidParameter, SnapshotFailed
from vdsm_virt.jobs.snapshots.job import VERB, Snapshot, SnapshotDisk, SnapshotOrder
from vdsm_virt.jobs.snapshots.memory import parse_volumes
from vdsm_virt.jobs.storage_job import StorageJobs, StorageParts

#: Seconds in the unit of the timeouts.
_MINUTE: Final = 60


class SnapshotParams(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of the verb, beside the disks; see `VM.snapshot`."""

    memory: str = ""
    frozen: bool = False
    job_id: str = ""
    timeout: int = 30
    freeze_timeout: int = 8


class Snapshots:
    """Takes snapshots of running machines."""

    def __init__(self, parts: StorageParts, jobs: StorageJobs) -> None:
        self._parts = parts
        self._jobs = jobs
        jobs.resume_with(VERB, self._resumed)

    def take(
        self, vm_id: str, drives: Sequence[SnapshotDrive], params: SnapshotParams, context: Context
    ) -> SnapshotResult:
        """Take a snapshot: in the background as a host job, or for a client without one before the reply."""
        for argument, minutes in (("timeout", params.timeout), ("freeze_timeout", params.freeze_timeout)):
            if minutes <= 0:
                raise InvalidParameter(
                    argument=argument, reason=f"expected more than 0 minutes, got {minutes}"
                )
        self._parts.drives.running(vm_id, "take a snapshot of")
        volumes = parse_volumes(params.memory)
        order = SnapshotOrder(
            vm_id=vm_id,
            disks=self._disks(vm_id, drives),
            memory=volumes.memory if volumes else None,
            configuration=volumes.configuration if volumes else None,
            frozen=params.frozen,
            job_id=params.job_id,
            timeout=params.timeout * _MINUTE,
            freeze_timeout=params.freeze_timeout * _MINUTE,
        )
        if not order.disks and order.memory is None:
            # Every disk is in such a snapshot already: a repeated request.
            return SnapshotResult() if params.job_id else SnapshotResult(quiesce=False)
        job = Snapshot(order, self._parts)
        if params.job_id:
            self._jobs.submit(job, context)
            return SnapshotResult()
        self._jobs.begin(job, context)
        if not job.ended.wait(context.remaining(order.timeout)):
            raise SnapshotFailed(vm_id=vm_id, reason="it goes on, but not within the deadline of this call")
        if job.error is not None:
            raise job.error
        return SnapshotResult(quiesce=job.quiesced)

    def _disks(self, vm_id: str, wanted: Sequence[SnapshotDrive]) -> tuple[SnapshotDisk, ...]:
        drives = self._parts.drives.all(vm_id)
        found: dict[str, SnapshotDisk] = {}
        for spec in wanted:
            before, after = spec.before(), spec.after()
            if not after:
                raise self._failed(vm_id, "a disk has no volumeID, GUID or UUID to go on with")
            if match(drives, after) is not None:
                continue  # a repeated request
            drive = match(drives, before)
            if drive is None:
                raise self._failed(vm_id, f"it has no disk with {before or 'no ids'}")
            self._check(vm_id, drive)
            if drive.target in found:
                raise self._failed(vm_id, f"disk {drive.target} is given twice")
            found[drive.target] = SnapshotDisk(target=drive.target, before=drive.ids, after=after)
        return tuple(found.values())

    def _check(self, vm_id: str, drive: Drive) -> None:
        if drive.transient:
            raise self._failed(vm_id, f"disk {drive.target} is transient")
        if drive.leased:
            raise self._failed(vm_id, f"disk {drive.target} is protected by a lease")
        if drive.job:
            raise self._failed(vm_id, f"disk {drive.target} is being mirrored or merged")

    @staticmethod
    def _failed(vm_id: str, reason: str) -> VdsmError:
        return SnapshotFailed(vm_id=vm_id, reason=reason)

    def _resumed(self, arguments: str) -> Snapshot:
        return Snapshot(msgspec.json.decode(arguments, type=SnapshotOrder), self._parts, resumed=True)
