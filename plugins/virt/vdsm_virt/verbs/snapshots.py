"""Verbs of `VM` that freeze guests and take snapshots."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.types import UUID
from vdsm_virt.api.live_storage import MemoryVolumes, Minutes, SnapshotDrive, SnapshotResult
from vdsm_virt.jobs.snapshots.filesystems import Filesystems
from vdsm_virt.jobs.snapshots.snapshots import SnapshotParams
from vdsm_virt.jobs.snapshots.snapshots import Snapshots as TakeSnapshots
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.verbs.vm import VM

_LEGACY = LegacyMethod("snapshot", args=("vmID", "snapDrives", "snapMemory", "frozen"), members=("quiesce",))


class Snapshots(Namespace, group_of=VM):
    """Freeze the file systems of a guest, and take snapshots of a running machine."""

    def __init__(self, filesystems: Filesystems, snapshots: TakeSnapshots, host_access: HostAccess) -> None:
        self._filesystems = filesystems
        self._snapshots = snapshots
        self._host_access = host_access

    @action(since="1.0", legacy=LegacyMethod("freeze"))
    def freeze(self, vm_id: UUID) -> None:
        """Have the guest agent write the guest's caches to its disks and hold back further writes.

        The guest stays frozen until `VM.thaw`.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises GuestAgentSilent: the guest agent does not answer
        :raises GuestAgentUnsupported: the machine has no guest agent
        :raises FreezeFailed: the guest could not freeze its file systems
        """
        self._filesystems.freeze(vm_id.lower())

    @action(since="1.0", legacy=LegacyMethod("thaw"))
    def thaw(self, vm_id: UUID) -> None:
        """Have the guest agent go on with writes that `VM.freeze` holds back.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises GuestAgentSilent: the guest agent does not answer
        :raises GuestAgentUnsupported: the machine has no guest agent
        :raises ThawFailed: the guest could not thaw its file systems
        """
        self._filesystems.thaw(vm_id.lower())

    @action(since="1.0", names={"job_uuid": "jobUUID", "freeze_timeout": "freeze_timeout"},
            legacy=_LEGACY)  # fmt: skip
    def snapshot(  # noqa: PLR0917 - the parameters are VDSM's
        self,
        vm_id: UUID,
        snap_drives: Annotated[list[SnapshotDrive], Meta(max_length=512)],
        context: Context,
        snap_memory: MemoryVolumes | None = None,
        frozen: bool = False,
        job_uuid: UUID | None = None,
        timeout: Minutes = 30,
        freeze_timeout: Minutes = 8,
    ) -> SnapshotResult:
        """Have a running machine go on with new volumes; the present ones keep their contents.

        With `jobUUID` the snapshot is a host job: `Host.getJobs` and an event report its end. Otherwise the
        reply is sent once it is taken. If its agent can do that, the guest is frozen meanwhile, unless its
        memory is part of the snapshot. Disks that use their new volume already are left as they are.

        :param snap_drives: disks by their present volume, with the new volume, which exists
        :param snap_memory: volumes for the memory of the guest, which is paused while it is written
        :param frozen: the caller freezes and thaws the guest
        :param job_uuid: id of the host job, chosen by the caller
        :param timeout: minutes that it may take in all
        :param freeze_timeout: minutes that freezing may take
        :returns: whether the guest was frozen; nothing of a host job
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises SnapshotFailed: a disk is not known, is transient or has a lease; or the hypervisor refuses
        :raises InvalidParameter: a timeout is not above 0
        :raises JobExists: there is a host job of this id
        :raises MigrationInProgress: the machine is being migrated
        :raises NeedsAdmin: a disk is a block device of the host, and the caller is no `admin`
        """
        for index, drive in enumerate(snap_drives):
            self._host_access.check_disk_ids(drive.after(), f"snapDrives[{index}]", "VM.snapshot", context)
        params = SnapshotParams(
            memory=snap_memory or "",
            frozen=frozen,
            job_id=(job_uuid or "").lower(),
            timeout=timeout,
            freeze_timeout=freeze_timeout,
        )
        return self._snapshots.take(vm_id.lower(), snap_drives, params, context)
